"""mmcnv2 publish --to hf://...: what arrives on a stand-in of the hub, and every way to take it from there."""

import hashlib
import json
import re
import subprocess

import cv2
import numpy as np
import pytest
import torch
import yaml
from helpers.commands import call, refusal
from helpers.hub import offline, point_at, running_hub
from helpers.whole_models import ARCH, fcmae, mask_rcnn, upernet
from mmengine.config import Config
from mmengine.registry import DefaultScope
from mmengine.runner import CheckpointLoader
from safetensors import safe_open

from mmcnv2.apis import Predictor, check, get_backbone
from mmcnv2.models.normalization import IMAGENET
from mmcnv2.registry import MODELS

pytestmark = pytest.mark.slow
MODELS_OF = dict(detector=mask_rcnn, segmenter=upernet, fcmae=fcmae)
CLASSES = ('ball', 'box', 'can', 'cone', 'ring', 'mug')


def trained(kind, folder):
    """A config and a checkpoint as a training of 800 iterations leaves it, in its work dir, with a log."""
    cfg, path = MODELS_OF[kind](folder)
    checkpoint = torch.load(path)
    cfg.work_dir, cfg.load_from = '/home/me/work_dirs/toy', '/home/me/weights/start.pth'
    cfg.train_dataloader.dataset.data_root = '/home/me/data/toy_scenes/'
    meta = dict(cfg=cfg.pretty_text, iter=800, epoch=3, mmengine_version='0.10.12', experiment_name='toy_20260101')
    checkpoint['meta'] = meta | dict(dataset_meta=dict(classes=CLASSES, palette=np.zeros((6, 3))))
    checkpoint |= dict(optimizer=dict(state={}), message_hub={})
    path = folder / 'iter_800.pth'
    torch.save(checkpoint, path)
    log = folder / '20260101_000000/vis_data/scalars.json'
    log.parent.mkdir(parents=True)
    records = [
        dict(iter=600, loss=2.0, step=600),
        {'coco/bbox_mAP': 0.25, 'data_time': 1.0, 'step': 600},
        dict(iter=800, loss=1.0, step=800),
        {'coco/bbox_mAP': 0.375, 'coco/segm_mAP': float('nan'), 'coco/bbox_mAP_l': -1.0, 'time': 1.0, 'step': 800},
    ]
    log.write_text('\n'.join(map(json.dumps, records)))
    return cfg, path


@pytest.fixture(scope='module')
def shared(tmp_path_factory):
    """The stand-in with a model of each kind, published by the command; their configs and checkpoints."""
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp('hub')
    with running_hub() as hub:
        point_at(hub, folder / 'cache', patch)
        given = {}
        for kind in MODELS_OF:
            (folder / kind).mkdir()
            given[kind] = trained(kind, folder / kind)
            call('publish', given[kind][1], '--to', f'hf://tester/{kind}', '--licence', 'apache-2.0')
        yield hub, given
    patch.undo()


@pytest.fixture
def images(tmp_path):
    (tmp_path / 'photos').mkdir()
    for i in range(2):
        pixels = np.random.default_rng(i).integers(0, 256, (128, 128, 3), dtype=np.uint8)
        cv2.imwrite(str(tmp_path / f'photos/{i}.png'), pixels)
    return tmp_path / 'photos'


def card_of(hub, name):
    _, front, body = hub.files(name)['README.md'].decode().split('---\n', 2)
    return yaml.safe_load(front), body


# ---- what is published ----


def test_the_weights_are_those_of_the_checkpoint_bit_for_bit(shared, tmp_path):
    hub, given = shared
    for kind, (_, path) in given.items():
        (tmp_path / 'model.safetensors').write_bytes(hub.files(f'tester/{kind}')['model.safetensors'])
        expected = torch.load(path, weights_only=False)['state_dict']
        with safe_open(tmp_path / 'model.safetensors', 'pt') as file:
            assert set(file.keys()) == expected.keys()
            for key, value in expected.items():
                found = file.get_tensor(key)
                assert found.dtype == value.dtype and torch.equal(found, value)
            meta = json.loads(file.metadata()['mmcnv2.meta'])
        assert meta['iter'] == 800 and tuple(meta['dataset_meta']['classes']) == CLASSES
        assert file.metadata is not None and 'cfg' not in meta


def test_one_commit_with_four_files_that_sha256sum_accepts(shared, tmp_path):
    hub, _ = shared
    files = hub.files('tester/detector')
    assert set(files) == {'model.safetensors', 'config.py', 'README.md', 'SHA256SUMS'}
    assert len(hub.repositories['tester/detector'].commits) == 2
    assert not hub.repositories['tester/detector'].private
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    done = subprocess.run(['sha256sum', '--strict', '-c', 'SHA256SUMS'], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout.splitlines() == ['model.safetensors: OK', 'config.py: OK'] and done.returncode == 0


def test_nothing_of_the_machine_is_published(shared, tmp_path):
    hub, given = shared
    for kind, (cfg, _) in given.items():
        files = hub.files(f'tester/{kind}')
        assert not any(
            b'/home/me' in content or str(tmp_path.parent).encode() in content for content in files.values()
        )
        (tmp_path / 'config.py').write_bytes(files['config.py'])
        found = Config.fromfile(tmp_path / 'config.py')  # MMEngine reads it, too, and it needs no recipe
        assert found.model == cfg.model and found.train_dataloader.dataset.data_root == 'toy_scenes/'


def test_the_card(shared):
    hub, _ = shared
    front, body = card_of(hub, 'tester/detector')
    assert (front['license'], front['library_name']) == ('apache-2.0', 'mmcnv2')
    assert front['pipeline_tag'] == 'image-segmentation'  # it has masks
    assert {'maskrcnn', 'convnextv2', 'openmmlab'} <= set(front['tags'])
    (result,) = front['model-index'][0]['results']
    assert [(m['type'], m['value']) for m in result['metrics']] == [('coco/bbox_mAP', 0.375)]

    digest = hashlib.sha256(hub.files('tester/detector')['model.safetensors']).hexdigest()
    rows = dict(re.findall(r'^\| (\S.*) \| (\S.*) \|$', body, re.MULTILINE))
    assert rows['SHA-256 of model.safetensors'] == f'`{digest}`'
    assert rows['data'] == 'CocoDataset toy_scenes/ annotations/instances_train.json'
    assert rows['classes'] == '6: ball, box, can, cone, ring, mug'
    assert rows['recipe'].startswith('toy_20260101; 800 of 800 iterations; type AdamW, lr 0.0007, weight_decay 0.05')
    assert rows['started from'] == 'start.pth: its licence holds, too'
    assert rows['licence'] == 'apache-2.0'
    assert rows['coco/bbox_mAP'] == '0.375' and not {'coco/segm_mAP', 'coco/bbox_mAP_l'} & rows.keys()
    assert "Predictor('hf://tester/detector')" in body

    assert card_of(hub, 'tester/segmenter')[0]['pipeline_tag'] == 'image-segmentation'
    assert card_of(hub, 'tester/fcmae')[0]['pipeline_tag'] == 'image-feature-extraction'


def test_a_card_without_licence_and_figures_says_so(shared, tmp_path, capsys):
    hub, given = shared
    alone = tmp_path / 'iter_800.pth'
    alone.write_bytes(given['fcmae'][1].read_bytes())
    call('publish', alone, '--to', 'hf://tester/bare', '--private')
    head = hub.repositories['tester/bare'].head
    assert capsys.readouterr().out.startswith(f'hf://tester/bare@{head}: ')
    assert hub.repositories['tester/bare'].private
    front, body = card_of(hub, 'tester/bare')
    assert 'license' not in front and 'model-index' not in front
    assert 'not stated: ask the owner' in body and 'None recorded' in body


# ---- taking it from there ----


@pytest.mark.parametrize('kind', MODELS_OF)
def test_predictor(shared, images, kind):
    _, given = shared
    published = Predictor(f'hf://tester/{kind}', device='cpu')
    own = Predictor(*map(str, [_dumped(given[kind][0], images.parent), given[kind][1]]), device='cpu')
    if kind != 'fcmae':
        assert published.classes[: len(CLASSES)] == own.classes[: len(CLASSES)] == CLASSES
    for key, value in own.model.state_dict().items():
        assert torch.equal(published.model.state_dict()[key], value)
    torch.manual_seed(0)
    found = [result.draw() for result in published(str(images))]
    torch.manual_seed(0)
    expected = [result.draw() for result in own(str(images))]
    assert len(found) == 2 and all(map(np.array_equal, found, expected))


def _dumped(cfg, folder):
    cfg.dump(folder / 'own.py')
    return folder / 'own.py'


def test_predict_needs_no_checkpoint_and_names_the_commit(shared, images, tmp_path):
    hub, _ = shared
    call('predict', 'hf://tester/detector', images, '--out', tmp_path / 'out', '--device', 'cpu')
    found = json.loads((tmp_path / 'out/predictions.json').read_text())
    assert len(found['images']) == 2 and [one['name'] for one in found['categories']] == list(CLASSES)
    with offline():  # with the settings of the first run it goes on, which needs the same commit
        call('predict', 'hf://tester/detector', images, '--out', tmp_path / 'out', '--device', 'cpu')
    head = hub.repositories['tester/detector'].head
    assert any(head in file.read_text() for file in (tmp_path / 'out').rglob('*.json*'))


def test_a_checkpoint_beside_it_is_refused(shared):
    with pytest.raises(ValueError, match='checkpoint must be None: hf://tester/fcmae has the weights of its model'):
        Predictor('hf://tester/fcmae', 'other.pth')


@pytest.mark.parametrize('kind', ['serve', 'demo'])
def test_serve_and_demo_load_it_by_name(shared, kind):
    from mmcnv2.demo.models import load_tab
    from mmcnv2.inference.loading import load_predictor

    if kind == 'serve':
        assert load_predictor('MODEL', ['hf://tester/segmenter'], device='cpu').classes
    else:
        assert load_tab('fcmae', ['hf://tester/fcmae'], 'cpu')


def test_the_backbone_says_how_its_images_were_normalised(shared):
    hub, given = shared
    preprocessor = given['fcmae'][0].model.data_preprocessor
    assert get_backbone('hf://tester/fcmae').normalization == (tuple(preprocessor.mean), tuple(preprocessor.std))
    weights = hub.files('tester/fcmae')['model.safetensors']
    hub.publish('someone/weights', {'model.safetensors': weights})
    assert get_backbone('hf://someone/weights').normalization == IMAGENET


@pytest.mark.parametrize('initializer', ['mmcnv2.PretrainedConvNeXtV2', 'Pretrained'])
def test_init_cfg_of_a_backbone(shared, initializer):
    _, given = shared
    init_cfg = dict(type=initializer, checkpoint='hf://tester/fcmae', prefix='backbone.')
    backbone = MODELS.build(dict(type='mmcnv2.ConvNeXtV2', arch=ARCH, init_cfg=init_cfg))
    backbone.init_weights()
    expected = torch.load(given['fcmae'][1], weights_only=False)['state_dict']
    loaded = [key for key in backbone.state_dict() if f'backbone.{key}' in expected]
    assert len(loaded) > 20
    assert all(torch.equal(backbone.state_dict()[key], expected[f'backbone.{key}']) for key in loaded)


def test_init_cfg_of_fcmae(shared):
    _, given = shared
    cfg, path = given['fcmae']
    init_cfg = dict(type='mmcnv2.PretrainedFCMAE', checkpoint='hf://tester/fcmae')
    with DefaultScope.overwrite_default_scope('mmcnv2'):
        model = MODELS.build(dict(cfg.model, init_cfg=init_cfg))
    model.init_weights()
    expected = torch.load(path, weights_only=False)['state_dict']
    assert all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())


def test_load_from_of_a_whole_model(shared, toy_scenes, monkeypatch):
    """As the checks before a training read it; MMEngine's runner asks the same loader."""
    _, given = shared
    monkeypatch.setattr(CheckpointLoader, '_schemes', CheckpointLoader._schemes.copy())
    cfg = Config(given['segmenter'][0].to_dict())
    cfg.load_from, cfg.work_dir = 'hf://tester/segmenter', str(toy_scenes)
    for loader in ('train_dataloader', 'val_dataloader', 'test_dataloader'):
        cfg[loader].dataset.data_root = str(toy_scenes)
    check(cfg)
    read = CheckpointLoader.load_checkpoint('hf://tester/segmenter', 'cpu', 'silent')
    expected = torch.load(given['segmenter'][1], weights_only=False)['state_dict']
    assert all(torch.equal(read['state_dict'][key], value) for key, value in expected.items())
    cfg.load_from = 'hf://tester/detector'
    with pytest.raises(ValueError, match='hf://tester/detector'):
        check(cfg)


def test_commands_that_take_a_checkpoint(shared, tmp_path):
    _, given = shared
    call('convert', 'hf://tester/fcmae', tmp_path / 'timm.safetensors', '--to', 'timm')
    call('convert', given['fcmae'][1], tmp_path / 'own.safetensors', '--to', 'timm')
    assert (tmp_path / 'timm.safetensors').read_bytes() == (tmp_path / 'own.safetensors').read_bytes()
    assert get_backbone('hf://tester/fcmae').channels == tuple(ARCH['channels'])  # knn, linear, embed, diversity


# ---- what is refused ----


def test_refusals(shared, tmp_path):
    hub, given = shared
    source = given['fcmae'][1]
    asked = len(hub.asked)
    assert 'expected the name of a file to write, or --to' in refusal('publish', source)
    assert 'and not both' in refusal('publish', source, 'a.pth', '--to', 'hf://a/b')
    assert '--licence and --private are for the hub' in refusal('publish', source, 'a.pth', '--private')
    assert 'expected hf://owner/name' in refusal('publish', source, '--to', 'tester/model')
    assert 'leave out @v1' in refusal('publish', source, '--to', 'hf://a/b@v1')
    torch.save(dict(state_dict={}, meta={}), tmp_path / 'bare.pth')
    assert 'does not say the config of its training' in refusal('publish', tmp_path / 'bare.pth', '--to', 'hf://a/b')
    meta = dict(cfg="custom_imports = dict(imports=['mine', 'mmcnv2'])")
    torch.save(dict(state_dict={}, meta=meta), tmp_path / 'own.pth')
    assert 'imports mine, which those' in refusal('publish', tmp_path / 'own.pth', '--to', 'hf://a/b')
    torch.save(dict(state_dict=dict(a=3), meta=dict(cfg='')), tmp_path / 'values.pth')
    assert 'must hold tensors only, got other values for a' in refusal(
        'publish', tmp_path / 'values.pth', '--to', 'hf://a/b'
    )
    torch.save(dict(state_dict=torch.nn.Linear(1, 1), meta={}), tmp_path / 'pickle.pth')
    assert 'could run any code' in refusal('publish', tmp_path / 'pickle.pth', '--to', 'hf://a/b')
    assert len(hub.asked) == asked  # nothing went out


def test_a_config_with_code_is_refused_and_not_run(shared, tmp_path):
    hub, _ = shared
    files = dict(hub.files('tester/fcmae'))
    files['config.py'] += f"\nopen('{tmp_path}/RAN', 'w')\n".encode()
    digests = ((name, hashlib.sha256(files[name]).hexdigest()) for name in ('model.safetensors', 'config.py'))
    files['SHA256SUMS'] = ''.join(f'{digest}  {name}\n' for name, digest in digests).encode()
    hub.publish('someone/evil', files)
    with pytest.raises(ValueError, match=r'hf://someone/evil@\w+: config\.py is no plain config'):
        Predictor('hf://someone/evil')
    assert not (tmp_path / 'RAN').exists()
