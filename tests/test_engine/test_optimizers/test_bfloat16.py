"""Mixed precision on a CPU: what computes in bfloat16, what does not, and that the losses stay the same."""

import logging

import pytest
import torch
from helpers.models import build_fcmae, case, error
from mmcv.ops import DeformConv2dPack, RoIAlign
from mmengine.config import Config
from mmengine.dataset import pseudo_collate
from mmengine.model import BaseModel
from mmengine.registry import DATASETS, MODELS, DefaultScope, init_default_scope
from torch import nn

from mmcnv2.engine.optimizers import BFloat16OptimWrapper, bfloat16
from mmcnv2.utils.errors import ConfigError


def wrapper(model, **options):
    return BFloat16OptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.01), **options)


def watch(module, seen):
    """Note the dtype of the maps that a module returns, before and after the wrapper has its turn."""
    module.register_forward_hook(lambda _module, args, outputs: seen.append((args[0], outputs)))


def test_pre_training_computes_in_bfloat16_as_a_whole():
    _, images, mask = case('square', torch.float32)
    model = build_fcmae()
    expected = model.loss(images, mask=mask)['loss']
    expected.backward()
    gradients = torch.cat([p.grad.flatten() for p in model.parameters()])
    model.zero_grad()
    seen, optimizer = [], wrapper(model)
    watch(model.backbone, seen)
    watch(model.decoder, seen)
    with optimizer.optim_context(model):
        loss = model.loss(images, mask=mask)['loss']
    assert loss.dtype == torch.float32
    assert seen[0][1][0].dtype == seen[1][1].dtype == torch.bfloat16
    assert error(loss, expected) < 1e-2
    loss.backward()
    assert {p.dtype for p in model.parameters()} == {p.grad.dtype for p in model.parameters()} == {torch.float32}
    assert error(torch.cat([p.grad.flatten() for p in model.parameters()]), gradients) < 2e-2
    assert not torch.is_autocast_enabled('cpu')


@pytest.fixture(params=['mask-rcnn', 'upernet'])
def downstream(request, root, toy_scenes):
    """A detector or a segmenter, and two images of its training."""
    cfg = Config.fromfile(root / f'configs/toy/{request.param}_convnextv2-atto_toy-scenes.py')
    cfg.train_dataloader.dataset.data_root = str(toy_scenes)
    init_default_scope(cfg.default_scope)
    torch.manual_seed(0)
    dataset = DATASETS.build(cfg.train_dataloader.dataset)
    model = MODELS.build(cfg.model)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        data = model.data_preprocessor(pseudo_collate([dataset[0], dataset[1]]), True)
    model.train()
    for module in model.modules():
        if isinstance(module, nn.SyncBatchNorm):
            module.eval()  # of two values, which pooling leaves of two images, it would see the sign alone
    return model, data


def step(model, data):
    """The loss, and the gradients of the backbone."""
    torch.manual_seed(1)  # heads draw samples and drop channels
    model.zero_grad()
    loss, _ = model.parse_losses(model(**data, mode='loss'))
    loss.backward()
    return loss.detach(), torch.cat([p.grad.flatten() for p in model.backbone.parameters() if p.grad is not None])


def test_layers_of_others_compute_in_bfloat16(downstream, monkeypatch):
    """Those of the backbone, the neck and the heads. RoIAlign and the losses get float32."""
    model, data = downstream
    seen, pooled, dtypes = [], [], {}
    roi_align = RoIAlign.forward
    monkeypatch.setattr(
        RoIAlign,
        'forward',
        lambda self, x, rois: pooled.append(x.dtype) or roi_align(self, x, rois),
    )
    watch(model.backbone, seen)
    for name, module in model.named_modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):  # modules that are called; blocks call functions
            module.register_forward_hook(
                lambda _module, _args, x, name=name: dtypes.setdefault(name, set()).add(x.dtype)
            )
        elif 'loss_' in name:
            module.register_forward_hook(lambda _module, args, _loss, name=name: dtypes[name].add(args[0].dtype))
            dtypes[name] = set()
    expected, gradients = step(model, data)
    assert set.union(*dtypes.values()) == {torch.float32}
    names = set(dtypes)
    dtypes.update((name, set()) for name in dtypes)
    seen.clear()
    with wrapper(model).optim_context(model):
        loss, actual = step(model, data)
    losses = {name for name in names if 'loss_' in name}
    assert set.union(*(dtypes[name] for name in losses)) == {torch.float32}
    assert {name for name in names - losses if dtypes[name] != {torch.bfloat16}} == set()
    assert all(map_.dtype == torch.float32 for map_ in seen[0][1]), 'what the backbone returns'
    assert set(pooled) <= {torch.float32}
    assert torch.isfinite(loss)
    assert error(loss, expected) < 2e-2
    # Which regions a detector samples hangs on the order of its scores. Over the layers of a whole segmenter rounding
    # to 8 bits adds up to 0.03 to 0.06, by processor.
    assert error(actual, gradients) < (0.5 if pooled else 0.1)
    assert 'forward' not in vars(model.backbone)


class Breaks(nn.Module):
    def forward(self, x):
        raise ZeroDivisionError


class Model(BaseModel):
    def __init__(self, **parts):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        for name, part in parts.items():
            self.add_module(name, part)

    def forward(self, inputs, data_samples=None, mode='loss'):
        return dict(loss=self.backbone.forward(inputs).sum())


@pytest.mark.parametrize('call', [nn.Module.__call__, lambda part, x: part.forward(x)])
def test_however_a_part_is_called(call):
    model = Model(backbone=nn.Linear(4, 4))
    x = torch.rand(3, 4)
    expected = model.backbone(x)
    with wrapper(model).optim_context(model):
        actual = call(model.backbone, x)
    assert actual.dtype == torch.float32
    assert 0 < error(actual, expected) < 1e-2, 'rounded to bfloat16 on the way'
    assert torch.equal(model.backbone(x), expected)


def test_an_error_leaves_the_model_as_it_was():
    model = Model(backbone=Breaks())
    with pytest.raises(ZeroDivisionError), wrapper(model).optim_context(model):
        model.backbone(torch.rand(1))
    assert 'forward' not in vars(model.backbone)
    assert not torch.is_autocast_enabled('cpu')


def test_a_forward_of_the_instance_is_given_back():
    model = Model(backbone=nn.Linear(4, 4))
    model.backbone.forward = own = lambda x: x + 1
    with wrapper(model).optim_context(model):
        assert torch.equal(model.backbone(torch.zeros(2)), torch.ones(2))
    assert model.backbone.forward is own


def test_which_parts_of_a_detector():
    """The heads of a cascade one by one, and none that contains an operator of mmcv."""
    head = nn.Sequential(nn.Conv2d(4, 4, 1), DeformConv2dPack(4, 4, 3))
    model = Model(backbone=nn.Linear(4, 4), neck=head, rpn_head=nn.Linear(4, 4), roi_head=nn.Module())
    model.roi_head.bbox_head = nn.ModuleList([nn.Linear(4, 4), nn.Linear(4, 4)])
    model.roi_head.mask_head = head
    parts = [model.backbone, model.rpn_head, *model.roi_head.bbox_head]
    x = torch.rand(3, 4)
    expected = [part(x) for part in parts]
    with wrapper(model).optim_context(model):
        changed = [module for module in model.modules() if 'forward' in vars(module)]
        for part, output in zip(parts, expected, strict=True):
            assert 0 < error(part(x), output) < 1e-2, 'rounded to bfloat16 on the way'
    assert set(changed) == set(parts)


@pytest.mark.parametrize('parts', [{}, {'backbone': DeformConv2dPack(4, 4, 3)}])
def test_a_model_without_parts_is_refused(parts):
    model = Model(**parts)
    message = 'backbone, neck, .* in bfloat16, and Model has none without operators of mmcv'
    with pytest.raises(ConfigError, match=message), wrapper(model).optim_context(model):
        pass


def test_gradients_accumulate():
    """Two iterations a step, as OptimWrapper does it."""
    model = Model(backbone=nn.Linear(4, 1, bias=False))
    optimizer = wrapper(model, accumulative_counts=2)
    optimizer.initialize_count_status(model, 0, 2)
    before = model.backbone.weight.detach().clone()
    for i in range(2):
        with optimizer.optim_context(model):
            loss = model(torch.ones(1, 4))['loss']
        optimizer.update_params(loss)
        assert torch.equal(model.backbone.weight, before) == (i == 0)
    torch.testing.assert_close(model.backbone.weight, before - 0.01)


@pytest.mark.parametrize('capable', [True, False])
def test_the_log_says_what_computes(monkeypatch, capable):
    said = []
    monkeypatch.setattr(bfloat16, 'multiplies_bfloat16', lambda: capable)
    monkeypatch.setattr(bfloat16, 'describe_processor', lambda: 'Xeon (AVX512), 2 threads')
    monkeypatch.setattr(bfloat16, 'print_log', lambda text, logger, level=logging.INFO: said.append((level, text)))
    wrapper(Model())
    text = 'mixed precision: bfloat16 on Xeon (AVX512), 2 threads'
    slower = f'{text}; it converts to float32 and back, and optim_wrapper.type=OptimWrapper is faster'
    assert said == [(logging.INFO, text) if capable else (logging.WARNING, slower)]


def test_with_a_gpu_it_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: True)
    with pytest.raises(ConfigError, match=r'set optim_wrapper\.type=AmpOptimWrapper'):
        wrapper(Model())
