"""Predictions are saved whatever evaluator the config has."""

import pickle
import uuid

import pytest
import torch
from mmdet.evaluation import MultiDatasetsEvaluator
from mmengine.evaluator import BaseMetric, DumpResults, Evaluator
from mmengine.hooks import Hook
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch.utils.data import Dataset

from mmcnv2.engine.hooks import SavePredictionsHook


class Numbers(Dataset):
    metainfo = dict(classes=('a',))  # noqa: RUF012

    def __len__(self):
        return 3

    def __getitem__(self, index):
        return dict(inputs=torch.tensor(float(index)))


class Model(BaseModel):
    def forward(self, inputs, mode='predict'):
        return [dict(value=float(one)) for one in inputs]


class Mean(BaseMetric):
    default_prefix = 'x'

    def process(self, data_batch, data_samples):
        self.results += [sample['value'] for sample in data_samples]

    def compute_metrics(self, results):
        return dict(mean=sum(results) / len(results))


class SecondTest(Hook):
    """As mmpretrain's EMAHook tests the other weights, too."""

    def after_test_epoch(self, runner, metrics=None):
        for i, batch in enumerate(runner.test_loop.dataloader):
            runner.test_loop.run_iter(i, batch)


class Sets(torch.utils.data.ConcatDataset):
    metainfo = dict(cumulative_sizes=[3, 6])  # noqa: RUF012


@pytest.mark.parametrize('several', [False, True])
def test_all_predictions_are_saved_once(tmp_path, several):
    """Also with mmdet's evaluator of several data sets, which pairs each metric with one of them."""
    metrics = MultiDatasetsEvaluator([Mean(), Mean()], ['one', 'two']) if several else Evaluator([Mean()])
    dataset = Sets([Numbers(), Numbers()]) if several else Numbers()
    runner = Runner(
        model=Model(),
        work_dir=str(tmp_path),
        test_dataloader=dict(dataset=dataset, batch_size=2, sampler=dict(type='DefaultSampler', shuffle=False)),
        test_cfg=dict(),
        test_evaluator=metrics,
        custom_hooks=[SecondTest()],
        default_scope='mmengine',
        experiment_name=uuid.uuid4().hex,
    )
    runner.register_hook(SavePredictionsHook(DumpResults(str(tmp_path / 'out.pkl'))))
    measured = runner.test()
    assert measured == ({'one/x/mean': 1.0, 'two/x/mean': 1.0} if several else {'x/mean': 1.0})
    saved = pickle.loads((tmp_path / 'out.pkl').read_bytes())
    assert [one['value'] for one in saved] == [0, 1, 2] * (2 if several else 1)
