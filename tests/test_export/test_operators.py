"""Operations against plain definitions, and as graphs in onnxruntime at other sizes than the recorded one."""

import numpy as np
import onnxruntime
import pytest
import torch
from torch import nn

from mmcnv2.export.detectors import paste
from mmcnv2.export.operators import AdaptivePool, non_maximum_suppression, replace_layers, roi_align


class Function(nn.Module):
    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs):
        return self.function(*inputs)


def as_graph(function, example, sizes, path):
    """The function in onnxruntime, recorded for an example; ``sizes``: dimensions that change, of each input."""
    names = [f'input{i}' for i in range(len(example))]
    torch.onnx.export(
        Function(function),
        example,
        str(path),
        dynamo=False,
        opset_version=17,
        input_names=names,
        output_names=['output'],
        dynamic_axes=dict(zip(names, sizes, strict=True)),
    )
    session = onnxruntime.InferenceSession(str(path), providers=['CPUExecutionProvider'])
    return lambda *inputs: torch.from_numpy(
        session.run(None, {name: value.numpy() for name, value in zip(names, inputs, strict=True)})[0]
    )


def boxes(count, seed):
    generator = torch.Generator().manual_seed(seed)
    corners = 60 * torch.rand(count, 2, generator=generator)
    both = torch.cat([corners, corners + 5 + 30 * torch.rand(count, 2, generator=generator)], dim=1)
    return both, torch.rand(count, generator=generator), torch.randint(0, 3, (count,), generator=generator)


def plain_suppression(boxes, scores, groups, iou_threshold, score_threshold, most):
    kept = []
    for i in scores.argsort(descending=True).tolist():
        if scores[i] <= score_threshold or len(kept) == most:
            continue
        for j in kept:
            sides = (torch.minimum(boxes[i, 2:], boxes[j, 2:]) - torch.maximum(boxes[i, :2], boxes[j, :2])).clamp(
                min=0
            )
            areas = [(box[2:] - box[:2]).prod() for box in (boxes[i], boxes[j])]
            if groups[i] == groups[j] and sides.prod() / (sum(areas) - sides.prod()) > iou_threshold:
                break
        else:
            kept.append(i)
    return kept


@pytest.mark.filterwarnings('ignore')
def test_suppression(tmp_path):
    def function(*inputs):
        return non_maximum_suppression(*inputs, 0.4, 0.2, 12)

    graph = as_graph(function, boxes(20, 0), [{0: 'n'}] * 3, tmp_path / 'nms.onnx')
    for count, seed in ((40, 1), (3, 2), (1, 3)):
        given = boxes(count, seed)
        expected = plain_suppression(*given, 0.4, 0.2, 12)
        assert function(*given).tolist() == graph(*given).tolist() == expected
    nothing = boxes(5, 4)[0], torch.full((5,), 0.2), torch.zeros(5, dtype=torch.int64)
    assert function(*nothing).tolist() == graph(*nothing).tolist() == []


@pytest.mark.filterwarnings('ignore')
def test_adaptive_pooling_is_that_of_torch(tmp_path):
    graph = as_graph(
        AdaptivePool((3, 6)), (torch.rand(1, 2, 4, 5),), [{0: 'n', 2: 'h', 3: 'w'}], tmp_path / 'pool.onnx'
    )
    for shape in ((2, 2, 7, 11), (1, 2, 2, 3), (3, 2, 12, 6)):
        x = torch.rand(shape)
        torch.testing.assert_close(graph(x), nn.functional.adaptive_avg_pool2d(x, (3, 6)))
    model = nn.Sequential(nn.Sequential(nn.AdaptiveAvgPool2d(2)), nn.ReLU())
    replace_layers(model)
    assert isinstance(model[0][0], AdaptivePool) and model[0][0].size == (2, 2)


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('sampling_ratio', [0, 2])
def test_roi_align_is_that_of_mmcv(tmp_path, sampling_ratio):
    from mmcv.ops import RoIAlign

    layer = RoIAlign((3, 5), 0.25, sampling_ratio, aligned=True)
    maps, found = torch.rand(1, 4, 12, 16), boxes(9, 5)[0]
    rois = torch.cat([torch.zeros(9, 1), found], dim=1)

    def function(map_, rois):
        return roi_align(map_, rois, layer)

    graph = as_graph(function, (maps, rois[:4]), [{2: 'h', 3: 'w'}, {0: 'n'}], tmp_path / 'roi.onnx')
    larger = torch.rand(1, 4, 25, 20)
    torch.testing.assert_close(graph(larger, rois), layer(larger, rois))
    assert graph(maps, rois[:0]).shape == (0, 4, 3, 5)


def test_masks_are_pasted_as_in_mmdet():
    from mmdet.models.roi_heads.mask_heads.fcn_mask_head import _do_paste_mask

    masks, (found, _, _) = torch.rand(7, 28, 28), boxes(7, 6)
    found[0] = torch.tensor([-8.0, -3.0, 20.0, 30.0])  # partly outside
    expected, _ = _do_paste_mask(masks[:, None], found, 64, 96, skip_empty=False)
    np.testing.assert_allclose(paste(masks, found, torch.zeros(1, 3, 64, 96)), expected, atol=1e-5)
