"""Table, wall and flat clutter behind the objects of a toy scene."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .objects import Array
from .textures import GROUNDS, WALLS, random_texture, random_tint, to_linear
from .tracing import Camera


@dataclass
class Background:
    """What the camera sees without the objects, at the size S of the rendering.

    ``albedo`` (S, S, 3) float32; ``point`` (3, S/2, S/2) world points at half that size (light
    changes slowly over flat surfaces); ``is_wall`` (S/2, S/2) bool; the wall is y = ``wall_at``.
    """

    albedo: Array
    point: Array
    is_wall: np.ndarray
    wall_at: float


def random_background(camera: Camera, size: int, pitch: float, rng: np.random.Generator) -> Background:
    """Draw a table with cards, stains and cables on it, and a wall behind it if the camera looks along."""
    with_wall = pitch < np.deg2rad(38) or rng.random() < 0.3
    wall_at = rng.uniform(1.3, 3.5) if with_wall else 1e3
    ground = _plane_texture(camera, size, GROUNDS if rng.random() < 0.9 else WALLS, None, rng)
    for _ in range(rng.poisson(0.7)):
        _add_patch(ground, camera, rng)
    for _ in range(rng.poisson(0.6)):
        _add_cable(ground, camera, rng)

    half = size // 2
    d = camera.rays(0, 0, size, size, step=2).reshape(3, half, half)
    t_ground = np.where(d[2] < -1e-4, -camera.origin[2] / np.minimum(d[2], -1e-4), np.inf)
    t_wall = np.where(d[1] > 1e-4, (wall_at - camera.origin[1]) / np.maximum(d[1], 1e-4), np.inf)
    is_wall = t_wall < t_ground
    if is_wall.any():
        wall = _plane_texture(camera, size, WALLS, wall_at, rng)
        blur = rng.uniform(0.0, 3.0) * size / 256  # the wall is behind the focal plane
        if blur > 0.3:
            wall = cv2.GaussianBlur(wall, (0, 0), blur)
        mask = cv2.resize(is_wall.astype(np.float32), (size, size))[..., None]
        ground = mask * wall + (1 - mask) * ground
    t = np.minimum(np.minimum(t_ground, t_wall), 100).astype(np.float32)
    return Background(ground, camera.origin[:, None, None] + d * t, is_wall, wall_at)


def _plane_texture(
    camera: Camera, size: int, names: tuple[str, ...], wall_at: float | None, rng: np.random.Generator
) -> Array:
    """Draw a texture on the table (``wall_at`` None) or on the wall y = ``wall_at``: (S, S, 3)."""
    ray = camera.pixel_matrix().astype(np.float64)
    o = camera.origin.astype(np.float64)
    if wall_at is None:  # the point is o - o_z d / d_z, homogeneous in the direction d
        to_plane = np.array([[o[2], 0, -o[0]], [0, o[2], -o[1]], [0, 0, -1]])
    else:
        reach = wall_at - o[1]
        to_plane = np.array([[reach, o[0], 0], [0, o[2], reach], [0, 1, 0]])
    texels = 400 / 4.4 * rng.uniform(0.45, 1.1)  # texels per world unit
    # The table may be turned any way; photographs on the wall hang nearly straight, z upwards.
    angle = rng.uniform(0, 2 * np.pi) if wall_at is None else np.pi + rng.normal(0, 0.08)
    c, s = texels * np.cos(angle), texels * np.sin(angle)
    x, y = rng.uniform(100, 300, 2)
    to_texture = np.array([[c, -s, x], [s, c, y], [0, 0, 1]])
    texture = random_texture(rng, names, 400, contrast=rng.uniform(0.25, 0.6))
    dull = rng.uniform(0.5, 0.9)  # tables and walls are less colourful than what stands on them
    texture = cv2.transform(texture, (1 - dull) * np.eye(3) + dull / 3)
    warped = cv2.warpPerspective(
        texture,
        to_texture @ to_plane @ ray,
        (size, size),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REFLECT,
    )
    return to_linear(warped)


def _project(camera: Camera, points: np.ndarray) -> np.ndarray:
    """Project points (N, 2) on the table to pixels (N, 2) int32, in 1/16 pixel."""
    pixels = [camera.project(np.array([x, y, 0], dtype=np.float32))[:2] for x, y in points]
    return np.clip(np.array(pixels) * 16, -30000, 30000).astype(np.int32)


def _add_patch(ground: Array, camera: Camera, rng: np.random.Generator) -> None:
    """Lay a card, a leaf or a stain with another texture on the table, in place."""
    angle = np.linspace(0, 2 * np.pi, 24, endpoint=False)
    size = rng.uniform(0.15, 0.8, 2)
    if rng.random() < 0.5:
        outline = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * size
    else:
        bumps = 1 + 0.25 * rng.normal() * np.cos(rng.integers(2, 5) * angle + rng.uniform(0, 6))
        outline = np.stack([np.cos(angle), np.sin(angle)], 1) * bumps[:, None] * size
    turn = rng.uniform(0, 2 * np.pi)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    outline = outline @ rotation.T + rng.uniform(-2.2, 2.2, 2)
    mask = np.zeros(ground.shape[:2], dtype=np.uint8)
    cv2.fillPoly(mask, [_project(camera, outline)], 255, cv2.LINE_AA, shift=4)
    x, y, w, h = cv2.boundingRect(mask)
    if w == 0:
        return
    area = ground[y : y + h, x : x + w]
    alpha = mask[y : y + h, x : x + w, None] * np.float32(rng.uniform(0.5, 1.0) / 255)
    texture = to_linear(cv2.resize(random_texture(rng, GROUNDS + WALLS, 96, contrast=0.6), (w, h)))
    area += alpha * (texture - area)


def _add_cable(ground: Array, camera: Camera, rng: np.random.Generator) -> None:
    """Lay a thin curved line on the table, in place."""
    t = np.linspace(0, 1, 16)[:, None]
    a, b, c = rng.uniform(-2.6, 2.6, (3, 2))
    curve = _project(camera, (1 - t) ** 2 * a + 2 * t * (1 - t) * b + t * t * c)
    colour = random_tint(rng) * rng.uniform(0.3, 1)
    width = max(int(rng.integers(1, 5) * ground.shape[0] / 256), 1)
    # Its own narrow shadow first, one line width further down.
    for points, thick, paint, strength in (
        (curve + 12 * width, width + 1, np.zeros(3), 0.5),
        (curve, width, colour, 1.0),
    ):
        mask = np.zeros(ground.shape[:2], dtype=np.uint8)
        cv2.polylines(mask, [points], False, 255, thick, cv2.LINE_AA, shift=4)
        x, y, w, h = cv2.boundingRect(mask)
        area = ground[y : y + h, x : x + w]
        alpha = mask[y : y + h, x : x + w, None] * np.float32(strength / 255)
        area += alpha * (paint.astype(np.float32) - area)
