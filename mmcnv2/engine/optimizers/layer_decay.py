"""Layer-wise learning-rate decay for ConvNeXt V2 and V1: the nearer to the image, the smaller the learning rate.

The learning rate of layer l is ``lr * decay_rate ** (L + 1 - l)``, with L the number of layers of the backbone.
Layers are counted as the official code of ConvNeXt V2 does (``optim_factory.py``), for any depths:

- 'single': each block is a layer of its own. The stem counts with the first block.
- 'group': three consecutive blocks of a stage are one layer, what remains at its end is another.
  The stem is layer 0. (The official code has this for depths (3, 3, 27, 3) only, mmdet also for (3, 3, 9, 3).)

In both, a downsampling layer counts with the first block of the stage that it leads to. Everything else (output norms
``norm{i}``, necks and heads) is layer L + 1 with the full learning rate: FCMAE does not train it.

====================== ======== ===== ======== ======== ============= ======== ===== =====
depths                 type     stem  stage 0  stage 1  stage 2       stage 3  rest  L
====================== ======== ===== ======== ======== ============= ======== ===== =====
(2, 2, 6, 2)   atto    single   1     1, 2     3, 4     5 ... 10      11, 12   13    12
(2, 2, 6, 2)   atto    group    0     1        2        3, 4          5        6     5
(3, 3, 9, 3)   tiny    single   1     1, 2, 3  4, 5, 6  7 ... 15      16 - 18  19    18
(3, 3, 9, 3)   tiny    group    0     1        2        3, 4, 5       6        7     6
(3, 3, 27, 3)  base    single   1     1, 2, 3  4, 5, 6  7 ... 33      34 - 36  37    36
(3, 3, 27, 3)  base    group    0     1        2        3 ... 11      12       13    12
====================== ======== ===== ======== ======== ============= ======== ===== =====

The paper (appendix A.2) uses 'group' for Base and Large, 'single' for the smaller ones.
"""

import inspect
from typing import Any

from mmengine.logging import print_log
from mmengine.optim import DefaultOptimWrapperConstructor
from mmengine.registry import OPTIMIZERS
from torch import nn

from mmcnv2.models.backbones import ConvNeXtBase
from mmcnv2.registry import OPTIM_WRAPPER_CONSTRUCTORS
from mmcnv2.utils.errors import InputError

BLOCKS_PER_LAYER = dict(single=1, group=3)


@OPTIM_WRAPPER_CONSTRUCTORS.register_module()
class LayerDecayOptimWrapperConstructor(DefaultOptimWrapperConstructor):
    """Optimizer of a model with a ConvNeXt V2 backbone, one parameter group for each layer with and without decay.

    One-dimensional parameters (biases, norms, gamma and beta of GRN) and the mask token get no weight decay, and those
    that ``no_decay`` names. Frozen parameters are left out. The groups are logged as a table.

    Args:
        optim_wrapper_cfg: See MMEngine; the optimizer needs ``lr``. Where it has no ``weight_decay``, that is the
            optimizer's own default (0 of SGD, 0.01 of AdamW).
        paramwise_cfg: ``dict(decay_rate=0.95, decay_type='group')``: the rate in (0, 1], and 'single' or 'group'.
            Optional is ``no_decay``, a list of texts: a parameter with one of them in its name gets no weight decay,
            as the embeddings of queries and levels of Mask2Former and DINO, which are matrices.

    Raises:
        ValueError: If a setting is missing, unknown or out of range, or, when called, neither the model nor its
            attribute ``backbone`` is a ConvNeXt V2, or a text of ``no_decay`` is in no name.
    """

    base_wd: float | None

    def _validate_cfg(self) -> None:
        super()._validate_cfg()
        if set(self.paramwise_cfg) - {'no_decay'} != {'decay_rate', 'decay_type'}:
            raise InputError(
                "paramwise_cfg must be dict(decay_rate=..., decay_type='single' | 'group'), optionally with "
                f'no_decay=[...], got {dict(self.paramwise_cfg)}'
            )
        if isinstance(no_decay := self.paramwise_cfg.get('no_decay', []), str) or not all(no_decay):
            raise InputError(f"no_decay must be a list of parts of names such as ['query_embed'], got {no_decay!r}")
        rate, decay_type = self.paramwise_cfg['decay_rate'], self.paramwise_cfg['decay_type']
        if not 0 < rate <= 1:
            raise InputError(f'decay_rate must be in (0, 1], got {rate}')
        if decay_type not in BLOCKS_PER_LAYER:
            raise InputError(f"decay_type must be 'single' or 'group', got {decay_type!r}")
        if self.base_wd is None:
            self.base_wd = _default_weight_decay(self.optimizer_cfg['type'])
        if self.base_lr is None or self.base_wd is None:
            raise InputError(f'the optimizer needs lr and weight_decay, got {dict(self.optimizer_cfg)}')

    def add_params(self, params: list[dict], module: nn.Module) -> None:
        """Add the groups of a model to ``params``, from the stem to the heads.

        Besides ``lr`` and ``weight_decay``, a group has ``layer_id`` and ``lr_scale``.
        """
        backbone = _backbone_of(module)
        names = {param: name for name, param in backbone.named_parameters()}
        depths = backbone.depths
        rate, decay_type = self.paramwise_cfg['decay_rate'], self.paramwise_cfg['decay_type']
        no_decay = self.paramwise_cfg.get('no_decay', [])
        all_names = [name for name, _ in module.named_parameters()]
        if unknown := [part for part in no_decay if not any(part in name for name in all_names)]:
            raise InputError(
                f'no_decay: no parameter of {type(module).__name__} has {" or ".join(unknown)} in its name'
            )
        last = num_layers(depths, decay_type) + 1
        groups: dict[tuple[int, bool], dict] = {}
        for name, param in module.named_parameters():
            if not param.requires_grad:
                continue
            layer_id = get_layer_id(names.get(param, ''), depths, decay_type)
            decays = param.ndim > 1 and not name.endswith('mask_token') and not any(part in name for part in no_decay)
            if (layer_id, decays) not in groups:
                lr_scale = rate ** (last - layer_id)
                groups[layer_id, decays] = dict(
                    params=[],
                    lr=self.base_lr * lr_scale,
                    weight_decay=self.base_wd if decays else 0.0,
                    layer_id=layer_id,
                    lr_scale=lr_scale,
                )
            groups[layer_id, decays]['params'].append(param)
        ordered = [groups[key] for key in sorted(groups)]
        params.extend(ordered)
        print_log(f'layer decay {rate} ({decay_type}), lr {self.base_lr:g}:\n{_table(ordered)}', logger='current')


def _default_weight_decay(kind: Any) -> float | None:
    """Return the weight decay of an optimizer that is given none; None if it has none at all."""
    parameters = inspect.signature(OPTIMIZERS.get(kind) if isinstance(kind, str) else kind).parameters
    return parameters['weight_decay'].default if 'weight_decay' in parameters else None


def get_layer_id(name: str, depths: tuple[int, ...], decay_type: str) -> int:
    """Return the layer of a parameter, 0 to L + 1.

    Args:
        name: Name of the parameter within the backbone, '' for one outside.
        depths: Blocks of each stage.
        decay_type: 'single' or 'group'.
    """
    part, *indices = name.split('.')
    if part not in ('downsample_layers', 'stages'):
        return num_layers(depths, decay_type) + 1
    stage, block = int(indices[0]), int(indices[1]) if part == 'stages' else 0
    if part == 'downsample_layers' and stage == 0 and decay_type == 'group':
        return 0
    return 1 + num_layers(depths[:stage], decay_type) + block // BLOCKS_PER_LAYER[decay_type]


def num_layers(depths: tuple[int, ...], decay_type: str) -> int:
    """Return the number of layers L of stages of these depths; the remainder of a stage is also a layer."""
    return sum(-(-depth // BLOCKS_PER_LAYER[decay_type]) for depth in depths)


def _backbone_of(model: nn.Module) -> ConvNeXtBase:
    backbone = model if isinstance(model, ConvNeXtBase) else getattr(model, 'backbone', None)
    if not isinstance(backbone, ConvNeXtBase):
        raise InputError(
            'LayerDecayOptimWrapperConstructor needs a mmcnv2.ConvNeXtV2 or a mmcnv2.ConvNeXt, or a model whose '
            f'backbone is one, got {type(model).__name__} with backbone {type(backbone).__name__}'
        )
    return backbone


def _table(groups: list[dict]) -> str:
    lines = ['layer  lr scale  weight decay  tensors      params']
    for group in groups:
        size = sum(param.numel() for param in group['params'])
        lines.append(
            f'{group["layer_id"]:5d}  {group["lr_scale"]:8.4f}  {group["weight_decay"]:12g}  '
            f'{len(group["params"]):7d}  {size:10,d}'
        )
    return '\n'.join(lines)
