"""What a config becomes with and without a GPU. (Runs on the CPU: tests/test_tools/test_distributed*.py.)"""

import pytest
import torch
from helpers import small_run  # noqa: F401  (SmallModel)
from mmengine.config import Config
from mmengine.registry import RUNNERS
from mmengine.visualization import Visualizer

from mmcnv2.engine.runner import build_runner
from mmcnv2.utils.errors import ConfigError

UPERNET = 'configs/upernet/upernet_convnextv2-base-fcmae-ft1k_8xb2-amp-160k_ade20k-512x512.py'
ZERO = 'configs/fcmae/fcmae_convnextv2-huge_64xb64-zero1-amp-coslr-1600e_in1k.py'


@RUNNERS.register_module()
class RunnerThatKeepsItsConfig:
    def __init__(self, cfg):
        self.cfg = cfg
        self.hooks = self._hooks = []
        self.visualizer = Visualizer()

    @classmethod
    def from_cfg(cls, cfg):
        return cls(cfg)

    def register_hook(self, hook):
        self.hooks.append(hook)


def test_a_gpu_changes_nothing(root, monkeypatch):
    """SyncBN and mixed precision stay as the config has them."""
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    monkeypatch.setenv('CUDA_VISIBLE_DEVICES', '0')  # MMEngine's logger asks for it
    cfg = Config.fromfile(root / UPERNET)
    cfg.launcher = 'pytorch'
    cfg.runner_type = 'RunnerThatKeepsItsConfig'
    runner = build_runner(cfg)
    given = Config.fromfile(root / UPERNET)
    assert given.model.decode_head.norm_cfg.type == given.model.auxiliary_head.norm_cfg.type == 'SyncBN'
    assert given.optim_wrapper.type == 'AmpOptimWrapper'
    assert {key: runner.cfg[key] for key in given} == given.to_dict()


def test_checkpoints_do_not_format_the_config(tmp_path, monkeypatch):
    """Formatting leaves thousands of objects in circles; the file in the work dir is as readable as before."""
    cfg = Config(dict(model=dict(type='SmallModel'), work_dir=str(tmp_path), launcher='none'))
    runner = build_runner(cfg)
    (file,) = tmp_path.glob('*.py')
    assert file.read_text() == cfg.pretty_text
    monkeypatch.setattr('yapf.yapflib.yapf_api.FormatCode', None)
    assert Config.fromstring(runner.cfg.pretty_text, '.py').to_dict() == cfg.to_dict()


def test_deepspeed_cannot_scale_the_learning_rate(root):
    cfg = Config.fromfile(root / ZERO)
    cfg.auto_scale_lr.enable = True
    with pytest.raises(ConfigError, match=r'DeepSpeedStrategy does not scale .* set optim_wrapper\.optimizer\.lr'):
        build_runner(cfg)


FCMAE = 'configs/fcmae/fcmae_convnextv2-atto_64xb64-amp-coslr-1600e_in1k.py'


@pytest.mark.parametrize(
    ('recipe', 'capable', 'kind', 'message'),
    [
        (FCMAE, True, 'mmcnv2.BFloat16OptimWrapper', None),
        (UPERNET, True, 'mmcnv2.BFloat16OptimWrapper', 'no GPU: mixed precision in bfloat16 instead of float16'),
        (FCMAE, False, 'OptimWrapper', 'no GPU: training in fp32 instead of mixed precision'),
        (UPERNET, False, 'OptimWrapper', 'no GPU: training in fp32 instead of mixed precision'),
    ],
)
def test_mixed_precision_without_a_gpu(root, monkeypatch, recwarn, recipe, capable, kind, message):
    """bfloat16 where the processor multiplies in it; recipes of pre-training ask for it, others for float16."""
    monkeypatch.setattr('mmcnv2.engine.runner.multiplies_bfloat16', lambda: capable)
    cfg = Config.fromfile(root / recipe)
    cfg.runner_type, cfg.launcher = 'RunnerThatKeepsItsConfig', 'none'
    given = Config.fromfile(root / recipe).optim_wrapper
    runner = build_runner(cfg)
    kept = {key: given[key] for key in given if key not in ('type', 'dtype', 'loss_scale')}
    assert runner.cfg.optim_wrapper == dict(kept, type=kind)
    said = [str(warning.message) for warning in recwarn if 'no GPU' in str(warning.message)]
    assert said == ([] if message is None else [message])


def test_evaluation_without_a_gpu_is_in_float32(root, recwarn):
    """MMEngine would compute heads in bfloat16, too, and RoIAlign does not know it."""
    cfg = Config.fromfile(root / UPERNET)
    cfg.runner_type, cfg.launcher = 'RunnerThatKeepsItsConfig', 'none'
    cfg.val_cfg.fp16 = True
    assert 'fp16' not in build_runner(cfg).cfg.val_cfg
    assert any('no GPU: val_cfg.fp16 is ignored' in str(warning.message) for warning in recwarn)


def test_hooks_that_are_none_are_left_out(tmp_path):
    """MMEngine's own six and any others."""
    hooks = dict(timer=None, non_finite=None, preemption=dict(type='mmcnv2.PreemptionHook'))
    cfg = Config(dict(model=dict(type='SmallModel'), work_dir=str(tmp_path), launcher='none', default_hooks=hooks))
    names = {type(hook).__name__ for hook in build_runner(cfg).hooks}
    assert {'PreemptionHook', 'LoggerHook'} <= names and not {'IterTimerHook', 'NonFiniteHook'} & names


@pytest.mark.parametrize('is_main', [True, False])
def test_the_main_process_alone_writes_the_metrics_of_a_test(tmp_path, monkeypatch, is_main):
    """All would write the same file, and their times are not of the same length: sometimes it had a piece of each."""
    loader = dict(dataset=dict(type='RandomNumbers'), sampler=dict(type='DefaultSampler', shuffle=False))
    given = dict(model=dict(type='SmallModel'), work_dir=str(tmp_path), launcher='none')
    saver = dict(type='DumpResults', out_file_path=str(tmp_path / 'predictions.pkl'))
    given |= dict(test_dataloader=loader, test_cfg=dict(), test_evaluator=saver)
    runner = build_runner(Config(given))
    monkeypatch.setattr('mmengine.dist.utils.is_main_process', lambda: is_main)
    runner.test()
    assert len([*tmp_path.glob('*/*.json')]) == is_main


@pytest.mark.parametrize(('value', 'expected'), [(True, {}), (dict(backend='eager'), dict(backend='eager'))])
def test_compile_is_a_hook(tmp_path, value, expected):
    """MMEngine's compiles the training step as a whole; see test_hooks/test_compile.py for what ours does."""
    given = dict(model=dict(type='SmallModel'), work_dir=str(tmp_path), launcher='none', compile=value)
    runner = build_runner(Config(given))
    (hook,) = (hook for hook in runner.hooks if type(hook).__name__ == 'CompileHook')
    assert hook.kwargs == expected and 'compile' not in runner.cfg


def test_compile_that_is_off(tmp_path):
    given = dict(model=dict(type='SmallModel'), work_dir=str(tmp_path), launcher='none', compile=False)
    assert 'CompileHook' not in {type(hook).__name__ for hook in build_runner(Config(given)).hooks}


@pytest.mark.parametrize(
    ('settings', 'expected'),
    [
        ({}, dict(type='MMDistributedDataParallel', find_unused_parameters=False, broadcast_buffers=False)),
        (dict(find_unused_parameters=True), dict(find_unused_parameters=True)),
        (dict(model_wrapper_cfg=dict(type='MMDistributedDataParallel', static_graph=True)), dict(static_graph=True)),
        (dict(model_wrapper_cfg=dict(type='MMSeparateDistributedDataParallel')), dict(device_ids=None)),
    ],
)
def test_the_wrapper_of_the_config_without_a_gpu(monkeypatch, settings, expected):
    """As MMEngine has it, but on no GPU."""
    monkeypatch.setattr(torch.distributed, 'init_process_group', lambda backend: None)
    given = dict(model=dict(type='SmallModel'), launcher='pytorch', runner_type='RunnerThatKeepsItsConfig', **settings)
    wrapper = build_runner(Config(given)).cfg.model_wrapper_cfg
    assert wrapper.device_ids is None and {key: wrapper[key] for key in expected} == expected


FSDP = 'configs/fcmae/fcmae_convnextv2-huge_64xb64-fsdp-amp-coslr-1600e_in1k.py'


def test_fsdp_needs_processes(root):
    cfg = Config.fromfile(root / FSDP)
    with pytest.raises(ConfigError, match=r'shards between processes: start it with tools/dist_train\.sh CONFIG GPUS'):
        build_runner(cfg)
