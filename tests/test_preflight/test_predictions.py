"""Where and for what ``mmcnv2 test --out`` is refused."""

import pytest
from mmengine.config import Config

from mmcnv2.preflight import check_output, output_kind
from mmcnv2.utils.errors import ConfigError

DATASETS = dict(mmdet=dict(type='CocoDataset'), mmseg=dict(type='ADE20KDataset'), mmcnv2=dict(type='UnlabelledImages'))


def config(scope, wrap=lambda dataset: dataset):
    return Config(dict(default_scope=scope, test_dataloader=dict(dataset=wrap(DATASETS[scope]))))


def concatenated(dataset):
    return dict(type='ConcatDataset', datasets=[dataset, dataset])


@pytest.mark.parametrize(
    ('name', 'kind'),
    [
        ('a.pkl', 'pickle'),
        ('a.b.pickle', 'pickle'),
        ('a.json', 'coco'),
        ('a', 'label maps'),
        ('v1.2/', 'label maps'),
        ('there.1', 'label maps'),
    ],
)
def test_kinds(name, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'there.1').mkdir()
    assert output_kind(name) == kind


@pytest.mark.parametrize('name', ['a.csv', 'a.PKL', 'a.json.gz', 'new.1'])
def test_other_endings(name):
    with pytest.raises(ConfigError, match=rf'--out must be a \.pkl file .* or a folder .*, got {name}$'):
        output_kind(name)


@pytest.mark.parametrize(
    ('cfg', 'name'),
    [
        (config('mmdet'), 'new/a.json'),
        (config('mmdet'), 'a.pkl'),
        (config('mmseg'), 'new/folder'),
        (config('mmseg', concatenated), 'folder'),
        (config('mmseg'), 'a.pkl'),
        (config('mmcnv2'), 'a.pkl'),
        (config('mmdet', lambda dataset: dict(type='RepeatDataset', dataset=dataset)), 'a.json'),
    ],
)
def test_what_suits(cfg, name, tmp_path):
    check_output(cfg, str(tmp_path / name))
    assert not [path for path in tmp_path.rglob('*') if path.is_file()]


@pytest.mark.parametrize(
    ('cfg', 'name', 'message'),
    [
        (config('mmdet'), 'folder', r'segmentation .* is CocoDataset\. Use --out FILE\.pkl, or FILE\.json'),
        (config('mmseg'), 'a.json', r'one test data set in the format of COCO .* is ADE20KDataset'),
        (config('mmcnv2'), 'folder', 'is UnlabelledImages'),
        (config('mmdet', concatenated), 'a.json', 'is CocoDataset, CocoDataset'),
    ],
)
def test_what_does_not_suit(cfg, name, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        check_output(cfg, str(tmp_path / name))


@pytest.mark.parametrize('name', ['file/a.pkl', 'file', 'folder.pkl'])
def test_places_that_cannot_be_written(name, tmp_path):
    (tmp_path / 'file').touch()
    (tmp_path / 'folder.pkl').mkdir()
    with pytest.raises(ConfigError, match=rf'--out {tmp_path}/{name} cannot be written: .*\. Name another place'):
        check_output(config('mmseg'), str(tmp_path / name))
