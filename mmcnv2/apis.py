"""The Python API: recipes, backbones with weights, training, evaluation, prediction. The commands are built on it.

``check``, ``train`` and ``test`` make MMEngine read checkpoints and images with loaders that check, from then on in
the whole process: see ``engine/safe_loaders.py``.
"""

import copy
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from mmengine.config import Config
from mmengine.evaluator import BaseMetric, DumpResults
from mmengine.hooks import EMAHook
from mmengine.logging import print_log
from mmengine.registry import MODELS, DefaultScope

from mmcnv2.engine.hooks import PartialLoadHook, PreemptionHook, SavePredictionsHook
from mmcnv2.engine.runner import build_runner
from mmcnv2.engine.safe_loaders import install_safe_loaders
from mmcnv2.evaluation.label_maps import LabelMaps
from mmcnv2.inference import Predictor
from mmcnv2.models.weights.converting import build_backbone
from mmcnv2.models.weights.reading import read_normalization, read_state_dict
from mmcnv2.preflight import (
    check_averages,
    check_checkpoint,
    check_config,
    check_loaders,
    check_output,
    check_weight_file,
    check_weights,
    output_kind,
)
from mmcnv2.recipes import recipe_path
from mmcnv2.resuming import newest_of
from mmcnv2.resuming.workers import death_of_worker, end_workers
from mmcnv2.utils.errors import ConfigError, TrainingStopped, errors_name
from mmcnv2.utils.unwrapping import unwrapped

if TYPE_CHECKING:
    from mmcnv2.models.backbones import ConvNeXtBase

__all__ = ['Predictor', 'check', 'get_backbone', 'get_config', 'test', 'train']


def get_config(name: str) -> Config:
    """Return a recipe of this package.

    Args:
        name: As ``mmcnv2 configs`` lists it, e.g. ``'upernet/NAME.py'``; folder and ending may be left out.

    Raises:
        ConfigError: If there is no recipe of this name; it names the nearest one.
    """
    return Config.fromfile(recipe_path(name))


def get_backbone(
    checkpoint: str, out_indices: Sequence[int] = (0, 1, 2, 3), allow_pickle: bool = False
) -> 'ConvNeXtBase':
    """Return the backbone in a checkpoint, as deep and wide as the checkpoint says, in evaluation mode.

    Its ``normalization`` has mean and std of the training's images, if the checkpoint says them, else ImageNet's.

    Args:
        checkpoint: Path, URL, ``hf://owner/name`` or ``timm://NAME``, in any format that
            ``docs/how_to/weights.md`` lists.
        out_indices: Stages whose maps are returned, 0 to 3, with strides 4, 8, 16, 32. They have output norms if the
            checkpoint has those of all of them.
        allow_pickle: Read a file that could run code, see ``read_state_dict``.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is damaged or has no ConvNeXt, V1 or V2, in it.
    """
    given = read_state_dict(checkpoint, allow_pickle)
    with errors_name(checkpoint):
        backbone = build_backbone(given, out_indices).eval()
    normalization = read_normalization(checkpoint, allow_pickle)
    if normalization is not None:
        backbone.normalization = normalization
    return backbone


def check(cfg: Config, allow_pickle: bool = False) -> None:
    """Check a config as ``train`` does, without training.

    Args:
        cfg: Config of a training.
        allow_pickle: See ``install_safe_loaders``.

    Raises:
        InputError: If something in it cannot be used.
    """
    install_safe_loaders(cfg, allow_pickle)
    _choose_checkpoint(cfg, allow_pickle)
    check_config(cfg, ('train', 'val'))
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        check_weights(cfg, MODELS.build(copy.deepcopy(cfg.model)), allow_pickle)


def train(cfg: Config, allow_pickle: bool = False) -> None:
    """Check a config, then train as it says, to the end or until a signal.

    Args:
        cfg: Of a pre-training, a detector, a segmenter or a classifier, with ``work_dir``.
        allow_pickle: See ``install_safe_loaders``.

    Raises:
        InputError: Before training, if something in the config cannot be used.
        TrainingStopped: If training cannot continue.
        Preempted: If a signal asked it to stop, once a checkpoint is written.
    """
    install_safe_loaders(cfg, allow_pickle)
    _choose_checkpoint(cfg, allow_pickle)
    check_config(cfg, ('train', 'val'))
    runner = build_runner(cfg)
    loaded = check_weights(cfg, unwrapped(runner.model), allow_pickle)
    if loaded is not None:
        runner.register_hook(PartialLoadHook(loaded))
    check_loaders(runner, ('train', 'val'))
    check_averages(runner)
    try:
        runner.train()
    finally:
        for hook in runner.hooks:
            if isinstance(hook, PreemptionHook):
                hook.give_back_signals()


def _choose_checkpoint(cfg: Config, allow_pickle: bool) -> None:
    """Choose where ``resume=True`` of a config continues: MMEngine takes the newest file, also a damaged one."""
    if cfg.get('resume') and not cfg.get('load_from'):
        cfg.load_from = newest_of(cfg, allow_pickle)


def test(
    cfg: Config, checkpoint: str, out: str | None = None, tta: bool = False, allow_pickle: bool = False
) -> dict[str, float]:
    """Check a config, then evaluate a checkpoint with the metrics of the config.

    Args:
        cfg: With ``test_dataloader``, ``test_evaluator`` and ``work_dir``.
        checkpoint: Path or URL of a checkpoint of the whole model.
        out: Where to save the predictions: a ``.pkl`` file for all of them, a ``.json`` file for the COCO results of a
            detector, a folder for the label maps of a segmenter, see ``mmcnv2.evaluation.label_maps``.
        tta: Whether to use test-time augmentation, the config's ``tta_model`` and ``tta_pipeline``.
        allow_pickle: See ``install_safe_loaders``.

    Returns:
        The metrics by name.

    Raises:
        InputError: Before testing, if something in the config or the checkpoint cannot be used.
        TrainingStopped: If a worker of the data loader died; names the signal.
    """
    if out:
        output_kind(out)
    if not cfg.get('test_dataloader') or not cfg.get('test_evaluator'):
        raise ConfigError(f'config {cfg.filename} has no test_dataloader or no test_evaluator')
    if tta:
        if 'tta_model' not in cfg or 'tta_pipeline' not in cfg:
            raise ConfigError(f'--tta needs tta_model and tta_pipeline in the config {cfg.filename}')
        cfg.model = dict(**cfg.tta_model, module=cfg.model)
        cfg.test_dataloader.dataset.pipeline = cfg.tta_pipeline
    # Strategies divide the state of a training between GPUs; a test has none.
    for key in ('runner_type', 'strategy'):
        cfg.pop(key, None)
    # As in mmdet's test.py: the runner loads it once the hooks are ready, those that keep a copy of the weights too.
    cfg.load_from, cfg.resume = checkpoint, False
    install_safe_loaders(cfg, allow_pickle)
    check_config(cfg, ('test',))
    check_weight_file('checkpoint', checkpoint)
    if out:
        check_output(cfg, out)
    runner = build_runner(cfg)
    content = check_checkpoint(checkpoint, unwrapped(runner.model))
    check_loaders(runner, ('test',))
    averaged, averages = 'ema_state_dict' in content, any(isinstance(hook, EMAHook) for hook in runner.hooks)
    if averaged and not averages:
        print_log(f'{checkpoint} was trained with EMAHook: its averaged weights are tested', 'current')
    if averages and not averaged:
        print_log(f'{checkpoint} was trained without EMAHook: its weights are tested as they are', 'current')
    if out:
        runner.register_hook(SavePredictionsHook(_saver(out, runner.test_dataloader.dataset)))
    try:
        return runner.test()
    except (RuntimeError, ConnectionError, EOFError) as error:
        if death := death_of_worker(error):
            raise TrainingStopped(death) from error
        raise
    finally:
        end_workers(runner.test_loop)


def _saver(out: str, dataset: Any) -> BaseMetric:
    """Return the metric that saves predictions to ``out``; they are imported here, since mmdet takes seconds."""
    kind = output_kind(out)
    if kind == 'pickle':
        return DumpResults(out_file_path=out)
    if kind == 'coco':
        from mmcnv2.evaluation.coco_results import CocoResults

        return CocoResults(out, dataset.ann_file)
    return LabelMaps(out, dataset)
