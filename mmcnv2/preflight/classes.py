"""Compare the classes of data sets with heads, class weights, palettes and metrics, before anything is built.

A head of another size than its data set trains without an error if it is the larger one, and to a low score; class
weights, palettes and ``topk`` of the wrong length end a run at the first loss, picture or validation.
"""

import inspect
import os
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from mmengine.config import Config
from mmengine.fileio import list_from_file, load
from mmengine.registry import DefaultScope

from mmcnv2.utils.errors import ConfigError

from .datasets import base_names, dataset_class, datasets_of, known_transform, metrics_of

# Parts of a model that count other things than the classes of the data set: proposals, the classes that a backbone was
# pre-trained on, boundaries, the people of a tracker, the stuff of HTC.
_OTHER_PARTS = ('backbone', 'neck', 'init_cfg', 'rpn', 'rpn_head', 'reid', 'semantic_head', 'text_model', 'denoising')
_OTHER_HEADS = ('STDCHead',)
# Their softmax has one more channel, for "no object". (mmdet's heads are recognised by their data set.)
_WITH_NO_OBJECT = ('MaskFormerHead', 'Mask2FormerHead', 'SideAdapterCLIPHead')
_LOADS_IMAGES = ('LoadImage', 'LoadRGBImage', 'LoadCheckedImage', 'LoadEmpty', 'LoadProposals')


class _Classes(NamedTuple):
    """Names of the classes of a data set, which of them are stuff, and the setting that has them."""

    setting: str
    names: list[str]
    num_stuff: int = 0


class _Head(NamedTuple):
    """A head of a config that has ``num_classes``, or ``num_things_classes`` and ``num_stuff_classes``."""

    setting: str
    config: Mapping


def check_classes(cfg: Config, splits: tuple[str, ...]) -> None:
    """Check that data sets, heads, losses, metrics and palettes agree on the classes.

    Args:
        cfg: Config of a run, whose paths exist.
        splits: Of 'train', 'val', 'test': the data loaders that will be used.

    Raises:
        ConfigError: Names both settings and both numbers.
    """
    if 'language_model' in (cfg.get('model') or {}):
        return  # its classes are words of a text
    heads = list(_heads('model', cfg.get('model')))
    of_split: dict[str, list[_Classes]] = {}
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        for split in splits:
            metrics = list(metrics_of(cfg, split))
            for setting, dataset in datasets_of(cfg, split):
                cls = dataset_class(dataset)
                kinds = base_names(cls)
                if not kinds & {'BaseSegDataset', 'BaseDetDataset'} and cfg.get('default_scope') != 'mmpretrain':
                    continue  # videos, for instance: a tracker detects people only
                classes = _classes(setting, dataset, cls)
                if 'BaseSegDataset' in kinds:
                    _check_labels_are_loaded(setting, dataset, cls, split, metrics)
                    if classes is None and _is_plain(cls):
                        _check_metrics_need_no_classes(setting, metrics)
                if classes is None:
                    continue
                of_split.setdefault(split, []).append(classes)
                if 'BaseSegDataset' in kinds:
                    _check_loading(setting, dataset, classes)
                    _check_palette_of_mmseg(setting, dataset, classes.names, cls.METAINFO.get('classes') or ())
                else:
                    _check_palette(setting, dataset, classes.names)
                for head in heads:
                    _check_head(head, classes, kinds)
                    if split == 'train':
                        _check_class_weights(head, kinds)
                if cfg.get('default_scope') == 'mmpretrain':
                    _check_classifier(cfg, classes, metrics)
    _check_splits_agree(of_split)


# ---- the classes of a data set ----


def _classes(setting: str, dataset: Mapping, cls: type) -> _Classes | None:
    """Return the classes of a data set; None if the config does not tell them."""
    known = getattr(cls, 'METAINFO', {})
    metainfo = dataset.get('metainfo') or {}
    given = dataset.get('classes') or (metainfo.get('classes') if isinstance(metainfo, Mapping) else None)
    names = class_names(setting, given) if given else list(known.get('classes') or [])
    if 'CustomDataset' in base_names(cls):
        names = _check_folders(setting, dataset, names)
    if not names:
        return None
    num_stuff = len(metainfo.get('stuff_classes') or known.get('stuff_classes') or [])
    return _Classes(setting, names, num_stuff)


def class_names(setting: str, classes: Any) -> list[str]:
    """Return names in the form MMEngine takes: a list, or the path of a file with one name per line.

    Raises:
        ConfigError: If there is no such file.
    """
    if not isinstance(classes, str):
        return list(classes)
    if not Path(classes).is_file():
        raise ConfigError(f'{setting}.metainfo.classes must be a list of names or the path of one, got {classes!r}')
    return list_from_file(classes)


def _check_folders(setting: str, dataset: Mapping, names: list[str]) -> list[str]:
    """Check the class folders or the list of labels of mmpretrain's CustomDataset; return the names of its classes."""
    root, split = Path(dataset.get('data_root') or ''), dataset.get('split', '')
    if not dataset.get('with_label', True) or (split == 'test' and 'ImageNet' in str(dataset['type'])):
        return names
    list_file = dataset.get('ann_file') or (f'meta/{split}.txt' if split else '')
    if list_file and (root / list_file).is_file():
        return _check_list(setting, root / list_file, names)
    prefix = dataset.get('data_prefix') or split
    folder = root / ((prefix.get('img_path') or '') if isinstance(prefix, Mapping) else prefix)
    if not folder.is_dir():
        return names  # named when the data set is built
    with os.scandir(folder) as entries:
        folders = sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith('.'))
    if not folders:
        raise ConfigError(
            f'{setting}: {folder} has no sub-folders: expected one for each class, or an ann_file with lines '
            "'path label'. Images without labels: `mmcnv2 init images`"
        )
    if names and len(names) != len(folders):
        listed = ', '.join(folders[:5])
        raise ConfigError(
            f'{setting}: {folder} has {len(folders)} sub-folders ({listed}{", ..." if len(folders) > 5 else ""}), '
            f'{dataset["type"]} has {len(names)} classes. `mmcnv2 init classes FOLDER --out FILE.py` writes a config '
            f"for these; or take type='CustomDataset' or metainfo=dict(classes=[...]), and set num_classes of the "
            f'head to {len(folders)}'
        )
    return names or folders


def _check_list(setting: str, path: Path, names: list[str]) -> list[str]:
    """Check the labels of a list file, ``path label`` a line; return names of the classes, numbers if unknown."""
    labels = []
    for number, line in enumerate(list_from_file(str(path)), 1):
        label = line.strip().rpartition(' ')[2]
        if not label.isdecimal():
            raise ConfigError(
                f"{path} ({setting}.ann_file), line {number}: expected 'path label' with a label from 0, "
                f'got {line.strip()!r}'
            )
        labels.append(int(label))
    if not labels:
        raise ConfigError(f"{path} ({setting}.ann_file) has no lines: expected 'path label', one an image")
    if names and max(labels) >= len(names):
        raise ConfigError(
            f'{path} ({setting}.ann_file), line {int(np.argmax(labels)) + 1}: label {max(labels)} is outside the '
            f'{len(names)} classes, which count from 0: correct the file, or the classes of the data set'
        )
    return names


# ---- heads ----


def _heads(setting: str, config: Any) -> Iterator[_Head]:
    if isinstance(config, Mapping):
        numbers = [config.get('num_classes'), config.get('num_things_classes')]
        is_head = setting != 'model' and not setting.endswith('data_preprocessor') and 'loss' not in setting
        if is_head and any(isinstance(number, int) for number in numbers) and config.get('type') not in _OTHER_HEADS:
            yield _Head(setting, config)
        for key, value in config.items():
            if key not in _OTHER_PARTS:
                yield from _heads(f'{setting}.{key}', value)
    elif isinstance(config, list | tuple):
        for i, value in enumerate(config):
            yield from _heads(f'{setting}.{i}', value)


def _check_head(head: _Head, classes: _Classes, kinds: set[str]) -> None:
    expected, (setting, config) = len(classes.names), head
    if 'num_things_classes' in config:
        numbers = {'num_things_classes': expected - classes.num_stuff, 'num_stuff_classes': classes.num_stuff}
        for key, number in numbers.items():
            if config.get(key, number) != number:
                what = 'stuff' if 'stuff' in key else 'thing'
                raise ConfigError(
                    f'{setting}.{key} is {config[key]}, and {classes.setting} has {number} {what} classes: make them '
                    'equal'
                )
    else:
        number = config['num_classes']
        if 'BaseSegDataset' in kinds:
            _check_one_channel(head)
            if _channels(config) == 1 and number <= 2 and expected <= 2:
                number = expected
        elif classes.num_stuff:  # boxes and masks are of things
            expected -= classes.num_stuff
        if number != expected:
            raise ConfigError(
                f'{setting}.num_classes is {number}, and {classes.setting} has {expected} classes: make them equal'
            )


def _channels(config: Mapping) -> int:
    return config.get('out_channels') or config['num_classes']


def _check_one_channel(head: _Head) -> None:
    """Check that one channel of a segmenter goes with a sigmoid: softmax over it is always 1."""
    setting, config = head
    if _channels(config) > 1:
        return
    losses = config.get('loss_decode') or dict(type='CrossEntropyLoss')
    for loss in losses if isinstance(losses, list | tuple) else [losses]:
        if str(loss.get('type')).rpartition('.')[2] == 'CrossEntropyLoss' and not loss.get('use_sigmoid'):
            raise ConfigError(
                f'{setting}: one channel and a softmax, which is always 1, learn nothing. For an object and its '
                'background set num_classes=2, with two classes in the data set; or num_classes=2, out_channels=1, '
                "threshold=0.5 and loss_decode=dict(type='CrossEntropyLoss', use_sigmoid=True)"
            )


def _check_class_weights(head: _Head, kinds: set[str]) -> None:
    """Check the class weights of a head whose number of classes is right."""
    parts = ('num_classes',) if 'num_classes' in head.config else ('num_things_classes', 'num_stuff_classes')
    num_classes = sum(head.config.get(part) or 0 for part in parts)
    for setting, loss in _losses(head.setting, head.config):
        weights = loss['class_weight']
        if isinstance(weights, str):
            if not Path(weights).is_file():
                raise ConfigError(f'{setting}.class_weight: {weights} does not exist')
            weights = np.load(weights) if weights.endswith('.npy') else load(weights)
        if not isinstance(weights, Sequence | np.ndarray):
            continue  # one number for all
        expected, note = num_classes, ''
        if 'BaseSegDataset' in kinds and 'num_classes' in head.config and _channels(head.config) == 1:
            expected, note = 1, ' and one channel'
        elif str(head.config.get('type')).rpartition('.')[2] in _WITH_NO_OBJECT or (
            'BaseDetDataset' in kinds and not loss.get('use_sigmoid', False)
        ):
            expected, note = num_classes + 1, ' (the last one is of "no object")'
        if len(weights) != expected:
            raise ConfigError(
                f'{setting}.class_weight has {len(weights)} weights, expected {expected} for {num_classes} classes'
                f'{note}'
            )


def _losses(setting: str, config: Any) -> Iterator[tuple[str, Mapping]]:
    """Yield the losses of a head that have class weights, but not those of heads inside it."""
    if isinstance(config, Mapping):
        if config.get('class_weight') is not None:
            yield setting, config
        for key, value in config.items():
            if key in _OTHER_PARTS or (isinstance(value, Mapping) and 'num_classes' in value):
                continue
            yield from _losses(f'{setting}.{key}', value)
    elif isinstance(config, list | tuple):
        for i, value in enumerate(config):
            yield from _losses(f'{setting}.{i}', value)


def _check_classifier(cfg: Config, classes: _Classes, metrics: list[tuple[str, Mapping]]) -> None:
    number = len(classes.names)
    given = (cfg.model.get('data_preprocessor') or cfg.get('data_preprocessor') or {}).get('num_classes')
    if given is not None and given != number:
        raise ConfigError(
            f'model.data_preprocessor.num_classes is {given}, and {classes.setting} has {number} classes: make them '
            'equal'
        )
    for setting, metric in metrics:
        if metric['type'].rpartition('.')[2] == 'Accuracy':
            _check_topk(setting, metric, number)
    head = cfg.model.get('head') or {}
    if head.get('cal_acc'):
        _check_topk('model.head', head, number)


def _check_topk(setting: str, config: Mapping, num_classes: int) -> None:
    topk = config.get('topk', 1)
    largest = max([topk] if isinstance(topk, int) else topk, default=1)
    if largest > num_classes:
        raise ConfigError(f'{setting}.topk: {largest} is above the number of classes, {num_classes}: set topk=(1,)')


# ---- labels, palettes, splits ----


def _check_labels_are_loaded(
    setting: str, dataset: Mapping, cls: type, split: str, metrics: list[tuple[str, Mapping]]
) -> None:
    """Check that a segmenter's data have the labels that its loss or its metrics need."""
    needing = [
        name for name, metric in metrics if metric['type'].endswith('IoUMetric') and not metric.get('format_only')
    ]
    if split != 'train' and not needing:
        return
    who = 'training needs labels' if split == 'train' else f'{needing[0]} needs labels'
    mend = (
        'add LoadAnnotations to the pipeline and seg_map_path to data_prefix'
        if split == 'train'
        else f'name the labelled split, or set {needing[0]}.format_only=True and output_dir to write predictions only'
    )
    steps = [str(step['type']) for step in dataset.get('pipeline') or [] if isinstance(step, Mapping)]
    names = [step.rpartition('.')[2] for step in steps]
    if 'TestTimeAug' in names:
        return
    loads = [name for name in names if name.startswith('Load') and not name.startswith(_LOADS_IMAGES)]
    if steps and not loads and _all_known(steps):
        raise ConfigError(f'{setting}.pipeline: {who}, and no transform loads them: {mend}')
    prefix = dataset.get('data_prefix')
    if prefix and loads and prefix.get('seg_map_path') is None and _is_plain(cls):
        raise ConfigError(f'{setting}.data_prefix: {who}, and has no seg_map_path, the folder of them: {mend}')


def _all_known(steps: list[str]) -> bool:
    """Return whether all transforms are of libraries whose transforms that load labels are called Load..."""
    return all(known_transform(step) is not None for step in steps)


def _is_plain(cls: Any) -> bool:
    """Return whether a data set of mmseg finds its classes and label maps as BaseSegDataset does."""
    base: Any = next(base for base in inspect.getmro(cls) if base.__name__ == 'BaseSegDataset')
    return cls.load_data_list is base.load_data_list


def _check_loading(setting: str, dataset: Mapping, classes: _Classes) -> None:
    """Check ``num_classes`` of our transform that loads labels."""
    for i, step in enumerate(dataset.get('pipeline') or []):
        number = step.get('num_classes') if str(step.get('type')).endswith('LoadLabelMap') else None
        if number and number != len(classes.names) and max(number, len(classes.names)) > 2:  # 1: a sigmoid's
            raise ConfigError(
                f'{setting}.pipeline.{i}.num_classes is {number}, and {setting} has {len(classes.names)} classes: '
                'make them equal'
            )


def _check_metrics_need_no_classes(setting: str, metrics: list[tuple[str, Mapping]]) -> None:
    for name, metric in metrics:
        if metric['type'].endswith('IoUMetric'):
            raise ConfigError(f'{setting}.metainfo: {name} needs the classes: metainfo=dict(classes=[...])')


_LEAVE_OUT = 'or leave it out: colours are chosen then'


def _check_palette_of_mmseg(setting: str, dataset: Mapping, names: list[str], known: Sequence[str]) -> None:
    """Check a palette of the config: one colour a class, or, of a subset of known classes, those of all of them."""
    metainfo = dataset.get('metainfo') or {}
    if not isinstance(metainfo, Mapping) or 'palette' not in metainfo:
        return
    palette, where = metainfo['palette'], f'{setting}.metainfo.palette'
    if not _is_list(palette):
        raise ConfigError(f'{where} must be a list of {len(names)} colours (r, g, b), got {palette!r}: {_LEAVE_OUT}')
    is_subset = bool(known) and names != list(known) and set(names) <= set(known)
    needed = max(list(known).index(name) for name in names) + 1 if is_subset else len(names)
    if len(palette) not in (0, len(names)) and not (is_subset and len(palette) >= needed):
        raise ConfigError(
            f'{where} has {len(palette)} colours for {len(names)} classes: one (r, g, b) each, {_LEAVE_OUT}'
        )
    if not all(_is_list(colour) and len(colour) == 3 for colour in palette):
        raise ConfigError(f'{where} must be a list of colours (r, g, b), got {list(palette)[:3]!r}: {_LEAVE_OUT}')


def _check_palette(setting: str, dataset: Mapping, names: list[str]) -> None:
    """Warn of a palette of mmdet that is too short; None means colours at random."""
    metainfo = dataset.get('metainfo') or {}
    palette = metainfo.get('palette') if isinstance(metainfo, Mapping) else None
    if palette is not None and _is_list(palette) and len(palette) < len(names):
        warnings.warn(
            f'{setting}.metainfo.palette has {len(palette)} colours for {len(names)} classes: pictures of the others '
            f'cannot be drawn. Name one (r, g, b) each, {_LEAVE_OUT}',
            stacklevel=2,
        )


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def _check_splits_agree(of_split: Mapping[str, list[_Classes]]) -> None:
    """Check that what is evaluated has the classes that were trained."""
    for trained in of_split.get('train', [])[:1]:
        for classes in (classes for split in of_split if split != 'train' for classes in of_split[split]):
            differing = [
                (i, a, b) for i, (a, b) in enumerate(zip(trained.names, classes.names, strict=False)) if a != b
            ]
            if differing or len(trained.names) != len(classes.names):
                what = (
                    f'class {differing[0][0]} is {differing[0][2]!r}' if differing else f'{len(classes.names)} classes'
                )
                other = f'{differing[0][1]!r}' if differing else str(len(trained.names))
                raise ConfigError(
                    f'{classes.setting} and {trained.setting} have different classes ({what}, in training {other}): '
                    'what is learned as one would be evaluated as another. Give both the same classes in one order'
                )
