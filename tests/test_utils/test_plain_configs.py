"""Configs read as data: the same values as MMEngine reads, and nothing that runs."""

import pytest
from mmengine.config import Config

from mmcnv2.apis import get_config
from mmcnv2.utils.errors import InputError
from mmcnv2.utils.plain_configs import dump_plain_config, parse_plain_config, portable

RECIPES = [f'toy/{name}_convnextv2-atto_toy-scenes' for name in ('fcmae', 'mask-rcnn', 'upernet')]


@pytest.mark.parametrize('recipe', RECIPES)
def test_what_mmengine_writes_is_read_as_mmengine_reads_it(recipe, tmp_path):
    text = get_config(recipe).pretty_text
    (tmp_path / 'config.py').write_text(text)
    found = parse_plain_config(text, 'config.py')
    assert found == Config.fromfile(tmp_path / 'config.py').to_dict()
    assert len(found) > 10


def test_values():
    text = "a = dict(b=(1, -2.5), c=[None, True], **{'x.y': {'z': 'text', 3: {1}}})\n_d = 1e-3"
    expected = {'a': {'b': (1, -2.5), 'c': [None, True], 'x.y': {'z': 'text', 3: {1}}}, '_d': 0.001}
    assert parse_plain_config(text, 'config.py') == expected


@pytest.mark.parametrize(
    'text',
    [
        'import os',
        'from os import system',
        "__import__('os').system('touch RAN')",
        "a = __import__('os').system('touch RAN')",
        "a = dict(b=open('RAN', 'w'))",
        "a = dict([('b', 1)])",
        "a = [open('RAN', 'w') for _ in range(1)]",
        "a = f\"{open('RAN', 'w')}\"",
        "a: open('RAN', 'w') = 1",
        'a = lambda: 1',
        'def f(): pass',
        'a.b = 1',
        'a = b = 1',
        'a = 1 + ',
        'a = {**{}}',
        'a = b',
    ],
)
def test_code_is_refused_and_not_run(text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r'hf://a/b: config\.py is no plain config, and running it') as error:
        parse_plain_config(f'first = 1\n{text}\n', 'hf://a/b: config.py')
    assert '\n' not in str(error.value)
    assert not (tmp_path / 'RAN').exists()


@pytest.mark.parametrize(
    'name', ['os.system', 'subprocess.run', 'mmengine.load', 'mmengine.fileio.load', 'torch.load', 'mmdet.apis.Thing']
)
def test_type_names_components_only(name):
    """MMEngine's registries import and call what ``type`` names if it is none of theirs."""
    for text in (f"model = dict(type='{name}')", f"model = dict(parts=[(dict(type='{name}'),)])"):
        with pytest.raises(InputError, match=f"config.py: type='{name}' is no component of mmengine"):
            parse_plain_config(text, 'config.py')
    assert parse_plain_config("model = dict(type='mmdet.MaskRCNN', act_cfg=dict(type='ReLU'))", 'config.py')


@pytest.mark.parametrize('key', ['default_scope', '_scope_'])
def test_scopes_are_of_openmmlab(key):
    with pytest.raises(InputError, match=f"{key} must be one of mmengine, .*, got 'evil'"):
        parse_plain_config(f"model = dict({key}='evil')", 'config.py')


def test_a_portable_config_has_nothing_of_the_machine():
    settings = dict(
        work_dir='/home/me/work_dirs/a',
        load_from='/home/me/a.pth',
        resume=True,
        launcher='none',
        vis_backends=[dict(type='WandbVisBackend', init_kwargs=dict(entity='me'))],
        visualizer=dict(type='Visualizer', vis_backends=[]),
        model=dict(type='FCMAE', init_cfg=dict(type='Pretrained', checkpoint='~/weights/b.pth')),
        train_dataloader=dict(
            dataset=dict(data_root='/home/me/coco/', ann_file='annotations/a.json', data_prefix=dict(img='train/')),
            others=['file:///mnt/c.tar', ('D:\\data\\d', 'https://x.org/e.pth')],
        ),
    )
    kept = portable(settings)
    assert kept == dict(
        model=dict(type='FCMAE', init_cfg=dict(type='Pretrained', checkpoint='b.pth')),
        train_dataloader=dict(
            dataset=dict(data_root='coco/', ann_file='annotations/a.json', data_prefix=dict(img='train/')),
            others=['c.tar', ('d', 'https://x.org/e.pth')],
        ),
    )
    assert settings['work_dir'] == '/home/me/work_dirs/a'
    assert parse_plain_config(dump_plain_config(kept), 'config.py') == kept


def test_a_config_that_is_not_plain_is_not_written():
    with pytest.raises(InputError, match='is no plain config'):
        dump_plain_config(dict(a=float('inf')))
