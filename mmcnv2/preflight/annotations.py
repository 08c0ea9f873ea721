"""Check annotation files of detection in COCO's format, and that images and label maps are there.

mmdet and mmseg check little: NaN boxes turn the loss into NaN, a class that the file lacks shifts the labels of the
others, polygons far outside and run lengths with a wrong sum read out of bounds.
"""

import json
import os
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmcnv2.utils.errors import ConfigError, InputError

from .classes import class_names
from .coco import Problems, check_coco, check_coco_panoptic, has_boxes_only
from .datasets import base_names, build_dataset, dataset_class, datasets_of, metrics_of


def check_annotations(cfg: Config, splits: tuple[str, ...]) -> None:
    """Check the annotations of the datasets of mmdet (COCO's formats) and mmseg, in one pass over each.

    Only the first process of a machine does so: the others wait for it when they are joined.

    Args:
        cfg: Config of a run, whose paths exist.
        splits: Of 'train', 'val', 'test': the dataloaders that will be used.

    Raises:
        InputError: Names the file and the first problems with their ids, and says how many there are.
    """
    if os.environ.get('LOCAL_RANK', '0') != '0':
        return
    checked: list[Mapping] = []
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        for setting, dataset in datasets_of(cfg, *splits):
            if dataset in checked:
                continue
            checked.append(dataset)
            cls = dataset_class(dataset)
            bases = base_names(cls)
            if 'CocoPanopticDataset' in bases:
                _check_panoptic(setting, cls, dataset)
            elif 'CocoDataset' in bases:
                _check_detection(setting, cls, dataset, cfg)
            elif 'BaseSegDataset' in bases:
                _check_segmentation(setting, dataset)


def _check_detection(setting: str, cls: Any, dataset: Mapping, cfg: Config) -> None:
    root = Path(dataset.get('data_root') or '')
    path = root / dataset['ann_file']
    classes = class_names(setting, (dataset.get('metainfo') or {}).get('classes') or cls.METAINFO['classes'])
    needs_masks = any(step.get('with_mask') for step in dataset.get('pipeline', []))
    problems = Problems()
    content = read_json(path)
    for_training = not dataset.get('test_mode', False)
    if needs_masks and has_boxes_only(content):
        raise InputError(
            f'{path} ({setting}.ann_file) has boxes only, {len(content["annotations"])} without a segmentation, and '
            'the pipeline loads masks (with_mask=True): take a config for boxes, such as `mmcnv2 init coco FOLDER '
            '--out FILE.py` writes for them'
        )
    check_coco(content, classes, needs_masks, for_training, problems)
    if not problems:
        folder = root / ((dataset.get('data_prefix') or {}).get('img') or '')
        files = [str(folder / image['file_name']) for image in content['images']]
        for missing in missing_files(files):
            problems.add(f'image {missing} does not exist')
    _report(f'{path} ({setting}.ann_file)', problems)
    if not content['annotations']:
        _check_no_metric_needs(path, setting, cfg)


def _check_panoptic(setting: str, cls: Any, dataset: Mapping) -> None:
    root = Path(dataset.get('data_root') or '')
    path = root / dataset['ann_file']
    classes = class_names(setting, (dataset.get('metainfo') or {}).get('classes') or cls.METAINFO['classes'])
    problems = Problems()
    content = read_json(path)
    check_coco_panoptic(content, classes, not dataset.get('test_mode', False), problems)
    if not problems:
        prefix = dataset.get('data_prefix') or {}
        # mmdet names the map of segments after the image.
        names = [image['file_name'] for image in content['images']]
        for kind, key, ending in (('image', 'img', None), ('map of segments', 'seg', '.png')):
            folder = root / (prefix.get(key) or '')
            files = (str(folder / (str(Path(name).with_suffix(ending)) if ending else name)) for name in names)
            for missing in missing_files(files):
                problems.add(f'{kind} {missing} does not exist')
    _report(f'{path} ({setting}.ann_file)', problems)


def _check_no_metric_needs(path: Path, setting: str, cfg: Config) -> None:
    for name, metric in metrics_of(cfg, setting.partition('_')[0]):
        own = metric.get('ann_file')  # it may have labels that the data set does not read
        is_same = not own or Path(own).resolve() == path.resolve()
        if str(metric.get('type')).endswith('CocoMetric') and is_same and not metric.get('format_only'):
            raise ConfigError(
                f'{path} ({setting}.ann_file) has no annotations, which {name} needs: name the labelled split, or set '
                f'{name}.format_only=True and outfile_prefix to write predictions only'
            )


def _check_segmentation(setting: str, config: Mapping) -> None:
    dataset = build_dataset(setting, config)
    items = [dataset.get_data_info(i) for i in range(len(dataset))]
    if not items:
        prefix, suffix = dataset.data_prefix.get('img_path'), dataset.img_suffix
        raise InputError(f'{setting}: no images in {prefix} that end in {suffix} (img_suffix)')
    problems = Problems()
    for key, what in (('img_path', 'image'), ('seg_map_path', 'label map')):
        for path in missing_files(item[key] for item in items if item.get(key)):
            problems.add(f'{what} {path} does not exist')
    _report(f'{setting} in {config.get("data_root") or "."}', problems)


def read_json(path: Path) -> Any:
    """Read an annotation file; a large one is named on the console.

    Raises:
        InputError: If it is no JSON.
    """
    if path.stat().st_size > 10**7:
        print(f'checking {path}', flush=True)  # takes seconds, 20 for the 118,000 images of COCO
    try:
        with path.open(encoding='utf-8') as file:
            return json.load(file)
    except (ValueError, RecursionError) as error:  # also text that is not UTF-8
        raise InputError(f'annotation file {path} is no valid JSON, perhaps cut off: {error}') from error


def missing_files(paths: Iterable[str]) -> Iterator[str]:
    """Yield the paths that do not exist. Folders are listed, which takes one lookup each instead of one per file."""
    listed: dict[str, set[str]] = {}
    for path in paths:
        folder, name = os.path.split(path)
        if folder not in listed:
            listed[folder] = set(os.listdir(folder or '.')) if os.path.isdir(folder or '.') else set()
        if name not in listed[folder]:
            yield path


def _report(where: str, problems: Problems) -> None:
    if problems:
        listed = '\n  '.join(problems.shown)
        more = '\n  ...' if problems.count > len(problems.shown) else ''
        raise InputError(f'{where} has {problems.count} problems:\n  {listed}{more}\nCorrect or remove these entries')
