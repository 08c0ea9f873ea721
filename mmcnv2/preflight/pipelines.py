"""Check the pipelines of evaluation: what a metric needs of them, and where labels are loaded and images padded.

What must fail is an error, what depends on the images a warning.
"""

import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmcnv2.utils.errors import ConfigError

from .datasets import base_names, dataset_class, find_datasets, metrics_of

# What changes the places of pixels, and so of boxes, masks and label maps that are loaded already.
_MOVE_PIXELS = {
    *('Resize', 'FixScaleResize', 'FixShapeResize', 'RandomResize', 'RandomChoiceResize', 'ResizeShortestEdge'),
    *('ResizeToMultiple', 'ShortScaleResize', 'LongSideResize', 'Pad', 'CenterCrop', 'RandomCrop', 'RandomFlip'),
}
_LOAD_LABELS = {'LoadAnnotations', 'LoadPanopticAnnotations', 'LoadLabelMap'}
# mmdet's transforms that note no scale of the image.
_NOTE_NO_SCALE = {
    'LoadImageFromFile',
    'LoadImage',
    'LoadRGBImage',
    'Pad',
    'CenterCrop',
    'RandomFlip',
    'PackDetInputs',
    *_LOAD_LABELS,
}
# Of PackDetInputs in mmdet.
_META_KEYS = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction')
_GROUND_TRUTH = {'CocoMetric': 'instances', 'CocoPanopticMetric': 'segments_info'}


def check_pipelines(cfg: Config, splits: Sequence[str]) -> None:
    """Check the pipelines of validation and test of detectors (mmdet) and segmenters (mmseg).

    Args:
        cfg: Config of a run.
        splits: Of 'train', 'val', 'test': the dataloaders that will be used.

    Raises:
        ConfigError: If the first evaluation would fail: names the setting and what to set.
    """
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        for split in splits:
            loader = cfg.get(f'{split}_dataloader') if split != 'train' else None
            for setting, dataset in find_datasets(f'{split}_dataloader.dataset', (loader or {}).get('dataset')):
                steps = list(transforms_of(f'{setting}.pipeline', dataset.get('pipeline') or []))
                bases = base_names(dataset_class(dataset))
                if 'BaseDetDataset' in bases:
                    _check_what_is_packed(cfg, split, steps)
                    _warn_of_padding(cfg, steps)
                if bases & {'BaseDetDataset', 'BaseSegDataset'}:
                    _warn_of_labels(steps, 'BaseSegDataset' in bases)


def transforms_of(setting: str, pipeline: Any) -> Iterator[tuple[str, str, Mapping]]:
    """Yield setting, name without scope and config of each transform, those of test-time augmentation included."""
    for i, step in enumerate(pipeline):
        where = f'{setting}.{i}'
        if isinstance(step, list | tuple):
            yield from transforms_of(where, step)
        elif isinstance(step, Mapping):
            kind = step.get('type')
            name = kind if isinstance(kind, str) else getattr(kind, '__name__', '')
            yield where, name.rpartition('.')[2], step
            if name.endswith('TestTimeAug'):
                yield from transforms_of(f'{where}.transforms', step.get('transforms', []))


def _check_what_is_packed(cfg: Config, split: str, steps: list[tuple[str, str, Mapping]]) -> None:
    for setting, name, step in steps:
        if name != 'PackDetInputs':
            continue
        keys = step.get('meta_keys', _META_KEYS)
        for evaluator, metric in metrics_of(cfg, split):
            kind = str(metric.get('type')).rpartition('.')[2]
            needed = _GROUND_TRUTH.get(kind)
            if needed and not metric.get('ann_file') and needed not in keys:
                raise ConfigError(
                    f'{evaluator}: {kind} has no ann_file, and {setting}.meta_keys has no {needed!r} to take the '
                    f'ground truth from. Set {evaluator}.ann_file to the annotation file of {split}_dataloader, or '
                    f'add {needed!r} to these meta_keys'
                )
            if needed and (missing := [key for key in ('img_id', 'ori_shape') if key not in keys]):
                raise ConfigError(
                    f'{setting}.meta_keys lacks {missing[0]!r}, which {kind} ({evaluator}) needs: add it'
                )
    if not steps or steps[-1][1] != 'PackDetInputs':
        return
    setting, _, step = steps[-1]
    if not _rescales(cfg):
        return
    if missing := [key for key in ('scale_factor', 'img_shape') if key not in step.get('meta_keys', _META_KEYS)]:
        raise ConfigError(
            f'{setting}.meta_keys lacks {missing[0]!r}, which the detector needs to scale its boxes: add it'
        )
    if {name for _, name, _ in steps} <= _NOTE_NO_SCALE:
        raise ConfigError(
            f'{setting.rpartition(".")[0]} has no Resize, which notes the scale that the detector asks for. For '
            "images in their own size put dict(type='Resize', scale_factor=1.0) after LoadImageFromFile"
        )


def _warn_of_padding(cfg: Config, steps: list[tuple[str, str, Mapping]]) -> None:
    """Warn if images are padded where masks are pasted into images of the size of the file."""
    model = cfg.get('model') or {}
    model = model.get('module', model)
    for setting, name, _ in steps:
        if name == 'Pad' and (model.get('roi_head') or {}).get('mask_head'):
            warnings.warn(
                f'{setting}: Pad makes the padding a part of the image. Boxes in it are not clipped, and pasting '
                'their masks may end the evaluation (IndexError or a negative size). Remove it: the data preprocessor '
                'pads (pad_size_divisor=32)',
                stacklevel=2,
            )


def _warn_of_labels(steps: list[tuple[str, str, Mapping]], are_maps: bool) -> None:
    """Warn if labels are loaded before a transform that changes them: predictions have the size of the file."""
    loaded = None
    for setting, name, step in steps:
        if name in _LOAD_LABELS:
            loaded = setting
        elif loaded and _moves_pixels(name, step):
            what = (
                'a label map of another size than the prediction ends the evaluation'
                if are_maps
                else 'pictures (--show-dir) and metrics that compare boxes with the packed ones are wrong or fail'
            )
            warnings.warn(
                f'{loaded}: labels are loaded before {name} ({setting}) and changed with the image, but predictions '
                f'have the size of the file: {what}. Load them after it',
                stacklevel=2,
            )
            return


def _rescales(cfg: Config) -> bool:
    """Return whether the model is a two-stage detector, whose heads scale boxes and masks."""
    model = cfg.get('model') or {}
    model = model.get('module', model)
    return bool(model.get('roi_head'))


def _moves_pixels(name: str, step: Mapping) -> bool:
    if name == 'RandomFlip':
        return bool(step.get('prob', 0.0))
    if name == 'Resize':
        return step.get('scale_factor') != 1.0
    return name in _MOVE_PIXELS
