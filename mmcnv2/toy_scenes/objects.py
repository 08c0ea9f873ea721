"""The solid shapes of the toy scenes, as signed distance functions.

A shape lives in its own frame, z up, centred near the origin and about one unit in radius. Each is
a small dataclass with three members:

- ``sdf(p)``: signed distance, negative inside, for points ``p`` of shape (3, N) float32 -> (N,).
  It may underestimate the true distance but never overestimates it by much, so rays can be
  marched with it.
- ``reach(n)``: how far the shape extends along the unit vector ``n`` (3,), used to put its lowest
  point on the table.
- ``bound``: radius of a sphere around the origin that holds the shape.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

import numpy as np

Array = np.ndarray  # float32 unless said otherwise

#: Class names in the order of the category ids 1 to 6. The one definition of the classes.
CLASSES: tuple[str, ...] = ('ball', 'box', 'can', 'cone', 'ring', 'mug')


class Shape(Protocol):
    """The interface that the renderer uses."""

    bound: float
    #: True where the shape can throw a shadow on itself.
    hollow: ClassVar[bool]

    def sdf(self, p: Array) -> Array: ...

    def reach(self, n: Array) -> float: ...


def _length(a: Array, b: Array) -> Array:
    return np.sqrt(a * a + b * b)


def _round_corner(a: Array, b: Array, radius: float) -> Array:
    """Return the distance to a corner ``a <= 0, b <= 0`` of a profile, rounded by ``radius``."""
    a, b = a + radius, b + radius
    inside = np.minimum(np.maximum(a, b), 0)
    return inside + _length(np.maximum(a, 0), np.maximum(b, 0)) - radius


def _column(x: float | Sequence[float] | Array) -> Array:
    return np.asarray(x, dtype=np.float32).reshape(-1, 1)


def _cylinder_reach(n: Array, radius: float, half_height: float) -> float:
    return float(half_height * abs(n[2]) + radius * np.hypot(n[0], n[1]))


@dataclass
class Ball:
    """Ellipsoid with half axes ``radii``."""

    radii: tuple[float, float, float]
    hollow: ClassVar[bool] = False
    bound: float = field(init=False)

    def __post_init__(self) -> None:
        self.bound = max(self.radii)

    def sdf(self, p: Array) -> Array:
        q = p / _column(self.radii)
        k0 = np.sqrt((q * q).sum(0))
        q /= _column(self.radii)
        k1 = np.sqrt((q * q).sum(0))
        return k0 * (k0 - 1) / np.maximum(k1, 1e-6)

    def reach(self, n: Array) -> float:
        return float(np.linalg.norm(np.asarray(self.radii) * n))


@dataclass
class Box:
    """Box with half extents ``half`` and edges rounded by ``radius``."""

    half: tuple[float, float, float]
    radius: float
    hollow: ClassVar[bool] = False
    bound: float = field(init=False)

    def __post_init__(self) -> None:
        self.bound = float(np.linalg.norm(self.half))

    def sdf(self, p: Array) -> Array:
        q = np.abs(p) - _column(self.half) + self.radius
        outside = np.maximum(q, 0)
        return np.minimum(q.max(0), 0) + np.sqrt((outside * outside).sum(0)) - self.radius

    def reach(self, n: Array) -> float:
        return float(np.abs(np.asarray(self.half) * n).sum())


@dataclass
class Can:
    """Closed cylinder around z, with rounded edges."""

    width: float
    half_height: float
    radius: float
    hollow: ClassVar[bool] = False
    bound: float = field(init=False)

    def __post_init__(self) -> None:
        self.bound = float(np.hypot(self.width, self.half_height))

    def sdf(self, p: Array) -> Array:
        side = _length(p[0], p[1]) - self.width
        return _round_corner(side, np.abs(p[2]) - self.half_height, self.radius)

    def reach(self, n: Array) -> float:
        return _cylinder_reach(n, self.width, self.half_height)


@dataclass
class Cone:
    """Cone around z, wide end down, its tip cut to the radius ``tip``."""

    width: float
    tip: float
    half_height: float
    radius: float
    hollow: ClassVar[bool] = False
    bound: float = field(init=False)

    def __post_init__(self) -> None:
        self.bound = float(np.hypot(self.width, self.half_height))

    def sdf(self, p: Array) -> Array:
        slope = (self.width - self.tip) / (2 * self.half_height)
        # The distance to the slanted side is the horizontal one times the cosine of the slant.
        wall = self.width - slope * (p[2] + self.half_height)
        side = (_length(p[0], p[1]) - wall) / np.float32(np.hypot(1, slope))
        return _round_corner(side, np.abs(p[2]) - self.half_height, self.radius)

    def reach(self, n: Array) -> float:
        flat = np.hypot(n[0], n[1])
        return float(
            max(
                self.half_height * n[2] + self.tip * flat,
                -self.half_height * n[2] + self.width * flat,
            )
        )


@dataclass
class Ring:
    """Torus around z."""

    width: float
    tube: float
    hollow: ClassVar[bool] = True
    bound: float = field(init=False)

    def __post_init__(self) -> None:
        self.bound = self.width + self.tube

    def sdf(self, p: Array) -> Array:
        return _length(_length(p[0], p[1]) - self.width, p[2]) - self.tube

    def reach(self, n: Array) -> float:
        return float(self.width * np.hypot(n[0], n[1]) + self.tube)


@dataclass
class Mug:
    """Open cylinder around z with one handle on the +x side."""

    width: float
    half_height: float
    wall: float
    handle: float
    tube: float
    hollow: ClassVar[bool] = True
    bound: float = field(init=False)

    def __post_init__(self) -> None:
        self.bound = float(
            max(
                np.hypot(self.width, self.half_height),
                self.width + self.handle + 2 * self.tube,
            )
        )

    def sdf(self, p: Array) -> Array:
        r = _length(p[0], p[1])
        outer = _round_corner(r - self.width, np.abs(p[2]) - self.half_height, 0.05)
        inner = np.maximum(r - (self.width - self.wall), self.wall - self.half_height - p[2])
        body = np.maximum(outer, -inner)
        # A torus in the x-z plane, taller than wide, whose inner half the body cuts off.
        ring = _length(_length(p[0] - self.width + 0.02, p[2] * 0.85) - self.handle, p[1])
        handle = np.maximum(ring - self.tube, self.width - 0.5 * self.wall - r)
        return np.minimum(body, handle)

    def reach(self, n: Array) -> float:
        grip = self.tube + self.handle * float(np.hypot(n[0], n[2])) + self.width * float(n[0])
        return max(_cylinder_reach(n, self.width, self.half_height), grip)


@dataclass
class Lump:
    """Clutter: a knobbly union of three to five spheres, ``centres`` (K, 3), ``radii`` (K,)."""

    centres: Array
    radii: Array
    hollow: ClassVar[bool] = False
    bound: float = field(init=False)

    def __post_init__(self) -> None:
        self.bound = float((np.linalg.norm(self.centres, axis=1) + self.radii).max()) + 0.2

    def sdf(self, p: Array) -> Array:
        out: Array | None = None
        for centre, radius in zip(self.centres, self.radii, strict=True):
            q = p - _column(centre)
            d = np.sqrt((q * q).sum(0)) - radius
            if out is None:
                out = d
            else:  # polynomial smooth minimum
                h = np.maximum(0.25 - np.abs(out - d), 0)
                out = np.minimum(out, d) - h * h
        assert out is not None  # a lump has spheres
        return out

    def reach(self, n: Array) -> float:
        # The blend can bulge a little over the spheres.
        return float((self.centres @ n + self.radii).max()) + 0.03


@dataclass
class Stick:
    """Clutter: a thin capsule along x, bent in the x-y plane."""

    half_length: float
    radius: float
    bend: float
    hollow: ClassVar[bool] = False
    bound: float = field(init=False)

    def __post_init__(self) -> None:
        self.bound = float(np.hypot(self.half_length, self.bend) + self.radius + 0.05)

    def sdf(self, p: Array) -> Array:
        x = np.clip(p[0], -self.half_length, self.half_length)
        y = p[1] - self.bend * (x / self.half_length) ** 2
        d = np.sqrt((p[0] - x) ** 2 + y * y + p[2] * p[2]) - self.radius
        # Bending stretches the distance; scale it back so that a ray never steps through.
        return d * np.float32(1 / np.hypot(1, 2 * self.bend / self.half_length))

    def reach(self, n: Array) -> float:
        # The greatest a x + b x^2 along the bent axis, x in [-1, 1]: at a tip, or at the vertex.
        a, b = self.half_length * abs(float(n[0])), self.bend * float(n[1])
        top = a * a / (-4 * b) if a < -2 * b else a + b
        return top + self.radius


def random_shape(name: str, rng: np.random.Generator) -> Shape:
    """Draw a shape of class ``name`` with random proportions.

    Args:
        name: one of ``CLASSES``, or ``'lump'`` or ``'stick'`` for clutter.
        rng: source of the proportions.

    Raises:
        ValueError: if ``name`` is none of these.
    """
    u = rng.uniform
    if name == 'ball':
        return Ball((u(0.8, 1.0), u(0.8, 1.0), u(0.75, 1.0)))
    if name == 'box':
        return Box((u(0.4, 0.9), u(0.4, 0.9), u(0.35, 0.9)), u(0.02, 0.12))
    if name == 'can':
        width = u(0.42, 0.75)
        return Can(width, width * u(0.7, 1.8), u(0.02, 0.09))
    if name == 'cone':
        width = u(0.5, 0.8)
        return Cone(width, u(0.02, 0.14), width * u(0.85, 1.6), 0.02)
    if name == 'ring':
        width = u(0.6, 0.8)
        return Ring(width, width * u(0.2, 0.42))
    if name == 'mug':
        width = u(0.45, 0.65)
        height = width * u(0.8, 1.25)
        return Mug(width, height, u(0.05, 0.09), height * u(0.45, 0.62), u(0.06, 0.1))
    if name == 'lump':
        n = int(rng.integers(3, 6))
        # In a row and overlapping, like ginger: neither one ball nor several.
        radii = rng.uniform(0.2, 0.42, n).astype(np.float32)
        centres = rng.uniform(-0.18, 0.18, (n, 3)).astype(np.float32)
        centres[:, 0] = np.linspace(-0.65, 0.65, n)
        return Lump(centres, radii)
    if name == 'stick':
        return Stick(u(0.7, 1.0), u(0.05, 0.12), u(0.0, 0.35))
    raise ValueError(f'unknown shape {name!r}; known are {CLASSES} and lump, stick')


def random_rotation(name: str, rng: np.random.Generator) -> Array:
    """Draw a pose as on a table: a (3, 3) float32 rotation from shape to world frame.

    Upright or on its side with a random heading, or (one in five) tumbled any way round. Mugs
    stand more often: seen from below, a mug with its handle hidden cannot be told from a can.
    """
    yaw = _axis_rotation(2, rng.uniform(0, 2 * np.pi))
    roll = _axis_rotation(2, rng.uniform(0, 2 * np.pi))
    kind = rng.random()
    upright = {'mug': 0.75, 'ring': 0.4}.get(name, 0.55)
    if name == 'stick' or kind < upright:
        tilt = 0.0
    elif kind < 0.8:
        tilt = np.pi / 2
    else:
        tilt = rng.uniform(0, np.pi * (0.4 if name == 'mug' else 1))
    return (yaw @ _axis_rotation(0, tilt) @ roll).astype(np.float32)


def _axis_rotation(axis: int, angle: float) -> np.ndarray:
    c, s = np.cos(angle), np.sin(angle)
    out = np.eye(3)
    i, j = [k for k in range(3) if k != axis]
    out[i, i], out[i, j], out[j, i], out[j, j] = c, -s, s, c
    return out
