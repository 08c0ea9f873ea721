"""Convert from any format to any other, without a model: the state dict says how deep and wide the network is."""

import functools
from collections.abc import Mapping, Sequence
from itertools import count

import torch
from torch import Tensor

from mmcnv2.utils.errors import InputError

from ..backbones import ConvNeXt, ConvNeXtBase, ConvNeXtV2
from ..backbones.skeleton import NUM_STAGES
from ..pretraining import FCMAE
from .formats import BACKBONE, FORMATS, WeightFormat, recognize_network
from .matching import Match, match_state_dicts

NETWORKS: dict[str, type[ConvNeXtBase]] = {network.__name__: network for network in (ConvNeXtV2, ConvNeXt)}
#: Formats that can be written: those of whole models.
WRITABLE = {format.name: format for format in FORMATS if format.classifier or format.fcmae}
OURS = WRITABLE['mmcnv2']


def convert_state_dict(given: Mapping[str, Tensor], to: str) -> tuple[dict[str, Tensor], str, list[str]]:
    """Convert backbone and, of a classifier, norm and linear layer, or a whole FCMAE to another format.

    Args:
        given: State dict of a model with a ConvNeXt V2 or V1 backbone, in any format.
        to: A name in ``WRITABLE``.

    Returns:
        The new state dict, the name of the detected format, and the keys of ``given`` that were left out: the new
        format has no place for them, e.g. timm's for the decoder of FCMAE.

    Raises:
        ValueError: If ``given`` has neither network or an incomplete one, ``to`` is unknown, knows another network
            only, or is the format of a whole FCMAE, and a part of that is missing.
    """
    if to not in WRITABLE:
        raise InputError(f'can write the formats {", ".join(WRITABLE)}, got {to!r}')
    target = WRITABLE[to]
    network, source, prefix = network_of(given)
    if network not in target.networks:
        raise InputError(f'the checkpoint is of a {network}, and {to!r} is a format of {target.networks[0]}')
    size = _size(given, source, prefix)
    own = _outline(network, *size)
    stem_channels = own['downsample_layers.0.0.bias'].numel()

    out: dict[str, Tensor] = {}
    used: set[str] = set()
    classifier = _classifier_keys(given, source, target)
    for theirs, new in classifier.items():
        out[new] = given[theirs]
        used.add(theirs)
    match = match_state_dicts(
        given, own, lambda key: prefix + source.key(key), source.read, is_optional=ConvNeXtBase.is_output_norm
    )
    if match.problems:
        shown = '; '.join(match.problems[:3])
        raise InputError(f'{len(match.problems)} tensors do not fit the format of {source.name}: {shown}')
    for key, tensor in match.tensors.items():
        theirs = prefix + source.key(key)
        is_norm = ConvNeXtBase.is_output_norm(key)
        if theirs in used or (is_norm and not target.output_norms):
            continue
        out[target.prefixes[0] + target.key(key)] = target.write(key, tensor, stem_channels).contiguous()
        used.add(theirs)
    if target.fcmae:
        beside = _match_beside(given, source, network, size)
        if not beside.problems:
            out |= {key: target.write_beside(key, tensor) for key, tensor in beside.tensors.items()}
            used |= beside.tensors.keys()
        elif not target.classifier:
            shown = '; '.join(beside.problems[:3])
            raise InputError(
                f'{to!r} is the format of a whole FCMAE, and the checkpoint is none: {shown}'
                f'{"..." if beside.problems[3:] else ""}. --to official writes the backbone alone'
            )
    return out, source.name, [key for key in given if key not in used]


def build_backbone(given: Mapping[str, Tensor], out_indices: Sequence[int]) -> ConvNeXtBase:
    """Build the backbone in a state dict of any format, with output norms if it has those of all ``out_indices``.

    Raises:
        ValueError: See ``convert_state_dict``.
    """
    prefix = OURS.prefixes[0]
    converted, *_ = convert_state_dict(given, OURS.name)
    own = {key.removeprefix(prefix): value for key, value in converted.items() if key.startswith(prefix)}
    depths, channels, in_channels = _size(own, OURS, '')
    network, *_ = network_of(own)
    backbone = NETWORKS[network](
        dict(depths=depths, channels=channels),
        in_channels,
        out_indices=sorted(out_indices),
        out_norm=all(f'norm{i}.weight' in own for i in out_indices),
    )
    backbone.load_state_dict({key: own[key] for key in backbone.state_dict()})
    return backbone


def network_of(given: Mapping[str, Tensor]) -> tuple[str, WeightFormat, str]:
    """Return the name of the network in a state dict, a key of ``NETWORKS``, its format and its prefix.

    Raises:
        ValueError: If there is none.
    """
    return recognize_network(given, _smallest_outlines())


def _match_beside(given: Mapping[str, Tensor], source: WeightFormat, network: str, size: tuple) -> Match:
    """Compare what FCMAE has beside the backbone with that of a FCMAE as deep and wide as the one in ``given``."""
    dims = given['mask_token'].numel() if 'mask_token' in given else 1
    depth = next(j for j in count() if f'decoder.{j}.norm.weight' not in given)
    depths, channels, in_channels = size
    with torch.device('meta'):
        backbone = dict(type=NETWORKS[network], arch=dict(depths=depths, channels=channels), in_channels=in_channels)
        own = FCMAE(backbone, decoder_embed_dims=dims, decoder_depth=max(depth, 1)).state_dict()
    own = {key: value for key, value in own.items() if not key.startswith(BACKBONE)}
    return match_state_dicts(given, own, read=source.read)


@functools.cache
def _smallest_outlines() -> dict[str, dict[str, Tensor]]:
    """Return the outlines of both networks with a block a stage, by name."""
    ones = (1,) * NUM_STAGES
    return {network: _outline(network, ones, ones, 1) for network in NETWORKS}


def _outline(network: str, depths: tuple[int, ...], channels: tuple[int, ...], in_channels: int) -> dict[str, Tensor]:
    """Return keys and shapes of a backbone of ours with all output norms; the tensors have no values."""
    with torch.device('meta'):
        return NETWORKS[network](dict(depths=depths, channels=channels), in_channels).state_dict()


def _size(given: Mapping[str, Tensor], format: WeightFormat, prefix: str) -> tuple[tuple, tuple, int]:
    """Return depths, channels and input channels of the network in ``given``."""

    def find(key: str) -> Tensor:
        name = prefix + format.key(key)
        if name not in given:
            raise InputError(f'{name} is missing, and with it a part of the network ({format.name})')
        return given[name]

    def depth(stage: int) -> int:
        blocks = (prefix + format.key(f'stages.{stage}.{j}.norm.weight') for j in count())
        return next(j for j, name in enumerate(blocks) if name not in given)

    depths = tuple(depth(i) for i in range(NUM_STAGES))
    channels = tuple(find(f'stages.{i}.0.norm.weight').numel() for i in range(NUM_STAGES))
    return depths, channels, find('downsample_layers.0.0.weight').shape[1]


def _classifier_keys(given: Mapping[str, Tensor], source: WeightFormat, target: WeightFormat) -> dict[str, str]:
    """Map the given keys of a classifier's norm and linear layer to those of the new format."""
    keys: dict[str, str] = {}
    for theirs, new in zip(source.classifier or (), target.classifier or (), strict=False):
        # If mmpretrain's other output norms are there, norm3 is one of them.
        if theirs == 'backbone.norm3' and 'backbone.norm0.weight' in given:
            continue
        keys |= {f'{theirs}.{kind}': f'{new}.{kind}' for kind in ('weight', 'bias') if f'{theirs}.{kind}' in given}
    return keys
