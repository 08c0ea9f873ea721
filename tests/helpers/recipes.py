"""Recipes with a checkpoint of random weights, for what needs some model and no good one."""

import torch
from mmengine.registry import DefaultScope

from mmcnv2.apis import get_config
from mmcnv2.registry import MODELS


def recipe_with_weights(name, folder, **changes):
    """A config of the package, and a checkpoint of its model with random weights."""
    cfg = get_config(name)
    cfg.merge_from_dict(changes)
    torch.manual_seed(1)
    with DefaultScope.overwrite_default_scope(cfg.get('default_scope', 'mmcnv2')):
        model = MODELS.build(cfg.model)
    for key, parameter in model.named_parameters():
        if key.endswith('fc_cls.bias'):
            parameter.data[-1] -= 2  # less background: objects are found, anywhere
        elif 'fc_cls' in key or 'conv_seg' in key:
            parameter.data.normal_(std=0.3)
    checkpoint = folder / f'{cfg.model.type.rpartition(".")[2]}.pth'
    torch.save(dict(state_dict=model.state_dict(), meta=dict(dataset_meta={})), checkpoint)
    return cfg, str(checkpoint)
