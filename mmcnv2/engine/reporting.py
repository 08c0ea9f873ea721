"""What draws, logs or reports never ends a run, and comes after what saves."""

from mmengine.hooks import Hook, LoggerHook, ProfilerHook
from mmengine.runner import FlexibleRunner, Runner

from .hooks import ConstantTargetsHook, CurvesHook, FeatureProbeHook, ReconstructionHook, SummaryHook, ThroughputHook
from .sparing import spare


def spare_the_run(runner: Runner | FlexibleRunner) -> None:
    """Let the run go on, after one warning for each, where a hook or backend that only reports raises an error.

    These are MMEngine's logger and profiler, our pictures, curves, feature probe, throughput, summary and look at the
    targets, every hook whose name ends with ``VisualizationHook`` (as in mmdet, mmseg and mmpretrain), and the
    visualizer's backends, each by itself: if TensorBoard fails, the local files are still written. Hooks that draw or
    judge are put behind all others, those that write checkpoints included.

    Args:
        runner: Its hooks are changed.
    """
    for hook in runner.hooks:
        if _comes_last(hook) or isinstance(hook, LoggerHook | SummaryHook | ThroughputHook | ConstantTargetsHook):
            spare(hook, ('before_', 'after_'))
    for backend in runner.visualizer._vis_backends.values():
        spare(backend, ('add_', 'close'))
    runner._hooks.sort(key=_comes_last)


def _comes_last(hook: Hook) -> bool:
    is_ours = isinstance(hook, ReconstructionHook | FeatureProbeHook | CurvesHook)
    return is_ours or isinstance(hook, ProfilerHook) or type(hook).__name__.endswith('VisualizationHook')
