"""What is particular to the spconv backend: its index pairs, its precision, what it keeps, what it refuses."""

import sys

import pytest
import torch
import torch.nn.functional as F
from helpers import reference
from helpers.models import OTHER_ARCH, build_backbone, case, error, weighted_sum

from mmcnv2.models.sparse import make_layout
from mmcnv2.models.sparse.backends import load_backend, spconv

every_kernel_size = pytest.mark.parametrize('kernel_size', [3, 7])
reduced_precision = pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])


def problem(kernel_size=7, side=8, channels=40, dtype=torch.float64):
    """A layout with 3 of 8 patches in each of 3 samples, tokens, weight, bias, and the gradient of the output."""
    _, _, mask = case('wide, 4 channels')
    layout = make_layout(mask, 'spconv')
    generator = torch.Generator().manual_seed(4)
    shapes = (3, 3 * side**2, channels), (channels, 1, kernel_size, kernel_size), (channels,)
    leaves = [torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes]
    grad = torch.randn(shapes[0], generator=generator, dtype=torch.float64).to(dtype)
    return layout, [leaf.requires_grad_() for leaf in leaves], grad


def run(layout, leaves, grad):
    """Output, and the gradients of tokens, weight and bias."""
    out = spconv.depthwise_conv(*leaves, layout)
    return [out.detach(), *torch.autograd.grad(out, leaves, grad)]


def run_reference(layout, leaves, grad):
    """The same in float64 on the full grid, from the values that the leaves have."""
    x, weight, bias = leaves = [leaf.detach().double().requires_grad_() for leaf in leaves]
    grid = layout.unpack(x)
    out = layout.pack(reference.depthwise_conv(grid, {'conv.weight': weight, 'conv.bias': bias}, 'conv'))
    return [out.detach(), *torch.autograd.grad(out, leaves, grad.double())]


def tokens_by_hand(mask, side):
    """(sample, row, column) of every token: patch after patch, row-major within a patch."""
    patches = (~mask).nonzero().tolist()
    return [(n, h * side + i, w * side + j) for n, h, w in patches for i in range(side) for j in range(side)]


@pytest.mark.parametrize('kernel_size', [1, 3, 7])
@pytest.mark.parametrize('side', [1, 2, 4])
def test_pairs_of_every_tap_by_hand(kernel_size, side):
    layout, _, _ = problem(kernel_size, side)
    tokens = tokens_by_hand(layout.mask, side)
    number = {token: i for i, token in enumerate(tokens)}

    pairs, counts = spconv.index_pairs(layout, side, kernel_size, torch.device('cpu'))
    actual = {tap: (source.tolist(), target.tolist()) for tap, source, target in spconv._taps(pairs, counts)}

    assert pairs.shape == (2, sum(counts))
    assert sorted(actual) == list(range(kernel_size**2))
    for tap, (source, target) in actual.items():
        dy, dx = tap // kernel_size - kernel_size // 2, tap % kernel_size - kernel_size // 2
        seen = [(number.get((n, y + dy, x + dx)), i) for i, (n, y, x) in enumerate(tokens)]
        expected = [pair for pair in seen if pair[0] is not None]
        assert sorted(zip(source, target, strict=True)) == sorted(expected), tap
    assert actual[kernel_size**2 // 2] == (list(range(len(tokens))),) * 2, 'every token sees itself'


def test_the_order_in_which_spconv_finds_pairs_does_not_matter(monkeypatch):
    """On a GPU the pairs of a tap come in another order every time; sums must not depend on it."""
    problem_ = problem(dtype=torch.float32)
    expected = run(*problem_)
    find = spconv.get_indice_pairs

    def shuffled(*args):
        indices, pairs, counts = find(*args)
        for tap, count in enumerate(counts[:24].tolist()):
            order = torch.randperm(count, generator=torch.Generator().manual_seed(tap))
            for i in (tap, 48 - tap):
                pairs[:, i, :count] = pairs[:, i, order]
        return indices, pairs, counts

    monkeypatch.setattr(spconv, 'get_indice_pairs', shuffled)
    actual = run(*problem(dtype=torch.float32))
    for a, b in zip(actual, expected, strict=True):
        assert torch.equal(a, b)


@pytest.mark.parametrize('with_cp', [False, True])
def test_pairs_are_found_once_per_mask_and_stage(monkeypatch, with_cp):
    calls = []
    find = spconv.get_indice_pairs
    monkeypatch.setattr(spconv, 'get_indice_pairs', lambda *args: calls.append(args[2]) or find(*args))
    arch, images, mask = case('wide, 4 channels', torch.float32)
    assert arch is OTHER_ARCH, 'several blocks in a stage'
    model = build_backbone(arch, in_channels=4, sparse_backend='spconv', with_cp=with_cp)
    shapes = [[16, 32], [8, 16], [4, 8], [2, 4]]
    for step in (1, 2):
        weighted_sum(model(images, mask)).backward()
        assert calls == shapes * step


def test_each_kernel_size_has_its_own_pairs():
    layout = problem()[0]
    for kernel_size in (3, 7, 3):
        _, leaves, grad = problem(kernel_size)
        assert error(run(layout, leaves, grad)[0], run_reference(layout, leaves, grad)[0]) < 1e-13


@every_kernel_size
@pytest.mark.parametrize('dtype, tolerance', [(torch.float64, 1e-13), (torch.float32, 1e-6)])
def test_40_channels(kernel_size, dtype, tolerance):
    problem_ = problem(kernel_size, dtype=dtype)
    for actual, expected in zip(run(*problem_), run_reference(*problem_), strict=True):
        assert actual.dtype == dtype
        assert actual.shape == expected.shape
        assert error(actual, expected) < tolerance


@every_kernel_size
@reduced_precision
def test_sums_are_kept_in_fp32(kernel_size, dtype):
    """Then nothing is lost but in the rounding of the result."""
    problem_ = problem(kernel_size, dtype=dtype)
    for actual, expected in zip(run(*problem_), run_reference(*problem_), strict=True):
        assert actual.dtype == dtype
        assert error(actual, expected) < 1.01 * error(expected.to(dtype), expected)


@reduced_precision
def test_autocast_is_that_of_conv2d(dtype):
    layout, leaves, grad = problem(dtype=torch.float32)
    with torch.autocast('cpu', dtype):
        actual = run(layout, leaves, grad.to(dtype))
    expected = run(layout, [leaf.to(dtype) for leaf in leaves], grad.to(dtype))
    assert [t.dtype for t in actual] == [dtype, torch.float32, torch.float32, torch.float32]
    for a, b in zip(actual, expected, strict=True):
        assert torch.equal(a, b.to(a.dtype))

    layout, leaves, _ = problem()
    with torch.autocast('cpu', dtype):
        out, like = spconv.depthwise_conv(*leaves, layout), F.conv2d(layout.unpack(leaves[0]), leaves[1], groups=40)
    assert out.dtype == like.dtype == torch.float64


def test_backward_keeps_the_tokens_the_weight_and_the_table():
    layout, (x, weight, bias), _ = problem(dtype=torch.float32)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        spconv.depthwise_conv(x, weight, bias, layout)
    pairs, _ = layout.table(('spconv', 8, 7, x.device), lambda: pytest.fail('not in the table'))
    assert {t.data_ptr() for t in kept} == {t.data_ptr() for t in (x, weight, pairs)}
    assert pairs.shape[1] <= 25 * 3 * 3 * 8**2, 'half of the taps and the centre'


@pytest.mark.parametrize('frozen', [0, 1, 2])
def test_only_what_needs_a_gradient_has_one(frozen):
    layout, leaves, grad = problem(3, 4)
    expected = run(layout, leaves, grad)[1:]
    leaves[frozen].requires_grad_(False)
    spconv.depthwise_conv(*leaves, layout).backward(grad)
    for i, leaf in enumerate(leaves):
        assert leaf.grad is None if i == frozen else torch.equal(leaf.grad, expected[i])


def test_no_second_derivative():
    layout, leaves, _ = problem(3, 2)
    out = spconv.depthwise_conv(*leaves, layout)
    (gradient,) = torch.autograd.grad(out.square().sum(), leaves[0], create_graph=True)
    with pytest.raises(RuntimeError, match='once_differentiable'):
        gradient.sum().backward()


@pytest.mark.slow
@pytest.mark.parametrize('tables_are_there', [True, False])
@pytest.mark.filterwarnings('ignore:Dynamo does not know how to trace')
def test_compiled(tables_are_there):
    """In one graph where the tables are there; finding the pairs is not for the compiler."""
    torch.compiler.reset()
    layout, leaves, grad = problem(3, 4, dtype=torch.float32)
    expected = run(layout, leaves, grad)
    layout = layout if tables_are_there else problem(3, 4)[0]
    compiled = torch.compile(spconv.depthwise_conv, backend='aot_eager', fullgraph=tables_are_there)
    out = compiled(*leaves, layout)
    for actual, wanted in zip([out, *torch.autograd.grad(out, leaves, grad)], expected, strict=True):
        assert error(actual, wanted) < 1e-6


@pytest.mark.parametrize('shape', [(2, 2), (3, 5)])
def test_kernels_it_does_not_have(shape):
    layout, (x, _, bias), _ = problem()
    with pytest.raises(ValueError, match=rf'square and odd, got {shape[0]}x{shape[1]}'):
        spconv.depthwise_conv(x, torch.randn(40, 1, *shape), bias, layout)


def test_a_build_for_the_cpu_says_so_on_a_gpu(monkeypatch):
    monkeypatch.setattr(spconv, 'CPU_ONLY_BUILD', True)
    with pytest.raises(RuntimeError, match=r'pip uninstall spconv cumm.*pip install spconv-cu120'):
        spconv.index_pairs(problem()[0], 8, 7, torch.device('cuda'))


def test_without_the_package(monkeypatch):
    for name in [name for name in sys.modules if name.partition('.')[0] == 'spconv']:
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.delitem(sys.modules, spconv.__name__)
    with pytest.raises(ImportError, match=r'needs spconv: `pip install spconv` on a CPU, `pip install spconv-cu120`'):
        load_backend('spconv')
