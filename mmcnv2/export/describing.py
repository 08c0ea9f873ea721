"""What an exported file says of itself, from the config: how images become its input, and what follows its output."""

from collections.abc import Mapping
from typing import Any

from mmengine.config import Config

from mmcnv2.datasets import LoadImage
from mmcnv2.datasets.bands import read_ranges
from mmcnv2.inference.onnx_models import READERS, TRANSFORMS, Description
from mmcnv2.inference.predictor import Predictor, nms_of, threshold_of
from mmcnv2.inference.preparation import evaluation_pipeline, loads_labels
from mmcnv2.preflight.datasets import datasets_of
from mmcnv2.utils.errors import ConfigError

_PACKING = ('PackDetInputs', 'PackSegInputs', 'PackInputs')


def describe(predictor: Predictor, model: Any, task: str, has_soft_nms: bool) -> Description:
    """Return what the file of a model says.

    Args:
        predictor: Of the config; its ``default_scope`` is that of the process now.
        model: As it is exported.
        task: See ``Description``.
        has_soft_nms: Whether NMS stands for Soft-NMS.

    Raises:
        ConfigError: The pipeline of the config has a transform that a description has no words for.
    """
    cfg = predictor.cfg
    assert cfg is not None
    channels = int(getattr(model.backbone, 'in_channels', 3))
    if task == 'features':
        step = next(step for _, dataset in datasets_of(cfg, 'train') for step in dataset['pipeline'])
        steps = [_reader('LoadImage', {key: step[key] for key in ('bands', 'value_range') if key in step}, channels)]
    else:
        steps = _steps(cfg, channels)
    preprocessor = model.data_preprocessor
    # mmseg pads in a test as its test_cfg says alone.
    padding_cfg = (
        getattr(preprocessor, 'test_cfg', dict(size_divisor=getattr(preprocessor, 'pad_size_divisor', 1))) or {}
    )
    divisor, size = padding_cfg.get('size_divisor') or 1, padding_cfg.get('size')
    padding = float(getattr(preprocessor, 'pad_value', getattr(preprocessor, 'pad_val', 0)))
    mean, std = [0.0] * channels, [1.0] * channels
    if getattr(preprocessor, '_enable_normalize', False):
        mean, std = (
            (tensor.flatten().tolist() * channels)[:channels] for tensor in (preprocessor.mean, preprocessor.std)
        )
    # Of pixels: normalised, it is what the preprocessor pads with.
    values = [m + padding * s for m, s in zip(mean, std, strict=True)]
    if takes_bgr(predictor, task):
        values.reverse()
    return Description(
        task=task,
        classes=predictor.task.classes,
        steps=steps,
        channels=channels,
        pad_divisor=int(divisor),
        pad_size=None if size is None else [size, size] if isinstance(size, int) else list(size),
        pad_value=values,
        settings=_settings(predictor, model, task, has_soft_nms),
    )


def takes_bgr(predictor: Predictor, task: str) -> bool:
    """Return whether a model takes the bands of RGB images in reverse."""
    preprocessor = predictor.model.data_preprocessor
    # The first name is MMEngine's and mmseg's, the second mmpretrain's.
    swaps = bool(getattr(preprocessor, '_channel_conversion', getattr(preprocessor, 'to_rgb', False)))
    if int(getattr(predictor.model.backbone, 'in_channels', 3)) != 3:
        return False
    reads_bgr = task != 'features' and predictor.task.preparation.gives_bgr(3)
    return reads_bgr != swaps


def _steps(cfg: Config, channels: int) -> list[dict[str, Any]]:
    setting, pipeline = evaluation_pipeline(cfg)
    first, *rest = (
        (i, _name(step), _plain(dict(step))) for i, step in enumerate(pipeline) if not i or not loads_labels(step)
    )
    steps = [_reader(first[1], first[2], channels)]
    for i, name, step in rest:
        if name in _PACKING:
            return steps
        if name not in TRANSFORMS:
            raise ConfigError(
                f'{setting}.{i}: an exported file cannot say what {name} does; it knows {", ".join(TRANSFORMS)}. '
                'Leave it out of the pipeline'
            )
        steps.append(dict(step, type=name))
    return steps


def _reader(name: str, step: dict[str, Any], channels: int) -> dict[str, Any]:
    """Return the step that reads a file; a file of statistics in it becomes the numbers, since it stays behind."""
    if name == 'LoadRGBImage':
        return dict(type='LoadImage')
    if name not in READERS:
        raise ConfigError(f'an exported file cannot say how {name} reads images; it knows {", ".join(READERS)}')
    if isinstance(step.get('value_range'), str):
        bands = LoadImage(step['bands']).reader.bands
        ranges: Any = read_ranges(step['value_range'])
        step['value_range'] = [
            list(map(float, ranges[band])) for band in (range(channels) if bands == 'all' else bands)
        ]
    step.pop('backend_args', None)
    return dict(step, type=name)


def _name(step: Mapping) -> str:
    kind = step['type']
    return (kind if isinstance(kind, str) else kind.__name__).rpartition('.')[2]


def _plain(value: Any) -> Any:
    """Return settings as JSON has them."""
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    return [_plain(inner) for inner in value] if isinstance(value, list | tuple) else value


def _settings(predictor: Predictor, model: Any, task: str, has_soft_nms: bool) -> dict[str, Any]:
    if task == 'detection':
        return dict(nms=_plain(nms_of(model)), soft_nms=has_soft_nms)
    if task == 'segmentation':
        slides = model.test_cfg.get('mode', 'whole') == 'slide'
        return dict(
            first_label=predictor.task.first_label,
            threshold=threshold_of(model),
            align_corners=bool(model.align_corners),
            crop_size=_plain(model.test_cfg.crop_size) if slides else None,
            stride=_plain(model.test_cfg.stride) if slides else None,
        )
    return {}
