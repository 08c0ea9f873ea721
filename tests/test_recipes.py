"""The recipes of the package by name: as bases of configs elsewhere, in the Python API and in ``mmcnv2 configs``."""

from pathlib import Path

import mmengine.hub
import pytest
import torch
from helpers.configs import CONFIGS, ROOT, load
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope

from mmcnv2.apis import get_config
from mmcnv2.cli import run_command
from mmcnv2.recipes import RECIPES, find_recipes, list_recipes, paper_figures, recipe_path
from mmcnv2.utils.errors import ConfigError

FCMAE = 'fcmae/fcmae_convnextv2-base_64xb64-amp-coslr-1600e_in1k.py'
MASK_RCNN = 'mask_rcnn/mask-rcnn_convnextv2-base-fcmae_fpn_8xb4-amp-lsj-3x_coco.py'
UPERNET = 'upernet/upernet_convnextv2-base-fcmae-ft1k_8xb2-amp-160k_ade20k-512x512.py'
CLASSIFIER = 'imagenet/convnextv2-base-fcmae_32xb32-amp-coslr-100e_in1k.py'


def build(cfg: Config) -> torch.nn.Module:
    """The model, with shapes and without values, as a runner builds it."""
    with torch.device('meta'), DefaultScope.overwrite_default_scope(cfg.default_scope):
        return MODELS.build(cfg.model)


def test_recipes_are_the_configs():
    assert list_recipes() == sorted(str(path.relative_to(ROOT / 'configs')) for path in CONFIGS)


# ---- as bases of configs elsewhere ----


@pytest.mark.parametrize(
    ('name', 'package', 'model'),
    [
        (FCMAE, 'mmcnv2', 'FCMAE'),
        (MASK_RCNN, 'mmdet', 'MaskRCNN'),
        (UPERNET, 'mmseg', 'EncoderDecoder'),
        (CLASSIFIER, 'mmpretrain', 'ImageClassifier'),
    ],
)
def test_recipe_as_base(name, package, model, tmp_path):
    """It is what its file is as base, with nothing from MMEngine about where its types are looked for."""
    path = tmp_path / 'mine.py'
    path.write_text(f"_base_ = 'mmcnv2::{name}'\nmodel = dict(backbone=dict(with_cp=True))\n")
    cfg, recipe = Config.fromfile(path), load(ROOT / 'configs' / name)
    recipe.model.backbone.with_cp = True
    assert cfg.to_dict() == recipe.to_dict()
    built = build(cfg)
    assert (type(built).__module__.split('.')[0], type(built).__name__) == (package, model)
    assert built.backbone.with_cp


def test_part_of_a_recipe_as_base(tmp_path):
    """Of ``_base_``, beside a file of one's own."""
    (tmp_path / 'runtime.py').write_text('randomness = dict(seed=1)\n')
    path = tmp_path / 'mine.py'
    path.write_text("_base_ = ['mmcnv2::_base_/models/upernet_convnextv2.py', 'runtime.py']\n")
    cfg = Config.fromfile(path)
    assert cfg.randomness.seed == 1
    assert type(build(cfg).decode_head).__module__.split('.')[0] == 'mmseg'


@pytest.mark.parametrize(
    ('base', 'change', 'package', 'model'),
    [
        ('mmseg::_base_/models/upernet_r50.py', 'pretrained=None, ', 'mmseg', 'EncoderDecoder'),
        ('mmdet::_base_/models/mask-rcnn_r50_fpn.py', '', 'mmdet', 'MaskRCNN'),
    ],
)
def test_configs_of_the_libraries_as_bases(base, change, package, model, tmp_path):
    """Their types are looked for in their package, whatever the scope of the config."""
    path = tmp_path / 'mine.py'
    path.write_text(
        f"_base_ = '{base}'\ndefault_scope = 'mmcnv2'\n"
        f"model = dict({change}backbone=dict(_delete_=True, type='mmcnv2.ConvNeXtV2', arch='atto'))\n"
    )
    built = build(Config.fromfile(path))
    assert (type(built).__module__.split('.')[0], type(built).__name__) == (package, model)
    assert type(built.backbone).__name__ == 'ConvNeXtV2'


def test_unknown_base_names_the_nearest_recipe(tmp_path):
    path = tmp_path / 'mine.py'
    path.write_text(f"_base_ = 'mmcnv2::{UPERNET.replace('base', 'bas')}'\n")
    with pytest.raises(ConfigError, match=f'no recipe .*; did you mean mmcnv2::{UPERNET}'):
        Config.fromfile(path)


def test_mmengine_hub_finds_a_recipe():
    """By the metafiles; MMEngine wants the ending."""
    assert mmengine.hub.get_config(f'mmcnv2::{UPERNET}').to_dict() == load(ROOT / 'configs' / UPERNET).to_dict()


# ---- in the Python API ----


@pytest.mark.parametrize(
    'name', [UPERNET, f'mmcnv2::{UPERNET}', UPERNET.removesuffix('.py'), Path(UPERNET).name, Path(UPERNET).stem]
)
def test_path_and_config_of_a_recipe(name):
    assert Path(recipe_path(name)).samefile(ROOT / 'configs' / UPERNET)
    cfg = get_config(name)
    assert cfg.to_dict() == load(ROOT / 'configs' / UPERNET).to_dict()
    assert cfg.filename == recipe_path(name)


def test_path_of_a_base():
    assert Path(recipe_path('_base_/default_runtime')).samefile(ROOT / 'configs/_base_/default_runtime.py')


@pytest.mark.parametrize('function', [recipe_path, get_config])
@pytest.mark.parametrize(
    ('name', 'message'),
    [
        ('toy/fcmae_convnextv2-ato_toy-scenes', 'did you mean mmcnv2::toy/fcmae_convnextv2-atto_toy-scenes.py?'),
        ('upernet', '(mmcnv2 configs lists them)'),
        ('default_runtime.py', '(mmcnv2 configs lists them)'),  # of _base_ with the folder only
        ('', '(mmcnv2 configs lists them)'),
    ],
)
def test_unknown_recipe(function, name, message):
    with pytest.raises(ConfigError) as error:
        function(name)
    assert str(error.value).startswith(f'no recipe {name!r}')
    assert message in str(error.value)


def test_find_recipes():
    toy = [
        'toy/fcmae_convnextv2-atto_90e_toy-scenes.py',
        *(f'toy/{method}_convnextv2-atto_toy-scenes.py' for method in ('fcmae', 'mask-rcnn', 'upernet')),
    ]
    assert find_recipes('toy-scenes') == find_recipes('toy/*') == toy
    assert find_recipes('toy/?ask*') == toy[2:3]
    assert find_recipes('fcmae/*v2-base*') == [FCMAE, FCMAE.replace('1600', '800')]
    assert find_recipes('') == list_recipes()
    # A pattern is for the whole name.
    with pytest.raises(ConfigError, match=r"no recipe matches 'toy\?'"):
        find_recipes('toy?')


def test_figures_of_the_paper():
    figures = paper_figures()
    assert figures[FCMAE] == 'top-1 84.9 (table 4)'
    assert figures[CLASSIFIER] == 'top-1 84.9 (table 14)'
    assert figures[MASK_RCNN] == 'box AP 52.9, mask AP 46.6 (table 6)'
    assert figures[UPERNET] == 'mIoU 52.1 (table 7)'
    assert UPERNET.replace('base', 'atto') not in figures
    assert figures.keys() < set(list_recipes())


# ---- the command ----


def test_command_lists_recipes_with_figures(capsys):
    run_command('configs', ['fcmae/*v2-base*'])
    assert capsys.readouterr().out.splitlines() == [
        f'{FCMAE}  top-1 84.9 (table 4)',
        f'{FCMAE.replace("1600", "800")}   top-1 84.6 (table 4)',
    ]
    run_command('configs', [])
    listed = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in listed] == list_recipes()


def test_command_prints_paths(capsys):
    run_command('configs', ['toy/fcmae*atto_toy*', '--path'])
    (line,) = capsys.readouterr().out.splitlines()
    assert line == str(RECIPES / 'toy/fcmae_convnextv2-atto_toy-scenes.py')
    assert Path(line).is_file()


def test_command_says_what_matches_nothing():
    with pytest.raises(SystemExit, match=r"^error: no recipe matches '\*upernet_bass\*'; did you mean mmcnv2::"):
        run_command('configs', ['upernet_bass'])
