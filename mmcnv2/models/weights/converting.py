"""From any layout to any other, without a model: the state dict says how deep and wide the network is."""

from collections.abc import Mapping, Sequence
from itertools import count

import torch
from torch import Tensor

from ..backbones import ConvNeXtV2
from ..backbones.convnextv2 import NUM_STAGES
from .layouts import LAYOUTS, Layout, recognise

#: Layouts that can be written: those of whole models that are used on.
WRITABLE = {layout.name: layout for layout in LAYOUTS if layout.classifier}
OURS = WRITABLE['mmcnv2']


def convert_state_dict(given: Mapping[str, Tensor], to: str) -> tuple[dict[str, Tensor], str, list[str]]:
    """Backbone and, of a classifier, norm and linear layer, in another layout.

    Args:
        given: State dict of a model with a ConvNeXt V2 backbone, in any layout.
        to: A name in ``WRITABLE``.

    Returns:
        The new state dict, the name of the layout that was recognised, and the keys of ``given`` that were left out:
        the new layout has no place for them, e.g. for the decoder of FCMAE.

    Raises:
        ValueError: If ``given`` has no ConvNeXt V2, or not all of one, or ``to`` is not known.
    """
    if to not in WRITABLE:
        raise ValueError(f'can write the layouts {", ".join(WRITABLE)}, got {to!r}')
    target = WRITABLE[to]
    source, prefix = recognise(given, _outline((1,) * NUM_STAGES, (1,) * NUM_STAGES, 1))
    own = _outline(*_size(given, source, prefix))
    stem_channels = own['downsample_layers.0.0.bias'].numel()

    out: dict[str, Tensor] = {}
    used: set[str] = set()
    classifier = _classifier_keys(given, source, target)
    for theirs, new in classifier.items():
        out[new] = given[theirs]
        used.add(theirs)
    for key, shape_of in own.items():
        theirs = prefix + source.key(key)
        if theirs in used or (theirs not in given and key.startswith('norm')):
            continue
        tensor = source.read(given[theirs], shape_of) if theirs in given else None
        if tensor is None:
            found = f'is {tuple(given[theirs].shape)}' if theirs in given else 'is missing'
            raise ValueError(f'{theirs} {found}, expected {tuple(shape_of.shape)} or a shape of {source.name}')
        if key.startswith('norm') and not target.output_norms:
            continue
        out[target.prefixes[0] + target.key(key)] = target.write(key, tensor, stem_channels).contiguous()
        used.add(theirs)
    return out, source.name, [key for key in given if key not in used]


def build_backbone(given: Mapping[str, Tensor], out_indices: Sequence[int]) -> ConvNeXtV2:
    """The backbone in a state dict of any layout, with output norms if it has those of all ``out_indices``.

    Raises:
        ValueError: See ``convert_state_dict``.
    """
    prefix = OURS.prefixes[0]
    converted, *_ = convert_state_dict(given, OURS.name)
    own = {key.removeprefix(prefix): value for key, value in converted.items() if key.startswith(prefix)}
    depths, channels, in_channels = _size(own, OURS, '')
    backbone = ConvNeXtV2(
        dict(depths=depths, channels=channels),
        in_channels,
        out_indices=sorted(out_indices),
        out_norm=all(f'norm{i}.weight' in own for i in out_indices),
    )
    backbone.load_state_dict({key: own[key] for key in backbone.state_dict()})
    return backbone


def _outline(depths: tuple[int, ...], channels: tuple[int, ...], in_channels: int) -> dict[str, Tensor]:
    """Keys and shapes of a backbone of ours with all output norms; the tensors have no values."""
    with torch.device('meta'):
        return ConvNeXtV2(dict(depths=depths, channels=channels), in_channels).state_dict()


def _size(given: Mapping[str, Tensor], layout: Layout, prefix: str) -> tuple[tuple, tuple, int]:
    """Depths, channels and input channels of the network in ``given``."""

    def find(key: str) -> Tensor:
        name = prefix + layout.key(key)
        if name not in given:
            raise ValueError(f'{name} is missing, and with it a part of the network ({layout.name})')
        return given[name]

    def depth(stage: int) -> int:
        blocks = (prefix + layout.key(f'stages.{stage}.{j}.norm.weight') for j in count())
        return next(j for j, name in enumerate(blocks) if name not in given)

    depths = tuple(depth(i) for i in range(NUM_STAGES))
    channels = tuple(find(f'stages.{i}.0.norm.weight').numel() for i in range(NUM_STAGES))
    return depths, channels, find('downsample_layers.0.0.weight').shape[1]


def _classifier_keys(given: Mapping[str, Tensor], source: Layout, target: Layout) -> dict[str, str]:
    """Their keys of a classifier's norm and linear layer, to those of the new layout."""
    keys: dict[str, str] = {}
    for theirs, new in zip(source.classifier or (), target.classifier, strict=False):
        # mmpretrain's norm3 is an output norm like the others where those are there, too.
        if theirs == 'backbone.norm3' and 'backbone.norm0.weight' in given:
            continue
        keys |= {f'{theirs}.{kind}': f'{new}.{kind}' for kind in ('weight', 'bias') if f'{theirs}.{kind}' in given}
    return keys
