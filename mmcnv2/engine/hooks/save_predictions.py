from collections.abc import Sequence
from typing import Any

from mmengine.evaluator import BaseMetric
from mmengine.hooks import Hook
from mmengine.runner import Runner
from mmengine.structures import BaseDataElement


class SavePredictionsHook(Hook):
    """Give the predictions of a test to a metric that saves them, whatever evaluator the config has.

    A metric that is added to an evaluator is lost in those that use their metrics in another way, such as mmdet's
    ``MultiDatasetsEvaluator``, which has one metric for each data set.

    Args:
        metric: What saves them; it measures nothing.
    """

    # mmpretrain's EMAHook may test other weights after the epoch: those predictions are not saved.
    priority = 'VERY_HIGH'

    def __init__(self, metric: BaseMetric) -> None:
        self.metric = metric
        self._is_over = False

    def before_test_epoch(self, runner: Runner) -> None:
        """Pass on the classes."""
        self.metric.dataset_meta = getattr(runner.test_loop.dataloader.dataset, 'metainfo', None)

    def after_test_iter(
        self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Sequence | None = None
    ) -> None:
        """Pass on the predictions of a batch."""
        if not self._is_over:
            samples = [one.to_dict() if isinstance(one, BaseDataElement) else one for one in outputs or ()]
            self.metric.process(data_batch, samples)

    def after_test_epoch(self, runner: Runner, metrics: dict[str, float] | None = None) -> None:
        """Note that the predictions are complete."""
        self._is_over = True

    def after_test(self, runner: Runner) -> None:
        """Save them, after the log of the metrics is written."""
        self.metric.evaluate(len(runner.test_loop.dataloader.dataset))
