"""Mean and std of a network's images, where a config or a data preprocessor has them, and what they do."""

import pytest
import torch
from mmengine.registry import MODELS

import mmcnv2  # noqa: F401  (registers the models)
from mmcnv2.models.normalization import IMAGENET, NONE, Normalization, normalization_in, normalization_of


def test_applied_by_hand():
    images = torch.tensor([10, 20, 30], dtype=torch.uint8).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    result = Normalization((10.0, 16.0, 0.0), (1.0, 2.0, 4.0)).apply(images)
    assert result.dtype == torch.float32 and result.shape == (1, 3, 2, 2)
    assert result[0, :, 1, 1].tolist() == [0, 2, 7.5]
    assert torch.equal(NONE.apply(images), images.float())


@pytest.mark.parametrize('of_model', [True, False])
def test_in_a_config(of_model):
    preprocessor = dict(type='ImgDataPreprocessor', mean=[45.0] * 3, std=(70, 71, 72), pad_size_divisor=32)
    settings = dict(model=dict(type='FCMAE', data_preprocessor=preprocessor))
    if not of_model:  # mmpretrain's place for it
        settings = dict(model=dict(type='ImageClassifier'), data_preprocessor=preprocessor)
    found = normalization_in(settings)
    assert found == Normalization((45, 45, 45), (70, 71, 72))
    assert str(found) == 'mean 45, 45, 45, std 70, 71, 72'


def test_in_the_pipeline_and_in_branches():
    """A data preprocessor that leaves it to the pipeline, and one of a semi-supervised detector, which has another."""
    normalize = dict(type='mmcv.Normalize', mean=[1, 2, 3], std=[4, 5, 6], to_rgb=True)
    inner = dict(pipeline=[dict(type='LoadImageFromFile'), normalize, dict(type='PackSegInputs')])
    loader = dict(batch_size=2, dataset=dict(type='RepeatDataset', dataset=inner))
    settings = dict(model=dict(data_preprocessor=dict(type='SegDataPreProcessor')), train_dataloader=loader)
    assert normalization_in(settings) == Normalization((1, 2, 3), (4, 5, 6))
    branches = dict(type='MultiBranchDataPreprocessor', data_preprocessor=dict(mean=[7] * 3, std=[8] * 3))
    assert normalization_in(dict(model=dict(data_preprocessor=branches))) == Normalization((7,) * 3, (8,) * 3)


def test_configs_without_it():
    assert normalization_in(dict(model=dict(data_preprocessor=dict(type='ImgDataPreprocessor')))) == NONE
    assert normalization_in(dict(model=dict(type='FCMAE'))) is None
    assert normalization_in({}) is None


def test_of_a_data_preprocessor():
    given = dict(type='ImgDataPreprocessor', mean=IMAGENET.mean, std=IMAGENET.std)
    found = normalization_of(MODELS.build(given))
    assert [*found.mean, *found.std] == pytest.approx([*IMAGENET.mean, *IMAGENET.std])
    assert normalization_of(MODELS.build(dict(type='ImgDataPreprocessor'))) == NONE
