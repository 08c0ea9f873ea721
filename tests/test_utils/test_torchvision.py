"""A stand-in torchvision that fails as the real one does beside a CPU-only torch, first on the path."""

import os
import subprocess
import sys

import pytest

CALL = """
from mmcnv2.utils.torchvision import _declared, make_torchvision_importable
make_torchvision_importable()
make_torchvision_importable()  # once more does no harm
"""
# Where the real one fails: it registers what its operators do to shapes.
FAILS = """
import torch

@torch.library.register_fake('torchvision::nms')
def nms(dets, scores, iou_threshold):
    return dets.new_empty(0, dtype=torch.long)

imported = True
"""


@pytest.fixture
def run(root, tmp_path):
    """Calls the function beside a torchvision with this text, then runs a script; returns its stderr if it fails."""

    def call(torchvision: str, then: str, before: str = '') -> str:
        (tmp_path / 'torchvision').mkdir()
        (tmp_path / 'torchvision/__init__.py').write_text(torchvision)
        environment = {**os.environ, 'PYTHONPATH': f'{tmp_path}{os.pathsep}{root}'}
        command = [sys.executable, '-c', before + CALL + then]
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


def test_one_that_imports_is_left_alone(run):
    assert run('', "import sys\nassert 'torchvision' in sys.modules and not _declared") == ''


def test_another_failure_is_shown(run):
    assert 'RuntimeError: built for another torch' in run("raise RuntimeError('built for another torch')", '')


def test_without_torchvision(run):
    absent = "import sys\nsys.modules['torchvision'] = None"
    assert run('', "assert sys.modules['torchvision'] is None and not _declared", before=absent) == ''
