"""Graphs of the backbone that run without this package, and what else needs plain operators."""

import onnxruntime
import pytest
import torch
from helpers.models import ARCH, build_backbone, error
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

RECORDED = (2, 3, 64, 96)
OTHERS = [(1, 3, 96, 32), (3, 3, 128, 128)]

pytestmark = [
    pytest.mark.filterwarnings('ignore:.*is deprecated. Please switch to:DeprecationWarning'),
    pytest.mark.filterwarnings('ignore:You are using the legacy TorchScript-based ONNX export:DeprecationWarning'),
    pytest.mark.filterwarnings('ignore::torch.jit.TracerWarning'),  # of the checks of the images' size
]


def largest_error(actual, expected) -> float:
    return max(error(one, other) for one, other in zip(actual, expected, strict=True))


@pytest.mark.parametrize('with_cp', [False, True])
@pytest.mark.parametrize('gradients', [False, True])
def test_torchscript_at_other_sizes(tmp_path, gradients, with_cp):
    backbone = build_backbone(ARCH, with_cp=with_cp).eval()
    with torch.set_grad_enabled(gradients):
        torch.jit.trace(backbone, torch.randn(RECORDED)).save(tmp_path / 'backbone.pt')
    loaded = torch.jit.load(tmp_path / 'backbone.pt')
    for size in [RECORDED, *OTHERS]:
        images = torch.randn(size)
        assert largest_error(loaded(images), backbone(images)) < 1e-5


def test_torchscript_trains_as_the_backbone_does(tmp_path):
    """Its gradients are those of the backbone's own functions."""
    backbone = build_backbone(ARCH)
    torch.jit.trace(backbone, torch.randn(RECORDED)).save(tmp_path / 'backbone.pt')
    loaded = torch.jit.load(tmp_path / 'backbone.pt')
    images = torch.randn(OTHERS[0])
    for module in (backbone, loaded):
        sum(out.square().sum() for out in module(images)).backward()
    gradients = {name: parameter.grad for name, parameter in loaded.named_parameters()}
    for name, parameter in backbone.named_parameters():
        assert error(gradients[name], parameter.grad) < 1e-4, name


def test_torchscript_of_the_masked_network():
    """The mask is a constant of the graph."""
    backbone = build_backbone(ARCH, sparse_backend='dense').requires_grad_(False)
    mask = torch.zeros(2, 2, 3, dtype=torch.bool)
    mask[:, 0, 1:] = True
    traced = torch.jit.trace(lambda images: backbone(images, mask), torch.randn(RECORDED))
    images = torch.randn(RECORDED)
    assert largest_error(traced(images), backbone(images, mask)) < 1e-5


def test_the_legacy_onnx_exporter(tmp_path):
    backbone = build_backbone(ARCH).eval()
    axes = {'images': {0: 'batch', 2: 'height', 3: 'width'}}
    path = str(tmp_path / 'backbone.onnx')
    torch.onnx.export(backbone, torch.randn(RECORDED), path, dynamo=False, input_names=['images'], dynamic_axes=axes)
    session = onnxruntime.InferenceSession(path, providers=['CPUExecutionProvider'])
    for size in [RECORDED, *OTHERS]:
        images = torch.randn(size)
        actual = [torch.from_numpy(out) for out in session.run(None, {'images': images.numpy()})]
        assert largest_error(actual, backbone(images)) < 1e-4


def test_an_exported_program_has_no_operator_of_ours():
    backbone = build_backbone(ARCH).eval()
    program = torch.export.export(backbone, (torch.randn(RECORDED),))
    namespaces = {node.target.namespace for node in program.graph.nodes if node.op == 'call_function'}
    assert namespaces == {'aten'}


@torch.no_grad()
def test_vmap():
    """torch.func refuses autograd functions that do not say how they are batched."""
    backbone = build_backbone(ARCH).eval()
    images = torch.randn(RECORDED)
    actual = torch.func.vmap(lambda image: backbone(image[None]))(images)
    assert largest_error([out.squeeze(1) for out in actual], backbone(images)) < 1e-5


@torch.no_grad()
def test_a_whole_segmenter_to_torchscript(root):
    config = Config.fromfile(root / 'configs/toy/upernet_convnextv2-atto_toy-scenes.py')
    with DefaultScope.overwrite_default_scope('mmseg'):
        model = MODELS.build(config.model).eval()
    traced = torch.jit.trace(model, torch.randn(RECORDED))
    images = torch.randn(OTHERS[0])
    assert largest_error([traced(images)], [model(images)]) < 1e-5
