"""Steps without finite loss and gradients are left out, as if their batch were not there; the batch is kept."""

import pytest
import torch
from helpers.small_run import SmallModel, build_runner
from helpers.training import load
from mmengine.optim import OptimWrapper
from mmengine.registry import MODELS, OPTIM_WRAPPERS

from mmcnv2.resuming.seeding import seed_random_numbers
from mmcnv2.utils.errors import TrainingStopped

HOOK = dict(type='mmcnv2.NonFiniteHook')


@MODELS.register_module()
class LossOverflows(SmallModel):
    """The loss of broken samples is infinite, the gradients are not: 1e20 squared overflows, 2e20 does not."""

    def forward(self, inputs, data_samples=None, mode='loss'):
        inputs = torch.stack(inputs)
        broken = inputs.isinf().any(1)
        out = self.layers(inputs.nan_to_num(posinf=0.0)).squeeze(1)
        return dict(loss=[(out + 1e20 * broken).square().mean() * 1e-10, out.mean()])


def train(work_dir, broken, model=SmallModel, hook=HOOK, **options):
    runner = build_runner(
        work_dir,
        dataset=dict(broken=broken),
        dataloader=dict(sampler=dict(type='DefaultSampler', shuffle=False)),
        hooks=[hook],
        **options,
    )
    runner.model.__class__ = model
    runner.train()
    return runner


@pytest.mark.parametrize('model', [SmallModel, LossOverflows])
def test_step_is_left_out(model, tmp_path):
    """Samples 4 and 5 are the third batch of each of three epochs."""
    runner = train(tmp_path, broken=(5,), model=model)
    assert runner.iter == 18
    assert all(value.isfinite().all() for value in runner.model.state_dict().values())
    states = [load(tmp_path / f'iter_{i}.pth') for i in (2, 3)]
    for key in states[0]['state_dict']:
        assert torch.equal(states[0]['state_dict'][key], states[1]['state_dict'][key])
    steps = {int(state['step']) for state in load(tmp_path / 'iter_18.pth')['optimizer']['state'].values()}
    assert steps == {15}
    assert runner.message_hub.get_scalar('train/non_finite_steps').current() == 3


def test_whole_step_of_accumulation_is_left_out(tmp_path):
    train(tmp_path, broken=(0,), accumulation=3)
    states = [load(tmp_path / f'iter_{i}.pth') for i in (2, 3, 6)]
    weights = [state['state_dict']['layers.0.weight'] for state in states]
    assert torch.equal(weights[0], weights[1]) and not torch.equal(weights[1], weights[2])
    steps = {int(state['step']) for state in load(tmp_path / 'iter_18.pth')['optimizer']['state'].values()}
    assert steps == {3}


@OPTIM_WRAPPERS.register_module()
class SkippingOptimWrapper(OptimWrapper):
    """Leaves out steps itself, as the scaler of float16 does."""

    def step(self, **kwargs):
        if all(p.grad.isfinite().all() for group in self.param_groups for p in group['params']):
            super().step(**kwargs)


def test_what_a_scaler_leaves_out_does_not_cost_the_next_step(tmp_path):
    train(tmp_path, broken=(5,), wrapper=dict(type='SkippingOptimWrapper'))
    steps = {int(state['step']) for state in load(tmp_path / 'iter_18.pth')['optimizer']['state'].values()}
    assert steps == {15}


def test_what_led_to_it_can_be_run_again(tmp_path):
    train(tmp_path, broken=(5,), hook=dict(HOOK, max_saved=2))
    kept = sorted((tmp_path / 'non_finite').iterdir())
    assert [path.name for path in kept] == ['iter_3_rank_0.pth', 'iter_9_rank_0.pth']
    content = torch.load(kept[1], weights_only=True)
    assert content['files'] == ['4.png', '5.png']
    assert torch.stack(content['inputs'])[1].isinf().all()

    model = SmallModel()
    model.load_state_dict(content['state_dict'])
    seed_random_numbers(*content['key'])
    assert content['key'] == (0, 0, 8, 0)
    loss = model(content['inputs'])['loss']
    assert not loss.isfinite() and str(loss.item()) == str(content['losses']['loss'].item())


def test_too_many_in_a_row(tmp_path):
    with pytest.raises(
        TrainingStopped, match=r'not finite in 4 steps in a row, .* iteration 6\. Look at .*non_finite'
    ):
        train(tmp_path, broken=range(4, 12), hook=dict(HOOK, max_in_a_row=4))


def test_a_good_step_between_starts_the_count_anew(tmp_path):
    runner = train(tmp_path, broken=range(2, 12), hook=dict(HOOK, max_in_a_row=6))  # 5 in a row, three times
    assert runner.iter == 18


def test_without_trouble_nothing_changes(tmp_path):
    runner = train(tmp_path / 'hook', broken=())
    expected = build_runner(
        tmp_path / 'none', dataloader=dict(sampler=dict(type='DefaultSampler', shuffle=False))
    ).train()
    for key, value in runner.model.state_dict().items():
        assert torch.equal(value, expected.state_dict()[key])
    assert not (tmp_path / 'hook/non_finite').exists()
