"""Trainings of small models that have several features at once: which combinations, and the config of each."""

import itertools
from types import SimpleNamespace

from mmengine.config import Config

ITERATIONS = 12
EPOCH = 4  # iterations
CHECKPOINTS = 3  # iterations between them
ARCH = dict(depths=(1, 1, 1, 1), channels=(8, 16, 24, 32))
CLASSES = ('one', 'other')


# The values of each feature; docs/reference/combinations.md tells what is tested of them.
FEATURES = {
    'task': ('fcmae', 'fcmae shards', 'mask-rcnn', 'cascade', 'upernet', 'classifier'),
    'interruption': ('killed', 'SIGTERM', 'in validation', 'other batch', 'other accumulation'),
    'afterwards': ('test', 'publish', 'load_from', 'init_cfg'),
    'schedule': ('OneCycleLR', 'PolyLR', 'CosineAnnealingLR', 'ReduceOnPlateauLR'),
    'optimizer': ('AdamW', 'SGD', 'timm.optim.Lamb', 'timm.optim.Lion'),
    'averages': (None, 'ExponentialMovingAverage', 'MomentumAnnealingEMA', 'StochasticWeightAverage'),
    'wrapper': (None, 'RepeatDataset', 'ConcatDataset', 'ClassBalancedDataset'),
    'keeps': ('every checkpoint', 'the best', 'two'),
    'layer_decay': (None, 'single', 'group'),
    'loop': ('epochs', 'iterations'),
    'accumulation': (1, 2),
    'bfloat16': (False, True),
    'clip_grad': (False, True),
    'frozen_stages': (-1, 2),
    'with_cp': (False, True),
    'drop_path': (0.0, 0.2),
    'early_stopping': (False, True),
    'val_interval': ('divides', 'does not'),
    'mix': (False, True),  # CopyPaste of detectors, Mixup of classifiers
    'pipeline_switch': (False, True),
    'workers': (0, 2),
    'batch_size': (1, 2),
}


_DETECTORS = ('mask-rcnn', 'cascade')
# Which value of a feature asks for which values of another.
NEEDS = [
    # It asks a dataset for the classes of a sample.
    (('wrapper', 'ClassBalancedDataset'), ('task', (*_DETECTORS, 'classifier'))),
    # Shards are read in the order of their sampler, which ends.
    (('task', 'fcmae shards'), ('wrapper', (None,))),
    (('task', 'fcmae shards'), ('loop', ('epochs',))),
    (('mix', True), ('task', (*_DETECTORS, 'classifier'))),
    # A MultiImageMixDataset has a list of transforms, not the pipeline that the hook sets.
    (('mix', True), ('pipeline_switch', (False,))),
    # In a pre-training there is nothing that could be kept.
    (('frozen_stages', 2), ('task', (*_DETECTORS, 'upernet', 'classifier'))),
    # Refused, see test_preflight/test_loaders.py: batch norm after global pooling.
    (('task', 'upernet'), ('batch_size', (2,))),
    # The hook switches at an epoch, the schedule looks at its metrics.
    (('pipeline_switch', True), ('loop', ('epochs',))),
    (('schedule', 'ReduceOnPlateauLR'), ('loop', ('epochs',))),
]


def _is_possible(values):
    for (feature, value), (other, allowed) in NEEDS:
        if values.get(feature) == value and other in values and values[other] not in allowed:
            return False
    return True


def _filled(values, left, uncovered):
    """``values`` with one of each feature in ``left``, such that many pairs are new; None if there is none."""
    if not left:
        return values
    feature, *others = left

    def new_pairs(value):
        return sum(_pair((feature, value), item) in uncovered for item in values.items())

    for value in sorted(FEATURES[feature], key=new_pairs, reverse=True):
        tried = {**values, feature: value}
        if _is_possible(tried) and (filled := _filled(tried, others, uncovered)):
            return filled
    return None


def _pair(one, other):
    return frozenset((one, other))


def combinations():
    """A list in which every pair of values occurs that can."""
    uncovered = {
        _pair((one, value), (other, other_value)): None
        for one, other in itertools.combinations(FEATURES, 2)
        for value in FEATURES[one]
        for other_value in FEATURES[other]
    }
    found = []
    while uncovered:
        pair = next(iter(uncovered))
        values = dict(pair)
        filled = _filled(values, [feature for feature in FEATURES if feature not in values], uncovered)
        del uncovered[pair]
        if filled:
            found.append(SimpleNamespace(**filled))
            for two in itertools.combinations(filled.items(), 2):
                uncovered.pop(frozenset(two), None)
    return found


METRICS = {
    'fcmae': ('fcmae/reconstruction_error', 'less'),
    'fcmae shards': ('fcmae/reconstruction_error', 'less'),
    'mask-rcnn': ('coco/segm_mAP', 'greater'),
    'cascade': ('coco/segm_mAP', 'greater'),
    'upernet': ('mIoU', 'greater'),
    'classifier': ('accuracy/top1', 'greater'),
}


def build_config(root, data, combination):
    """The config of a training; ``data`` has toy_scenes/, classes/ and shards/."""
    c = combination
    cfg = _config_of_task(root, data, c.task)
    cfg.model.backbone.update(arch=ARCH, with_cp=c.with_cp, drop_path_rate=c.drop_path, frozen_stages=c.frozen_stages)
    _set_data(cfg, c)
    _set_schedule(cfg, c)
    metric, rule = METRICS[c.task]
    cfg.optim_wrapper = dict(
        type='mmcnv2.BFloat16OptimWrapper' if c.bfloat16 else 'OptimWrapper',
        optimizer=dict(type=c.optimizer, lr=1e-3, weight_decay=0.05),
        accumulative_counts=c.accumulation,
        clip_grad=dict(max_norm=1.0) if c.clip_grad else None,
    )
    if c.layer_decay:
        cfg.optim_wrapper.constructor = 'mmcnv2.LayerDecayOptimWrapperConstructor'
        cfg.optim_wrapper.paramwise_cfg = dict(decay_rate=0.9, decay_type=c.layer_decay)
    cfg.default_hooks.checkpoint = dict(
        type='mmcnv2.CheckpointHook',
        by_epoch=False,
        interval=CHECKPOINTS,
        max_keep_ckpts=2 if c.keeps == 'two' else -1,
        **(dict(save_best=metric, rule=rule) if c.keeps == 'the best' else {}),
    )
    cfg.default_hooks.logger.interval = 1
    cfg.custom_hooks = []
    if c.averages:
        cfg.custom_hooks.append(dict(type='EMAHook', ema_type=c.averages, priority='ABOVE_NORMAL'))
    if c.early_stopping:  # at the second validation: nothing gets better by 1000
        cfg.custom_hooks.append(dict(type='EarlyStoppingHook', monitor=metric, rule=rule, patience=1, min_delta=1000))
    if c.pipeline_switch:
        switch = dict(type='mmdet.PipelineSwitchHook', switch_epoch=1, switch_pipeline=_without_flips(cfg))
        cfg.custom_hooks.append(switch)
    return cfg


def _config_of_task(root, data, task):
    toy = root / 'configs/toy'
    scenes = dict(data_root=f'{data}/toy_scenes/')
    if task in ('fcmae', 'fcmae shards'):
        cfg = Config.fromfile(toy / 'fcmae_convnextv2-atto_toy-scenes.py')
        cfg.model.decoder_embed_dims = 16
        cfg.train_dataloader.dataset.data_root = f'{data}/toy_scenes/unlabelled/'
        cfg.train_dataloader.dataset.pipeline[0].size = 64
        if task == 'fcmae shards':
            shards = dict(type='mmcnv2.UnlabelledShards', data_root=f'{data}/shards')
            cfg.train_dataloader.dataset = dict(shards, pipeline=cfg.train_dataloader.dataset.pipeline)
            cfg.train_dataloader.sampler = dict(type='mmcnv2.ChunkedSampler')
        cfg.test_dataloader.dataset.update(data_root=f'{data}/toy_scenes/val/')
        cfg.val_dataloader, cfg.val_evaluator, cfg.val_cfg = cfg.test_dataloader, cfg.test_evaluator, dict()
    elif task == 'upernet':
        cfg = Config.fromfile(toy / 'upernet_convnextv2-atto_toy-scenes.py')
        for head, channels in ((cfg.model.decode_head, list(ARCH['channels'])), (cfg.model.auxiliary_head, 24)):
            head.update(in_channels=channels, channels=16)
    elif task == 'classifier':
        cfg = Config.fromfile(root / 'configs/own_data/convnextv2-atto_own-class-folders.py')
        cfg.model.head.update(in_channels=32)
        cfg.model.backbone.pop('init_cfg', None)
        scenes = dict(data_root=f'{data}/classes/', metainfo=dict(classes=CLASSES))
        cfg.train_dataloader.dataset.pipeline[1].scale = 64
        cfg.model.data_preprocessor.num_classes = cfg.model.head.num_classes = len(CLASSES)
    else:
        cfg = Config.fromfile(toy / 'mask-rcnn_convnextv2-atto_toy-scenes.py')
        cfg.model.neck.in_channels = list(ARCH['channels'][1:])
        for settings in (cfg.model.train_cfg.rpn_proposal, cfg.model.test_cfg.rpn):
            settings.update(nms_pre=50, max_per_img=20)
        # Without a single box there is no metric.
        cfg.model.test_cfg.rcnn.update(max_per_img=5, score_thr=0.0)
        if task == 'cascade':
            head = cfg.model.roi_head
            head.update(type='CascadeRoIHead', num_stages=2, stage_loss_weights=[1, 0.5])
            head.bbox_head = [head.bbox_head] * 2
            cfg.model.train_cfg.rcnn = [cfg.model.train_cfg.rcnn] * 2
    for loader in (cfg.train_dataloader, cfg.val_dataloader, cfg.test_dataloader):
        if not task.startswith('fcmae'):
            loader.dataset.update(scenes)
    for loader in (cfg.val_dataloader, cfg.test_dataloader):
        loader.update(batch_size=1, num_workers=0, persistent_workers=False)
        loader.dataset.indices = 2
    cfg.custom_imports.imports = [*cfg.custom_imports.imports, 'helpers.quick_runs']
    return cfg


def _without_flips(cfg):
    dataset = cfg.train_dataloader.dataset
    while 'pipeline' not in dataset:
        dataset = dataset.datasets[0] if 'datasets' in dataset else dataset.dataset
    return [step for step in dataset.pipeline if step['type'] not in ('RandomFlip', 'CopyPaste')]


def _set_data(cfg, c):
    loader = cfg.train_dataloader
    loader.update(batch_size=c.batch_size, num_workers=c.workers, persistent_workers=c.workers > 0)
    by_epoch = c.loop == 'epochs'
    if c.task == 'fcmae shards':
        loader.dataset.shards = f'{{000000..{c.batch_size - 1:06}}}.tar'  # of four images
    else:
        loader.sampler = dict(type='DefaultSampler' if by_epoch else 'InfiniteSampler', shuffle=True)
        dataset = dict(loader.dataset, indices=EPOCH * c.batch_size // (1 + (c.wrapper == 'RepeatDataset')))
        pastes = c.mix and c.task != 'classifier'
        rest: list = []
        if pastes:
            dataset['pipeline'], rest = dataset['pipeline'][:2], dataset['pipeline'][2:]
        if c.wrapper == 'ConcatDataset':
            dataset = dict(type='ConcatDataset', datasets=[dataset])
        elif c.wrapper == 'RepeatDataset':
            dataset = dict(type='RepeatDataset', times=2, dataset=dataset)
        elif c.wrapper == 'ClassBalancedDataset':
            dataset = dict(type='ClassBalancedDataset', oversample_thr=1e-3, dataset=dataset)
        if pastes:
            mix = [dict(type='CopyPaste', max_num_pasted=3), *rest]
            dataset = dict(type='MultiImageMixDataset', dataset=dataset, pipeline=mix)
        loader.dataset = dataset
    if c.task == 'classifier':
        cfg.model.train_cfg = dict(augments=[dict(type='Mixup', alpha=0.8)]) if c.mix else None


def _set_schedule(cfg, c):
    divides = c.val_interval == 'divides'
    by_epoch = c.loop == 'epochs'
    if by_epoch:
        cfg.train_cfg = dict(
            type='mmcnv2.EpochBasedTrainLoop', max_epochs=ITERATIONS // EPOCH, val_interval=1 if divides else 2
        )
    else:
        cfg.train_cfg = dict(type='mmcnv2.IterBasedTrainLoop', max_iters=ITERATIONS, val_interval=4 if divides else 5)
    cfg.log_processor = dict(by_epoch=by_epoch)
    schedule = dict(type=c.schedule, by_epoch=by_epoch, convert_to_iter_based=by_epoch)
    if c.schedule == 'OneCycleLR':
        schedule.update(eta_max=1e-2, total_steps=ITERATIONS // EPOCH if by_epoch else ITERATIONS)
    elif c.schedule == 'ReduceOnPlateauLR':
        del schedule['convert_to_iter_based']
        schedule.update(monitor=METRICS[c.task][0], rule=METRICS[c.task][1], patience=0)
    cfg.param_scheduler = [schedule]
