"""tools/model_converters, run as scripts."""

import hashlib
import re

import pytest
import torch
from helpers.foreign import foreign_state_dict
from helpers.models import ARCH, OTHER_ARCH, build_backbone, build_fcmae, error
from helpers.processes import assert_refused, run_forked
from mmengine.config import Config
from mmengine.logging import MessageHub

from mmcnv2.models.weights.reading import read_state_dict


def run(root, tool, *arguments):
    return run_forked(root, f'tools/model_converters/{tool}.py', *arguments)


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
    assert_refused(unknown, 'keras', 'mmpretrain')
    torch.save({'conv1.weight': torch.zeros(1)}, tmp_path / 'resnet.pth')
    other = run(root, 'convert_weights', tmp_path / 'resnet.pth', tmp_path / 'out.pth', '--to', 'timm')
    assert_refused(other, 'resnet.pth: the checkpoint has no weights of a ConvNeXt V2')
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


def test_publishing_under_a_name_in_use_leaves_that_file(root, tmp_path, checkpoint):
    """The name of the file gets a hash, so the checkpoint itself may be named."""
    source, _ = checkpoint
    before = source.read_bytes()
    assert run(root, 'publish_model', source, source).returncode == 0
    assert source.read_bytes() == before
    (published,) = set(tmp_path.iterdir()) - {source}
    assert re.fullmatch(r'epoch_2-[0-9a-f]{8}\.pth', published.name)


def test_publish_errors(root, tmp_path, checkpoint):
    source, model = checkpoint
    result = run(root, 'publish_model', source, tmp_path / 'fcmae.bin')
    assert result.stderr == f'error: the name must end in .pth, got {tmp_path / "fcmae.bin"}\n'
    torch.save(model.state_dict(), tmp_path / 'bare.pth')
    result = run(root, 'publish_model', tmp_path / 'bare.pth', tmp_path / 'out.pth')
    assert_refused(result, 'bare.pth has no state_dict; is it a checkpoint of a training?')


@pytest.mark.parametrize(('suffix', 'out_indices'), [('.onnx', (0, 1, 2, 3)), ('.pt2', (1, 3))])
def test_an_exported_backbone_takes_images_of_any_size(root, tmp_path, suffix, out_indices):
    """Run here with the packages' own runtimes, at sizes that the tool did not try."""
    backbone = build_backbone(OTHER_ARCH, in_channels=4, out_indices=out_indices).eval()
    torch.save(backbone.state_dict(), tmp_path / 'weights.pth')
    target = tmp_path / f'backbone{suffix}'
    result = run(root, 'export_backbone', tmp_path / 'weights.pth', target, '--out-indices', *out_indices)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.splitlines()
    assert f'{target}: depths (2, 1, 1, 3), channels (6, 4, 14, 10), stages {out_indices}' in lines
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([target.name, 'weights.pth'])

    if suffix == '.onnx':
        import onnxruntime

        session = onnxruntime.InferenceSession(target)
        assert [out.name for out in session.get_outputs()] == [f'stage{i}' for i in out_indices]
    else:
        program = torch.export.load(target).module()
    for shape in ((1, 4, 64, 64), (4, 4, 96, 224)):
        images = torch.randn(shape)
        with torch.no_grad():
            outs = session.run(None, {'images': images.numpy()}) if suffix == '.onnx' else program(images)
            for actual, expected in zip(outs, backbone(images), strict=True):
                assert error(torch.as_tensor(actual), expected) < 1e-5


def test_export_errors(root, tmp_path):
    torch.save({'conv1.weight': torch.zeros(1)}, tmp_path / 'resnet.pth')
    result = run(root, 'export_backbone', tmp_path / 'resnet.pth', tmp_path / 'out.onnx')
    assert_refused(result, 'resnet.pth: the checkpoint has no weights of a ConvNeXt V2')
    torch.save(build_backbone().state_dict(), tmp_path / 'backbone.pth')
    result = run(root, 'export_backbone', tmp_path / 'backbone.pth', tmp_path / 'out.tflite')
    assert_refused(result, 'the target must end in .onnx or .pt2')
