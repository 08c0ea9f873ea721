"""What is particular to the triton backend: its kernels (interpreted where there is no GPU), tables, precision."""

import sys

import pytest
import torch
import torch.nn.functional as F
from helpers import reference
from helpers.launching import launch
from helpers.models import case, error

from mmcnv2.models.sparse import make_layout
from mmcnv2.models.sparse.backends import load_backend, triton

pytestmark = pytest.mark.slow

DEVICE = torch.device('cuda' if torch.cuda.is_available() else 'cpu')
reduced_precision = pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])


def problem(kernel_size=7, side=8, channels=40, dtype=torch.float64):
    """A layout with 3 of 8 patches in each of 3 samples, tokens, weight, bias, and the gradient of the output."""
    _, _, mask = case('wide, 4 channels')
    generator = torch.Generator().manual_seed(4)
    shapes = (
        (3, 3 * side**2, channels),
        (channels, 1, kernel_size, kernel_size),
        (channels,),
        (3, 3 * side**2, channels),
    )
    *leaves, grad = (torch.randn(shape, generator=generator, dtype=torch.float64) for shape in shapes)
    leaves = [leaf.to(DEVICE, dtype).requires_grad_() for leaf in leaves]
    return make_layout(mask, 'triton'), leaves, grad.to(DEVICE, dtype)


def run(layout, leaves, grad):
    """Output, and the gradients of tokens, weight and bias."""
    out = triton.depthwise_conv(*leaves, layout)
    return [out.detach(), *torch.autograd.grad(out, leaves, grad)]


def run_reference(layout, leaves, grad):
    """The same in float64 on the full grid, from the values that the leaves have."""
    x, weight, bias = leaves = [leaf.detach().double().requires_grad_() for leaf in leaves]
    out = reference.depthwise_conv(layout.unpack(x), {'conv.weight': weight, 'conv.bias': bias}, 'conv')
    out = layout.pack(out)
    return [out.detach(), *torch.autograd.grad(out, leaves, grad.double())]


def assert_close(problem_, tolerance):
    for actual, expected in zip(run(*problem_), run_reference(*problem_), strict=True):
        assert actual.dtype == problem_[2].dtype
        assert actual.shape == expected.shape
        assert error(actual, expected) < tolerance


def test_tables_by_hand():
    mask = torch.tensor([[[True, False, False], [True, True, False]], [[False, True, True], [False, False, True]]])
    offsets, patch_map = triton.neighbours(make_layout(mask, 'torch'), ring=1)
    nothing = [-1] * 5
    assert patch_map.tolist() == [
        [nothing, [-1, -1, 0, 1, -1], [-1, -1, -1, 2, -1], nothing],
        [nothing, [-1, 3, -1, -1, -1], [-1, 4, 5, -1, -1], nothing],
    ]
    assert offsets.tolist() == [7, 8, 13, 26, 31, 32]
    assert offsets.dtype == patch_map.dtype == torch.int32


@pytest.mark.parametrize(
    'kernel_size, side, channels',
    [(7, 8, 40), (7, 2, 352), (7, 1, 1), (1, 2, 7), (3, 2, 65), (5, 1, 40), (9, 4, 5), (7, 3, 6)],
)
def test_any_odd_kernel_and_any_channels(kernel_size, side, channels):
    assert_close(problem(kernel_size, side, channels), 1e-13)


def test_single_precision():
    assert_close(problem(7, 4, 40, torch.float32), 1e-6)


@pytest.mark.parametrize('block', [(4, 16), (16, 4)])
@pytest.mark.parametrize('side', [1, 4])
def test_many_programs_and_chunks(monkeypatch, block, side):
    """Blocks that end within the rows and the channels, chunks of several blocks, a last chunk that is shorter."""
    monkeypatch.setattr(triton, 'CONV_BLOCK', block)
    monkeypatch.setattr(triton, 'WEIGHT_GRADIENT_BLOCK', (4, 16, 2))
    assert_close(problem(3, side, 20), 1e-13)


def test_the_weight_gradient_is_deterministic():
    first, *others = (run(*problem(side=4, dtype=torch.float32)) for _ in range(3))
    for other in others:
        assert all(torch.equal(a, b) for a, b in zip(first, other, strict=True))


@reduced_precision
@pytest.mark.parametrize('kernel_size', [3, 7])
def test_sums_are_kept_in_fp32(kernel_size, dtype):
    """Then nothing is lost but in the rounding of the result, where the interpreter cuts off the end of a bfloat16."""
    cut_off = triton.INTERPRETED and dtype == torch.bfloat16
    problem_ = problem(kernel_size, 4, dtype=dtype)
    for actual, expected in zip(run(*problem_), run_reference(*problem_), strict=True):
        assert actual.dtype == dtype
        assert error(actual, expected) < (2.1 if cut_off else 1.01) * error(expected.to(dtype), expected)


@reduced_precision
def test_autocast_is_that_of_conv2d(dtype):
    layout, leaves, grad = problem(3, 2, dtype=torch.float32)
    with torch.autocast(DEVICE.type, dtype):
        actual = run(layout, leaves, grad.to(dtype))
    expected = run(layout, [leaf.to(dtype) for leaf in leaves], grad.to(dtype))
    assert [t.dtype for t in actual] == [dtype, torch.float32, torch.float32, torch.float32]
    for a, b in zip(actual, expected, strict=True):
        assert torch.equal(a, b.to(a.dtype))

    layout, leaves, _ = problem(3, 2)
    with torch.autocast(DEVICE.type, dtype):
        out, like = triton.depthwise_conv(*leaves, layout), F.conv2d(layout.unpack(leaves[0]), leaves[1], groups=40)
    assert out.dtype == like.dtype == torch.float64


def test_strides_of_tokens_and_gradient_do_not_matter():
    layout, (x, weight, bias), grad = problem(3, 4)
    expected = run(layout, (x, weight, bias), grad)
    strided = x.detach().transpose(1, 2).contiguous().transpose(1, 2).requires_grad_()
    wide_weight = weight.detach().repeat(1, 1, 1, 2)[..., :3].requires_grad_()
    assert not strided.is_contiguous()
    actual = run(layout, (strided, wide_weight, bias), grad.transpose(0, 2).contiguous().transpose(0, 2))
    for a, b in zip(actual, expected, strict=True):
        assert torch.equal(a, b)


def test_backward_keeps_no_more_than_tokens_taps_and_tables():
    layout, (x, weight, bias), _ = problem(3, 4, dtype=torch.float32)
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t) or t, lambda t: t):
        triton.depthwise_conv(x, weight, bias, layout)
    tables = layout.table(('triton', 1, x.device), lambda: pytest.fail('not in the table'))
    large = [t for t in kept if t.numel() >= x.numel()]
    assert {t.data_ptr() for t in large} == {x.data_ptr()}
    assert {t.data_ptr() for t in tables} <= {t.data_ptr() for t in kept}


@pytest.mark.parametrize('frozen', [0, 1, 2])
def test_only_what_needs_a_gradient_has_one(frozen):
    layout, leaves, grad = problem(3, 2)
    expected = run(layout, leaves, grad)[1:]
    leaves[frozen].requires_grad_(False)
    triton.depthwise_conv(*leaves, layout).backward(grad)
    for i, leaf in enumerate(leaves):
        assert leaf.grad is None if i == frozen else torch.equal(leaf.grad, expected[i])


def test_custom_operators_keep_their_promises():
    """Fake implementation, autograd registration and schema, checked by torch's own tool."""
    layout, (x, weight, bias), _ = problem(3, 2, channels=3)
    offsets, patch_map = (t.to(DEVICE) for t in triton.neighbours(layout, 1))
    taps = weight.detach().flatten(1).t().contiguous().requires_grad_()
    torch.library.opcheck(triton._conv, (x, taps, bias, offsets, patch_map, 2))
    torch.library.opcheck(triton._conv, (x, taps, None, offsets, patch_map, 2))


@pytest.mark.filterwarnings('ignore:Dynamo')
def test_compiled_in_one_graph_once_the_tables_are_there():
    torch.compiler.reset()
    layout, leaves, grad = problem(3, 2, dtype=torch.float32)
    expected = run(layout, leaves, grad)
    out = torch.compile(triton.depthwise_conv, backend='aot_eager', fullgraph=True)(*leaves, layout)
    for actual, wanted in zip([out, *torch.autograd.grad(out, leaves, grad)], expected, strict=True):
        assert error(actual, wanted) < 1e-6


@pytest.mark.parametrize('shape', [(2, 2), (3, 5)])
def test_kernels_it_does_not_have(shape):
    layout, (x, _, bias), _ = problem()
    with pytest.raises(ValueError, match=rf'square and odd, got {shape[0]}x{shape[1]}'):
        triton.depthwise_conv(x, torch.randn(40, 1, *shape), bias, layout)


def test_on_a_cpu_without_the_interpreter(monkeypatch):
    monkeypatch.setattr(triton, 'INTERPRETED', False)
    layout, leaves, _ = problem()
    with pytest.raises(
        RuntimeError, match=r"needs tensors on a GPU, got one on the CPU; take 'auto' or 'torch' there"
    ):
        triton.depthwise_conv(*(leaf.cpu() for leaf in leaves), layout)


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, 'triton', None)
    monkeypatch.delitem(sys.modules, triton.__name__)
    with pytest.raises(
        ImportError, match=r'needs triton, which comes with CUDA builds of torch: `pip install triton`'
    ):
        load_backend('triton')


COMPILE = """
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from mmcnv2.models.sparse.backends import triton as backend

def compile_(kernel, block, **constants):
    constants |= dict(KERNEL=7, SUM=tl.float32, BLOCK_ROWS=block[0], BLOCK_CHANNELS=block[1])
    types = dict.fromkeys(('x', 'taps', 'bias', 'out', 'grad'), '*bf16')
    types |= dict(partial='*fp32', offsets='*i32', patch_map='*i32')
    types |= dict.fromkeys(constants, 'constexpr')
    signature = {name: types.get(name, 'i32') for name in kernel.arg_names}
    source = ASTSource(kernel, signature, {(kernel.arg_names.index(k),): v for k, v in constants.items()})
    code = triton.compile(source, target=GPUTarget('cuda', 90, 32)).asm['ptx']
    spilled = 'ld.local' in code
    print(kernel.__name__, constants['SIDE'], code.count('fma.rn.f32'), spilled)

for side, ring in ((8, 1), (4, 1), (2, 2), (1, 3)):
    compile_(backend._conv_kernel, backend.CONV_BLOCK, SIDE=side, RING=ring, HAS_BIAS=True)
    compile_(backend._weight_gradient_kernel, backend.WEIGHT_GRADIENT_BLOCK, SIDE=side, RING=ring)
"""


def test_the_kernels_compile_for_an_h100(root):
    """Triton cross-compiles without a GPU. A row of the kernel is multiplied with every token once: 7 x SIDE products
    of 16 x 64 values by 128 threads."""
    done = launch(root, sys.executable, '-c', COMPILE, TRITON_INTERPRET='0')
    expected = [
        f'{kernel} {side} {7 * side * 16 * 64 // 128} False'
        for side in (8, 4, 2, 1)
        for kernel in ('_conv_kernel', '_weight_gradient_kernel')
    ]
    assert done.stdout.splitlines() == expected
