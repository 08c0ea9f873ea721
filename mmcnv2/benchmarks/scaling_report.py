"""The model of ``scaling.py`` applied to pre-training recipes: tables and a picture."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from mmengine.config import Config

from mmcnv2.models.sparse import PATCH_SIZE, random_mask
from mmcnv2.utils.errors import ConfigError

from .flops import build_model, count_macs, image_size
from .measure import Table
from .scaling import Cluster, gigabytes, predict

COLUMNS = ['GPUs', 'images a GPU', 'compute (ms)', 'overhead (ms)', 'all-reduce (ms)', 'exposed (ms)']
COLUMNS += ['efficiency fed', 'images/s a GPU', 'cores a GPU', 'efficiency', 'bound']
COLUMNS += ['DDP (GB)', 'ZeRO-1 (GB)', 'FSDP (GB)']


def count(cfg: Config) -> tuple[int, int, int]:
    """Return parameters, multiply-adds of an image with the recipe's mask, and images of a step.

    Raises:
        ConfigError: If the config is not of a pre-training or does not say how many images a step has.
    """
    if cfg.get('model', {}).get('type') not in ('FCMAE', 'mmcnv2.FCMAE'):
        raise ConfigError(f'{cfg.filename} is no pre-training recipe: its model must be of type FCMAE')
    if 'base_batch_size' not in cfg.get('auto_scale_lr', {}):
        raise ConfigError(f'{cfg.filename} needs auto_scale_lr.base_batch_size, the images of a step')
    model: Any = build_model(cfg)
    height, width = image_size(cfg, None)
    mask = random_mask(1, (height // PATCH_SIZE, width // PATCH_SIZE), model.mask_ratio)
    macs = count_macs(model, (height, width), mask, 'auto')['']
    images = cfg.auto_scale_lr.base_batch_size
    return sum(p.numel() for p in model.parameters()), macs, images


def report(name: str, cfg: Config, gpus: Sequence[int], cluster: Cluster) -> dict[int, float]:
    """Print the table of a recipe.

    Args:
        name: Of the recipe, as the table calls it.
        cfg: The recipe.
        gpus: Numbers of GPUs, a row each.
        cluster: What the GPUs can do.

    Returns:
        Efficiency by number of GPUs: the powers of 2 from one GPU up to one image a GPU.

    Raises:
        ConfigError: See ``count``.
    """
    parameters, macs, images = count(cfg)
    model = f'{parameters / 1e6:.1f} M parameters, {parameters / 250e3:.0f} MB of gradients, '
    model += f'{macs / 1e9:.2f} G multiply-adds an image, {images} images a step'
    table = Table(COLUMNS, None, config=name, model=model)
    for n in gpus:
        step = predict(parameters, macs, images, n, cluster)
        rate = 1e3 * step.batch / step.gpu
        times = [step.compute, step.overhead, step.all_reduce, step.exposed]
        share = [step.compute / step.gpu, rate, rate / cluster.images_per_core, step.efficiency, step.bound]
        table.add(**dict(zip(COLUMNS, [n, step.batch, *times, *share, *gigabytes(parameters, n)], strict=True)))
    powers = [2**i for i in range(images.bit_length())]
    steps = {n: predict(parameters, macs, images, n, cluster) for n in powers}
    most = max((n for n, step in steps.items() if step.efficiency >= 1 / 2), default=0)
    print(f'\nat least half of a step computes up to {most} GPUs (0: never)\n')
    return {n: step.efficiency for n, step in steps.items()}


def draw(curves: dict[str, dict[int, float]], path: str) -> None:
    """Draw efficiency against number of GPUs, a curve for each config, to an image file."""
    figure = Figure(figsize=(7, 4), layout='constrained')
    axes = figure.subplots()
    for name, curve in curves.items():
        axes.plot(list(curve), list(curve.values()), marker='.', label=Path(name).stem)
    axes.set_xscale('log', base=2)
    axes.set(xlabel='GPUs', ylabel='share of a step that computes', ylim=(0, 1))
    figure.legend(loc='outside upper center')
    figure.savefig(path)
