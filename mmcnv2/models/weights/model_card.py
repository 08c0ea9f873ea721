"""The model card of a checkpoint, README.md of its repository on the Hugging Face Hub, from what the run recorded."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from mmcnv2.utils.hub import SCHEME, WEIGHTS
from mmcnv2.utils.plain_configs import portable
from mmcnv2.version import __version__

_TASKS = {'mmdet': 'object-detection', 'mmseg': 'image-segmentation', 'mmpretrain': 'image-classification'}
_SHOWN = 100  # classes


@dataclass
class Published:
    """What a card is written of.

    Attributes:
        name: ``hf://owner/name``.
        settings: The whole config of the training.
        meta: Of the checkpoint: ``epoch``, ``iter``, ``dataset_meta``, ``experiment_name``, ``mmengine_version``.
        figures: Metrics of the validation at the checkpoint; none if it was not validated.
        values: How many numbers the weights have.
        digest: SHA-256 of the weights.
        licence: Identifier of the hub, such as 'apache-2.0'; None: not stated.
    """

    name: str
    settings: Mapping[str, Any]
    meta: Mapping[str, Any]
    figures: Mapping[str, float]
    values: int
    digest: str
    licence: str | None = None
    classes: tuple[str, ...] = field(init=False)

    def __post_init__(self) -> None:
        known = self.meta.get('dataset_meta') or {}
        self.classes = tuple(known.get('classes') or known.get('CLASSES') or ())


def model_card(published: Published) -> str:
    """Return the text of a card, with the hub's metadata in front.

    Raises:
        ImportError: huggingface-hub is not installed.
    """
    from huggingface_hub import EvalResult, ModelCardData

    settings = published.settings
    task = task_of(settings)
    repository = published.name.removeprefix(SCHEME)
    starts = [*_starts(settings)]
    data = [_described(one) for one in _datasets(settings.get('train_dataloader', {}).get('dataset'))]
    where = _described(
        next(_datasets(settings.get('val_dataloader', {}) and settings['val_dataloader']['dataset']), {})
    )
    results = [
        EvalResult(task, 'own-data', where or 'validation', metric, round(value, 6))
        for metric, value in published.figures.items()
    ]
    front = ModelCardData(
        library_name='mmcnv2',
        license=published.licence,
        pipeline_tag=task,
        tags=['mmcnv2', 'openmmlab', *_networks(settings.get('model', {}))],
        base_model=[start.removeprefix(SCHEME).split('@')[0] for start in starts if start.startswith(SCHEME)] or None,
        model_name=repository.rpartition('/')[2] if results else None,
        eval_results=results or None,
    )
    rows = {
        'model': f'{_model(settings.get("model", {}))}; {published.values / 1e6:.1f} million values',
        'data': '; '.join(data) or 'not recorded',
        'classes': _listed(published.classes),
        'recipe': _recipe(settings, published.meta),
        'started from': f'{", ".join(starts)}: its licence holds, too' if starts else 'random weights',
        'licence': published.licence or 'not stated: ask the owner before you use it',
        'written by': f'mmcnv2 {__version__}, MMEngine {published.meta.get("mmengine_version", "not recorded")}',
        f'SHA-256 of {WEIGHTS}': f'`{published.digest}`',
    }
    table = '\n'.join(f'| {name} | {_cell(text)} |' for name, text in rows.items() if text)
    return (
        f'---\n{front}\n---\n\n# {repository}\n\n| | |\n| --- | --- |\n{table}\n\n'
        f'## Figures\n\n{_figures(published, where)}\n\n## Use\n\n{_use(published, task)}'
    )


def task_of(settings: Mapping[str, Any]) -> str:
    """Return the hub's name of what a model does, ``pipeline_tag``."""
    task = _TASKS.get(settings.get('default_scope', ''), 'image-feature-extraction')
    has_masks = bool((settings.get('model', {}).get('roi_head') or {}).get('mask_head'))
    return 'image-segmentation' if has_masks else task


def _starts(settings: Mapping[str, Any]) -> Iterator[str]:
    """Yield the weights that a training started from, of files the names alone."""

    def checkpoints(value: Any) -> Iterator[str]:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                if key == 'checkpoint' and isinstance(inner, str):
                    yield inner
                else:
                    yield from checkpoints(inner)
        elif isinstance(value, list | tuple):
            for inner in value:
                yield from checkpoints(inner)

    found = [*checkpoints(settings.get('model'))]
    if settings.get('load_from') and not settings.get('resume'):
        found.append(settings['load_from'])
    yield from dict.fromkeys(portable(dict(found=found))['found'])


def _datasets(dataset: Any) -> Iterator[Mapping[str, Any]]:
    """Yield the data sets in a data set: wrappers have others inside."""
    if isinstance(dataset, list | tuple):
        for one in dataset:
            yield from _datasets(one)
    elif isinstance(dataset, Mapping):
        inner = dataset.get('dataset') or dataset.get('datasets')
        if inner:
            yield from _datasets(inner)
        else:
            yield dataset


def _described(dataset: Mapping[str, Any]) -> str:
    if not dataset:
        return ''
    places = portable({key: dataset.get(key) for key in ('data_root', 'ann_file')}).values()
    return ' '.join([dataset.get('type', ''), *(str(place) for place in places if place)]).strip()


def _model(model: Mapping[str, Any]) -> str:
    backbone = model.get('backbone') or {}
    arch = backbone.get('arch')
    size = f' {arch}' if isinstance(arch, str) else ''
    return f'{model.get("type")} with {backbone.get("type", "no backbone")}{size}'


def _networks(model: Mapping[str, Any]) -> list[str]:
    names = (model.get('type'), (model.get('backbone') or {}).get('type'))
    return [str(name).rpartition('.')[2].lower() for name in names if name]


def _recipe(settings: Mapping[str, Any], meta: Mapping[str, Any]) -> str:
    loop, optimizer = settings.get('train_cfg') or {}, (settings.get('optim_wrapper') or {}).get('optimizer') or {}
    done, planned, unit = meta.get('iter'), loop.get('max_iters'), 'iterations'
    if loop.get('max_epochs'):
        done, planned, unit = meta.get('epoch'), loop['max_epochs'], 'epochs'
    parts = [
        meta.get('experiment_name', ''),
        f'{done} of {planned} {unit}' if done is not None and planned else '',
        ', '.join(f'{key} {optimizer[key]}' for key in ('type', 'lr', 'weight_decay') if key in optimizer),
        f'batch of {batch} a process' if (batch := settings.get('train_dataloader', {}).get('batch_size')) else '',
        'all settings: config.py',
    ]
    return '; '.join(filter(None, parts))


def _figures(published: Published, where: str) -> str:
    if not published.figures:
        return 'None recorded: there is no validation of this checkpoint in the log of its run.'
    rows = '\n'.join(f'| {_cell(name)} | {value:.4g} |' for name, value in published.figures.items())
    place = where or 'its validation data'
    return f'Of the run itself, at this checkpoint, on {place}.\n\n| metric | value |\n| --- | --- |\n{rows}'


def _use(published: Published, task: str) -> str:
    name = published.name
    backbone = str((published.settings.get('model', {}).get('backbone') or {}).get('type', '')).rpartition('.')[2]
    init = f"init_cfg=dict(type='mmcnv2.PretrainedConvNeXtV2', checkpoint='{name}')"
    parts = [
        "    pip install 'mmcnv2[hub]'\n\n```python\nfrom mmcnv2.apis import Predictor\n\n"
        f"for result in Predictor('{name}')('photos'):\n    result.draw()\n```"
    ]
    if backbone in ('ConvNeXtV2', 'ConvNeXt'):
        parts.append(f'As the backbone of another model:\n\n```python\n{init}\n```')
    return '\n\n'.join(parts) + '\n'


def _listed(classes: tuple[str, ...]) -> str:
    more = f' and {len(classes) - _SHOWN} more' if len(classes) > _SHOWN else ''
    return f'{len(classes)}: {", ".join(map(str, classes[:_SHOWN]))}{more}' if classes else ''


def _cell(text: str) -> str:
    """Return a text that cannot end its cell, nor start a row."""
    return ' '.join(str(text).replace('|', '\\|').split())
