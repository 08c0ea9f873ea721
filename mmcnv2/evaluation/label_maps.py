import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from mmengine.dataset import BaseDataset
from mmengine.evaluator import BaseMetric
from mmengine.logging import print_log
from PIL import Image

from mmcnv2.datasets.wrappers import without_wrappers
from mmcnv2.utils.errors import InputError


class LabelMaps(BaseMetric):
    """Write the predictions of a segmenter as mmseg does (``IoUMetric(output_dir=...)``), with the folders of images.

    A label map is a PNG file of one channel and 8 bits, with the size of its image. Labels start at 1 if the data set
    reduces the label 0, else at 0. ``IoUMetric`` writes all files into one folder, where those of images of the same
    name overwrite each other.

    Args:
        folder: Where to write. An image ``a/b.jpg`` below the folder of the images becomes ``folder/a/b.png``.
        dataset: What is predicted, or several concatenated: its ``img_path`` are the images.

    Raises:
        InputError: If two images would have the same file.
    """

    default_prefix = 'label_maps'

    def __init__(self, folder: str, dataset: BaseDataset) -> None:
        super().__init__()
        self.folder = Path(folder)
        images = [os.path.abspath(dataset.get_data_info(i)['img_path']) for i in range(len(dataset))]
        roots = [os.path.abspath(one.data_prefix['img_path']) for one in without_wrappers(dataset)]
        self.root = os.path.commonpath([*roots, *map(os.path.dirname, images)])
        images_of: dict[Path, str] = {}
        for image in images:
            if (other := images_of.setdefault(self._path(image), image)) != image:
                raise InputError(f'--out {folder}: {other} and {image} would have the same file, {self._path(image)}')

    def process(self, data_batch: Any, data_samples: Sequence[dict]) -> None:
        """Write the label maps of a batch."""
        for sample in data_samples:
            if 'pred_sem_seg' not in sample:
                raise InputError(f'--out {self.folder}: the model predicts no label maps; --out FILE.pkl takes all')
            labels = sample['pred_sem_seg']['data'].squeeze().cpu().numpy()
            if sample.get('reduce_zero_label', False):
                labels = labels + 1
            path = self._path(os.path.abspath(sample['img_path']))
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(labels.astype(np.uint8)).save(path)
            self.results.append(str(path))

    def compute_metrics(self, results: list[str]) -> dict[str, float]:
        """Say where the files are; there is nothing to measure."""
        print_log(f'{len(results)} label maps are in {self.folder}', 'current')
        return {}

    def _path(self, image: str) -> Path:
        return (self.folder / os.path.relpath(image, self.root)).with_suffix('.png')
