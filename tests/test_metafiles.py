"""model-index.yml with its metafiles, and the page of recipes, list exactly the configs that exist."""

import re

import pytest
import yaml
from helpers.configs import CONFIGS, ROOT, load

INDEX = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
METAFILES = {path: yaml.safe_load((ROOT / path).read_text()) for path in INDEX}
COLLECTIONS = [collection for content in METAFILES.values() for collection in content.get('Collections', [])]
MODELS = [(path, model) for path, content in METAFILES.items() for model in content['Models']]
PAGE = next((ROOT / 'docs').rglob('recipes.md'))
# The rows of figures of the page: what stands before each number of a cell in a metafile.
FIGURES = {'top-1': ('top-1 ',), 'box AP, mask AP': ('box AP ', 'mask AP '), 'mIoU': ('mIoU ',)}


def test_index_imports_all_metafiles():
    assert sorted(INDEX) == sorted(str(path.relative_to(ROOT)) for path in (ROOT / 'configs').rglob('metafile.yml'))


def test_models_are_the_configs():
    assert sorted(model['Config'] for _, model in MODELS) == sorted(str(path.relative_to(ROOT)) for path in CONFIGS)


def linked(text: str) -> list[str]:
    """The configs that a part of the page links, from the root of the repository."""
    targets = re.findall(r'\]\(([^)]+\.py)\)', text)
    return [str((PAGE.parent / target).resolve().relative_to(ROOT)) for target in targets]


def test_page_of_recipes_links_all_but_those_for_small_data():
    expected = sorted(
        model['Config'] for path, model in MODELS if path.split('/')[1] not in ('toy', 'evidence', 'own_data')
    )
    assert sorted(linked(PAGE.read_text())) == expected


def figures_of_the_page() -> dict[str, str]:
    """The figure of each config, as a metafile has it: it stands in the next row of figures, in the same column."""
    figures, waiting = {}, {}
    for line in PAGE.read_text().splitlines():
        if not line.startswith('|'):
            waiting = {}  # the end of a table
            continue
        label, *cells = [cell.strip() for cell in line.strip('|').split('|')]
        if label not in FIGURES:
            for column, cell in enumerate(cells):
                waiting.setdefault(column, []).extend(linked(cell))
            continue
        for column, cell in enumerate(cells):
            if cell != '-':
                *numbers, table = re.fullmatch(r'([\d.]+)(?:, ([\d.]+))? (\(table \d+\))', cell).groups()
                parts = [name + number for name, number in zip(FIGURES[label], numbers, strict=False)]
                assert waiting[column], f'{cell} is the figure of no config'
                figures |= dict.fromkeys(waiting[column], f'{", ".join(parts)} {table}')
        waiting = {}
    return figures


def test_figures_of_the_page_are_those_of_the_metafiles():
    key = 'Figure in Paper'
    in_metafiles = {model['Config']: model['Metadata'][key] for _, model in MODELS if key in model['Metadata']}
    # FCMAE (1600 and 800 epochs, sharded), fine-tuning, after 22k, Mask R-CNN, UperNet at 512 and 640, V1 beside V2.
    assert len(in_metafiles) == (8 + 3 + 3) + 8 + 10 + 3 + (3 + 1) + 4
    assert figures_of_the_page() == in_metafiles


def test_collections_have_names_of_their_own_and_a_readme():
    names = [collection['Name'] for collection in COLLECTIONS]
    assert len(names) == len(set(names))
    for collection in COLLECTIONS:
        assert (ROOT / collection['README']).is_file(), collection['README']
        assert collection['Paper'].keys() == {'Title', 'URL'}


@pytest.mark.slow
def test_models_are_those_of_their_configs():
    for metafile, model in MODELS:
        name, path = model['Name'], ROOT / model['Config']
        assert path.parent == (ROOT / metafile).parent, name
        assert path.stem == name
        assert model['In Collection'] in [collection['Name'] for collection in COLLECTIONS], name
        assert 'Results' not in model, name  # nothing was run in full, and the paper's figures are not ours

        cfg, metadata = load(path), model['Metadata']
        backbone = cfg.model.backbone
        network = {'ConvNeXt': 'ConvNeXt ', 'ConvNeXtV2': 'ConvNeXt V2 ', 'ResNet': 'ResNet-'}[
            backbone.type.split('.')[-1]
        ]
        assert metadata['Architecture'] == f'{network}{backbone.get("arch") or backbone.depth}', name
        # Of all GPUs and all iterations of a step. The checks for one process do not state it.
        images = cfg.get('auto_scale_lr', {}).get('base_batch_size', cfg.train_dataloader.batch_size)
        assert metadata['Batch Size'] == images, name
        length = {'max_epochs': 'Epochs', 'max_iters': 'Iterations'}
        expected = {length[key]: value for key, value in cfg.train_cfg.items() if key in length}
        assert expected and expected.items() <= metadata.items(), name


@pytest.fixture
def model_hub(monkeypatch):
    """mmpretrain's list of models, which forgets what a test adds."""
    import mmpretrain.apis

    hub = mmpretrain.apis.ModelHub
    monkeypatch.setattr(hub, '_models_dict', hub._models_dict.copy())
    monkeypatch.setattr(hub, '_ModelHub__mmpretrain_registered', hub._ModelHub__mmpretrain_registered)
    return hub


def test_mmpretrain_lists_the_classifiers(model_hub):
    """After one call; ``config_prefix`` is the folder that the paths of the metafiles start from, as for its own."""
    from mmpretrain import list_models

    model_hub.register_model_index(ROOT / 'mmcnv2/.mim/model-index.yml', config_prefix=ROOT / 'mmcnv2/.mim')
    assert list_models('convnextv2-base-fcmae*') == [
        'convnextv2-base-fcmae-ft22k_16xb32-amp-coslr-30e_in1k',
        'convnextv2-base-fcmae-ft22k_16xb32-amp-coslr-30e_in1k-384px',
        'convnextv2-base-fcmae_32xb32-amp-coslr-100e_in1k',
        'convnextv2-base-fcmae_64xb64-amp-coslr-90e_in22k',
    ]
    assert {model['Name'] for _, model in MODELS} <= set(list_models())
    found = model_hub.get('convnextv2-base-fcmae_32xb32-amp-coslr-100e_in1k')
    assert found.config.model.backbone.type == 'mmcnv2.ConvNeXtV2'
    assert found.metadata.data['Figure in Paper'] == 'top-1 84.9 (table 14)'
