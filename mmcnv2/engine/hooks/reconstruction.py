from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmcnv2.registry import HOOKS
from mmcnv2.visualization import reconstruction_sheet

from ..sparing import spare


@HOOKS.register_module()
class ReconstructionHook(Hook):
    """A hook that draws input, masked input and reconstruction of a few images to ``<work dir>/reconstructions/``.

    It draws the same images of the training dataset, with the same crops and masks, every time, after the checkpoint
    is saved. Where it fails it warns once, and the run goes on.

    Args:
        interval: Number of epochs between pictures; there is also one after the last.
        num_images: Number of images in a picture, spread evenly over the dataset.
        bands: Of images with other bands than RGB: the three that are drawn as red, green and blue, or one in grey, by
            their place in the input of the model. None: the first three, or the first in grey.
    """

    priority = 'LOWEST'

    def __init__(self, interval: int = 1, num_images: int = 6, bands: Sequence[int] | None = None) -> None:
        self.interval = interval
        self.num_images = num_images
        self.bands = bands
        spare(self, ('after_',))

    def after_train_epoch(self, runner: Runner) -> None:
        if self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner):
            self._draw(runner)

    def _draw(self, runner: Runner) -> None:
        dataset = runner.train_dataloader.dataset
        # Neither masks nor crops may touch the random numbers of the training.
        numpy_state = np.random.get_state()
        np.random.seed(0)
        try:
            with torch.random.fork_rng():
                torch.manual_seed(0)
                indices = np.linspace(0, len(dataset) - 1, min(self.num_images, len(dataset))).astype(int)
                # In all processes: if parameters are sharded, none can compute alone.
                images = [dataset[int(i)]['inputs'] for i in indices]
                sheet = reconstruction_sheet(runner.model, images, bands=self.bands)
        finally:
            np.random.set_state(numpy_state)
        if not is_main_process():
            return
        path = Path(runner.work_dir) / 'reconstructions' / f'epoch_{runner.epoch + 1}.png'
        path.parent.mkdir(exist_ok=True)
        if not cv2.imwrite(str(path), sheet[..., ::-1]):
            raise OSError(f'{path} cannot be written')
        runner.visualizer.add_image('reconstruction', sheet, step=runner.iter)
        print_log(f'reconstructions: {path}', logger='current')
