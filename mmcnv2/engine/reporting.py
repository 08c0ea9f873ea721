"""What draws, logs or reports never ends a run, and comes after what saves."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from mmengine.hooks import Hook, LoggerHook, ProfilerHook
from mmengine.logging import print_log
from mmengine.runner import FlexibleRunner, Runner

from mmcnv2.utils.errors import TrainingStopped

from .hooks import ConstantTargetsHook, FeatureProbeHook, ReconstructionHook, SummaryHook, ThroughputHook


def spare_the_run(runner: Runner | FlexibleRunner) -> None:
    """Let the run go on, after one warning for each, where a hook or backend that only reports raises an error.

    These are MMEngine's logger and profiler, our pictures, feature probe, throughput, summary and look at the targets,
    every hook whose name ends with ``VisualizationHook`` (as in mmdet, mmseg and mmpretrain), and the visualizer's
    backends, each by itself: if TensorBoard fails, the local files are still written. Hooks that draw or judge are put
    behind all others, those that write checkpoints included.

    Args:
        runner: Its hooks are changed.
    """
    for hook in runner.hooks:
        if _comes_last(hook) or isinstance(hook, LoggerHook | SummaryHook | ThroughputHook | ConstantTargetsHook):
            _spare(hook, ('before_', 'after_'))
    for backend in runner.visualizer._vis_backends.values():
        _spare(backend, ('add_', 'close'))
    runner._hooks.sort(key=_comes_last)


def _comes_last(hook: Hook) -> bool:
    is_ours = isinstance(hook, ReconstructionHook | FeatureProbeHook)
    return is_ours or isinstance(hook, ProfilerHook) or type(hook).__name__.endswith('VisualizationHook')


def _spare(reporter: Any, prefixes: tuple[str, ...]) -> None:
    """Replace those methods of an object whose names begin so."""
    name = type(reporter).__name__
    failed: set[str] = set()  # shared by its methods

    def spared(method: Callable) -> Callable:
        @wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return method(*args, **kwargs)
            except TrainingStopped:
                raise
            except Exception as error:
                if 'DataLoader worker' in str(error):  # torch raises this anywhere
                    raise
                if name not in failed:
                    failed.add(name)
                    print_log(
                        f'{name} failed, the run goes on: {type(error).__name__}: {error}. This is said once',
                        logger='current',
                        level=logging.WARNING,
                    )

        return call

    for key in dir(reporter):
        if key.startswith(prefixes):
            setattr(reporter, key, spared(getattr(reporter, key)))
