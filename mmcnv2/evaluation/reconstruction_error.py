from collections.abc import Sequence

from mmengine.evaluator import BaseMetric

from mmcnv2.registry import METRICS


@METRICS.register_module()
class ReconstructionError(BaseMetric):
    """``fcmae/reconstruction_error``: mean over all images of the error of ``FCMAE.test_step``, which is the loss.

    Lower is better. With a normalised target, predicting the mean of every patch has an error of 1.
    """

    default_prefix = 'fcmae'

    def process(self, data_batch: dict, data_samples: Sequence[dict]) -> None:
        self.results += [float(sample['reconstruction_error']) for sample in data_samples]

    def compute_metrics(self, results: list[float]) -> dict[str, float]:
        return dict(reconstruction_error=sum(results) / len(results))
