"""Where tokens sit: hand-made orders, and every layout operation against plain slicing."""

import pytest
import torch
from helpers import reference
from helpers.models import BACKENDS, case, error
from torch import nn

from mmcnv2.models.sparse import make_layout

TOKEN_BACKENDS = [name for name in BACKENDS if name != 'dense']


@pytest.mark.parametrize('backend', TOKEN_BACKENDS)
def test_token_order_by_hand(backend):
    """Patches of 2x2 tokens in a 4x6 map numbered row by row; patch after patch, row-major within a patch."""
    grid = torch.arange(24.0).view(1, 1, 4, 6)
    #  0  1 |  2  3 |  4  5
    #  6  7 |  8  9 | 10 11
    # ------+-------+------
    # 12 13 | 14 15 | 16 17
    # 18 19 | 20 21 | 22 23
    mask = torch.tensor([[[True, True, False], [False, True, True]]])
    tokens = make_layout(mask, backend).pack(grid)
    assert tokens.flatten().tolist() == [4, 5, 10, 11, 12, 13, 18, 19]


@pytest.mark.parametrize('backend', TOKEN_BACKENDS)
@pytest.mark.parametrize('side', [1, 2, 4, 8, 32])
@pytest.mark.parametrize('name', ['wide, 4 channels', 'one visible patch', 'one removed patch, batch 1'])
def test_pack_and_unpack(backend, side, name):
    _, _, mask = case(name)
    n, h, w = mask.shape
    grid = torch.randn(n, 3, h * side, w * side, requires_grad=True)
    layout = make_layout(mask, backend)

    tokens = layout.pack(grid)
    for i in range(n):
        patches = [
            grid[i, :, row * side : (row + 1) * side, col * side : (col + 1) * side].flatten(1).T
            for row, col in (~mask[i]).nonzero().tolist()
        ]
        assert torch.equal(tokens[i], torch.cat(patches))

    map_ = layout.unpack(tokens)
    keep = reference.upsample(mask, grid)
    assert torch.equal(map_, grid * keep)
    assert map_.is_contiguous(memory_format=torch.channels_last)

    # Gather and scatter are linear: their gradients are each other.
    weight = torch.randn_like(map_)
    (gradient,) = torch.autograd.grad((map_ * weight).sum(), grid)
    assert torch.equal(gradient, weight * keep)


@pytest.mark.parametrize('backend', BACKENDS)
@pytest.mark.parametrize('stride, side', [(4, 32), (2, 8), (2, 4), (2, 2)])
def test_patch_conv(backend, stride, side):
    """Stem and downsampling, each as a linear map of separate windows."""
    torch.manual_seed(0)
    _, _, mask = case('wide, 4 channels')
    conv = nn.Conv2d(3, 5, stride, stride).double()
    grid = torch.randn(3, 3, 2 * side, 4 * side, dtype=torch.float64)
    layout = make_layout(mask, backend)

    actual = layout.unpack(layout.patch_conv(layout.pack(grid), conv))

    weights = {f'conv.{key}': value for key, value in conv.state_dict().items()}
    expected = reference.strided_conv(grid, weights, 'conv', stride)
    assert error(actual, expected * reference.upsample(mask, expected)) < 1e-14


@pytest.mark.parametrize('backend', BACKENDS)
def test_removed(backend):
    """Only a full grid holds removed positions: those of the mask, at the resolution of the map."""
    _, _, mask = case('wide, 4 channels')
    layout = make_layout(mask, backend)
    tokens = layout.pack(torch.ones(3, 2, 16, 32))
    removed = layout.removed(tokens)
    if backend == 'dense':
        assert torch.equal(removed, reference.upsample(mask, torch.ones(3, 2, 16, 32)).permute(0, 2, 3, 1) == 0)
    else:
        assert removed is None


def test_layouts_do_not_share_state():
    """Two masks used alternately: nothing is kept in a global or on a class."""
    grid = torch.randn(1, 2, 8, 16)
    masks = [torch.tensor([[[False, True]]]), torch.tensor([[[True, False]]])]
    layouts = [make_layout(mask, backend) for backend in BACKENDS for mask in masks]
    for _ in range(2):
        for layout, mask in zip(layouts, masks * len(BACKENDS), strict=True):
            assert torch.equal(layout.unpack(layout.pack(grid)), grid * reference.upsample(mask, grid))


def test_no_mask_is_the_full_grid():
    grid = torch.randn(2, 3, 4, 6)
    layout = make_layout(None, 'auto')
    assert torch.equal(layout.pack(grid), grid.permute(0, 2, 3, 1))
    assert torch.equal(layout.unpack(layout.pack(grid)), grid)
    assert layout.removed(grid) is None
