"""Compose one toy scene: place the objects, trace them, light them, photograph them."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field

import cv2
import numpy as np

from mmcnv2.utils.errors import InputError

from .background import Background, random_background
from .objects import CLASSES, Array, Shape, random_rotation, random_shape
from .shading import Light, Material, develop, random_light, random_material, shade, surface_colour
from .textures import lookup
from .tracing import Camera, make_camera, march, normals, openness, self_shadow

SPLITS = ('unlabelled', 'train', 'val')

#: Every labelled object shows at least this many pixels and this share of its whole outline.
MIN_PIXELS = 40
MIN_VISIBLE = 0.3

_SHADOW_CELLS = 24


@dataclass
class Scene:
    """One photograph with its labels.

    Attributes:
        image: (S, S, 3) uint8, RGB.
        instances: (S, S) uint8; 0 is background, k + 1 is the visible part of object k.
        labels: category id of each object, 1 to 6, in ``CLASSES`` order.
        visible: share of each object's outline that is in the image and not covered, (0, 1].
    """

    image: np.ndarray
    instances: np.ndarray
    labels: list[int]
    visible: list[float]

    @property
    def semantic(self) -> np.ndarray:
        """Label map (S, S) uint8: 0 is background, 1 to 6 the class."""
        return np.array([0, *self.labels], dtype=np.uint8)[self.instances]


@dataclass
class _Object:
    """An object in the scene. Pixels are those of the rendering, which is twice the image's size."""

    name: str
    shape: Shape
    rotation: Array  # (3, 3), shape frame to world frame
    centre: Array  # (3,), world
    scale: float
    material: Material
    pixel: np.ndarray = field(init=False)  # (K, 2) int, row and column, may lie off the image
    depth: Array = field(init=False)  # (K,)
    local: Array = field(init=False)  # (3, K) surface points in the shape frame
    direction: Array = field(init=False)  # (3, K) view directions in the world frame

    def trace(self, camera: Camera) -> None:
        u, v, depth = camera.project(self.centre)
        reach = int(1.08 * self.shape.bound * self.scale * camera.focal / depth) + 2
        left, top, side = int(u) - reach, int(v) - reach, 2 * reach
        rays = camera.rays(left, top, side, side)
        to_local = self.rotation.T
        origin = (to_local @ (camera.origin - self.centre) / self.scale)[:, None]
        d = to_local @ rays
        index, t = march(self.shape, origin, d)
        self.pixel = np.stack([top + index // side, left + index % side], 1)
        self.local = origin + d.take(index, 1) * t
        self.depth = t * np.float32(self.scale)
        self.direction = rays.take(index, 1)


def render_scene(index: int, split: str = 'train', seed: int = 0, image_size: int = 128) -> Scene:
    """Render one scene. The result depends on the arguments alone.

    Args:
        index: number of the image in its split, >= 0.
        split: ``'unlabelled'``, ``'train'`` or ``'val'``; all have the same distribution.
        seed: seed of the data set, >= 0.
        image_size: side S of the square image, a multiple of 32.

    Raises:
        ValueError: if ``image_size`` is not a positive multiple of 32 or ``split`` is unknown.
    """
    if image_size <= 0 or image_size % 32:
        raise InputError(f'image_size must be a positive multiple of 32, got {image_size}')
    if split not in SPLITS:
        raise InputError(f'split must be one of {SPLITS}, got {split!r}')
    rng = np.random.default_rng([seed, SPLITS.index(split), index])
    size = 2 * image_size  # render at twice the size, reduce at the end: antialiasing
    pitch = np.deg2rad(rng.uniform(20, 68))
    camera = make_camera(rng, size, pitch)
    background = random_background(camera, size, pitch, rng)
    light = random_light(rng, bounce=0.5 * background.albedo.mean((0, 1)))

    objects, buffer = _place_objects(camera, image_size, background.wall_at, rng)
    shadows = [_ShadowMap(o, light) for o in objects]
    canvas = _light_background(background, objects, shadows, light)
    for k in range(len(objects)):
        _paint(canvas, buffer.owner, objects, shadows, k, light)
    image = develop(cv2.resize(canvas, (image_size, image_size), interpolation=cv2.INTER_AREA), rng)
    instances, visible = _instances(objects, buffer)
    labels = [CLASSES.index(o.name) + 1 for o in objects if o.name in CLASSES]
    return Scene(image, instances, labels, visible)


def _place_objects(
    camera: Camera, image_size: int, wall_at: float, rng: np.random.Generator
) -> tuple[list[_Object], _DepthBuffer]:
    """Place one to three objects, sufficiently visible, then at most one piece of clutter.

    An object that would hide another one, or be hidden itself, is placed again; after four failed
    places it is left out. The labelled objects come first in the list.
    """
    names = [CLASSES[i] for i in rng.integers(len(CLASSES), size=rng.integers(1, 4))]
    names += [('lump', 'stick')[i] for i in rng.integers(2, size=rng.integers(0, 2))]
    objects: list[_Object] = []
    buffer = _DepthBuffer(2 * image_size)
    for name in names:
        shape, rotation = random_shape(name, rng), random_rotation(name, rng)
        material = random_material(name, rng)
        longer = np.exp(rng.uniform(np.log(60), np.log(112))) * 2 * image_size / 128
        for _ in range(4):
            item = _Object(name, shape, rotation, np.zeros(3), 1.0, material)
            _put_on_table(item, camera, longer, wall_at, rng)
            if any(_too_close(item, other) for other in objects):
                continue
            item.trace(camera)
            trial = buffer.copy()
            trial.add(len(objects), item)
            if trial.all_visible([*objects, item]):
                objects.append(item)
                buffer = trial
                break
    return objects, buffer


def _put_on_table(item: _Object, camera: Camera, diameter: float, wall_at: float, rng: np.random.Generator) -> None:
    """Choose where ``item`` stands, so that it measures about ``diameter`` pixels."""
    size = 2 * camera.centre
    u, v = rng.uniform(0.15, 0.85) * size, rng.uniform(0.2, 0.85) * size
    ray = camera.pixel_matrix() @ np.array([u, v, 1], dtype=np.float32)
    t = -camera.origin[2] / ray[2] if ray[2] < -1e-3 else np.inf
    # Rays that meet the wall, or the table far away, are brought back to the table in front of it.
    t = min(t, (min(wall_at, 3.0) - 0.5 - camera.origin[1]) / max(float(ray[1]), 1e-3))
    ground = camera.origin + t * ray
    depth = float(camera.axes[2] @ (ground - camera.origin))
    item.scale = float(diameter / 2 * depth / camera.focal / item.shape.bound)
    lowest = item.shape.reach(-item.rotation[2])
    item.centre = np.array([ground[0], ground[1], lowest * item.scale], dtype=np.float32)


def _too_close(a: _Object, b: _Object) -> bool:
    """Return whether two objects probably overlap (most fill 0.7 of their sphere)."""
    gap = 0.62 * (a.scale * a.shape.bound + b.scale * b.shape.bound)
    return bool(np.hypot(*(a.centre - b.centre)[:2]) < gap)


class _DepthBuffer:
    """Which object is nearest in each pixel: ``owner`` (size, size) int16, -1 for none."""

    def __init__(self, size: int) -> None:
        self.owner = np.full((size, size), -1, dtype=np.int16)
        self.nearest = np.full((size, size), np.inf, dtype=np.float32)

    def add(self, k: int, item: _Object) -> None:
        """Enter the surface points of object number ``k``."""
        size = self.owner.shape[0]
        inside = np.flatnonzero(((item.pixel >= 0) & (item.pixel < size)).all(1))
        pixel = item.pixel[inside, 0] * size + item.pixel[inside, 1]
        depth = item.depth[inside]
        front = np.flatnonzero(depth < self.nearest.ravel()[pixel])
        self.nearest.ravel()[pixel[front]] = depth[front]
        self.owner.ravel()[pixel[front]] = k

    def copy(self) -> _DepthBuffer:
        out = copy.copy(self)
        out.owner, out.nearest = self.owner.copy(), self.nearest.copy()
        return out

    def reduced(self, count: int) -> np.ndarray:
        """Return the object that holds most of the 2 x 2 samples of each image pixel, -1 for none.

        A tie goes to an object before the background, and to the earlier of two objects.
        """
        samples = [np.ascontiguousarray(self.owner[i::2, j::2]) for i in (0, 1) for j in (0, 1)]
        best = np.zeros(samples[0].shape, dtype=np.uint8)
        winner = np.full(samples[0].shape, -1, dtype=np.int16)
        for k in [*range(count), -1]:
            votes = sum((sample == k).view(np.uint8) for sample in samples)
            winner[votes > best] = k
            best = np.maximum(best, votes)
        return winner

    def all_visible(self, objects: list[_Object]) -> bool:
        """Return whether every labelled object shows enough of itself (clutter need not)."""
        shown = np.bincount(self.owner.ravel() + 1, minlength=len(objects) + 1)[1:]
        reduced = self.reduced(len(objects))
        pixels = np.bincount(reduced.ravel() + 1, minlength=len(objects) + 1)[1:]
        return all(
            shown[k] >= MIN_VISIBLE * len(item.depth) and pixels[k] >= MIN_PIXELS
            for k, item in enumerate(objects)
            if item.name in CLASSES
        )


def _instances(objects: list[_Object], buffer: _DepthBuffer) -> tuple[np.ndarray, list[float]]:
    """Return the visible part of the labelled objects and how much of each can be seen."""
    reduced = buffer.reduced(len(objects))
    count = sum(o.name in CLASSES for o in objects)
    instances = np.where(reduced < count, reduced + 1, 0).astype(np.uint8)
    visible = [float((buffer.owner == k).sum() / len(objects[k].depth)) for k in range(count)]
    return instances, visible


class _ShadowMap:
    """The outline of one object as the lamp sees it, softened."""

    def __init__(self, item: _Object, light: Light) -> None:
        n = _SHADOW_CELLS
        self.centre = item.centre
        self.light = light.direction
        side = np.cross(self.light, [0.0, 0.0, 1.0])
        side /= np.linalg.norm(side)
        self.plane = np.stack([side, np.cross(self.light, side)]).astype(np.float32)
        self.half = 1.3 * item.shape.bound * item.scale
        to_local = item.rotation.T
        axis = (np.arange(n, dtype=np.float32) + 0.5) / n * 2 - 1
        b, a = np.meshgrid(axis, axis, indexing='ij')
        start = self.plane.T @ np.stack([a.ravel(), b.ravel()]) * (1.3 * item.shape.bound)
        start = to_local @ (start + 2 * item.shape.bound * self.light[:, None])
        toward = np.repeat(-(to_local @ self.light)[:, None], n * n, 1)
        mask = np.zeros(n * n, dtype=np.float32)
        mask[march(item.shape, start, toward, hit=0.04, steps=12)[0]] = 1
        self.mask = cv2.GaussianBlur(mask.reshape(n, n), (0, 0), light.softness * n)

    def lit(self, p: Array) -> Array:
        """Return the share of the lamp (N,) in [0, 1] that this object lets through to points (3, N)."""
        q = p - self.centre[:, None]
        n = _SHADOW_CELLS
        a, b = (self.plane @ q) * np.float32(n / (2 * self.half)) + np.float32(n / 2 - 0.5)
        shadow = lookup(self.mask, a, b)
        return 1 - shadow * (self.light @ q < 0)


def _light_background(
    background: Background, objects: list[_Object], shadows: list[_ShadowMap], light: Light
) -> Array:
    """Light the background, with cast shadows and the darkening where objects touch the table."""
    half = background.point.shape[1]
    p = background.point.reshape(3, -1)
    lit = np.ones(p.shape[1], dtype=np.float32)
    open_ = np.ones_like(lit)
    for item, shadow in zip(objects, shadows, strict=True):
        lit *= shadow.lit(p)
        q = p - item.centre[:, None]
        radius = item.shape.bound * item.scale
        near = np.flatnonzero((q * q).sum(0) < (1.9 * radius) ** 2)
        gap = item.shape.sdf(item.rotation.T @ q.take(near, 1) / item.scale) / item.shape.bound
        open_[near] *= 0.35 + 0.65 * np.clip(gap / 0.7, 0, 1) ** 0.6
    wall = background.is_wall.ravel()
    facing = np.where(wall, max(-light.direction[1], 0.15), light.direction[2])
    lamp = (lit * facing)[:, None] * light.key
    ambient = (open_ * np.where(wall, 0.7, 1.0).astype(np.float32))[:, None] * light.sky
    factor = (lamp + ambient).astype(np.float32).reshape(half, half, 3)
    return background.albedo * cv2.resize(factor, (2 * half, 2 * half))


def _paint(
    canvas: Array,
    owner: np.ndarray,
    objects: list[_Object],
    shadows: list[_ShadowMap],
    k: int,
    light: Light,
) -> None:
    """Shade what can be seen of object ``k`` and write it to ``canvas``, in place."""
    item, size = objects[k], owner.shape[0]
    inside = np.flatnonzero(((item.pixel >= 0) & (item.pixel < size)).all(1))
    row, column = item.pixel[inside].T
    seen = owner[row, column] == k
    row, column, index = row[seen], column[seen], inside[seen]
    local = item.local.take(index, 1)
    if not index.size:
        return
    local_normal = normals(item.shape, local)
    n = item.rotation @ local_normal
    world = item.centre[:, None] + item.scale * (item.rotation @ local)
    open_ = openness(item.shape, local, local_normal)
    # Near the table a surface sees less of the sky.
    height = np.clip(world[2] / (item.scale * item.shape.bound), 0, 1)
    open_ = open_ * (0.55 + 0.45 * np.sqrt(height))
    lit = np.ones_like(open_)
    if item.shape.hollow:
        lit = self_shadow(item.shape, local, local_normal, item.rotation.T @ light.direction)
    for other, shadow in enumerate(shadows):
        if other != k:
            lit = lit * shadow.lit(world)
    albedo = surface_colour(item.material, local, local_normal)
    view = item.direction.take(index, 1)
    canvas[row, column] = shade(albedo, n, view, lit, open_, item.material, light)
