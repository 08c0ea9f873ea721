"""model-index.yml with its metafiles, and docs/reference/recipes.md, list exactly the configs that exist."""

import re
from pathlib import Path

import pytest
import yaml
from mmengine.config import Config

ROOT = Path(__file__).parents[1]
INDEX = yaml.safe_load((ROOT / 'model-index.yml').read_text())['Import']
METAFILES = {path: yaml.safe_load((ROOT / path).read_text()) for path in INDEX}
COLLECTIONS = [collection for content in METAFILES.values() for collection in content.get('Collections', [])]
MODELS = [(path, model) for path, content in METAFILES.items() for model in content['Models']]


def test_index_imports_all_metafiles():
    assert sorted(INDEX) == sorted(str(path.relative_to(ROOT)) for path in (ROOT / 'configs').rglob('metafile.yml'))


def test_models_are_the_configs():
    configs = [path for path in (ROOT / 'configs').rglob('*.py') if '_base_' not in path.parts]
    assert sorted(model['Config'] for _, model in MODELS) == sorted(str(path.relative_to(ROOT)) for path in configs)


def test_page_of_recipes_links_all_but_the_toy_configs():
    linked = re.findall(r'\((?:\.\./)+(configs/[^)]+\.py)\)', (ROOT / 'docs/reference/recipes.md').read_text())
    assert sorted(linked) == sorted(model['Config'] for path, model in MODELS if '/toy/' not in path)


def test_collections_have_names_of_their_own_and_a_readme():
    names = [collection['Name'] for collection in COLLECTIONS]
    assert len(names) == len(set(names))
    for collection in COLLECTIONS:
        assert (ROOT / collection['README']).is_file()
        assert collection['Paper'].keys() == {'Title', 'URL'}


@pytest.mark.parametrize(('metafile', 'model'), MODELS, ids=[model['Name'] for _, model in MODELS])
def test_model_is_that_of_its_config(metafile, model):
    path = ROOT / model['Config']
    assert path.parent == (ROOT / metafile).parent
    assert path.stem == model['Name']
    assert model['In Collection'] in [collection['Name'] for collection in COLLECTIONS]
    assert 'Results' not in model  # nothing was run in full, and the paper's figures are not ours

    cfg, metadata = Config.fromfile(path), model['Metadata']
    assert metadata['Architecture'] == f'ConvNeXt V2 {cfg.model.backbone.arch}'
    # Of all GPUs and all iterations of a step. The checks for one process do not state it.
    images = cfg.get('auto_scale_lr', {}).get('base_batch_size', cfg.train_dataloader.batch_size)
    assert metadata['Batch Size'] == images
    length = {'max_epochs': 'Epochs', 'max_iters': 'Iterations'}
    assert {length[key]: value for key, value in cfg.train_cfg.items() if key in length}.items() <= metadata.items()
