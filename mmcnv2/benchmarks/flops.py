"""Parameters and multiply-adds of the model of a config, for one image, dense and masked.

Tensors are fake, with a shape and no values: nothing is computed, and neither weights nor data are needed. What is
counted is said by the help of ``mmcnv2 get-flops``.
"""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, cast
from unittest import mock

import torch
import torch.nn.functional as F
from mmengine.config import Config
from mmengine.registry import MODELS, DefaultScope
from mmengine.structures import BaseDataElement, InstanceData
from torch import Tensor, nn
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils.flop_counter import FlopCounterMode

from mmcnv2.models import FCMAE
from mmcnv2.models.backbones import ConvNeXtBase
from mmcnv2.models.sparse import PATCH_SIZE, random_mask
from mmcnv2.models.sparse.layout import VisibleTokens
from mmcnv2.utils.errors import ConfigError

SPLIT = ('', 'backbone', 'roi_head')  # modules whose parts are listed, by name in the model; '' is the model


@dataclass
class Part:
    """A part of a model.

    Args:
        name: In the table.
        parameters: Number of values.
        macs: Multiply-adds: 'dense' and, with a mask, 'masked'.
        parts: Its own parts, which add up to it; may be empty.
    """

    name: str
    parameters: int
    macs: dict[str, int]
    parts: list['Part'] = field(default_factory=list)


def count(
    cfg: Config, shape: Sequence[int] | None = None, mask_ratio: float | None = None
) -> tuple[dict[str, Any], Part]:
    """Count parameters and multiply-adds of the model of a config.

    Args:
        cfg: With ``model``.
        shape: (H, W) of the image; None: those of the training images.
        mask_ratio: Share of removed patches, in (0, 1); None: that of FCMAE, and no mask for other models.

    Returns:
        What was counted (``model``, ``image_size``, of detectors ``proposals``, with a mask ``mask_ratio``,
        ``patches`` and ``visible_patches``), and the whole model with its parts.

    Raises:
        InputError: If the model cannot be built or run, or an argument does not fit.
    """
    model = build_model(cfg)
    size = image_size(cfg, shape)
    facts: dict[str, Any] = dict(model=type(model).__name__, image_size=size)
    if proposals := fix_proposals(model):
        facts |= dict(proposals=proposals)
    mask_ratio = getattr(model, 'mask_ratio', None) if mask_ratio is None else mask_ratio
    if mask_ratio is None:
        counts = dict(dense=count_macs(model, size, None, 'dense'))
    else:
        mask = random_mask(1, (size[0] // PATCH_SIZE, size[1] // PATCH_SIZE), mask_ratio)
        counts = dict(dense=count_macs(model, size, mask, 'dense'), masked=count_macs(model, size, mask, 'auto'))
        facts |= dict(mask_ratio=mask_ratio, patches=mask.numel(), visible_patches=int((~mask).sum()))
    return facts, make_part('total', '', model, counts)


def title(facts: dict[str, Any]) -> str:
    """Return what ``count`` has counted as a line of text."""
    height, width = facts['image_size']
    text = f'{facts["model"]}, one image of {height}x{width}'
    if 'proposals' in facts:
        text += f', {facts["proposals"]} proposals'
    if 'mask_ratio' in facts:
        text += f', {facts["visible_patches"]} of {facts["patches"]} patches visible'
        text += f' (mask ratio {facts["mask_ratio"]})'
    return text


def build_model(cfg: Config) -> nn.Module:
    """Return the model of a config in evaluation mode, its parameters fake tensors on the CPU.

    Raises:
        ConfigError: If there is no model, or it cannot be built, or its backbone is another one.
    """
    if not cfg.get('model'):
        raise ConfigError(f'{cfg.filename} has no model: name a config that does, e.g. one of configs/toy')
    try:
        with torch.device('meta'), DefaultScope.overwrite_default_scope(cfg.get('default_scope') or 'mmengine'):
            model = MODELS.build(copy.deepcopy(cfg.model))  # mmpretrain's classifier writes into its config
    except Exception as error:
        raise ConfigError(f'cannot build the model of {cfg.filename}: {type(error).__name__}: {error}') from error
    if not isinstance(getattr(model, 'backbone', None), ConvNeXtBase):
        raise ConfigError(
            f'the model of {cfg.filename} must have a backbone of type mmcnv2.ConvNeXtV2 or mmcnv2.ConvNeXt'
        )
    # Not left on meta, where asking for autocast raises an error. The mode is not active in the forward pass: the mask
    # and the index tables made from it are real tensors, which operations on fake ones accept.
    with FakeTensorMode(allow_non_fake_inputs=True):
        return model.to_empty(device='cpu').eval()


def image_size(cfg: Config, shape: Sequence[int] | None) -> tuple[int, int]:
    """Return height and width: ``shape``, or the size that preprocessor or pipeline give to all training images.

    Raises:
        ConfigError: If the config does not fix them, or they are no positive multiples of the patch size.
    """
    size = (shape[0], shape[1]) if shape else _training_size(cfg)
    if size is None:
        raise ConfigError(f'{cfg.filename} does not say how large its training images are: add --shape H W')
    if any(side <= 0 or side % PATCH_SIZE for side in size):
        expected = f'positive multiples of {PATCH_SIZE}, as they are after padding (--shape H W)'
        raise ConfigError(f'height and width must be {expected}, got {size[0]} {size[1]}')
    return size


def _training_size(cfg: Config) -> tuple[int, int] | None:
    preprocessor = cfg.model.get('data_preprocessor') or {}
    dataset = (cfg.get('train_dataloader') or {}).get('dataset') or {}
    sizes = [preprocessor.get('size')]  # mmseg
    sizes += [t['size'] for t in preprocessor.get('batch_augments') or [] if t['type'] == 'BatchFixedSizePad']
    for transform in reversed(dataset.get('pipeline') or []):
        kind, size = transform['type'].split('.')[-1], transform.get('size')
        if kind == 'LoadRandomResizedCrop':
            sizes.append((size, size) if isinstance(size, int) else size)
        elif kind == 'RandomResizedCrop':  # mmpretrain
            scale = transform['scale']
            sizes.append((scale, scale) if isinstance(scale, int) else scale[::-1])
        elif kind == 'Pad' and size:
            sizes.append(size[::-1])  # the one of these that has the width first
    return next((tuple(size) for size in sizes if size), None)


def fix_proposals(model: Any) -> int | None:
    """Replace what depends on values in a two-stage detector, and is not counted.

    NMS leaves as many boxes as it may, and RoIAlign returns a tensor of the right shape.

    Returns:
        The number of proposals, None for other models.
    """
    if getattr(model, 'rpn_head', None) is None:
        return None
    num_proposals = model.test_cfg.rpn.max_per_img

    def predict_by_feat(cls_scores: list[Tensor], *args: object, **kwargs: object) -> list[InstanceData]:
        return [InstanceData(bboxes=cls_scores[0].new_empty(num_proposals, 4))]

    def extract(extractor: Any) -> Callable[..., Tensor]:
        shape = (extractor.out_channels, *extractor.roi_layers[0].output_size)
        return lambda feats, rois, *args: feats[0].new_empty(len(rois), *shape)

    model.rpn_head.predict_by_feat = predict_by_feat
    for module in model.modules():
        if hasattr(module, 'roi_layers'):
            module.forward = extract(module)
    return num_proposals


def visible_depthwise_conv(x: Tensor, weight: Tensor, bias: Tensor | None, layout: VisibleTokens) -> Tensor:
    """Compute a ``DepthwiseConv`` to be counted: every tap at every visible token.

    The count does not depend on where the tokens are, so the tokens (N, K*s*s, C) are taken as a map of one column
    (N, C, K*s*s, 1).
    """
    column = x.transpose(1, 2).unsqueeze(-1)
    column = F.conv2d(column, weight, bias, padding=weight.shape[-1] // 2, groups=weight.shape[0])
    return column.squeeze(-1).transpose(1, 2)


def count_macs(model: nn.Module, size: tuple[int, int], mask: Tensor | None, backend: str) -> dict[str, int]:
    """Return the multiply-adds within the calls of each module, by its name in ``model``; '' has all of them.

    Args:
        model: From ``build_model``.
        size: (H, W) of the image.
        mask: (1, H/32, W/32) bool, True = removed, or None.
        backend: Value of ``sparse_backend`` of the backbone.

    Raises:
        ConfigError: If the forward pass fails.
    """
    backbone = cast(ConvNeXtBase, model.backbone)
    backbone.sparse_backend = backend
    # mmdet and mmseg know no mask; FCMAE gives the backbone the same one.
    hook = backbone.register_forward_pre_hook(lambda _, args, kwargs: (args[:1], dict(mask=mask)), with_kwargs=True)
    image = next(backbone.parameters()).new_empty(1, backbone.in_channels, *size)
    load_backend = mock.patch('mmcnv2.models.sparse.backends.load_backend', return_value=visible_depthwise_conv)
    try:
        with torch.no_grad(), load_backend, FlopCounterMode(display=False) as counter:
            if isinstance(model, FCMAE):
                model(image, mode='loss', mask=mask)
            else:
                model(image, [BaseDataElement(metainfo=dict(img_shape=size))], mode='tensor')
    except Exception as error:
        what = f'{type(model).__name__} on an image of {size[0]}x{size[1]}'
        raise ConfigError(f'cannot count {what}: {type(error).__name__}: {error}') from error
    finally:
        hook.remove()
    # The counter's names start with the class of the model. It counts two operations for each multiply-add.
    return {name.partition('.')[2]: sum(ops.values()) // 2 for name, ops in counter.get_flop_counts().items()}


def make_part(name: str, path: str, module: nn.Module, counts: dict[str, dict[str, int]]) -> Part:
    """Return a module with its parts, if it is in ``SPLIT``.

    Args:
        name: In the table.
        path: In the model.
        module: The module.
        counts: Results of ``count_macs`` for 'dense' and, with a mask, 'masked'.
    """
    parameters = sum(parameter.numel() for parameter in module.parameters())
    part = Part(name, parameters, {way: _macs(path, module, counts[way]) for way in counts})
    if path not in SPLIT:
        return part
    rest = Part('', part.parameters, part.macs.copy())
    names = []
    children = dict(module.named_children())
    if path == 'backbone':
        stages = cast(nn.ModuleList, children.pop('stages'))
        children |= {f'stages.{i}': stage for i, stage in enumerate(stages)}
    for key, module_inside in children.items():
        child = make_part(key, f'{path}.{key}'.lstrip('.'), module_inside, counts)
        if all(child.macs.values()):
            part.parts.append(child)
            rest.parameters -= child.parameters
            rest.macs = {way: macs - child.macs[way] for way, macs in rest.macs.items()}
        elif child.parameters:
            names.append(key)
    names += [key for key, _ in module.named_parameters(recurse=False)]
    # Weights that the module itself uses, as FCMAE those of `pred`, or that are in no product, as those of norms.
    if names:
        rest.name = ', '.join(names)
        part.parts.append(rest)
    return part


def _macs(path: str, module: nn.Module, counts: dict[str, int]) -> int:
    """Return the count of a module, or, if it is not called itself, the sum of its children's."""
    if path in counts:
        return counts[path]
    return sum(_macs(f'{path}.{name}', child, counts) for name, child in module.named_children())


def table(total: Part) -> str:
    """Return the parts, indented by level, and the total as aligned text."""
    unit, scale = ('G', 1e9) if max(total.macs.values()) >= 1e9 else ('M', 1e6)
    rows = [['part', 'parameters (M)', *(f'{way} ({unit} MACs)' for way in total.macs)]]
    rows[0] += ['dense / masked'] if 'masked' in total.macs else []

    def add(part: Part, indent: str) -> None:
        row = [indent + part.name, f'{part.parameters / 1e6:.3f}', *(f'{n / scale:.3f}' for n in part.macs.values())]
        if 'masked' in part.macs:
            row.append(f'{part.macs["dense"] / part.macs["masked"]:.2f}' if part.macs['masked'] else '-')
        rows.append(row)
        for child in part.parts:
            add(child, indent + '  ')

    for part in [*total.parts, Part('total', total.parameters, total.macs)]:
        add(part, '')
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ['  '.join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) for row in rows]
    rule = '-' * len(lines[0])
    return '\n'.join([lines[0], rule, *lines[1:-1], rule, lines[-1]])
