"""The memory-lean MLP against its four modules, in both of its forms (few and many positions)."""

import gc
import socket

import pytest
import torch
import torch.distributed as dist
from helpers.models import error, randomise
from helpers.processes import spawn
from torch import nn
from torch.utils.checkpoint import checkpoint

from mmcnv2.models.layers import GRN, grn_mlp

# Positions and channels: with more than 2C positions the weights are scaled, else the activation.
FORMS = {'activation scaled': (6, 5), 'weights scaled': (24, 5)}
every_form = pytest.mark.parametrize('form', FORMS)


def modules(channels, dtype=torch.float64):
    layers = nn.ModuleDict(
        dict(
            pwconv1=nn.Linear(channels, 4 * channels),
            grn=GRN(4 * channels),
            pwconv2=nn.Linear(4 * channels, channels),
        )
    )
    return randomise(layers).to(dtype)


def inputs(form, dtype=torch.float64, samples=3):
    positions, channels = FORMS[form]
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(samples, positions, channels, generator=generator, dtype=torch.float64).to(dtype)
    return x, modules(channels, dtype)


def plain(x, layers, removed=None):
    """The modules one after the other."""
    a = nn.functional.gelu(layers['pwconv1'](x))
    return layers['pwconv2'](layers['grn'](a if removed is None else a.masked_fill(removed, 0)))


def lean(x, layers, removed=None):
    return grn_mlp(x, layers['pwconv1'], layers['grn'], layers['pwconv2'], removed)


def run(function, x, layers, removed=None):
    """What it returns, and all gradients of a sum that weighs every number differently."""
    x = x.detach().clone().requires_grad_()
    layers.zero_grad()
    y = function(x, layers, removed)
    weight = torch.arange(y.numel(), dtype=torch.float64).sin().view(y.shape)
    (y.double() * weight).sum().backward()
    return {'y': y.detach(), 'x': x.grad, **{name: p.grad for name, p in layers.named_parameters()}}


def compare(actual, expected, tolerance):
    assert set(actual) == set(expected)
    for key, value in expected.items():
        assert actual[key].dtype == value.dtype, key
        assert value.norm() > 0, key
        assert error(actual[key], value) < tolerance, key


@every_form
@pytest.mark.parametrize('with_removed', [False, True])
@pytest.mark.parametrize('dtype, tolerance', [(torch.float64, 1e-13), (torch.float32, 2e-6)])
def test_values_and_gradients_equal_the_modules(form, with_removed, dtype, tolerance):
    x, layers = inputs(form, dtype)
    removed = (torch.arange(x.shape[0] * x.shape[1]) % 3 == 0).view(*x.shape[:2], 1) if with_removed else None
    compare(run(lean, x, layers, removed), run(plain, x, layers, removed), tolerance)


@every_form
def test_gradcheck(form):
    x, layers = inputs(form, samples=2)
    x.requires_grad_()
    names, parameters = zip(*layers.named_parameters(), strict=True)
    removed = torch.zeros(2, x.shape[1], 1, dtype=torch.bool)
    removed[0, :3] = True

    def function(x, *values):
        class Layers(nn.Module):
            def __init__(self):
                super().__init__()
                self.layers = layers

            def forward(self, x):
                return lean(x, self.layers, removed)

        given = {f'layers.{name}': value for name, value in zip(names, values, strict=True)}
        return torch.func.functional_call(Layers(), given, x)

    assert torch.autograd.gradcheck(function, (x, *parameters))


@every_form
def test_a_grid_of_positions_is_a_list_of_positions(form):
    x, layers = inputs(form)
    expected = run(lean, x, layers)
    n, positions, channels = x.shape
    actual = run(lean, x.view(n, positions // 2, 2, channels), layers)
    for key, value in expected.items():
        assert torch.equal(actual[key].view(value.shape), value), key


@every_form
def test_a_channel_that_is_zero_everywhere_has_finite_gradients(form):
    """Its norm is zero, and the norm has no derivative there."""
    x, layers = inputs(form)
    with torch.no_grad():
        layers['pwconv1'].weight[2] = 0
        layers['pwconv1'].bias[2] = 0
    compare(run(lean, x, layers), run(plain, x, layers), 1e-13)


@every_form
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_autocast(form, dtype):
    x, layers = inputs(form, torch.float32)
    exact = run(plain, x, layers)
    with torch.autocast('cpu', dtype):
        actual = run(lean, x, layers)
    assert actual.pop('y').dtype == dtype
    for key, value in actual.items():
        assert value.dtype == torch.float32, key
        assert error(value, exact[key]) < 2e-2, key


@every_form
@pytest.mark.parametrize('autocast', [True, False])
def test_bfloat16_takes_norms_in_fp32_and_casts_weights_once(form, autocast):
    """Saved are the matrices that forward multiplied by, in bfloat16, and norms with more bits than it has."""
    x, layers = inputs(form, torch.float32)
    x = x.bfloat16().requires_grad_()
    if not autocast:
        layers.bfloat16()
    kept = []
    with torch.autocast('cpu', torch.bfloat16, enabled=autocast):
        y = lean(x, layers)
        (node,) = [y.grad_fn] if 'saved_tensors' in dir(y.grad_fn) else [y.grad_fn.next_functions[0][0]]
        kept = node.saved_tensors
    _, h, norm, w1, w2, *_ = kept
    assert h.dtype == w1.dtype == w2.dtype == torch.bfloat16
    assert norm.dtype == torch.float32
    assert error(norm, nn.functional.gelu(h).double().norm(dim=1, keepdim=True)) < 1e-6


def test_large_activations_in_fp16():
    """3 * 100^2 * positions is beyond fp16's largest number, 65504: the norm must not be taken in fp16."""
    x, layers = inputs('weights scaled', torch.float32)
    with torch.no_grad():
        layers['pwconv1'].bias += 100
    exact = run(plain, x, layers)
    with torch.autocast('cpu', torch.float16):
        actual = run(lean, x, layers)
    assert error(actual['y'], exact['y']) < 2e-2


@every_form
def test_gradients_accumulate(form):
    x, layers = inputs(form)
    once = run(lean, x, layers)
    layers.zero_grad()
    for _ in range(2):
        y = lean(x, layers)
        (y * torch.arange(y.numel(), dtype=torch.float64).sin().view(y.shape)).sum().backward()
    for name, parameter in layers.named_parameters():
        assert error(parameter.grad, 2 * once[name]) < 1e-14, name


@every_form
def test_activation_checkpointing(form):
    x, layers = inputs(form)
    expected = run(lean, x, layers)
    actual = run(lambda *args: checkpoint(lean, *args, use_reentrant=False), x, layers)
    for key, value in expected.items():
        assert torch.equal(actual[key], value), key


def _average_gradients(rank, port, form, folder):
    """A process of two: half of the samples, gradients averaged by DDP."""
    dist.init_process_group('gloo', f'tcp://127.0.0.1:{port}', rank=rank, world_size=2)
    x, layers = inputs(form, samples=4)
    model = nn.parallel.DistributedDataParallel(_LeanMLP(layers))
    model(x[2 * rank : 2 * rank + 2]).square().mean().backward()
    torch.save({name: p.grad for name, p in layers.named_parameters()}, folder / f'{rank}.pth')
    # Before the group: DDP would free it without letting go of the GIL, which the group's thread may be waiting for.
    del model
    gc.collect()
    dist.destroy_process_group()


class _LeanMLP(nn.Module):
    def __init__(self, layers):
        super().__init__()
        self.layers = layers

    def forward(self, x):
        return lean(x, self.layers)


@pytest.mark.slow
@every_form
def test_distributed_data_parallel(form, tmp_path):
    """Two processes with two samples each have the gradients of one with four, which takes the modules."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    spawn(_average_gradients, port, form, tmp_path)
    x, layers = inputs(form, samples=4)
    plain(x, layers).square().mean().backward()
    for rank in (0, 1):
        gradients = torch.load(tmp_path / f'{rank}.pth')
        for name, parameter in layers.named_parameters():
            assert error(gradients[name], parameter.grad) < 1e-12, name


@pytest.mark.slow
@every_form
def test_torch_compile(form):
    x, layers = inputs(form)
    compiled = torch.compile(lean, backend='aot_eager', fullgraph=True)
    compare(run(compiled, x, layers), run(lean, x, layers), 1e-13)


@every_form
def test_frozen_parts(form):
    """What needs no gradient gets none, and the rest stays right."""
    x, layers = inputs(form)
    expected = run(lean, x, layers)
    layers['pwconv1'].requires_grad_(False)
    layers['grn'].gamma.requires_grad_(False)
    y = lean(x, layers)  # x needs none either
    (y * torch.arange(y.numel(), dtype=torch.float64).sin().view(y.shape)).sum().backward()
    layers_grads = {name: p.grad for name, p in layers.named_parameters() if p.requires_grad}
    assert set(layers_grads) == {'grn.beta', 'pwconv2.weight', 'pwconv2.bias'}
    for name, grad in layers_grads.items():
        assert error(grad, expected[name]) < 1e-14, name


@every_form
def test_without_gradients(form):
    x, layers = inputs(form)
    with torch.no_grad():
        assert error(lean(x, layers), plain(x, layers)) < 1e-14


@every_form
def test_gradients_of_gradients_are_refused(form):
    x, layers = inputs(form)
    x.requires_grad_()
    (grad,) = torch.autograd.grad(lean(x, layers).square().sum(), x, create_graph=True)
    with pytest.raises(RuntimeError, match='once_differentiable'):
        grad.sum().backward()


@every_form
def test_keeps_the_input_and_the_pre_activation_alone(form):
    """C + 4C values a position; the rest is weights and one norm per sample and channel of the 4C."""
    x, layers = inputs(form, samples=50)
    x.requires_grad_()
    kept = {}

    def keep(tensor):
        kept[tensor.data_ptr()] = tensor.numel()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        lean(x, layers)
    n, positions, channels = x.shape
    parameters = sum(p.numel() for p in layers.parameters())
    assert sum(kept.values()) <= n * (positions * 5 * channels + 4 * channels) + parameters
