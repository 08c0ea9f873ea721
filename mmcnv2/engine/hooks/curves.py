import time
from pathlib import Path

from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmcnv2.registry import HOOKS
from mmcnv2.utils.files import written_whole
from mmcnv2.utils.run_log import read_log
from mmcnv2.visualization.curves import plot_curves


@HOOKS.register_module()
class CurvesHook(Hook):
    """A hook that draws loss, learning rate, images/s and metrics as ``curves.png`` in the work dir of each training.

    It draws after a validation, after an epoch, and at the end, from what has been logged, also by the runs before
    that this one resumes. Where it fails it warns once, and the run goes on.

    Args:
        seconds: At least so many between two pictures, except at the end: one takes half a second.
    """

    priority = 'LOWEST'

    def __init__(self, seconds: float = 60) -> None:
        self.seconds = seconds
        self._drawn = float('-inf')

    def after_train_epoch(self, runner: Runner) -> None:
        self._draw_now_and_then(runner)

    def after_val_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        self._draw_now_and_then(runner)

    def after_train(self, runner: Runner) -> None:
        self._draw(runner)

    def _draw_now_and_then(self, runner: Runner) -> None:
        if time.monotonic() - self._drawn >= self.seconds:
            self._draw(runner)

    def _draw(self, runner: Runner) -> None:
        if not is_main_process() or not any(Path(runner.work_dir).glob('*/vis_data/scalars.json')):
            return  # without MMEngine's local backend there is nothing to draw
        self._drawn = time.monotonic()
        with written_whole(Path(runner.work_dir) / 'curves.png') as temporary:
            plot_curves({Path(runner.work_dir).name: read_log(runner.work_dir)}).savefig(temporary, dpi=110)
