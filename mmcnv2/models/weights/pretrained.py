"""``init_cfg=dict(type='mmcnv2.PretrainedConvNeXtV2', checkpoint=...)``: start from weights of any format.

``mmcnv2.PretrainedConvNeXt`` is the same under the name of the first version. ``mmcnv2.PretrainedFCMAE`` starts a
whole FCMAE, to go on with pre-training.
"""

import logging

from mmengine.logging import print_log
from mmengine.model import update_init_info
from torch import Tensor, nn

from mmcnv2.registry import WEIGHT_INITIALIZERS
from mmcnv2.utils.errors import InputError, errors_name

from ..backbones import ConvNeXtBase
from ..pretraining import FCMAE
from .converting import NETWORKS, network_of
from .formats import BACKBONE, recognize
from .matching import Match, match_state_dicts
from .reading import read_state_dict


@WEIGHT_INITIALIZERS.register_module()
class PretrainedConvNeXtV2:
    """An initialiser of ``ConvNeXtV2`` and ``ConvNeXt`` from a checkpoint of one of the ``FORMATS``.

    The format is detected. Output norms that the checkpoint lacks stay as they are, and the log says so; everything
    else must be there. (The last norm of official, timm's and transformers' classifiers comes after the pooling. It is
    not the output norm of a map and is left out, like heads and decoders.)

    Args:
        checkpoint: Path, URL, ``hf://owner/name[@revision]`` or ``timm://NAME``, see ``read_state_dict``.
        prefix: Prefix of the backbone's keys in a larger model, if it is not one of the usual ones.
        adapt_in_channels: Whether a stem for another number of channels is adapted, as timm does, or refused.
        allow_pickle: Read a file that could run code, see ``read_state_dict``.

    Raises (when called):
        ValueError: If nothing fits, weights are missing, or shapes disagree; the message lists them.
    """

    def __init__(
        self,
        checkpoint: str,
        prefix: str | None = None,
        adapt_in_channels: bool = False,
        allow_pickle: bool = False,
    ) -> None:
        self.checkpoint = checkpoint
        self.prefix = prefix
        self.adapt_in_channels = adapt_in_channels
        self.allow_pickle = allow_pickle

    def __call__(self, module: nn.Module) -> None:
        match, format = self.match(module)
        own = module.state_dict()
        module.load_state_dict(own | match.tensors)
        loaded = f'{len(match.tensors)} of {len(own)} tensors from {self.checkpoint} ({format})'
        # Pre-training leaves no output norms, but all else should be there; a part beside the backbone is fresh whole.
        fresh = dict.fromkeys(key if _is_output_norm(key) else key.partition('.')[0] for key in match.fresh)
        level = logging.INFO if all(map(_is_output_norm, match.fresh)) else logging.WARNING
        print_log(f'{loaded}; fresh: {", ".join(fresh) or "nothing"}', 'current', level)
        if hasattr(module, '_params_init_info'):
            update_init_info(module, f'{type(self).__name__}: {self.checkpoint}')

    def match(self, module: nn.Module) -> tuple[Match, str]:
        """Return what the checkpoint has for a module, without loading it, and the name of its format.

        Raises:
            ValueError: As when called.
        """
        if not isinstance(module, ConvNeXtBase):
            raise InputError(
                'PretrainedConvNeXtV2 initialises a mmcnv2.ConvNeXtV2 or a mmcnv2.ConvNeXt, '
                f'got {type(module).__name__}'
            )
        return self._match(module, module, self._read())

    def _read(self) -> dict[str, Tensor]:
        given = read_state_dict(self.checkpoint, self.allow_pickle)
        if self.prefix is None:
            return given
        given = {k.removeprefix(self.prefix): v for k, v in given.items() if k.startswith(self.prefix)}
        if not given:
            raise InputError(f'{self.checkpoint} has no key that starts with the prefix {self.prefix!r}')
        return given

    def _match(
        self, module: nn.Module, backbone: ConvNeXtBase, given: dict[str, Tensor], fresh: tuple[str, ...] = ()
    ) -> tuple[Match, str]:
        """Compare with a module that is or has a backbone; ``fresh`` are its parts that may be missing."""
        with errors_name(self.checkpoint):
            format, prefix = recognize(given, backbone.state_dict())

        def name(key: str) -> str:
            return prefix + format.key(key) if module is backbone else format.whole_key(key, prefix)

        def read(theirs: Tensor, tensor: Tensor) -> Tensor | None:
            converted = format.read(theirs, tensor)
            if converted is None or converted.shape == tensor.shape:
                return converted
            if not self.adapt_in_channels:  # only a stem may have another shape
                raise InputError(
                    f'the stem has {converted.shape[1]} input channels, expected {tensor.shape[1]}: '
                    'adapt_in_channels=True makes them fit'
                )
            return adapt_in_channels(converted, tensor.shape[1])

        def is_optional(key: str) -> bool:
            return _is_output_norm(key) or key.partition('.')[0] in fresh

        match = match_state_dicts(given, module.state_dict(), name, read, is_optional)
        if match.problems:
            network, *_ = network_of(given)
            if not isinstance(backbone, NETWORKS[network]):
                raise InputError(
                    f"{self.checkpoint} ({format.name}) is of a {network}: take it with type='mmcnv2.{network}', "
                    f'not with {type(backbone).__name__}'
                )
            shown = '\n  '.join(match.problems[:10]) + ('\n  ...' if len(match.problems) > 10 else '')
            decoder = '' if module is backbone else ', decoder_embed_dims and decoder_depth'
            raise InputError(
                f'{self.checkpoint} ({format.name}) does not fit this {type(module).__name__} (depths '
                f'{backbone.depths}, channels {backbone.channels}); {len(match.problems)} disagree:\n  {shown}\n'
                f'Check arch{"," if decoder else " and"} in_channels{decoder}'
            )
        return match, format.name


@WEIGHT_INITIALIZERS.register_module()
class PretrainedConvNeXt(PretrainedConvNeXtV2):
    """``PretrainedConvNeXtV2`` under the name of the first version."""


@WEIGHT_INITIALIZERS.register_module()
class PretrainedFCMAE(PretrainedConvNeXtV2):
    """An initialiser of a whole ``FCMAE``: encoder, projection, mask token, decoder and prediction.

    The checkpoint may be one of the official pre-training (MinkowskiEngine's layout) or of ours. It may also have an
    encoder alone, in any of the ``FORMATS``, as the published ones have. The rest then stays as it is, and one warning
    names it. A decoder of which a part is missing is an error.

    Args:
        checkpoint: As of ``PretrainedConvNeXtV2``.
        prefix: What precedes the keys of the whole model, if anything does.
        adapt_in_channels: Whether weights for another number of channels are taken: the stem is adapted, as timm does,
            and the prediction stays as it is, which the warning says.
        allow_pickle: As of ``PretrainedConvNeXtV2``.

    Raises (when called):
        ValueError: If nothing fits, weights are missing, or shapes disagree; the message lists them.
    """

    def match(self, module: nn.Module) -> tuple[Match, str]:
        if not isinstance(module, FCMAE):
            raise InputError(f'PretrainedFCMAE initialises a mmcnv2.FCMAE, got {type(module).__name__}')
        given, own = self._read(), module.state_dict()
        fresh: tuple[str, ...] = ()
        beside = [key for key in own if not key.startswith(BACKBONE)]
        if not any(key in given for key in beside):
            fresh = tuple(dict.fromkeys(key.partition('.')[0] for key in beside))
        elif self.adapt_in_channels and _pixels(given) != _pixels(own):
            given = {key: value for key, value in given.items() if not key.startswith('pred.')}
            fresh = ('pred',)
        return self._match(module, module.backbone, given, fresh)


def adapt_in_channels(weight: Tensor, channels: int) -> Tensor:
    """Adapt the weight of a stem (C_out, C_in, k, k) to another number of input channels, as timm does.

    For one channel, sum over the channels; otherwise repeat them in turn, scaled by C_in / channels.
    """
    given = weight.shape[1]
    if given == channels:
        return weight
    if channels == 1:
        return weight.sum(dim=1, keepdim=True)
    return weight.repeat(1, -(-channels // given), 1, 1)[:, :channels] * (given / channels)


def _is_output_norm(key: str) -> bool:
    return ConvNeXtBase.is_output_norm(key.removeprefix(BACKBONE))


def _pixels(fcmae: dict[str, Tensor]) -> int | None:
    """Return how many values of a patch the prediction of a FCMAE gives."""
    return fcmae['pred.bias'].numel() if 'pred.bias' in fcmae else None
