"""Camera and ray marching for the toy scenes.

World frame: x to the right, y away from the camera, z up; the table is z = 0. Points are float32
arrays of shape (3, N).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from .objects import Array, Shape


@dataclass
class Camera:
    """Pinhole camera: ``origin`` (3,), ``axes`` (3, 3) with rows right, down, forward.

    ``focal`` and ``centre`` are in pixels of the rendering (before it is reduced).
    """

    origin: Array
    axes: Array
    focal: float
    centre: float

    def project(self, point: Array) -> tuple[float, float, float]:
        """Return pixel (u, v) and depth of one world point (3,)."""
        x, y, depth = self.axes @ (point - self.origin)
        return (
            float(self.focal * x / depth + self.centre),
            float(self.focal * y / depth + self.centre),
            float(depth),
        )

    def pixel_matrix(self) -> Array:
        """Return the (3, 3) matrix from homogeneous pixel (u, v, 1) to an unnormalised world direction."""
        f, c = self.focal, self.centre
        k_inverse = np.array([[1 / f, 0, -c / f], [0, 1 / f, -c / f], [0, 0, 1]])
        return (self.axes.T @ k_inverse).astype(np.float32)

    def rays(self, left: int, top: int, width: int, height: int, step: int = 1) -> Array:
        """Return unit directions (3, rows * columns) through the pixel centres of a rectangle."""
        matrix = self.pixel_matrix()
        u = (np.arange(left, left + width, step) + 0.5 * step).astype(np.float32)
        v = (np.arange(top, top + height, step) + 0.5 * step).astype(np.float32)
        d = (
            matrix[:, 0, None, None] * u[None, None, :]
            + matrix[:, 1, None, None] * v[None, :, None]
            + matrix[:, 2, None, None]
        ).reshape(3, -1)
        return d / np.sqrt((d * d).sum(0))


def make_camera(rng: np.random.Generator, size: int, pitch: float) -> Camera:
    """Place a camera that looks down at the table by ``pitch`` radians, slightly rolled.

    It sees about 4.4 world units across the middle of a ``size`` x ``size`` rendering.
    """
    distance = rng.uniform(5.5, 10)
    target = np.array([0, 0, 0.35])
    back = np.array([0, -np.cos(pitch), np.sin(pitch)])
    roll = rng.normal(0, 0.05)
    right0, down0 = np.array([1.0, 0, 0]), -np.array([0, np.sin(pitch), np.cos(pitch)])
    right = np.cos(roll) * right0 + np.sin(roll) * down0
    down = -np.sin(roll) * right0 + np.cos(roll) * down0
    return Camera(
        origin=(target + distance * back).astype(np.float32),
        axes=np.stack([right, down, -back]).astype(np.float32),
        focal=float(size * distance / 4.4),
        centre=size / 2,
    )


def march(
    shape: Shape, origin: Array, direction: Array, hit: float = 6e-3, steps: int = 24
) -> tuple[np.ndarray, Array]:
    """Sphere-trace rays against ``shape``, all in the frame of the shape.

    Args:
        shape: what to hit.
        origin: (3, 1) or (3, N) start points.
        direction: (3, N) unit vectors.
        hit: a ray hits when it is this close.
        steps: number of steps after which a ray that still moves counts as a miss. A large ``hit``
            and few steps are quick, and good enough for shadows.

    Returns:
        Indices (K,) of the rays that hit, and their distances (K,) float32.
    """
    # Start where the ray enters the bounding sphere, and drop the rays that miss it.
    b = (origin * direction).sum(0)
    c = (origin * origin).sum(0) - shape.bound**2
    inside = b * b - c
    index = np.flatnonzero(inside > 0)
    half = np.sqrt(inside[index])
    t = np.maximum(-b[index] - half, 0).astype(np.float32)
    end = (-b[index] + half).astype(np.float32)
    # take() along an axis is several times faster than indexing with [:, index].
    d = direction.take(index, 1)
    o = origin if origin.shape[1] == 1 else origin.take(index, 1)
    hits, distances = [], []
    for step in range(steps):
        gap = shape.sdf(o + d * t)
        t = t + gap
        # Dropping rays costs about as much as a step, so do it every third step.
        if step % 3 == 2 or step == steps - 1:
            done = gap < hit
            hits.append(index[done])
            distances.append(t[done])
            go = np.flatnonzero(~done & (t < end))
            if not go.size:
                break
            index, t, end, d = index[go], t[go], end[go], d.take(go, 1)
            if o.shape[1] > 1:
                o = o.take(go, 1)
    return np.concatenate(hits), np.concatenate(distances)


def normals(shape: Shape, p: Array) -> Array:
    """Return outward unit normals (3, N) at surface points (3, N), by central tetrahedron differences."""
    corners = np.array([[1, -1, -1], [-1, -1, 1], [-1, 1, -1], [1, 1, 1]], dtype=np.float32)
    n = np.zeros_like(p)
    for corner in corners:
        n += corner[:, None] * shape.sdf(p + 4e-3 * corner[:, None])
    return n / np.maximum(np.sqrt((n * n).sum(0)), 1e-9)


def openness(shape: Shape, p: Array, n: Array) -> Array:
    """Return how much of the sky a surface point sees past its own shape: (N,) in [0.2, 1]."""
    near, far = shape.sdf(p + 0.1 * n), shape.sdf(p + 0.3 * n)
    return np.clip(0.4 + 0.3 * near / 0.1 + 0.3 * far / 0.3, 0.2, 1)


def self_shadow(shape: Shape, p: Array, n: Array, light: Array) -> Array:
    """Return the share of the light (N,) in [0, 1] that reaches surface points past their own shape.

    ``light`` (3,) is the unit direction to the light in the frame of the shape.
    """
    lit = np.ones(p.shape[1], dtype=np.float32)
    p = p + 0.03 * n
    t = 0.05
    for _ in range(7):
        gap = shape.sdf(p + t * light[:, None])
        lit = np.minimum(lit, np.clip(0.5 + 5 * gap / t, 0, 1))
        t *= 1.5
    return lit
