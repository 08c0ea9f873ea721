"""A metric cannot be computed on a test set without annotations."""

import json

import pytest
from mmengine.config import Config

from mmcnv2.preflight import check_annotations
from mmcnv2.utils.errors import ConfigError


@pytest.mark.parametrize(
    ('settings', 'is_refused'),
    [
        (dict(), True),
        (dict(ann_file='{}/dev.json'), True),
        (dict(ann_file='{}/labelled.json'), False),
        (dict(format_only=True, outfile_prefix='out'), False),
    ],
)  # fmt: skip
def test_coco_metric_on_test_dev(tmp_path, settings, is_refused):
    (tmp_path / 'a.jpg').touch()
    image = dict(id=1, file_name='a.jpg', width=8, height=8)
    (tmp_path / 'dev.json').write_text(json.dumps(dict(images=[image], categories=[dict(id=1, name='cat')])))
    dataset = dict(type='CocoDataset', data_root=str(tmp_path), ann_file='dev.json', test_mode=True)
    dataset |= dict(metainfo=dict(classes=('cat',)), data_prefix=dict(img=''), pipeline=[])
    metric = dict(type='CocoMetric', **settings)
    if 'ann_file' in metric:
        metric['ann_file'] = metric['ann_file'].format(tmp_path)
    cfg = Config(dict(default_scope='mmdet', test_dataloader=dict(dataset=dataset), test_evaluator=metric))
    if not is_refused:
        assert check_annotations(cfg, ('test',)) is None
        return
    with pytest.raises(ConfigError, match=r'dev\.json .*no annotations, which test_evaluator needs.*format_only'):
        check_annotations(cfg, ('test',))
