import os
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import mmcv
import numpy as np
from mmengine.fileio import get
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmcnv2.datasets import BandFile, UnreadableImageError
from mmcnv2.datasets.wrappers import without_wrappers
from mmcnv2.registry import HOOKS
from mmcnv2.visualization import composite


@HOOKS.register_module()
class PredictionVisualizationHook(Hook):
    """A hook that draws all predictions of a test, beside the ground truth, in files of one folder.

    A picture has the path that its image has below the folder of the images, so that images of the same name in
    different folders do not overwrite each other. (mmdet's, mmseg's and mmpretrain's own hooks each choose another
    place, and drop the folders.)

    Args:
        out_dir: The folder, made if it is not there.
        bands: Which bands of the files are drawn, see ``mmcnv2.visualization.composite``. None: of files that are
            neither grey nor colour of 8 bits, the first three, or the first in grey.
        **kwargs: Of the visualizer, e.g. ``pred_score_thr`` of mmdet's.
    """

    def __init__(self, out_dir: str, bands: Sequence[int] | None = None, **kwargs: Any) -> None:
        self.out_dir = out_dir
        self.bands = bands
        self.options = kwargs
        self._root = ''

    def before_test(self, runner: Runner) -> None:
        """Find the folder that all images are in."""
        folders = [os.path.abspath(folder) for folder in _image_folders(runner.test_dataloader.dataset)]
        self._root = os.path.commonpath(folders) if folders else os.getcwd()

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence | None = None
    ) -> None:
        """Draw what the model predicts for a batch."""
        visualizer: Any = runner.visualizer
        draw = getattr(visualizer, 'visualize_cls', None) or visualizer.add_datasample  # mmpretrain, others
        for sample in outputs or ():
            image = _picture(sample.img_path, self.bands)
            path = picture_path(sample.img_path, self._root, self.out_dir)
            os.makedirs(os.path.dirname(path), exist_ok=True)
            draw(name='test', image=image, data_sample=sample, out_file=path, **self.options)


def _picture(path: str, bands: Sequence[int] | None) -> np.ndarray:
    """Return what is drawn of an image file, (H, W, 3) uint8 RGB."""
    data = get(path)
    try:
        file = BandFile(path, data)
    except UnreadableImageError:  # perhaps of a kind that OpenCV reads
        file = None
    if file is None or (bands is None and file.dtype == np.uint8 and file.count <= 4):
        return mmcv.imfrombytes(data, channel_order='rgb')
    return composite(file.read_values(0, 0, file.height, file.width), bands)


def picture_path(image: str, root: str, out_dir: str) -> str:
    """Return where the picture of an image goes: below ``out_dir`` as the image is below ``root``.

    An image elsewhere keeps its whole path. A format that cannot be written becomes PNG.
    """
    path = os.path.abspath(image)
    relative = os.path.relpath(path, root)
    if relative.startswith(os.pardir + os.sep):
        relative = path.lstrip(os.sep)
    if not cv2.haveImageWriter(relative):
        relative += '.png'
    return os.path.join(out_dir, relative)


def _image_folders(dataset: Any) -> Iterator[str]:
    """Yield the folders of the images of a dataset, or of those inside wrappers."""
    for inner in without_wrappers(dataset):
        prefix = getattr(inner, 'data_prefix', None) or {}
        folder = next((prefix[key] for key in ('img', 'img_path') if prefix.get(key)), None)
        if folder := folder or getattr(inner, 'data_root', None):
            yield folder
