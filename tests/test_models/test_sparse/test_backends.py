"""Every backend of the masked network against the reference: values, gradients, leaks, precision."""

import pytest
import torch
from helpers import reference
from helpers.models import (
    BACKENDS,
    backend_cases,
    build_backbone,
    case,
    double_weights,
    error,
    every_backend,
    every_token_backend,
    gradients,
    pixels,
    weighted_sum,
)
from torch import nn

from mmcnv2.models.sparse import make_layout
from mmcnv2.models.sparse.backends import load_backend

TOLERANCE = {torch.float32: 2e-5, torch.float64: 1e-12}


def run(model, images, mask):
    """Maps, and the gradients of the pixels and of every parameter."""
    images = images.detach().clone().requires_grad_()
    model.zero_grad()
    maps = model(images, mask)
    weighted_sum(maps).backward()
    return [m.detach() for m in maps], {'images': images.grad, **gradients(model)}


def flat(grads):
    return torch.cat([grad.flatten() for grad in grads.values()])


@pytest.mark.parametrize(('backend', 'name', 'dtype'), backend_cases(*((dtype,) for dtype in TOLERANCE)))
def test_features_and_all_gradients_equal_the_reference(backend, name, dtype):
    arch, images, mask = case(name, dtype)
    model = build_backbone(arch, in_channels=images.shape[1], sparse_backend=backend).to(dtype)
    weights = double_weights(model)
    leaf = images.to(torch.float64, copy=True).requires_grad_()
    expected = reference.features(weights, leaf, mask)
    weighted_sum(expected).backward()

    maps, grads = run(model, images, mask)

    for actual, wanted in zip(maps, expected, strict=True):
        assert actual.dtype == dtype
        assert error(actual, wanted.detach()) < TOLERANCE[dtype]
        assert not actual[reference.upsample(mask, actual).expand_as(actual) == 0].any(), 'removed positions are zero'
    assert set(grads) == {'images', *weights}
    for key, grad in grads.items():
        wanted = leaf.grad if key == 'images' else weights[key].grad
        assert wanted.norm() > 0
        assert error(grad, wanted) < TOLERANCE[dtype], key
    assert not grads['images'][pixels(mask, images)].any(), 'removed pixels have no gradient'


@every_backend
def test_removed_pixels_influence_nothing(backend):
    """Neither large values nor inf nor NaN, which are there in turn."""
    arch, images, mask = case('small', torch.float32)
    model = build_backbone(arch, sparse_backend=backend)
    values = torch.tensor([1e30, torch.inf, torch.nan, -torch.inf])[torch.arange(images.numel()) % 4]
    spoiled = torch.where(pixels(mask, images), values.view_as(images), images)

    maps, grads = run(model, images, mask)
    spoiled_maps, spoiled_grads = run(model, spoiled, mask)

    for expected, actual in zip(maps, spoiled_maps, strict=True):
        assert torch.equal(actual, expected)
    for key, expected in grads.items():
        assert torch.equal(spoiled_grads[key], expected), key


@every_backend
def test_a_sample_does_not_depend_on_its_batch(backend):
    arch, images, mask = case('small')
    model = build_backbone(arch, sparse_backend=backend).double()
    together = model(images, mask)
    for i in range(len(images)):
        alone = model(images[i : i + 1], mask[i : i + 1])
        for expected, actual in zip(together, alone, strict=True):
            assert error(actual[0], expected[i]) < 1e-13


@every_backend
def test_a_mask_that_removes_nothing_is_no_mask(backend):
    arch, images, mask = case('small')
    model = build_backbone(arch, sparse_backend=backend).double()
    for actual, expected in zip(model(images, torch.zeros_like(mask)), model(images), strict=True):
        assert error(actual, expected) < 1e-13


def test_the_mask_matters():
    arch, images, mask = case('small', torch.float32)
    model = build_backbone(arch)
    masked, dense = model(images, mask)[0], model(images)[0]
    visible = reference.upsample(mask, dense).bool().expand_as(dense)
    assert error(masked[visible], dense[visible]) > 1e-2


@every_backend
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast_is_close_to_fp32(backend, dtype):
    arch, images, mask = case('square', torch.float32)
    model = build_backbone(arch, sparse_backend=backend)
    expected, expected_grads = run(model, images, mask)
    with torch.autocast('cpu', dtype):
        maps, grads = run(model, images, mask)
        dense_maps, dense_grads = run(build_backbone(arch, sparse_backend='dense'), images, mask)

    for actual, wanted, dense in zip(maps, expected, dense_maps, strict=True):
        assert actual.isfinite().all()
        assert error(actual, wanted) < 2e-2
        assert error(actual, dense) < 2e-2
    for key, grad in grads.items():
        assert grad.isfinite().all(), key
        assert error(grad, expected_grads[key]) < 5e-2, key  # a few numbers each: rounding averages out less
    assert error(flat(grads), flat(expected_grads)) < 2e-2
    assert error(flat(grads), flat(dense_grads)) < 2e-2


@every_backend
def test_activation_checkpointing_changes_nothing(backend):
    arch, images, mask = case('small', torch.float32)
    results = []
    for with_cp in (False, True):
        model = build_backbone(arch, sparse_backend=backend, with_cp=with_cp, drop_path_rate=0.6).train()
        calls = []
        model.stages[0][0].register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
        torch.manual_seed(3)
        results.append(run(model, images, mask))
        assert len(calls) == (2 if with_cp else 1), 'recomputed in backward'
    (maps, grads), (cp_maps, cp_grads) = results
    for expected, actual in zip(maps, cp_maps, strict=True):
        assert torch.equal(actual, expected)
    for key, expected in grads.items():
        assert torch.equal(cp_grads[key], expected), key


@every_token_backend
@pytest.mark.parametrize('side', [1, 2, 4, 8])
def test_depthwise_conv_on_tokens(backend, side):
    """The operation by itself, on random tokens of every stage."""
    torch.manual_seed(0)
    _, _, mask = case('wide, 4 channels')
    conv = nn.Conv2d(5, 5, 7, padding=3, groups=5).double()
    grid = torch.randn(3, 5, 2 * side, 4 * side, dtype=torch.float64)
    keep = reference.upsample(mask, grid)
    weights = {f'conv.{key}': value for key, value in conv.state_dict().items()}
    expected = reference.depthwise_conv(grid * keep, weights, 'conv') * keep

    layout = make_layout(mask, backend)
    tokens = layout.pack(grid)
    assert tokens.shape == (3, 3 * side * side, 5)
    actual = load_backend(backend)(tokens, conv.weight, conv.bias, layout)

    assert actual.shape == tokens.shape
    assert error(layout.unpack(actual), expected) < 1e-13
    without_bias = load_backend(backend)(tokens, conv.weight, None, layout)
    assert error(without_bias + conv.bias, actual) < 1e-13


@pytest.mark.slow
@pytest.mark.filterwarnings('ignore:Dynamo')
@pytest.mark.parametrize('backend', ['dense', 'torch'])
def test_torch_compile(backend):
    """The whole network with its backward; new masks of the same shape do not compile it again."""
    torch.compiler.reset()
    arch, images, mask = case('square')
    model = build_backbone(arch, sparse_backend=backend).double()
    compiled = torch.compile(model, backend='aot_eager')
    run(compiled, images, mask)
    for new_mask in (mask, mask.flip(2)):
        expected_maps, expected_grads = run(model, images, new_mask)
        with torch.compiler.set_stance('fail_on_recompile'):
            maps, grads = run(compiled, images, new_mask)
        assert all(error(a, b) < 1e-12 for a, b in zip(maps, expected_maps, strict=True))
        assert all(
            error(grads[f'_orig_mod.{k}' if k != 'images' else k], v) < 1e-12 for k, v in expected_grads.items()
        )


@pytest.mark.slow
def test_without_a_mask_the_network_is_one_graph():
    torch.compiler.reset()
    arch, images, _ = case('square')
    model = build_backbone(arch).double()
    compiled = torch.compile(model, backend='aot_eager', fullgraph=True)
    assert all(error(a, b) < 1e-12 for a, b in zip(compiled(images), model(images), strict=True))


def test_auto_is_among_the_backends_and_unknown_names_are_refused():
    assert {'auto', 'dense', 'torch'} <= set(BACKENDS)
    with pytest.raises(ValueError, match=r"sparse_backend must be one of auto, dense, .*torch.*, got 'cuda'"):
        build_backbone(sparse_backend='cuda')
