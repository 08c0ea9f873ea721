"""Check where ``mmcnv2 test --out`` writes predictions, and that the task has predictions of that kind."""

import tempfile
from pathlib import Path

from mmengine.config import Config
from mmengine.registry import DefaultScope

from mmcnv2.utils.errors import ConfigError

from .datasets import base_names, dataset_class, find_datasets

#: What ``--out`` may be, by the end of its name; a folder has none.
KINDS = {'.pkl': 'pickle', '.pickle': 'pickle', '.json': 'coco', '': 'label maps'}


def output_kind(out: str) -> str:
    """Return which kind of output a path asks for, one of ``KINDS``.

    Raises:
        ConfigError: If its ending is none that can be written.
    """
    path = Path(out)
    ending = '' if out.endswith('/') or (path.is_dir() and path.suffix not in KINDS) else path.suffix
    if ending not in KINDS:
        raise ConfigError(
            f'--out must be a .pkl file (all predictions), a .json file (COCO results of a detector) or a folder '
            f'without ending (PNG label maps of a segmenter), got {out}'
        )
    return KINDS[ending]


def check_output(cfg: Config, out: str) -> None:
    """Check that the predictions of a test can be written to a path; its folder is made.

    Args:
        cfg: Config whose test data set is valid.
        out: See ``output_kind``.

    Raises:
        ConfigError: If the task has no such predictions, or the path cannot be written.
    """
    kind = output_kind(out)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        datasets = [*find_datasets('test_dataloader.dataset', cfg.test_dataloader.get('dataset'))]
        names = [base_names(dataset_class(dataset)) for _, dataset in datasets]
    if kind == 'coco' and not (len(names) == 1 and 'CocoDataset' in names[0]):
        raise ConfigError(
            f'--out {out}: COCO results take one test data set in the format of COCO (CocoDataset), and '
            f'test_dataloader.dataset is {_types(datasets)}. Use --out FILE.pkl, or DIR for a segmenter'
        )
    if kind == 'label maps' and not (names and all('BaseSegDataset' in one for one in names)):
        raise ConfigError(
            f'--out {out}: label maps take a test data set of segmentation (BaseSegDataset), and '
            f'test_dataloader.dataset is {_types(datasets)}. Use --out FILE.pkl, or FILE.json for a detector'
        )
    path = Path(out)
    folder = path if kind == 'label maps' else path.parent
    try:
        if kind != 'label maps' and path.is_dir():
            raise IsADirectoryError(None, 'it is a folder')
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(f'--out {out} cannot be written: {error.strerror}. Name another place') from error


def _types(datasets: list) -> str:
    return ', '.join(str(dataset.get('type')) for _, dataset in datasets) or 'empty'
