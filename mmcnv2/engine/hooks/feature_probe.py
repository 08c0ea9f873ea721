import copy
import time
from typing import Any

import torch
from mmengine.dist import is_main_process
from mmengine.hooks import Hook
from mmengine.logging import print_log
from mmengine.runner import Runner

from mmcnv2.evaluation.diversity import DiversityProbe
from mmcnv2.evaluation.features import Sample, gather_features
from mmcnv2.evaluation.knn import knn_predict
from mmcnv2.evaluation.labelled_samples import choose_labels, read_class_folders
from mmcnv2.models.normalization import normalization_of
from mmcnv2.registry import HOOKS
from mmcnv2.utils.errors import ConfigError
from mmcnv2.utils.unwrapping import unwrapped

from ..sparing import spare


@HOOKS.register_module()
class FeatureProbeHook(Hook):
    """A hook that judges the backbone while it is trained: kNN top-1 on class folders, and diversity of its channels.

    It logs ``probe/knn_top1`` (%, on the pooled features of the last stage, see ``mmcnv2.evaluation.knn``),
    ``probe/diversity`` (mean over all layers and images, see ``mmcnv2.evaluation.diversity``), ``probe/diversity_min``
    (of the layer with the lowest), ``probe/dead`` (% of all channels) and ``probe/seconds``, the time it took. The
    images are normalised as the model's data preprocessor does it. The training is not changed: weights, gradients,
    modes and random numbers are those without the hook. The main process computes, others wait; a backbone whose
    parameters are sharded (FSDP, ZeRO 3) cannot be judged so.

    Args:
        train: Class folders to learn from, ``DIR/CLASS/IMAGE``.
        val: Class folders to test on. Diversity is that on all images of both.
        interval: Epochs between two probes, or iterations without ``by_epoch``; there is also one after the last.
        by_epoch: What the interval counts.
        k: Neighbours that vote.
        images_per_class: At most so many of each class on either side, drawn at random once.
        image_size: Side of the images in pixels, divisible by 32.
        batch_size: How many are computed at a time.

    Raises:
        ConfigError: When training starts: if the model has no ``backbone``.
        InputError: When training starts: see ``read_class_folders``.
    """

    # Before LoggerHook, as whatever is logged; spare_the_run puts it behind what saves.
    priority = 'NORMAL'

    def __init__(
        self,
        train: str,
        val: str,
        interval: int = 1,
        by_epoch: bool = True,
        k: int = 20,
        images_per_class: int = 20,
        image_size: int = 224,
        batch_size: int = 16,
    ) -> None:
        self.train = train
        self.val = val
        self.interval = interval
        self.by_epoch = by_epoch
        self.k = k
        self.images_per_class = images_per_class
        self.image_size = image_size
        self.batch_size = batch_size
        self._samples: tuple[list[Sample], list[Sample]] | None = None
        spare(self, ('after_',))

    def before_train(self, runner: Runner) -> None:
        """Choose the images."""
        if not isinstance(runner, Runner) or not hasattr(unwrapped(runner.model), 'backbone'):
            raise ConfigError(
                'FeatureProbeHook needs a model with a backbone, in a run without a strategy that shards it'
            )
        data = read_class_folders(self.train, self.val)
        sides = [[side[i] for i in choose_labels(side, self.images_per_class, 0)] for side in (data.train, data.val)]
        self._samples = sides[0], sides[1]

    def after_train_epoch(self, runner: Runner) -> None:
        """Judge after every ``interval`` epochs, and the last."""
        if self.by_epoch and (self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)):
            self._judge(runner, step=runner.iter)

    def after_train_iter(self, runner: Runner, batch_idx: int, data_batch: Any = None, outputs: Any = None) -> None:
        """Judge after every ``interval`` iterations, and the last."""
        if not self.by_epoch and (self.every_n_train_iters(runner, self.interval) or self.is_last_train_iter(runner)):
            self._judge(runner, step=runner.iter + 1)

    def _judge(self, runner: Runner, step: int) -> None:
        if self._samples is None or not is_main_process():
            return
        start = time.monotonic()
        # A copy: mode, hooks and what torch.compile made stay as they are. It has no gradients.
        model = unwrapped(runner.model)
        backbone = copy.deepcopy(model.backbone).eval()
        backbone.normalization = normalization_of(model.data_preprocessor)
        train, val = self._samples
        # The data loader draws a number for its workers, though it has none.
        with torch.random.fork_rng(devices=[]), DiversityProbe(backbone) as probe:
            kept, features = gather_features(
                {'': backbone}, [*train, *val], self.image_size, self.batch_size, progress=False
            )
        labels = torch.tensor([sample.label for sample in (*train, *val)])[kept]
        is_train = kept < len(train)
        vectors = features['']
        k = min(self.k, int(is_train.sum()))
        guesses = knn_predict(vectors[is_train], labels[is_train], vectors[~is_train], [k])[k][:, 0]
        layers = probe.result()
        scalars = {
            'probe/knn_top1': 100 * (guesses == labels[~is_train]).float().mean().item(),
            'probe/diversity': sum(layer.distance for layer in layers) / len(layers),
            'probe/diversity_min': min(layer.distance for layer in layers),
            'probe/dead': 100 * sum(layer.dead for layer in layers) / sum(layer.channels for layer in layers),
            'probe/seconds': time.monotonic() - start,
        }
        runner.visualizer.add_scalars(scalars, step=step)
        print_log('  '.join(f'{name}: {value:.4g}' for name, value in scalars.items()), logger='current')
