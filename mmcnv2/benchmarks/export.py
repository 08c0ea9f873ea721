"""Milliseconds for an image of whole models on a CPU: in torch, compiled by torch, and as ONNX files in onnxruntime.

All compute the same, from an image of RGB values to objects or logits: the graph that ``mmcnv2 export`` records.
"""

import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import onnxruntime
import torch
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmcnv2.export import prepare, write
from mmcnv2.inference import Predictor
from mmcnv2.inference.onnx_models import OnnxModel
from mmcnv2.recipes import read_config_file

from .measure import Table, environment, seconds_per_step

RUNTIMES = ('eager', 'compile', 'onnxruntime')
COLUMNS = ['model', 'size', 'runtime', 'ms', 'faster than eager by']


def benchmark(
    configs: Sequence[str],
    checkpoints: Sequence[str],
    image_sizes: Sequence[int],
    runtimes: Sequence[str],
    repeats: int,
    warmup: int,
    json: str | None = None,
) -> None:
    """Print a table with a row for each model, image size and runtime.

    Args:
        configs: Paths of configs, or recipes with ``mmcnv2::``.
        checkpoints: One for each config; none: random weights, of which a detector finds objects everywhere.
        image_sizes: Sides of square images in pixels, multiples of 32.
        runtimes: Of ``RUNTIMES``; eager is always measured. One that fails is left out with a line that says so.
        repeats: Timed images of each.
        warmup: Untimed images before these.
        json: File to write rows and environment to.

    Raises:
        InputError: A model has no export.
    """
    versions = dict(environment('cpu'), onnxruntime=onnxruntime.__version__)
    table = Table(COLUMNS, json, environment=versions, step=f'one image, fp32, median of {repeats}')
    for i, config in enumerate(configs):
        with tempfile.TemporaryDirectory() as folder:
            cfg = read_config_file(config)
            checkpoint = checkpoints[i] if checkpoints else _random_weights(cfg, Path(folder))
            predictor = Predictor(cfg, checkpoint, 'cpu')
            with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
                _, graph, description = prepare(predictor)
                write(graph, description, Path(folder) / 'model.onnx')
            run = OnnxModel(str(Path(folder) / 'model.onnx'), 'cpu')
            for size in image_sizes:
                images = 255 * torch.rand(
                    1, description.channels, size, size, generator=torch.Generator().manual_seed(0)
                )
                steps = _working(_steps(graph.module, run, images, ('eager', *runtimes)))
                seconds = seconds_per_step(steps, repeats, warmup, 'cpu')
                for runtime, value in seconds.items():
                    table.add(
                        **{
                            'model': Path(config).stem,
                            'size': size,
                            'runtime': runtime,
                            'ms': 1000 * value,
                            'faster than eager by': seconds['eager'] / value,
                        }
                    )
            torch.compiler.reset()


def _random_weights(cfg: Config, folder: Path) -> str:
    """Write a checkpoint of a model with random weights."""
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmengine')):
        model = MODELS.build(cfg.model)
    torch.save(dict(state_dict=model.state_dict()), folder / 'random.pth')
    return str(folder / 'random.pth')


def _steps(module: Any, run: OnnxModel, images: torch.Tensor, runtimes: Sequence[str]) -> dict[str, Callable[[], Any]]:
    compiled = torch.compile(module) if 'compile' in runtimes else module
    array = images.numpy()

    def in_torch(function: Callable) -> Callable[[], Any]:
        def step() -> Any:
            with torch.inference_mode():
                return function(images)

        return step

    every = dict(eager=in_torch(module), compile=in_torch(compiled), onnxruntime=lambda: run(array))
    return {name: step for name, step in every.items() if name in runtimes}


def _working(steps: dict[str, Callable[[], Any]]) -> dict[str, Callable[[], Any]]:
    """Return the steps that run; the first call of one also compiles it."""
    found = {}
    for name, step in steps.items():
        try:
            step()
            found[name] = step
        except Exception as error:  # whatever a compiler fails with, the others are still measured
            if name == 'eager':
                raise
            print(f'{name} is left out: {type(error).__name__}: {str(error)[:200]}', file=sys.stderr)
    return found
