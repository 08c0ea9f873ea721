"""Drawing and checking masks."""

import pytest
import torch
import torch.distributed as dist
from helpers.processes import spawn

from mmcnv2.models.sparse import check_mask, patch_indices, random_mask


@pytest.mark.parametrize(
    'grid, ratio, visible',
    [
        ((7, 7), 0.6, 19),  # 19.6: the official 224-pixel pre-training
        ((7, 7), 0.75, 12),  # 12.25
        ((4, 5), 0.9, 2),  # 20 * (1 - 0.9) is 1.9999999999999996 in binary
        ((2, 5), 0.7, 3),
        ((10, 10), 0.71, 29),
        ((1, 2), 0.01, 1),  # at least one is removed
        ((3, 3), 0.99, 1),  # at least one stays
    ],
)
def test_number_of_visible_patches(grid, ratio, visible):
    mask = random_mask(5, grid, ratio)
    assert mask.shape == (5, *grid)
    assert mask.dtype == torch.bool
    assert (~mask).flatten(1).sum(1).tolist() == [visible] * 5


def test_is_uniform():
    """4000 masks of 19 visible in 49, against the counts of uniform draws without replacement."""
    torch.manual_seed(0)
    visible = ~random_mask(4000, (7, 7), 0.6).flatten(1)
    p = 19 / 49
    counts = visible.double().sum(0)
    # The statistic's mean is 48 and its deviation about 10.
    statistic = ((counts - 4000 * p) ** 2).sum() / (4000 * p * (1 - p))
    assert 20 < statistic < 90
    # Any two patches are visible together with probability 19/49 * 18/48; 5 deviations of 0.0056 for 1176 pairs.
    together = (visible.T.double() @ visible.double() / 4000).fill_diagonal_(p * 18 / 48)
    assert (together - p * 18 / 48).abs().max() < 5 * 0.0056
    assert len(visible.unique(dim=0)) == 4000, 'no mask twice'


def test_is_reproducible_from_the_seed():
    def draw(seed):
        torch.manual_seed(seed)
        return [random_mask(4, (7, 7), 0.6) for _ in range(2)]

    first, second = draw(1), draw(1)
    assert torch.equal(first[0], second[0])
    assert torch.equal(first[1], second[1])
    assert not torch.equal(first[0], first[1]), 'the next call draws anew'
    assert not torch.equal(first[0], draw(2)[0])


def draw_in_a_process(rank, folder):
    dist.init_process_group('gloo', init_method=f'file://{folder}/store', rank=rank, world_size=2)
    runs = []
    for _ in range(2):
        torch.manual_seed(0)
        masks = torch.stack([random_mask(8, (7, 7), 0.6) for _ in range(3)])
        runs.append((masks, torch.rand(4)))
    torch.save(runs, f'{folder}/{rank}.pt')
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.slow
def test_ranks_with_the_same_seed_draw_different_masks(tmp_path):
    spawn(draw_in_a_process, str(tmp_path))
    (first, after), (first_again, _) = torch.load(tmp_path / '0.pt')
    (second, after_second), (second_again, _) = torch.load(tmp_path / '1.pt')
    assert torch.equal(first, first_again), 'the same when run again'
    assert torch.equal(second, second_again)
    assert (first != second).flatten(2).any(dim=2).all(), 'every mask differs between ranks'
    # Two independent masks have 49 * (19/49)**2 = 7.4 visible patches in common; over 24 pairs the deviation is 0.35.
    overlap = (~first & ~second).sum(dim=(2, 3)).double().mean()
    assert 5.5 < overlap < 9.3
    assert torch.equal(after, after_second), 'the global generators stay in step'

    torch.manual_seed(0)
    single_process = torch.stack([random_mask(8, (7, 7), 0.6) for _ in range(3)])
    assert torch.equal(single_process, first), 'rank 0 draws what a single process draws'


@pytest.mark.parametrize('ratio', [0, 1, 0.0, 1.0, -0.1, 1.5, float('nan')])
def test_refuses_a_ratio_outside_the_open_interval(ratio):
    with pytest.raises(ValueError, match=rf'mask_ratio must lie between 0 and 1.*got {ratio}'):
        random_mask(2, (7, 7), ratio)


@pytest.mark.parametrize('grid', [(1, 1), (0, 3)])
def test_refuses_a_single_patch(grid):
    with pytest.raises(ValueError, match=rf'at least two 32x32 patches.*{grid[0]}x{grid[1]}'):
        random_mask(2, grid, 0.6)


def masks(*rows):
    return torch.tensor(rows, dtype=torch.bool).view(len(rows), 2, 3)


@pytest.mark.parametrize(
    'mask, message',
    [
        (masks([1, 0, 0, 0, 0, 0]), r'mask must have shape .*\(2, 2, 3\).*\(2, 3, 64, 96\).*got \(1, 2, 3\)'),
        (masks([0] * 6, [0] * 6).transpose(1, 2), r'mask must have shape .*\(2, 2, 3\).*got \(2, 3, 2\)'),
        (masks([0] * 6, [0] * 6).flatten(1), r'mask must have shape .*\(2, 2, 3\).*got \(2, 6\)'),
        (masks([0] * 6, [0] * 6).float(), r'mask must be of dtype torch\.bool \(True = removed\), got torch\.float32'),
        (masks([0] * 6, [0] * 6).long(), r'mask must be of dtype torch\.bool .*got torch\.int64'),
        (masks([1, 0, 0, 0, 0, 0], [0] * 6), r'mask must have the same number of visible patches, got \[5, 6\]'),
        (masks([1] * 6, [1] * 6), r'mask removes every patch; at least one must stay visible'),
    ],
)
def test_check_mask_says_what_was_expected(mask, message):
    with pytest.raises(ValueError, match=message):
        check_mask(mask, torch.zeros(2, 3, 64, 96))


def test_check_mask_accepts_what_is_right():
    check_mask(masks([1, 0, 0, 1, 0, 0], [0, 0, 0, 0, 1, 1]), torch.zeros(2, 3, 64, 96))


def test_patch_indices_by_hand():
    selected = masks([1, 0, 0, 0, 1, 0], [0, 0, 1, 0, 0, 1])
    assert patch_indices(selected).tolist() == [[0, 4], [2, 5]]
    assert patch_indices(~selected).tolist() == [[1, 2, 3, 5], [0, 1, 3, 4]]
