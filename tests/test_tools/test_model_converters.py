"""tools/model_converters started as a user starts them."""

import hashlib
import subprocess
import sys

import pytest
import torch
from mmengine.config import Config
from mmengine.logging import MessageHub

from mmcnv2.models.weights import read_state_dict
from tests.test_models.helpers import ARCH, build_fcmae
from tests.test_models.test_weights.foreign import foreign_state_dict


def run(root, tool, *arguments):
    command = [sys.executable, f'tools/model_converters/{tool}.py', *map(str, arguments)]
    return subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=300)


@pytest.fixture
def checkpoint(tmp_path):
    """A training checkpoint as MMEngine writes it, and its model."""
    model = build_fcmae(ARCH)
    hub = MessageHub.get_instance('test_model_converters')
    hub.update_scalar('train/loss', 1.0)
    content = dict(
        state_dict=model.state_dict(),
        optimizer=torch.optim.AdamW(model.parameters()).state_dict(),
        message_hub=hub.state_dict(),
        meta=dict(cfg=Config(dict(a=1)).pretty_text, epoch=2, seed=0, time='now'),
    )
    torch.save(content, tmp_path / 'epoch_2.pth')
    return tmp_path / 'epoch_2.pth', model


@pytest.mark.parametrize('suffix', ['.pth', '.safetensors'])
def test_convert_there_and_back(root, tmp_path, checkpoint, suffix):
    source, model = checkpoint
    theirs, back = tmp_path / f'new/timm{suffix}', tmp_path / f'back{suffix}'
    first = run(root, 'convert_weights', source, theirs, '--to', 'timm')
    assert first.returncode == 0, first.stderr
    total = len(model.backbone.state_dict())
    assert first.stdout.startswith(f'{theirs}: {total} tensors, from mmcnv2 to timm\nleft out: mask_token, ')
    expected = foreign_state_dict('timm', model.backbone)
    for key, value in read_state_dict(str(theirs)).items():
        assert torch.equal(value, expected[key])

    second = run(root, 'convert_weights', theirs, back, '--to', 'mmcnv2')
    assert second.stdout == f'{back}: {total} tensors, from timm to mmcnv2\n'
    read = read_state_dict(str(back))
    assert read.keys() == {f'backbone.{key}' for key in model.backbone.state_dict()}
    assert all(torch.equal(read[f'backbone.{key}'], value) for key, value in model.backbone.state_dict().items())
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([back.name, 'epoch_2.pth', 'new'])


def test_convert_errors(root, tmp_path, checkpoint):
    missing = run(root, 'convert_weights', tmp_path / 'no.pth', tmp_path / 'out.pth', '--to', 'timm')
    assert (missing.returncode, missing.stderr.count('\n')) == (1, 1)
    assert 'no.pth does not exist' in missing.stderr
    unknown = run(root, 'convert_weights', checkpoint[0], tmp_path / 'out.pth', '--to', 'keras')
    assert unknown.returncode == 2
    assert "invalid choice: 'keras'" in unknown.stderr
    assert not (tmp_path / 'out.pth').exists()


def test_publish(root, tmp_path, checkpoint):
    source, model = checkpoint
    result = run(root, 'publish_model', source, tmp_path / 'public/fcmae.pth')
    assert result.returncode == 0, result.stderr
    (path,) = (tmp_path / 'public').iterdir()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    assert path.name == f'fcmae-{digest[:8]}.pth'
    assert result.stdout.startswith(f'{path}: {len(model.state_dict())} tensors, ')

    content = torch.load(path, weights_only=True)
    assert content.keys() == {'state_dict', 'meta'}
    assert content['meta'] == dict(cfg='a = 1\n', epoch=2)
    for key, value in model.state_dict().items():
        assert torch.equal(content['state_dict'][key], value)


def test_publish_errors(root, tmp_path, checkpoint):
    source, model = checkpoint
    result = run(root, 'publish_model', source, tmp_path / 'fcmae.bin')
    assert result.stderr == f'error: the name must end in .pth, got {tmp_path / "fcmae.bin"}\n'
    torch.save(model.state_dict(), tmp_path / 'bare.pth')
    result = run(root, 'publish_model', tmp_path / 'bare.pth', tmp_path / 'out.pth')
    assert 'bare.pth has no state_dict; is it a checkpoint of tools/train.py?' in result.stderr
    assert result.returncode == 1
