"""A metric cannot be computed on a test set without annotations."""

import json

import pytest
from mmengine.config import Config

from mmcnv2.preflight import check_annotations
from mmcnv2.utils.errors import ConfigError


@pytest.mark.parametrize('format_only', [False, True])
def test_coco_metric_on_test_dev(tmp_path, format_only):
    (tmp_path / 'a.jpg').touch()
    image = dict(id=1, file_name='a.jpg', width=8, height=8)
    (tmp_path / 'dev.json').write_text(json.dumps(dict(images=[image], categories=[dict(id=1, name='cat')])))
    dataset = dict(type='CocoDataset', data_root=str(tmp_path), ann_file='dev.json', test_mode=True)
    dataset |= dict(metainfo=dict(classes=('cat',)), data_prefix=dict(img=''), pipeline=[])
    metric = dict(type='CocoMetric', format_only=format_only, outfile_prefix='out')
    cfg = Config(dict(default_scope='mmdet', test_dataloader=dict(dataset=dataset), test_evaluator=metric))
    if format_only:
        assert check_annotations(cfg, ('test',)) is None
        return
    with pytest.raises(ConfigError, match=r'dev\.json .*no annotations, which test_evaluator needs.*format_only'):
        check_annotations(cfg, ('test',))
