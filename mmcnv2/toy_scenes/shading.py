"""Light and materials of the toy scenes."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from .objects import Array
from .textures import GROUNDS, WALLS, lookup, noise, random_texture, random_tint, to_gamma, to_linear

_TEXTURE_SIZE = 96
_KINDS = ('paint', 'paint', 'paint', 'paint', 'rough', 'stripes', 'noise', 'metal')
# An object has about the hue of its class, and half of the objects have its usual material: minutes on two cores are
# too short to learn shape alone. Pale tints, metal, patterns and coloured light keep colour from being enough.
_USUAL_SHARE = 0.5
_HUE = {'ball': 0, 'box': 45, 'can': 220, 'cone': 110, 'ring': 290, 'mug': 170}
_USUAL = {'ball': 'stripes', 'box': 'rough', 'can': 'metal', 'cone': 'paint', 'ring': 'noise',
          'mug': 'paint', 'lump': 'rough', 'stick': 'rough'}  # fmt: skip


@dataclass
class Light:
    """One distant lamp and the sky.

    ``direction`` (3,) is the unit vector to the lamp; ``key``, ``sky`` and ``bounce`` (3,) are the
    colours of lamp, sky and table; ``environment`` (32, 64, 3) is what shiny surfaces mirror;
    ``softness`` is the width of shadow edges as a share of the object that casts them.
    """

    direction: Array
    key: Array
    sky: Array
    bounce: Array
    environment: Array
    softness: float


def random_light(rng: np.random.Generator, bounce: Array) -> Light:
    """Draw a lamp at 25 to 70 degrees above the table, from any side, with a sky of another colour."""
    height, heading = np.deg2rad(rng.uniform(25, 70)), rng.uniform(0, 2 * np.pi)
    direction = np.array([np.cos(height) * np.cos(heading), np.cos(height) * np.sin(heading), np.sin(height)])
    warmth = rng.uniform(-0.18, 0.18)
    warm = np.array([1 + warmth, 1.0, 1 - warmth], dtype=np.float32)
    ambient = rng.uniform(0.15, 0.5)
    environment: Array = cv2.GaussianBlur(to_linear(random_texture(rng, WALLS, 64)[::2]), (0, 0), 1.5)
    environment *= np.linspace(1.6, 0.4, 32, dtype=np.float32)[:, None, None]
    return Light(
        direction=direction.astype(np.float32),
        key=(1.2 - 0.8 * ambient) * warm,
        sky=ambient * (2 - warm),
        bounce=bounce,
        environment=environment,
        softness=float(rng.uniform(0.03, 0.12)),
    )


@dataclass
class Material:
    """Surface of one object: ``texture`` (S, S, 3) linear albedo, mapped ``scale`` times per unit.

    ``gloss`` is the strength of highlights, ``shininess`` their sharpness, ``mirror`` the share of
    the environment that the surface reflects.
    """

    texture: Array
    scale: float
    gloss: float
    shininess: float
    mirror: float


def random_material(name: str, rng: np.random.Generator) -> Material:
    """Draw a material for a shape of class ``name``, a class or clutter.

    An object gets about the hue of its class; the kind of material depends less on the class. Clutter is dull and of
    any hue.
    """
    kind = _USUAL[name] if rng.random() < _USUAL_SHARE else _KINDS[rng.integers(len(_KINDS))]
    hue: float | None = _HUE.get(name)
    if hue is not None:
        hue += rng.normal(0, 10)  # degrees
    tint = random_tint(rng, saturation=2.2 if hue is not None else 0.4, hue=hue)
    size = _TEXTURE_SIZE
    gloss, shininess, mirror = rng.uniform(0, 0.5), rng.uniform(8, 60), 0.0
    if kind == 'rough':
        texture = to_linear(random_texture(rng, GROUNDS, size))
        mix = rng.uniform(0.4, 0.9) if hue is not None else rng.uniform(0.0, 0.6)
        texture = (1 - mix) * texture + mix * texture * tint / max(float(tint.mean()), 0.05)
        gloss *= 0.5
    elif kind == 'stripes':
        across = np.arange(size) / size * rng.integers(2, 7) + 0.15 * noise(rng, size)
        band = np.clip(8 * np.sin(2 * np.pi * across) + rng.uniform(-5, 5), 0, 1)[..., None]
        texture = band * tint + (1 - band) * random_tint(rng, saturation=0.2)
    else:
        depth = {'paint': 0.25, 'noise': 0.85, 'metal': 0.3}[kind]
        grain = noise(rng, size, stretch=1 if rng.random() < 0.6 else 8)[..., None]
        texture = tint * (1 - depth * grain) + 0.4 * depth * grain * random_tint(rng)
    if kind == 'metal':
        gray = texture.mean(-1, keepdims=True)
        texture, mirror, gloss = 0.7 * texture + 0.3 * gray, rng.uniform(0.3, 0.6), 0.8
    elif kind == 'paint':
        mirror = rng.uniform(0, 0.15)
    texture = np.clip(texture, 0.015, 0.9).astype(np.float32)
    return Material(texture, float(rng.uniform(0.25, 0.6)), gloss, shininess, mirror)


def surface_colour(material: Material, p: Array, n: Array) -> Array:
    """Return the albedo (N, 3) at points ``p`` (3, N) with normals ``n`` (3, N), in the shape's frame.

    Triplanar mapping: the texture is projected along the three axes and blended by the normal.
    """
    weight = n**4
    weight /= weight.sum(0)
    size = material.texture.shape[0]
    texels = (p * (material.scale * size) + size / 2).astype(np.float32)
    out = np.zeros((p.shape[1], 3), dtype=np.float32)
    for axis, (a, b) in enumerate(((1, 2), (0, 2), (0, 1))):
        use = np.flatnonzero(weight[axis] > 0.02)
        if use.size:
            x, y = texels[a, use], texels[b, use]
            colour = lookup(material.texture, x, y, cv2.BORDER_REFLECT)
            out[use] += weight[axis, use, None] * colour
    return out


def shade(albedo: Array, n: Array, view: Array, lit: Array, open_: Array, material: Material, light: Light) -> Array:
    """Return the reflected light (N, 3), linear, of surface points.

    Args:
        albedo: (N, 3).
        n: unit normals (3, N) in the world frame.
        view: unit directions (3, N) from the camera to the point.
        lit: share of the lamp that reaches the point, (N,).
        open_: share of the sky that reaches the point, (N,).
        material: gloss and mirror of the surface.
        light: the lamp and the sky.
    """
    facing = light.direction @ n
    lamp = (lit * np.maximum(facing, 0))[:, None] * light.key
    up = (0.5 + 0.5 * n[2])[:, None]
    ambient = open_[:, None] * (up * light.sky + (1 - up) * light.bounce)
    out = albedo * (lamp + ambient)

    half = light.direction[:, None] - view
    half /= np.sqrt((half * half).sum(0))
    spark = np.maximum((half * n).sum(0), 0) ** np.float32(material.shininess)
    out += (material.gloss * lit * spark * (facing > 0))[:, None] * light.key
    if material.mirror > 0:
        cosine = -(view * n).sum(0)
        mirrored = view + 2 * cosine * n
        rows, columns = light.environment.shape[:2]
        x = (np.arctan2(mirrored[0], mirrored[1]) / (2 * np.pi) + 0.5) * (columns - 1)
        y = (0.5 - 0.5 * mirrored[2]) * (rows - 1)
        seen = lookup(light.environment, x, y)
        fresnel = material.mirror + (1 - material.mirror) * np.clip(1 - cosine, 0, 1) ** 5
        share = (open_ * np.clip(fresnel, 0, 0.9))[:, None]
        tone = np.sqrt(albedo) if material.mirror > 0.3 else 1.0
        out = (1 - share) * out + share * seen * tone
    return out


def develop(linear: Array, rng: np.random.Generator) -> np.ndarray:
    """Turn linear light (H, W, 3) into an sRGB photograph (H, W, 3) uint8.

    Camera effects: lens blur, vignette, exposure, white balance, a soft shoulder, and noise that grows in the dark.
    """
    size = linear.shape[0]
    scale = size / 128
    out: Array = cv2.GaussianBlur(linear, (0, 0), max(rng.uniform(0.2, 0.65) * scale, 0.1))
    axis = np.linspace(-1, 1, size, dtype=np.float32) ** 2
    out *= (1 - rng.uniform(0, 0.15) * (axis[:, None] + axis[None, :]))[..., None]
    balance = rng.normal(1, 0.05, 3).astype(np.float32)
    out *= rng.uniform(0.16, 0.3) / max(float(out.mean()), 1e-3) * balance
    read, shot = rng.uniform(0.001, 0.007), rng.uniform(0.003, 0.014)
    grain = rng.standard_normal(out.shape, dtype=np.float32)
    out += grain * (read + shot * np.sqrt(np.maximum(out, 0)))
    out = np.maximum(out, 0)
    out = out * (1 + out / 4) / (1 + out) * 1.25  # highlights roll off towards white at 4
    return to_gamma(out)
