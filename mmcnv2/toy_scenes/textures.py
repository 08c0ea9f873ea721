"""Surface colours of the toy scenes: crops of photographs in installed packages, and noise.

The photographs come from the wheels of scikit-image and matplotlib. Their files are read directly,
since ``skimage.data`` may download. Textures are uint8 with gamma 2.2, which OpenCV warps fastest;
``to_linear`` turns them into light.
"""

from __future__ import annotations

import functools
import importlib.util
from pathlib import Path

import cv2
import numpy as np
from PIL import Image

from mmcnv2.utils.errors import MissingFileError

from .objects import Array

# (package, file, rows, columns). The cup in coffee.png is cut off: it would be an unlabelled mug.
_PHOTOS: dict[str, tuple[str, str, slice, slice]] = {
    'astronaut': ('skimage', 'data/astronaut.png', slice(None), slice(None)),
    'camera': ('skimage', 'data/camera.png', slice(None), slice(None)),
    'cat': ('skimage', 'data/chelsea.png', slice(None), slice(None)),
    'garage': ('skimage', 'data/motorcycle_left.png', slice(None), slice(None)),
    'garage_right': ('skimage', 'data/motorcycle_right.png', slice(None), slice(None)),
    'rocket': ('skimage', 'data/rocket.jpg', slice(None), slice(None)),
    'hopper': ('matplotlib', 'mpl-data/sample_data/grace_hopper.jpg', slice(None), slice(None)),
    'brick': ('skimage', 'data/brick.png', slice(None), slice(None)),
    'grass': ('skimage', 'data/grass.png', slice(None), slice(None)),
    'gravel': ('skimage', 'data/gravel.png', slice(None), slice(None)),
    'moon': ('skimage', 'data/moon.png', slice(None), slice(None)),
    'tissue': ('skimage', 'data/ihc.png', slice(None), slice(None)),
    'page': ('skimage', 'data/page.png', slice(None), slice(None)),
    'text': ('skimage', 'data/text.png', slice(None), slice(None)),
    'retina': ('skimage', 'data/retina.jpg', slice(250, 1150), slice(250, 1150)),
    'wood': ('skimage', 'data/coffee.png', slice(60, 400), slice(470, 600)),
    'cloth': ('skimage', 'data/astronaut.png', slice(180, 500), slice(60, 330)),
    'fur': ('skimage', 'data/chelsea.png', slice(0, 300), slice(120, 400)),
}
WALLS = ('astronaut', 'camera', 'cat', 'garage', 'garage_right', 'rocket', 'hopper', 'brick')
GROUNDS = (
    'brick', 'grass', 'gravel', 'moon', 'tissue', 'page', 'text', 'retina', 'wood', 'fur',
    'camera', 'cloth', 'noise', 'grain',
)  # fmt: skip
_GRAY = ('brick', 'grass', 'gravel', 'moon', 'page', 'text', 'camera')


def _package_file(package: str, name: str) -> Path:
    spec = importlib.util.find_spec(package)  # finds the package without importing it
    if spec is None or not spec.submodule_search_locations:
        raise MissingFileError(f'toy scenes need the photographs in {package}: install {package}')
    path = Path(next(iter(spec.submodule_search_locations))) / name
    if not path.is_file():
        raise MissingFileError(f'this version of {package} lacks {name}, which toy scenes need')
    return path


@functools.cache
def photo(name: str, side: int = 400) -> np.ndarray:
    """Return the photograph ``name``: (H, W, 3) uint8, its shorter side ``side`` pixels."""
    if side < 400:
        return cv2.resize(photo(name, side * 2), None, fx=0.5, fy=0.5, interpolation=cv2.INTER_AREA)
    package, file, rows, columns = _PHOTOS[name]
    with Image.open(_package_file(package, file)) as opened:
        image = np.array(opened.convert('RGB'))[rows, columns]
    scale = side / min(image.shape[:2])
    interpolation = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    return cv2.resize(np.ascontiguousarray(image), None, fx=scale, fy=scale,
                      interpolation=interpolation)  # fmt: skip


_LINEAR = ((np.arange(256) / 255) ** 2.2).astype(np.float32)


def to_linear(texture: np.ndarray) -> Array:
    """Return the linear light, float32 in [0, 1], of a uint8 texture (H, W, 3) with gamma 2.2."""
    return cv2.LUT(texture, np.repeat(_LINEAR[:, None], 3, 1).reshape(1, 256, 3))


def to_gamma(linear: Array) -> np.ndarray:
    """Invert :func:`to_linear`; values are clipped to [0, 1]."""
    return (np.clip(linear, 0, 1) ** np.float32(1 / 2.2) * 255 + 0.5).astype(np.uint8)


def noise(rng: np.random.Generator, size: int, stretch: int = 1) -> Array:
    """Draw fractal noise (size, size) float32 in [0, 1]; ``stretch`` > 1 stretches it along x (grain)."""
    # Sum octaves from coarse to fine, doubling the sum so far each time: the same as resizing
    # every octave to the full size, but most of the work is on small arrays.
    side = 4
    out = rng.random((side, max(side // stretch, 2)), dtype=np.float32)
    weight = 1.0
    while side < size:
        side, weight = side * 2, weight * 0.6
        grid = rng.random((side, max(side // stretch, 2)), dtype=np.float32)
        out = cv2.resize(out, grid.shape[::-1], interpolation=cv2.INTER_LINEAR) + weight * grid
    out = np.asarray(cv2.resize(out, (size, size), interpolation=cv2.INTER_LINEAR))
    low, high = float(out.min()), float(out.max())
    return (out - low) / (high - low)


def random_tint(rng: np.random.Generator, saturation: float = 0.45, hue: float | None = None) -> Array:
    """Draw a colour (3,) of paint or cloth: linear light, never black.

    ``saturation`` is about twice the mean of its HSV saturation, so most tints are dull at the
    default. ``hue`` is in degrees; None means any.
    """
    hue = (rng.random() * 360 if hue is None else hue) % 360
    value = rng.uniform(0.25, 0.95)
    strength = min(saturation * rng.beta(1.6, 1.8), 1.0)
    hsv = np.array([[[hue, strength, value]]], dtype=np.float32)
    return (cv2.cvtColor(hsv, cv2.COLOR_HSV2RGB)[0, 0] ** 2.2).astype(np.float32)


def random_texture(rng: np.random.Generator, names: tuple[str, ...], size: int, contrast: float = 1.0) -> np.ndarray:
    """Draw a (size, size, 3) uint8 texture: a crop of one of ``names``, mirrored and recoloured.

    ``'noise'`` and ``'grain'`` are generated, all else is a photograph. ``contrast`` below 1 pulls
    the colours towards their mean.
    """
    name = names[rng.integers(len(names))]
    if name in ('noise', 'grain'):
        mix = noise(rng, size, stretch=1 if name == 'noise' else 8)
        return _gradient(mix, to_gamma(random_tint(rng)), to_gamma(random_tint(rng)))
    # Start from the smallest stored size that is large enough.
    source = photo(name, 100 if size <= 64 else 200 if size <= 128 else 400)
    side = int(rng.uniform(0.45, 1.0) * min(source.shape[:2]))
    top = rng.integers(source.shape[0] - side + 1)
    left = rng.integers(source.shape[1] - side + 1)
    crop = source[top : top + side, left : left + side]
    crop = cv2.resize(crop, (size, size), interpolation=cv2.INTER_LINEAR)
    if rng.random() < 0.5:
        crop = cv2.flip(crop, 1)
    gray = rng.uniform(0, 0.7)  # most surfaces are duller than the photographs
    mix = contrast * ((1 - gray) * np.eye(3) + gray / 3)
    offset = (1 - contrast) * crop[::4, ::4].mean((0, 1))
    crop = cv2.transform(crop, np.column_stack([mix, offset]))
    tint = random_tint(rng)
    strength = rng.uniform(0.4, 0.9) if name in _GRAY else rng.uniform(0, 0.3)
    gain = 1 + strength * (tint / tint.mean() - 1)
    return cv2.LUT(crop, to_gamma(_LINEAR[:, None] * gain).reshape(1, 256, 3))


def _gradient(mix: Array, low: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return colours (H, W, 3) uint8 between ``low`` and ``high`` (3,), by ``mix`` (H, W) in [0, 1]."""
    ramp = np.linspace(0, 1, 256)[:, None]
    table = ((1 - ramp) * low + ramp * high + 0.5).astype(np.uint8).reshape(1, 256, 3)
    index = (mix * 255).astype(np.uint8)
    return cv2.LUT(cv2.merge([index, index, index]), table)


def lookup(image: Array, x: Array, y: Array, border: int = cv2.BORDER_REPLICATE) -> Array:
    """Sample ``image`` (H, W[, C]) bilinearly at columns ``x`` (N,) and rows ``y`` (N,)."""
    limit = 32000  # OpenCV takes at most 32767 samples in a row
    if x.size > limit:
        parts = range(0, x.size, limit)
        return np.concatenate([lookup(image, x[i : i + limit], y[i : i + limit], border) for i in parts])
    return cv2.remap(image, x[None], y[None], cv2.INTER_LINEAR, borderMode=border)[0]
