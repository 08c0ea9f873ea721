"""What the network of a config gets: images after augmentation, batch augmentation and padding, with their labels."""

import copy
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from matplotlib.figure import Figure
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.runner import Runner, set_random_seed

from mmcnv2.inference.preparation import loads_labels
from mmcnv2.models.pretraining import FCMAE
from mmcnv2.preflight.datasets import datasets_of
from mmcnv2.utils.errors import ConfigError
from mmcnv2.utils.files import written_whole
from mmcnv2.utils.progress import Progress
from mmcnv2.visualization import (
    GREY,
    background_of,
    composite,
    contact_sheet,
    draw_boxes,
    draw_caption,
    draw_instances,
    draw_label_map,
    padded_sheet,
)
from mmcnv2.visualization.histograms import class_bars, image_sizes, object_sizes
from mmcnv2.visualization.labels import IGNORED

from .page import Page

_COLUMNS = 4
_LONGER_SIDE = 384  # of a picture in a sheet, in pixels


@dataclass(kw_only=True)
class Inputs:
    """Samples of a split as the network gets them.

    Attributes:
        classes: Names of the classes; () without labels.
        num_images: Images of the data set.
        num_samples: Samples that were looked at.
        counted: What ``counts`` counts: objects, pixels or images; '' without labels.
        counts: By name of the class, those that no sample had included.
        empty: Samples in which nothing is labelled.
        sizes: Width and height of each input in pixels, padding included.
        object_sides: Square roots of the areas of boxes, in pixels of the input.
        pictures: The first samples, drawn, of a pre-training with the masked image beside it: (H, W, 3) uint8, RGB.
    """

    classes: tuple[str, ...] = ()
    num_images: int = 0
    num_samples: int = 0
    counted: str = ''
    counts: Counter[str] = field(default_factory=Counter)
    empty: int = 0
    sizes: list[tuple[int, int]] = field(default_factory=list)
    object_sides: list[float] = field(default_factory=list)
    pictures: list[np.ndarray] = field(default_factory=list)


def write_inputs_page(
    cfg: Config,
    splits: Sequence[str],
    out: Path,
    num_samples: int = 200,
    num_pictures: int = 24,
    bands: Sequence[int] | None = None,
    seed: int = 0,
) -> Path:
    """Write ``browse.html`` with everything in it, and its sheets and histograms as PNG beside it.

    Args:
        cfg: Of a training.
        splits: Of 'train', 'val', 'test'.
        out: Folder of the files.
        num_samples: Samples of each split that the histograms are of.
        num_pictures: How many of them are drawn.
        bands: Of other images than RGB, those that are drawn, by their place in the input; see ``choose_bands``.
        seed: Of shuffling and augmentation.

    Returns:
        The path of the page.

    Raises:
        ConfigError: The config has no data for a split.
    """
    name = Path(cfg.filename or 'config').stem
    page = Page(out, f'Inputs of {name}')
    page.text(
        'Pixels are those that the network gets, with the normalization undone: after augmentation, augmentation of '
        'whole batches and padding, and in its order of bands (if red and blue are swapped here, they are for the '
        'network). Labels are those that the loss or the metric gets.'
    )
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        model_cfg = copy.deepcopy(cfg.model)
        if cfg.get('data_preprocessor'):  # mmpretrain's place for it
            model_cfg.setdefault('data_preprocessor', cfg.data_preprocessor)
        model = MODELS.build(model_cfg)
        for split in splits:
            inputs = collect_inputs(cfg, model, split, num_samples, num_pictures, bands, seed)
            _add_split(page, split, inputs)
    return page.write('browse.html')


def collect_inputs(
    cfg: Config,
    model: Any,
    split: str,
    num_samples: int,
    num_pictures: int,
    bands: Sequence[int] | None = None,
    seed: int = 0,
) -> Inputs:
    """Look at samples of a split, see ``write_inputs_page``.

    Args:
        cfg: The config, whose ``default_scope`` is that of the process now.
        model: The model of the config; its data preprocessor is used and, of an FCMAE, its masks.
        split: 'train', 'val' or 'test'.
        num_samples: See there.
        num_pictures: See there.
        bands: See there.
        seed: See there.

    Raises:
        ConfigError: The config has no data for the split.
    """
    set_random_seed(seed)
    loader = _build_loader(cfg, split, num_samples, seed)
    metainfo = getattr(loader.dataset, 'metainfo', None) or {}
    found = Inputs(classes=tuple(metainfo.get('classes') or ()), num_images=len(loader.dataset))
    labels_fit = not _labels_are_of_the_file(cfg, split)
    progress = Progress(f'browse {split}', min(num_samples, found.num_images))
    for data in loader:
        batch = model.data_preprocessor(data, split == 'train')
        images = batch['inputs']
        samples = batch.get('data_samples') or [None] * len(images)
        masks = model.random_mask(images) if isinstance(model, FCMAE) else None
        for i, (image, sample) in enumerate(zip(images, samples, strict=True)):
            found.num_samples += 1
            found.sizes.append((image.shape[-1], image.shape[-2]))
            labels = _Labels(sample, image.shape[-2:], labels_fit)
            labels.count(found)
            if found.num_samples <= num_pictures:
                picture = _picture(model.data_preprocessor, image, bands)
                drawn = labels.draw(picture, found.classes) if masks is None else _pair(picture, masks[i])
                found.pictures.append(drawn)
            if found.num_samples == num_samples:
                return found
        progress.update(found.num_samples)
    return found


def _build_loader(cfg: Config, split: str, num_samples: int, seed: int) -> Any:
    """Return the data loader of the training, in this process."""
    settings = cfg.get(f'{split}_dataloader')
    if not settings:
        raise ConfigError(f'config {cfg.filename} has no {split}_dataloader: leave out {split}')
    of_workers = ('persistent_workers', 'prefetch_factor', 'pin_memory', 'worker_init_fn', 'multiprocessing_context')
    settings = {key: value for key, value in copy.deepcopy(settings).items() if key not in of_workers}
    settings['num_workers'] = 0
    if 'batch_size' in settings:
        settings['batch_size'] = min(settings['batch_size'], num_samples)
        settings['drop_last'] = False  # a whole batch more than there are samples would leave nothing
    return Runner.build_dataloader(settings, seed=seed)


def _labels_are_of_the_file(cfg: Config, split: str) -> bool:
    """Return whether labels are loaded after the image has been resized, as for metrics: in pixels of the file."""
    for _, dataset in datasets_of(cfg, split):
        names = [str(step.get('type')) for step in dataset.get('pipeline') or ()]
        resized = [i for i, name in enumerate(names) if 'Resize' in name]
        loaded = [i for i, step in enumerate(dataset.get('pipeline') or ()) if i and loads_labels(step)]
        if resized and loaded and resized[0] < loaded[0]:
            return True
    return False


class _Labels:
    """What a data sample of mmdet, mmseg or mmpretrain says of an input, in pixels of the input.

    Args:
        sample: The data sample; None without labels.
        size: Height and width of the input.
        fit: Whether its labels are in pixels of the input already, or of the file.
    """

    def __init__(self, sample: Any, size: Sequence[int], fit: bool) -> None:
        self._size = tuple(size)
        meta = getattr(sample, 'metainfo', {})
        self._content: tuple[int, int] | None = None  # where the image of the file lies in the input, if unlike
        scale = (1.0, 1.0)
        if not fit and meta.get('ori_shape'):
            height, width = meta['ori_shape'][:2]
            new_height, new_width = meta.get('img_shape', meta['ori_shape'])[:2]
            factors = meta.get('scale_factor') or (new_width / width, new_height / height)
            scale = float(factors[0]), float(factors[1])
            self._content = round(height * scale[1]), round(width * scale[0])
        self.boxes, self.labels, self.masks = self._instances(getattr(sample, 'gt_instances', None), scale)
        self.ignored, self.ignored_labels, _ = self._instances(getattr(sample, 'ignored_instances', None), scale)
        self.label_map = self._label_map(getattr(sample, 'gt_sem_seg', None))
        self.scores = self._scores(sample)

    def _instances(self, instances: Any, scale: Sequence[float]) -> tuple[Any, list[int], np.ndarray | None]:
        if instances is None or 'labels' not in instances:
            return None, [], None
        boxes = getattr(instances.bboxes, 'tensor', instances.bboxes).cpu().numpy().reshape(-1, 4)
        masks = instances.get('masks')
        if masks is not None:
            masks = [self._fitted(mask) for mask in masks.to_ndarray()]
            masks = np.stack(masks).astype(bool) if masks else np.zeros((0, *self._size), dtype=bool)
        return boxes * np.tile(np.array(scale, np.float32), 2), instances.labels.tolist(), masks

    def _label_map(self, labelled: Any) -> np.ndarray | None:
        if labelled is None:
            return None
        stored = labelled.get('data', labelled.get('sem_seg'))
        return self._fitted(stored.squeeze().cpu().numpy(), IGNORED)

    def _fitted(self, mask: np.ndarray, outside: int = 0) -> np.ndarray:
        """Resize a mask of the file as its image was, and pad it as that was."""
        height, width = self._content or mask.shape
        if mask.shape != (height, width):
            mask = cv2.resize(
                mask.astype(np.int32).astype(np.float32), (width, height), interpolation=cv2.INTER_NEAREST
            )
        mask = mask[: self._size[0], : self._size[1]]
        missing = [(0, full - own) for full, own in zip(self._size, mask.shape, strict=True)]
        return np.pad(mask, missing, constant_values=outside).astype(np.int64)

    @staticmethod
    def _scores(sample: Any) -> dict[int, float] | None:
        """Return the share of each class that an image has; Mixup and CutMix give it two."""
        if (scores := getattr(sample, 'gt_score', None)) is not None:
            return {int(i): float(scores[i]) for i in scores.nonzero().flatten()}
        if (label := getattr(sample, 'gt_label', None)) is not None:
            return {int(i): 1.0 for i in label.flatten()}
        return None

    def count(self, found: Inputs) -> None:
        """Add what is labelled to the counts."""
        names = found.classes
        counts: Counter[int] = Counter()
        if self.boxes is not None:
            found.counted = 'objects'
            counts.update(self.labels)
            sides = np.maximum(self.boxes[:, 2:] - self.boxes[:, :2], 0)
            found.object_sides += np.sqrt(sides.prod(axis=1)).tolist()
        elif self.label_map is not None:
            found.counted = 'pixels'
            values, numbers = np.unique(self.label_map[self.label_map != IGNORED], return_counts=True)
            counts.update(dict(zip(values.tolist(), numbers.tolist(), strict=True)))
        elif self.scores is not None:
            found.counted = 'images'
            counts.update(self.scores.keys())
        else:
            return
        found.empty += not counts
        found.counts.update(dict.fromkeys(names, 0))
        for label, number in counts.items():
            found.counts[_name(names, label)] += number

    def draw(self, picture: np.ndarray, classes: Sequence[str]) -> np.ndarray:
        """Draw the labels on the picture of the input, made as large as it is in a sheet."""
        factor = _LONGER_SIDE / max(picture.shape[:2])
        picture = _resized(picture, factor)
        if self.label_map is not None:
            label_map = _resized(self.label_map.astype(np.float32), factor, cv2.INTER_NEAREST).astype(np.int64)
            names = [_name(classes, i) for i in range(max(len(classes), int(label_map.max()) + 1))]
            picture = draw_label_map(picture, label_map, names, background_of(classes))
        if self.ignored is not None and len(self.ignored):
            texts = [f'ignored {_name(classes, label)}' for label in self.ignored_labels]
            picture = draw_boxes(picture, self.ignored * factor, self.ignored_labels, texts)
        if self.boxes is not None:
            texts = [_name(classes, label) for label in self.labels]
            if self.masks is None:
                return draw_boxes(picture, self.boxes * factor, self.labels, texts)
            masks = [_resized(mask.astype(np.uint8), factor, cv2.INTER_NEAREST) for mask in self.masks]
            return draw_instances(picture, np.array(masks, dtype=bool), self.labels, texts, self.boxes * factor)
        if self.scores:
            shares = sorted(self.scores.items(), key=lambda item: -item[1])
            parts = [f'{_name(classes, i)} {share:.2f}' if share < 1 else _name(classes, i) for i, share in shares[:3]]
            return draw_caption(picture, ', '.join(parts), shares[0][0])
        return picture


def _name(classes: Sequence[str], label: int) -> str:
    return str(classes[label]) if 0 <= label < len(classes) else str(label)


def _picture(preprocessor: Any, image: torch.Tensor, bands: Sequence[int] | None) -> np.ndarray:
    """Return an input (C, H, W), normalization undone, as (H, W, 3) uint8, RGB."""
    if getattr(preprocessor, '_enable_normalize', False):
        image = image * preprocessor.std + preprocessor.mean
    # Rounded, so that 255.00001 is on the scale of 0 to 255.
    return composite(image.permute(1, 2, 0).cpu().numpy().astype(np.float64).round(3), bands)


def _pair(picture: np.ndarray, mask: torch.Tensor) -> np.ndarray:
    """Return a picture, and beside it the same with the removed patches of a mask (h, w) in grey."""
    picture = _resized(picture, _LONGER_SIDE / 2 / max(picture.shape[:2]))
    removed = _resized(mask.cpu().numpy().astype(np.uint8), picture.shape[:2], cv2.INTER_NEAREST).astype(bool)
    return contact_sheet([[picture, np.where(removed[..., None], np.uint8(round(GREY * 255)), picture)]])


def _resized(image: np.ndarray, to: float | tuple[int, ...], interpolation: int = cv2.INTER_AREA) -> np.ndarray:
    """Resize by a factor, or to (height, width)."""
    height, width = to if isinstance(to, tuple) else (max(round(side * to), 1) for side in image.shape[:2])
    return cv2.resize(image, (width, height), interpolation=interpolation)


def _add_split(page: Page, split: str, inputs: Inputs) -> None:
    page.heading(split)
    page.text(_summary(inputs))
    print(f'{split}: {_summary(inputs)}')
    sheet = padded_sheet(inputs.pictures, _COLUMNS)
    with written_whole(page.folder / f'{split}.png') as temporary:
        if not cv2.imwrite(str(temporary), sheet[..., ::-1]):
            raise OSError(f'{temporary} cannot be written')
    page.picture(sheet, f'the first {len(inputs.pictures)} samples')
    page.plot(f'{split}_histograms', plot_histograms(inputs))
    if inputs.counts:
        page.table(['class', inputs.counted], inputs.counts.most_common(), name=f'{split}_classes')


def _summary(inputs: Inputs) -> str:
    sizes = sorted({*inputs.sizes})
    first, last = ('x'.join(map(str, size)) for size in (sizes[0], sizes[-1]))
    parts = [
        f'{inputs.num_samples} samples of {inputs.num_images} images',
        f'{first} pixels' if first == last else f'{first} to {last} pixels',
    ]
    if inputs.counted:
        parts.append(f'{sum(inputs.counts.values())} {inputs.counted} of {len(inputs.counts)} classes')
        if inputs.empty:
            parts.append(f'{inputs.empty} without any')
        if never := [name for name, count in inputs.counts.items() if not count]:
            listed = ', '.join(never[:8]) + (', ...' if len(never) > 8 else '')
            parts.append(f'never: {listed}')
    return '; '.join(parts)


def plot_histograms(inputs: Inputs) -> Figure:
    """Draw classes, sizes of objects and sizes of inputs, as far as there are any."""
    panels: list[tuple[Any, tuple[Any, ...]]] = []
    if inputs.counts:
        panels.append((class_bars, (inputs.counts, inputs.counted)))
    if inputs.object_sides:
        panels.append((object_sizes, (inputs.object_sides,)))
    panels.append((image_sizes, (inputs.sizes,)))
    figure = Figure(figsize=(5 * len(panels), 4), layout='constrained')
    for axes, (draw, values) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
        draw(axes, *values)
    return figure
