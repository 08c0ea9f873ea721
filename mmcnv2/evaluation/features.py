"""Pooled features of images from a frozen backbone: what kNN, the linear probe and the embeddings start from.

Images are read as ImageNet is evaluated: the shorter side becomes 256/224 of the image size, and the middle is cut
out. They are normalised as the backbone's ``normalization`` says (ImageNet's mean and std if it has none). A map is
averaged over its positions; several stages are concatenated as they are. Only one batch of images is in memory at a
time (and what the workers have ready).
"""

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from mmengine.logging import print_log
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset

from mmcnv2.datasets import BandReader, UnreadableImageError
from mmcnv2.datasets.transforms.random_resized_crop import LoadRandomResizedCrop
from mmcnv2.models.normalization import IMAGENET
from mmcnv2.utils.errors import InputError
from mmcnv2.utils.progress import Progress

if TYPE_CHECKING:
    from mmcnv2.models.backbones import ConvNeXtBase

#: Share of the shorter side that the square in the middle has.
CENTRE_CROP = 224 / 256


@dataclass(frozen=True, slots=True)
class Sample:
    """An image, or a window of one.

    Args:
        path: Image file.
        label: Index of its class from 0; -1: none.
        window: Top, left, height and width in pixels of the upright image, which is resized to a square; None: the
            middle of the image.
    """

    path: str
    label: int = -1
    window: tuple[int, int, int, int] | None = None


def image_batches(
    samples: Sequence[Sample], image_size: int = 224, batch_size: int = 16, num_workers: int = 0
) -> Iterator[tuple[Tensor, Tensor]]:
    """Read samples in their order, batch by batch.

    An image that cannot be read is left out, with one warning that names it.

    Args:
        samples: What to read.
        image_size: Side of the squares, in pixels.
        batch_size: How many make a batch; fewer where some are unreadable, and in the last.
        num_workers: Processes that read; 0: this one.

    Yields:
        Indices into ``samples``, (n,) int64, and images, (n, 3, image_size, image_size) uint8, RGB; n >= 1.
    """
    loader = DataLoader(
        _Images(samples, image_size), batch_size=batch_size, num_workers=num_workers, collate_fn=_collate
    )
    unreadable: set[str] = set()
    for indices, images, errors in loader:
        for path, message in errors.items():
            if path not in unreadable:
                unreadable.add(path)
                print_log(f'Skipped an unreadable image, {message}', logger='current', level=logging.WARNING)
        if len(indices):
            yield indices, images


@torch.inference_mode()
def pool(backbone: nn.Module, images: Tensor) -> Tensor:
    """Average the maps of images over their positions.

    Args:
        backbone: Returns a tuple of maps (n, C_i, h_i, w_i), and is in evaluation mode. Its ``normalization``, or
            ImageNet's if it has none, is applied to the images.
        images: (n, 3, H, W) uint8, RGB, on any device; H and W divisible by 32.

    Returns:
        (n, sum of C_i) float32 on the CPU: the maps one after the other.
    """
    device = next(backbone.parameters()).device
    normalization = getattr(backbone, 'normalization', IMAGENET)
    maps = backbone(normalization.apply(images.to(device)))
    return torch.cat([one.mean(dim=(2, 3)) for one in maps], dim=1).float().cpu()


def pooled_features(
    backbone: nn.Module,
    samples: Sequence[Sample],
    image_size: int = 224,
    batch_size: int = 16,
    num_workers: int = 0,
    progress: bool = True,
) -> Iterator[tuple[Tensor, Tensor]]:
    """Compute the pooled features of samples in their order, batch by batch.

    Args:
        backbone: See ``pool``. It is used as it is, in the mode and on the device that it has.
        samples: Images or windows.
        image_size: See ``image_batches``, as are ``batch_size`` and ``num_workers``.
        batch_size: See there.
        num_workers: See there.
        progress: Whether to write a line with the remaining time to stderr every 10 seconds.

    Yields:
        Indices into ``samples`` (n,) int64, and features (n, D) float32 on the CPU. Unreadable images are left out.
    """
    batches = image_batches(samples, image_size, batch_size, num_workers)
    for indices, images in reported(batches, len(samples)) if progress else batches:
        yield indices, pool(backbone, images)


def gather_features(
    backbones: Mapping[str, nn.Module],
    samples: Sequence[Sample],
    image_size: int = 224,
    batch_size: int = 16,
    num_workers: int = 0,
    progress: bool = True,
) -> tuple[Tensor, dict[str, Tensor]]:
    """Return the pooled features of all samples by several backbones; every image is read once.

    Args:
        backbones: See ``pool``, by name.
        samples: See ``pooled_features``, as are the other arguments.
        image_size: See there.
        batch_size: See there.
        num_workers: See there.
        progress: See there.

    Returns:
        Indices of the samples that could be read (n,) int64, and features (n, D) float32 of each backbone.

    Raises:
        InputError: If none could be read.
    """
    kept: list[Tensor] = []
    features: dict[str, list[Tensor]] = {name: [] for name in backbones}
    batches = image_batches(samples, image_size, batch_size, num_workers)
    for indices, images in reported(batches, len(samples)) if progress else batches:
        kept.append(indices)
        for name, backbone in backbones.items():
            features[name].append(pool(backbone, images))
    if not kept:
        example = f', for instance {samples[0].path!r}' if samples else ''
        raise InputError(f'none of {len(samples)} images can be read{example}')
    return torch.cat(kept), {name: torch.cat(parts) for name, parts in features.items()}


def random_backbone(backbone: 'ConvNeXtBase', seed: int = 0) -> 'ConvNeXtBase':
    """Return the same network with fresh weights, the same for the same seed, in evaluation mode on the CPU.

    Its images are normalised as those of ``backbone``.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fresh = type(backbone)(
            arch=dict(depths=backbone.depths, channels=backbone.channels),
            in_channels=backbone.in_channels,
            out_indices=backbone.out_indices,
            out_norm=backbone.out_norm,
        )
    fresh.normalization = backbone.normalization
    return fresh.eval()


def centre_window(height: int, width: int) -> tuple[int, int, int, int]:
    """Return top, left, height and width of the square in the middle, ``CENTRE_CROP`` of the shorter side."""
    side = max(1, round(min(height, width) * CENTRE_CROP))
    return (height - side) // 2, (width - side) // 2, side, side


class _Images(Dataset):
    """Samples as squares, (3, S, S) uint8, or as the error with which they cannot be read."""

    def __init__(self, samples: Sequence[Sample], image_size: int) -> None:
        self.samples = samples
        self.reader = BandReader()
        self.resizing = LoadRandomResizedCrop(image_size, flip_prob=0)
        self.whole: tuple[str, np.ndarray] = '', np.empty(0)

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[int, Tensor | UnreadableImageError]:
        sample = self.samples[index]
        try:
            if sample.window is None:
                file = self.reader.open(sample.path)
                window = centre_window(file.height, file.width)
                pixels = file.read(*window, self.resizing.divisor(*window[2:]))
            else:
                pixels = self._window(sample.path, *sample.window)
        except UnreadableImageError as error:
            return index, error
        image = self.resizing.resize(pixels)
        return index, torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1)))

    def _window(self, path: str, top: int, left: int, height: int, width: int) -> np.ndarray:
        # The objects of an image follow each other: it is decoded once.
        if self.whole[0] != path:
            file = self.reader.open(path)
            self.whole = path, file.read(0, 0, file.height, file.width)
        image = self.whole[1]
        if top + height > image.shape[0] or left + width > image.shape[1]:
            raise UnreadableImageError(
                path,
                f'the image is {image.shape[1]}x{image.shape[0]} (width x height), and the annotation file has a box '
                f'that reaches {left + width}x{top + height}. Correct one of them',
            )
        return np.ascontiguousarray(image[top : top + height, left : left + width])


def _collate(items: list[tuple[int, Any]]) -> tuple[Tensor, Tensor, dict[str, str]]:
    """Return indices and images of what could be read, and messages by path of what could not."""
    errors = {result.path: str(result) for _, result in items if isinstance(result, UnreadableImageError)}
    read = [(index, image) for index, image in items if isinstance(image, Tensor)]
    images = torch.stack([image for _, image in read]) if read else torch.empty(0)
    return torch.tensor([index for index, _ in read], dtype=torch.long), images, errors


def reported(batches: Iterable[tuple[Any, Any]], total: int, what: str = 'features') -> Iterator[tuple[Any, Any]]:
    """Yield batches; every 10 seconds, say on stderr how many images are done and how long the others will take.

    Args:
        batches: Indices of images and something computed from these, as ``image_batches`` yields them.
        total: How many images there are.
        what: What is computed.
    """
    progress = Progress(what, total)
    for indices, images in batches:
        yield indices, images  # comes back when its features are computed
        progress.update(int(indices[-1]) + 1)
