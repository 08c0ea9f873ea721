"""``init_cfg=dict(type='mmcnv2.PretrainedConvNeXtV2', checkpoint=...)``: start from weights of any format.

``mmcnv2.PretrainedConvNeXt`` is the same under the name of the first version.
"""

from mmengine.logging import print_log
from mmengine.model import update_init_info
from torch import Tensor

from mmcnv2.registry import WEIGHT_INITIALIZERS
from mmcnv2.utils.errors import InputError, errors_name

from ..backbones import ConvNeXtBase
from .converting import NETWORKS, network_of
from .formats import recognize
from .matching import Match, match_state_dicts
from .reading import read_state_dict


@WEIGHT_INITIALIZERS.register_module()
class PretrainedConvNeXtV2:
    """An initialiser of ``ConvNeXtV2`` and ``ConvNeXt`` from a checkpoint of one of the ``FORMATS``.

    The format is detected. Output norms that the checkpoint lacks stay as they are, and the log says so; everything
    else must be there. (The last norm of official, timm's and transformers' classifiers comes after the pooling. It is
    not the output norm of a map and is left out, like heads and decoders.)

    Args:
        checkpoint: Path, URL or ``timm://NAME``, see ``read_state_dict``.
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

    def __call__(self, module: ConvNeXtBase) -> None:
        match, format = self.match(module)
        own = module.state_dict()
        module.load_state_dict(own | match.tensors)
        loaded = f'{len(match.tensors)} of {len(own)} tensors from {self.checkpoint} ({format})'
        print_log(f'{loaded}; fresh: {", ".join(match.fresh) or "nothing"}', 'current')
        if hasattr(module, '_params_init_info'):
            update_init_info(module, f'PretrainedConvNeXtV2: {self.checkpoint}')

    def match(self, module: ConvNeXtBase) -> tuple[Match, str]:
        """Return what the checkpoint has for a backbone, without loading it, and the name of its format.

        Raises:
            ValueError: As when called.
        """
        if not isinstance(module, ConvNeXtBase):
            raise InputError(
                'PretrainedConvNeXtV2 initialises a mmcnv2.ConvNeXtV2 or a mmcnv2.ConvNeXt, '
                f'got {type(module).__name__}'
            )
        given = read_state_dict(self.checkpoint, self.allow_pickle)
        if self.prefix is not None:
            given = {k.removeprefix(self.prefix): v for k, v in given.items() if k.startswith(self.prefix)}
            if not given:
                raise InputError(f'{self.checkpoint} has no key that starts with the prefix {self.prefix!r}')
        own = module.state_dict()
        with errors_name(self.checkpoint):
            format, prefix = recognize(given, own)

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

        match = match_state_dicts(
            given, own, lambda key: prefix + format.key(key), read, is_optional=ConvNeXtBase.is_output_norm
        )
        if match.problems:
            network, *_ = network_of(given)
            if not isinstance(module, NETWORKS[network]):
                raise InputError(
                    f"{self.checkpoint} ({format.name}) is of a {network}: take it with type='mmcnv2.{network}', "
                    f'not with {type(module).__name__}'
                )
            kind = type(module).__name__
            shown = '\n  '.join(match.problems[:10]) + ('\n  ...' if len(match.problems) > 10 else '')
            raise InputError(
                f'{self.checkpoint} ({format.name}) does not fit this {kind} (depths {module.depths}, '
                f'channels {module.channels}); {len(match.problems)} disagree:\n  {shown}\nCheck arch and in_channels'
            )
        return match, format.name


@WEIGHT_INITIALIZERS.register_module()
class PretrainedConvNeXt(PretrainedConvNeXtV2):
    """``PretrainedConvNeXtV2`` under the name of the first version."""


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
