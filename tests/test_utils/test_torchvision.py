"""A stand-in torchvision that fails as the real one does beside a CPU-only torch, first on the path."""

import os
import subprocess
import sys

import pytest

pytestmark = pytest.mark.slow

# What the real one does first: the module that loads its compiled operators, or not.
EXTENSION = """
def _has_ops():
    return {}
"""
# Where the real one fails: it registers what its operators do to shapes.
FAILS = """
import torch
from . import extension

@torch.library.register_fake('torchvision::nms')
def nms(dets, scores, iou_threshold):
    return dets.new_empty(0, dtype=torch.long)

imported = True
"""


@pytest.fixture
def run(root, tmp_path):
    """Imports mmcnv2 beside a torchvision with this text, then runs a script; returns its stderr if it fails."""

    def call(torchvision: str, then: str, has_ops: bool = False) -> str:
        (tmp_path / 'torchvision').mkdir()
        (tmp_path / 'torchvision/__init__.py').write_text(torchvision)
        (tmp_path / 'torchvision/extension.py').write_text(EXTENSION.format(has_ops))
        environment = {**os.environ, 'PYTHONPATH': f'{tmp_path}{os.pathsep}{root}'}
        command = [sys.executable, '-c', f'import mmcnv2\n{then}']
        result = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True)
        return result.stderr if result.returncode else ''

    return call


def test_operators_that_are_missing_are_declared(run):
    then = """
import torch, torchvision
assert torchvision.imported
try:
    torch.ops.torchvision.nms(torch.rand(3, 4), torch.rand(3), 0.5)
except NotImplementedError:
    pass  # declared, without a kernel
else:
    raise AssertionError('nms ran')
"""
    assert run(FAILS, then) == ''


def test_one_that_has_them_is_left_alone(run):
    """Declared twice, an operator is an error."""
    then = """
import torch, torchvision
torch.library.Library('torchvision', 'DEF').define('nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor')
"""
    assert run('from . import extension', then, has_ops=True) == ''


def test_another_failure_is_shown(run):
    then = 'import torchvision'
    assert 'RuntimeError: built for another torch' in run("raise RuntimeError('built for another torch')", then)


def test_torchvision_is_not_imported_by_us(run):
    assert run('', "import sys\nassert 'torchvision' not in sys.modules") == ''


def test_the_real_one_can_be_imported_and_with_it_the_inferencers(root):
    """In the environment of this run, whatever it is, in a process that has imported nothing else."""
    inferencers = 'from mmdet.apis import DetInferencer, inference_detector; from mmseg.apis import MMSegInferencer'
    subprocess.run([sys.executable, '-c', f'import mmcnv2; {inferencers}'], cwd=root, check=True)
