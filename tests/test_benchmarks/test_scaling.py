"""The model of docs/measurements/scaling.md against numbers by hand, and mmcnv2 scaling-model and benchmark-ddp."""

import json

import pytest
import torch
from helpers.commands import refusal
from helpers.processes import run_forked

from mmcnv2.benchmarks import scaling
from mmcnv2.registry import MODELS

RECIPE = 'configs/fcmae/fcmae_convnextv2-{}_64xb64-amp-coslr-1600e_in1k.py'
TWO_BUCKETS = 2 * 25 * 2**20 // 4  # parameters with 52.4288 MB of fp32 gradients
CLUSTER = scaling.Cluster(
    **dict(tflops=100.0, utilisation=0.5, overhead_ms=2.0, nvlink_gbs=100.0, nic_gbs=10.0, latency_us=10.0),
    **dict(gpus_per_node=4, cores_per_gpu=20.0, images_per_core=500.0, iteration=64),
)


def test_a_step_by_hand():
    step = scaling.predict(TWO_BUCKETS, macs=10**9, images=1600, gpus=16, cluster=CLUSTER)
    assert step.batch == 100
    assert step.compute == pytest.approx(12)  # 100 images x 6 x 1e9 / (100e12 x 0.5 /s)
    assert step.overhead == 4  # 64 images and 36
    # 2 x 15/16 x 52.4288 MB over 4 x 10 GB/s = 2.4576 ms; 2 buckets x 2 x log2(16) x 10 us = 0.16 ms.
    assert step.all_reduce == pytest.approx(2.6176)
    assert step.exposed == pytest.approx(1.3088)  # the second bucket; the first hides behind 2/3 x 12 / 2 = 4 ms
    assert step.reading == pytest.approx(10)  # 100 / (20 x 500)
    assert step.gpu == pytest.approx(17.3088) and step.efficiency == pytest.approx(12 / 17.3088)
    assert step.bound == 'compute'


def test_what_bounds_a_step():
    def step(macs, images, gpus):
        return scaling.predict(TWO_BUCKETS, macs, images, gpus, CLUSTER)

    # A quarter of the work: of 2.6176 ms of all-reduce, 2/3 x 0.6 = 0.4 ms hide.
    assert step(10**9, 80, 16).exposed == pytest.approx(2.2176) and step(10**9, 80, 16).bound == 'all-reduce'
    assert step(10**7, 80, 2).bound == 'reading'  # 40 images in 4 ms, and 2 ms of overhead
    assert step(10**7, 16, 2).bound == 'overhead'
    # In a node, NVLink alone: 2 x 3/4 x 52.4288 MB over 100 GB/s, 2 x 2 x log2(4) x 10 us.
    assert step(10**9, 4, 4).all_reduce == pytest.approx(0.786432 + 0.08)
    assert step(10**9, 4, 1).all_reduce == 0


def test_memory_by_hand():
    """A parameter has 4 bytes in weights, gradients and DDP's buckets, 8 in AdamW."""
    assert scaling.gigabytes(10**9, 8) == pytest.approx((20, 12 + 8 / 8, 16 / 8))


@pytest.mark.slow
def test_tables_of_two_recipes(root, tmp_path):
    accumulating = tmp_path / 'accumulating.py'
    accumulating.write_text(
        f"_base_ = '{root / RECIPE.format('atto')}'\noptim_wrapper = dict(accumulative_counts=8)\n"
    )
    paths = [RECIPE.format('atto'), str(accumulating)]
    options = ['--gpus', 8, 512, '--utilisation', 0.5, '--picture', tmp_path / 'scaling.png']
    done = run_forked(root, 'tools/analysis_tools/scaling_model.py', *paths, *options)
    assert done.returncode == 0, done.stderr
    assert (tmp_path / 'scaling.png').stat().st_size > 10000
    with torch.device('meta'):
        model = MODELS.build(dict(type='mmcnv2.FCMAE', backbone=dict(type='mmcnv2.ConvNeXtV2', arch='atto')))
    parameters = sum(parameter.numel() for parameter in model.parameters())
    reports = done.stdout.split('config: ')[1:]
    assert [report.split()[0] for report in reports] == paths
    for report in reports:  # accumulation does not change the images of a step
        assert f'{parameters / 1e6:.1f} M parameters, {parameters / 250e3:.0f} MB of gradients' in report
        assert '4096 images a step' in report
        rows = [line.strip('|').split(' | ') for line in report.splitlines() if line.startswith('|')]
        header, _, *rows = [[cell.strip() for cell in row] for row in rows]
        row = dict(zip(header, rows[1], strict=True))
        assert row['GPUs'] == '512' and row['images a GPU'] == '8'
        times = [float(row[f'{part} (ms)']) for part in ('compute', 'overhead', 'exposed')]
        assert float(row['efficiency fed']) == pytest.approx(times[0] / sum(times), rel=0.02)
        assert float(row['images/s a GPU']) == pytest.approx(8000 / sum(times), rel=0.02)
        assert float(row['cores a GPU']) == pytest.approx(8000 / sum(times) / 525, rel=0.02)


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        (
            ['scaling-model', 'mmcnv2::toy/upernet_convnextv2-atto_toy-scenes.py'],
            'upernet_convnextv2-atto_toy-scenes.py is no pre-training recipe',
        ),
        (
            ['scaling-model', 'mmcnv2::toy/fcmae_convnextv2-atto_toy-scene.py'],
            'did you mean mmcnv2::toy/fcmae_convnextv2-atto_toy-scenes.py',
        ),
        (['scaling-model', 'x.py', '--utilisation', 0], '--utilisation must be positive, got 0.0'),
        (['scaling-model', 'x.py', '--gpus', 8, 0], '--gpus must be positive, got [8, 0]'),
        (['benchmark-ddp', '--repeats', 0], '--repeats must be positive, got 0'),
        (['benchmark-ddp', '--batch-sizes', 1, 0], '--batch-sizes must be positive, got [1, 0]'),
        (['benchmark-ddp', '--image-size', 100], '--image-size must be positive and divisible by 32, got 100'),
        (['benchmark-ddp', '--arch', 'other'], '--arch must be one of atto, '),
    ],
)
def test_bad_arguments(arguments, message):
    assert message in refusal(*arguments)


def test_a_recipe_that_does_not_say_how_many_images_a_step_has(tmp_path):
    path = tmp_path / 'config.py'
    path.write_text("model = dict(type='mmcnv2.FCMAE')\n")
    assert 'config.py needs auto_scale_lr.base_batch_size' in refusal('scaling-model', path)


@pytest.mark.slow
def test_two_processes_beside_one(root, tmp_path):
    options = ['--batch-sizes', 2, '--image-size', 64, '--repeats', 1, '--json', tmp_path / 'ddp.json']
    done = run_forked(root, 'tools/analysis_tools/benchmark_ddp.py', *options)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((tmp_path / 'ddp.json').read_text())['rows']
    assert row['images a process'] == 2 and row['efficiency'] == row['alone (ms)'] / row['DDP (ms)']
    exchange = row['all-reduce (ms)']  # 29 MB: two buckets
    for source, error in (('alone', 'error'), ('both', 'error from both')):
        compute = row[f'{source} (ms)']
        expected = compute + max(exchange / 2, exchange - 2 / 3 * compute)
        assert row[f'predicted from {source} (ms)'] == pytest.approx(expected)
        assert row[error] == f'{expected / row["DDP (ms)"] - 1:+.0%}'
