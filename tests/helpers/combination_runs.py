"""How a combination of features is trained, interrupted, continued and used, through the tools."""

import json
import re
import signal

import pytest
import torch

from helpers.combinations import CHECKPOINTS, ITERATIONS, METRICS, build_config
from helpers.launching import launch_forked
from helpers.processes import assert_refused, run_forked
from helpers.small_run import differences
from helpers.training import load
from mmcnv2.utils.run_log import read_log

STOP = 7  # within an epoch, between two steps of an accumulation
SIGNALS = {
    'killed': dict(number=int(signal.SIGKILL), iteration=STOP),
    'SIGTERM': dict(number=int(signal.SIGTERM), iteration=STOP),
    'in validation': dict(number=int(signal.SIGTERM), validation=2),
}


def check_combination(root, data, folder, combination):
    print(*(f'{name}={value!r}' for name, value in vars(combination).items()))
    run = Run(root, folder, combination, build_config(root, data, combination))
    run.train('whole')
    run.check('whole')
    if combination.interruption in SIGNALS:
        run.interrupt_and_continue()
    else:
        run.continue_with_other_settings()
    AFTERWARDS[combination.afterwards](run)


class Run:
    """The trainings and tests of a combination, in folders of ``folder``."""

    def __init__(self, root, folder, combination, cfg):
        self.root, self.folder, self.combination, self.cfg = root, folder, combination, cfg
        self.metric, self.rule = METRICS[combination.task]

    def config(self, name, **changes):
        """Write the config with changes, as 'a.b' of ``--cfg-options``; its path."""
        cfg = self.cfg.copy()
        cfg.merge_from_dict({key.replace('__', '.'): value for key, value in changes.items()})
        path = self.folder / f'{name}.py'
        cfg.dump(path)
        return path

    def train(self, name, *arguments, **changes):
        config = self.config(name, **changes)
        return launch_forked(self.root, 'tools/train.py', config, '--work-dir', self.folder / name, *arguments)

    def test(self, checkpoint, *arguments, **changes):
        """The metric that tools/test.py finds."""
        config = self.config('test', **changes)
        command = ['tools/test.py', config, checkpoint, '--work-dir', self.folder / 'test', *arguments]
        launch_forked(self.root, *command)
        file = max((self.folder / 'test').glob('*/*.json'))
        return json.loads(file.read_text())[self.metric]

    def checkpoints(self, name):
        """Those of a training, the newest last."""
        return sorted((self.folder / name).glob('iter_*.pth'), key=_iteration)

    def last(self, name):
        return self.checkpoints(name)[-1]

    def metrics(self, name):
        """The metric of each validation, by iteration."""
        return dict(read_log(self.folder / name).validation[self.metric])

    def rates(self, name):
        """The learning rate of each iteration."""
        return dict(read_log(self.folder / name).training['lr'])

    def check(self, name):
        """What each feature promises of a training."""
        c, work_dir = self.combination, self.folder / name
        found = self.metrics(name)
        due = {
            ('epochs', 'divides'): [4, 8, 12],
            ('epochs', 'does not'): [8, 12],
            ('iterations', 'divides'): [4, 8, 12],
            ('iterations', 'does not'): [5, 10, 12],
        }[c.loop, c.val_interval]
        assert list(found) == (due[:2] if c.early_stopping else due)
        steps = [step for step, _ in read_log(work_dir).training['loss']]
        end = due[1] if c.early_stopping else due[-1]
        assert steps == list(range(1, end + 1))
        kept = [_iteration(path) for path in self.checkpoints(name)]
        every = list(range(CHECKPOINTS, end + 1, CHECKPOINTS))
        if c.keeps == 'the best':  # MMEngine writes another one after a validation that was better
            assert set(kept) - set(found) <= set(every) <= set(kept)
        else:
            assert kept == (every[-2:] if c.keeps == 'two' else every)
        best = [*work_dir.glob('best_*.pth')]
        assert len(best) == (c.keeps == 'the best')
        if best:
            choose = min if self.rule == 'less' else max
            assert f'iter_{choose(found, key=found.get)}' in best[0].name or 'epoch' in best[0].name
        first, last = load(work_dir / f'iter_{kept[0]}.pth'), load(self.last(name))
        weights = {key: value for key, value in last['state_dict'].items() if key.startswith('backbone.')}
        moved = {key for key, value in weights.items() if not torch.equal(value, first['state_dict'][key])}
        frozen = {key for key in weights if re.match(r'backbone\.(stages|downsample_layers)\.[01]\.', key)}
        if c.frozen_stages > 0:
            assert moved and not moved & frozen
        else:
            assert moved & frozen
        assert ('ema_state_dict' in last) == bool(c.averages)

    def interrupt_and_continue(self):
        """Stopped and continued it is the training that was not stopped, bit for bit."""
        c = self.combination
        hooks = [*self.cfg.custom_hooks, dict(type='SignalSender', **SIGNALS[c.interruption])]
        imports = dict(imports=[*self.cfg.custom_imports.imports, 'helpers.small_run'], allow_failed_imports=False)
        config = self.config('stopped', custom_hooks=hooks, custom_imports=imports)
        done = run_forked(self.root, 'tools/train.py', config, '--work-dir', self.folder / 'stopped')
        number = SIGNALS[c.interruption]['number']
        assert done.returncode == (-number if number == signal.SIGKILL else 128 + number), done.stderr[-3000:]
        self.train('stopped', '--resume')
        self.is_same('stopped', 'whole')
        assert self.metrics('stopped') == self.metrics('whole')

    def is_same(self, name, other):
        """The newest checkpoint of both, and the best, bit for bit; no other files are left."""
        # MMEngine writes one beside a best checkpoint, but not before it has written another in this run.
        newest = min(self.checkpoints(name)[-1:] + self.checkpoints(other)[-1:], key=_iteration).name
        found, expected = ([*(self.folder / one).glob('best_*.pth')] for one in (name, other))
        assert [path.name for path in found] == [path.name for path in expected]
        for file in (newest, *(path.name for path in found)):
            assert differences(load(self.folder / name / file), load(self.folder / other / file)) == []
        assert not [*(self.folder / name).glob('preempted*')]

    def continue_with_other_settings(self):
        """The rates are those of a training that has had the settings from its beginning."""
        c = self.combination
        changes = dict(optim_wrapper__accumulative_counts=3 - c.accumulation)
        if c.interruption == 'other batch':
            changes = dict(train_dataloader__batch_size=2 * c.batch_size)
        start = self.checkpoints('whole')[-2]
        if c.schedule == 'ReduceOnPlateauLR' and c.interruption == 'other batch':
            config = self.config('on', **changes)
            done = run_forked(self.root, 'tools/train.py', config, '--work-dir', self.folder / 'on', '--resume', start)
            assert_refused(done, 'a ReduceOnPlateau scheduler depends on the metrics')
            return
        self.train('on', '--resume', start, **changes)
        if c.early_stopping or c.schedule == 'ReduceOnPlateauLR':
            return  # the rate at the end is one of the metrics
        self.train('other', **changes)
        rates, expected = self.rates('on'), self.rates('other')
        assert len(rates) >= 2
        assert rates == pytest.approx({step: expected[step] for step in rates})


def _iteration(checkpoint):
    return int(checkpoint.stem.removeprefix('iter_'))


# ---- what is done with the last checkpoint ----


def is_tested(run):
    """As the last validation found it; predictions and pictures are written."""
    arguments = ['--out', run.folder / 'out.pkl']
    if run.combination.task in ('mask-rcnn', 'cascade', 'upernet'):
        arguments += ['--show-dir', run.folder / 'pictures']
    metric = run.test(run.last('whole'), *arguments)
    validated = run.metrics('whole')
    if ITERATIONS in validated:
        assert metric == pytest.approx(validated[ITERATIONS], abs=1e-6)
    assert (run.folder / 'out.pkl').stat().st_size > 100
    if run.combination.task == 'upernet':
        assert_other_ways_agree(run, metric)
    if '--show-dir' in arguments:
        assert [*(run.folder / 'pictures').rglob('*.jpg')] or [*(run.folder / 'pictures').rglob('*.png')]


def is_published(run):
    """The file has the weights, the averaged ones if there are averages, and is tested as the checkpoint is."""
    source = run.last('whole')
    command = ['tools/model_converters/publish_model.py', source, run.folder / 'published.pth']
    launch_forked(run.root, *command)
    (published,) = run.folder.glob('published-*.pth')
    weights, expected = load(published)['state_dict'], load(source)['state_dict']
    assert differences(weights, expected) == []


def is_loaded(run):
    """A training without a step has its weights; averages begin with them."""
    source = run.last('whole')
    run.train('loaded', load_from=str(source), **_no_step(run))
    weights, expected = load(run.last('loaded'))['state_dict'], load(source)['state_dict']
    assert weights.keys() == expected.keys()
    parameters = [key for key in expected if 'running' not in key and 'num_batches' not in key]
    assert all(torch.equal(weights[key], expected[key]) for key in parameters)


def starts_a_backbone(run):
    source = run.last('whole')
    init_cfg = dict(type='Pretrained', checkpoint=str(source), prefix='backbone.')
    run.train('started', model__backbone__init_cfg=init_cfg, **_no_step(run))
    weights, expected = load(run.last('started'))['state_dict'], load(source)['state_dict']
    backbone = [key for key in expected if key.startswith('backbone.')]
    assert backbone and all(torch.equal(weights[key], expected[key]) for key in backbone)


def _no_step(run):
    """A short training at a rate of 0."""
    length = 'max_epochs' if run.combination.loop == 'epochs' else 'max_iters'
    return dict(
        optim_wrapper__optimizer__lr=0.0,
        optim_wrapper__optimizer__weight_decay=0.0,
        param_scheduler=[],
        **{f'train_cfg__{length}': 1},
        val_dataloader=None,
        val_evaluator=None,
        val_cfg=None,
        custom_hooks=[hook for hook in run.cfg.custom_hooks if hook['type'] != 'EarlyStoppingHook'],
    )


def assert_other_ways_agree(run, metric):
    """Test-time augmentation that changes nothing changes nothing; slide inference with one window is that of all."""
    pipeline = list(run.cfg.test_dataloader.dataset.pipeline)
    steps = [dict(type='RandomFlip', prob=0.0), *(dict(step) for step in pipeline[1:])]
    tta = dict(type='TestTimeAug', transforms=[[step] for step in steps])
    changes = dict(tta_model=dict(type='SegTTAModel'), tta_pipeline=[pipeline[0], tta])
    assert run.test(run.last('whole'), '--tta', **changes) == pytest.approx(metric, abs=1e-6)
    slide = dict(mode='slide', crop_size=(128, 128), stride=(96, 96))
    assert run.test(run.last('whole'), model__test_cfg=slide) == pytest.approx(metric, abs=1e-6)


AFTERWARDS = {
    'test': is_tested,
    'publish': is_published,
    'load_from': is_loaded,
    'init_cfg': starts_a_backbone,
}
