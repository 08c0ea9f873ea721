"""mmcnv2 get-flops against published figures, numbers computed by hand, and forward passes that really compute."""

import json
import re

import pytest
import torch
from helpers.commands import call, refusal
from helpers.processes import run_forked
from mmdet.structures import DetDataSample
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from torch.utils.flop_counter import FlopCounterMode

from mmcnv2.benchmarks import flops
from mmcnv2.models.backbones import ARCHITECTURES

FCMAE = 'mmcnv2::fcmae/fcmae_convnextv2-base_64xb64-amp-coslr-1600e_in1k.py'
MASK_RCNN = 'mmcnv2::mask_rcnn/mask-rcnn_convnextv2-base-fcmae_fpn_8xb4-amp-lsj-3x_coco.py'
CASCADE = 'mmcnv2::cascade_mask_rcnn/cascade-mask-rcnn_convnextv2-base-fcmae_fpn_8xb4-amp-lsj-3x_coco.py'
UPERNET = 'configs/upernet/upernet_convnextv2-base-fcmae-ft1k_8xb2-amp-160k_ade20k-512x512.py'
TOY = 'mmcnv2::toy/{}_convnextv2-atto_toy-scenes.py'

pytestmark = pytest.mark.filterwarnings('ignore:Default ``avg_non_ignore``')  # mmseg's cross-entropy


@pytest.fixture
def measure(tmp_path):
    """Calls the command and returns what it saves."""

    def measure(*arguments):
        file = tmp_path / 'out.json'
        call('get-flops', '--json', file, *arguments)
        result = json.loads(file.read_text())
        check_sums(result)
        return result

    return measure


def check_sums(part):
    """Listed parts add up, at every level."""
    if part['parts']:
        assert sum(inner['parameters'] for inner in part['parts']) == part['parameters']
        for way, macs in part['macs'].items():
            assert sum(inner['macs'][way] for inner in part['parts']) == macs
    for inner in part['parts']:
        check_sums(inner)


def parts(result):
    """The listed parts of the model and of its backbone, by name."""
    return {part['name']: part for top in result['parts'] for part in (top, *top['parts'])}


# ---- by hand

# Depths 1, 1, 2, 1; channels 4, 8, 12, 16; 64x96 pixels, so 384, 96, 24 and 6 positions. For each position a block of
# C channels takes 49 C (7x7 depthwise) and 2 * 4 C^2 (linear): 324, 904, 1740, 2832.
SMALL = dict(
    type='mmcnv2.FCMAE',
    backbone=dict(type='mmcnv2.ConvNeXtV2', arch=dict(depths=(1, 1, 2, 1), channels=(4, 8, 12, 16))),
    decoder_embed_dims=12,
)
STAGES = [384 * 324, 96 * 904, 24 * 2 * 1740, 6 * 2832]
# Positions times channels out times values of a window in: 4x4 of 3 channels, then 2x2.
DOWNSAMPLING = 384 * 4 * 48 + 96 * 8 * 16 + 24 * 12 * 32 + 6 * 16 * 48
# Of a block: depthwise 50 C, LayerNorm 2 C, linear 4 C^2 + 4 C, GRN 8 C, linear 4 C^2 + C, which is 8 C^2 + 65 C.
STAGE_PARAMETERS = [388, 1032, 2 * 1932, 3088]
# Convolution and LayerNorm, the one before or after the other.
DOWNSAMPLING_PARAMETERS = (4 * 48 + 4 + 8) + (8 + 8 * 16 + 8) + (16 + 12 * 32 + 12) + (24 + 16 * 48 + 16)


@pytest.fixture
def small_config(tmp_path):
    path = tmp_path / 'small.py'
    path.write_text(f"custom_imports = dict(imports=['mmcnv2'])\nmodel = {SMALL!r}\n")
    return path


def test_a_small_network_by_hand(measure, small_config):
    result = measure(small_config, '--shape', 64, 96)
    assert (result['patches'], result['visible_patches']) == (6, 2)  # 6 * (1 - 0.6), rounded down
    part = parts(result)
    for i in range(4):
        assert part[f'stages.{i}']['parameters'] == STAGE_PARAMETERS[i]
        assert part[f'stages.{i}']['macs'] == dict(dense=STAGES[i], masked=STAGES[i] // 3)
    assert part['downsample_layers']['parameters'] == DOWNSAMPLING_PARAMETERS
    assert part['downsample_layers']['macs'] == dict(dense=DOWNSAMPLING, masked=DOWNSAMPLING // 3)
    backbone = sum(STAGES) + DOWNSAMPLING
    assert backbone == 411552
    assert part['backbone']['macs'] == dict(dense=backbone, masked=137184)
    # The decoder sees all 6 patches, and predicts the 32 * 32 * 3 values of the 4 removed ones.
    for name, macs, parameters in [
        ('proj', 6 * 12 * 16, 12 * 16 + 12),
        ('decoder', 6 * 1740, 1932),
        ('pred, mask_token', 4 * 3072 * 12, 3072 * 12 + 3072 + 12),
    ]:
        assert part[name]['macs'] == dict(dense=macs, masked=macs), name
        assert part[name]['parameters'] == parameters, name


def test_channels_and_mask_ratio_are_those_given(measure, small_config):
    options = ('--mask-ratio', 0.5, '--cfg-options', 'model.backbone.in_channels=5')
    result = measure(small_config, '--shape', 64, 96, *options)
    assert result['visible_patches'] == 3
    downsampling = DOWNSAMPLING + 384 * 4 * 16 * 2
    assert parts(result)['downsample_layers']['macs'] == dict(dense=downsampling, masked=downsampling // 2)


# ---- published


@pytest.mark.parametrize(
    ('arch', 'published'),
    dict(atto=0.55, femto=0.78, pico=1.37, nano=2.45, tiny=4.47, base=15.4, large=34.4, huge=115).items(),
)
def test_backbones_take_the_published_multiply_adds(arch, published):
    """Of the official repository, at 224 with a head of 1000 classes. (With values the largest would take 2.6 GB.)"""
    backbone = dict(type='mmcnv2.ConvNeXtV2', arch=arch)
    model = flops.build_model(Config(dict(model=dict(type='mmcnv2.FCMAE', backbone=backbone))))
    macs = flops.count_macs(model, (224, 224), torch.arange(49).view(1, 7, 7) > 0, 'dense')['backbone']
    macs = (macs + 1000 * ARCHITECTURES[arch]['channels'][-1]) / 1e9
    # Half of the last digit, and 0.5 %: some of the figures count LayerNorms (tiny: 4.456 without, 4.470 with them).
    last_digit = 0.01 if published < 10 else 0.1 if published < 100 else 1
    assert published == pytest.approx(macs, rel=0, abs=last_digit / 2 + 0.005 * macs)


# ---- against a forward pass that computes


@pytest.mark.parametrize('task', ['fcmae', 'mask-rcnn', 'upernet'])
def test_counts_equal_those_of_a_computed_pass(measure, root, task):
    cfg = Config.fromfile(root / f'configs/toy/{task}_convnextv2-atto_toy-scenes.py')
    arguments = []
    if task == 'mask-rcnn':  # fewer than NMS leaves, so that there are as many
        arguments = ['--cfg-options', 'model.test_cfg.rpn.max_per_img=7']
        cfg.merge_from_dict({'model.test_cfg.rpn.max_per_img': 7})
    result = measure(TOY.format(task), '--shape', 96, 128, *arguments)

    torch.manual_seed(0)
    with DefaultScope.overwrite_default_scope(cfg.default_scope):
        model = MODELS.build(cfg.model).eval()
    image = torch.randn(1, 3, 96, 128)
    with torch.no_grad(), FlopCounterMode(display=False) as counter:
        if task == 'fcmae':
            model.backbone.sparse_backend = 'dense'
            model(image, mode='loss')
        elif task == 'mask-rcnn':
            ((scores, _, masks),) = model(image, [DetDataSample(metainfo=dict(img_shape=(96, 128)))], mode='tensor')
            assert len(scores) == len(masks) == 7
        else:
            model(image, mode='tensor')
    assert result['macs']['dense'] == counter.get_total_flops() // 2
    assert result['parameters'] == sum(p.numel() for p in model.parameters())


def test_a_mask_reaches_the_backbone_of_a_segmenter_alone(measure):
    result = measure(TOY.format('upernet'), '--mask-ratio', 0.6)
    assert (result['patches'], result['visible_patches']) == (16, 6)
    part = parts(result)
    assert part['backbone']['macs']['dense'] * 6 == part['backbone']['macs']['masked'] * 16
    assert part['decode_head']['macs']['dense'] == part['decode_head']['macs']['masked'] > 0
    assert part['auxiliary_head']['macs'] == dict(dense=0, masked=0) and part['auxiliary_head']['parameters'] > 0


# ---- the full-size recipes


def test_pretraining_recipe(capsys):
    call('get-flops', FCMAE)
    output = capsys.readouterr().out
    assert output.startswith('FCMAE, one image of 224x224, 19 of 49 patches visible (mask ratio 0.6)\n')
    header, *lines = [line for line in output.splitlines()[2:-2] if not line.startswith('-')]
    assert len({len(line) for line in [header, *lines]}) == 1
    assert ' '.join(header.split()) == 'part parameters (M) dense (G MACs) masked (G MACs) dense / masked'
    row = {line.rsplit(maxsplit=4)[0].strip(): line.split()[-4:] for line in lines}
    assert row['backbone'] == ['87.691', '15.354', '5.953', '2.58']
    assert row['total'] == ['91.922', '15.531', '6.130', '2.53']
    assert list(row)[-1] == 'total' and {'stages.0', 'stages.3', 'proj', 'decoder'} < set(row)


@pytest.mark.slow
def test_a_segmenter_is_measured_as_a_user_starts_it(root):
    """mmseg imports torchvision, which may be one for CUDA beside a torch without it."""
    done = run_forked(root, 'tools/analysis_tools/get_flops.py', UPERNET, '--shape', 64, 64)
    assert done.returncode == 0, done.stderr
    assert 'EncoderDecoder, one image of 64x64\n' in done.stdout
    assert 'decode_head' in done.stdout


@pytest.mark.parametrize(
    ('config', 'size', 'macs', 'parameters', 'names'),
    [
        (MASK_RCNN, [1024, 1024], 495.3, 108.1, {'neck', 'rpn_head', 'bbox_head', 'mask_head'}),
        (UPERNET.replace('configs/', 'mmcnv2::'), [512, 512], 292.4, 122.2, {'decode_head', 'auxiliary_head'}),
    ],
)
def test_downstream_recipes(measure, config, size, macs, parameters, names):
    result = measure(config)
    assert result['image_size'] == size
    assert list(result['macs']) == ['dense'] and round(result['macs']['dense'] / 1e9, 1) == macs
    assert round(result['parameters'] / 1e6, 1) == parameters
    assert names < set(parts(result))


@pytest.mark.parametrize(
    ('name', 'size', 'macs', 'parameters'),
    [
        ('nano-fcmae-ft22k_16xb32-amp-coslr-90e_in1k', [224, 224], 2.45, 15.6),
        ('nano-fcmae-ft22k_16xb32-amp-coslr-90e_in1k-384px', [384, 384], 7.21, 15.6),
        ('huge-fcmae-ft22k_16xb32-amp-coslr-30e_in1k-384px', [384, 384], 337.9, 660),
        ('huge-fcmae-ft22k_16xb32-amp-coslr-30e_in1k-512px', [512, 512], 600.8, 660),
    ],
)
def test_fine_tuning_recipes_are_those_of_table_15(measure, name, size, macs, parameters):
    """Image size, multiply-adds (G) and parameters (M), which the paper rounds."""
    result = measure(f'mmcnv2::imagenet/convnextv2-{name}.py')
    assert result['image_size'] == size
    assert result['macs']['dense'] / 1e9 == pytest.approx(macs, rel=4e-3)
    assert result['parameters'] / 1e6 == pytest.approx(parameters, rel=3e-3)


def test_cascade_has_three_heads(measure):
    """They ask for the size of the image. Box heads that share classes: 4 values for a box instead of 4 * 80."""
    cascade = parts(measure(CASCADE, '--shape', '128', '128'))
    single = parts(measure(MASK_RCNN, '--shape', '128', '128'))
    assert cascade['bbox_head']['parameters'] == 3 * (single['bbox_head']['parameters'] - 4 * 79 * 1025)
    assert cascade['bbox_head']['macs']['dense'] == 3 * (single['bbox_head']['macs']['dense'] - 4 * 79 * 1024 * 1000)
    # Each of the three sees all of the 1000 proposals, that of Mask R-CNN 100.
    assert cascade['mask_head']['macs']['dense'] == 3 * 10 * single['mask_head']['macs']['dense']


# ---- the size of the image


@pytest.mark.parametrize(
    ('settings', 'size'),
    [
        (dict(model=dict(data_preprocessor=dict(size=(64, 96)))), (64, 96)),
        (
            dict(model=dict(data_preprocessor=dict(batch_augments=[dict(type='BatchFixedSizePad', size=(64, 96))]))),
            (64, 96),
        ),
        ([dict(type='mmcnv2.LoadRandomResizedCrop', size=64)], (64, 64)),
        ([dict(type='LoadRandomResizedCrop', size=(64, 96)), dict(type='RandomFlip')], (64, 96)),
        ([dict(type='LoadImageFromFile'), dict(type='RandomResizedCrop', scale=64)], (64, 64)),  # mmpretrain
        ([dict(type='Pad', size=(96, 64)), dict(type='Pad', size_divisor=32)], (64, 96)),  # (width, height)
    ],
)
def test_size_of_the_training_images(settings, size):
    if isinstance(settings, list):
        settings = dict(model=dict(), train_dataloader=dict(dataset=dict(pipeline=settings)))
    assert flops.image_size(Config(settings), None) == size
    assert flops.image_size(Config(settings), [32, 160]) == (32, 160)


# ---- mistakes


@pytest.mark.parametrize(
    ('arguments', 'message'),
    [
        ((TOY.format('mask-rcnn'),), 'does not say how large its training images are: add --shape H W'),
        ((TOY.format('upernet'), '--shape', 96, 100), 'must be positive multiples of 32, .*, got 96 100'),
        ((TOY.format('fcmae'), '--mask-ratio', 1.5), 'mask_ratio must lie between 0 and 1, both excluded, got 1.5'),
        ((TOY.format('fcmae'), '--mask-ratio', 0), 'mask_ratio must lie between 0 and 1, both excluded, got 0.0'),
        ((TOY.format('fcmae'), '--shape', 32, 32), 'at least two 32x32 patches, got a grid of 1x1'),
        ((TOY.format('fcmae'), '--cfg-options', 'model.backbone.arch=small'), "atto, femto, .*, got 'small'"),
        (
            (TOY.format('upernet'), '--cfg-options', 'model.decode_head.in_channels=[1,2,3,4]'),
            '128x128: RuntimeError: .',
        ),
        (('mmcnv2::_base_/default_runtime.py',), 'default_runtime.py has no model'),
        ((TOY.format('fcmae'), '--json', 'no/such/folder/out.json'), "No such file.*'no/such/folder/out.json'"),
        (
            ('configs/toy/fcmae_convnextv2-atto_toy-scene.py',),
            'did you mean mmcnv2::toy/fcmae_convnextv2-atto_toy-scenes.py',
        ),
    ],
)
def test_mistakes_are_named(arguments, message):
    assert re.search(f'^error: .*{message}', refusal('get-flops', *arguments))


def test_a_model_without_our_backbone_is_refused(small_config):
    small_config.write_text("custom_imports = dict(imports=['mmcnv2'])\nmodel = dict(type='mmcnv2.ConvNeXtV2')\n")
    assert 'must have a backbone of type mmcnv2.ConvNeXtV2' in refusal('get-flops', small_config)
