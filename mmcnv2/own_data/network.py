"""Which network a config has: that of the checkpoint, or the size that the user names."""

from dataclasses import dataclass
from pathlib import Path

from mmcnv2.models.backbones import ARCHITECTURES
from mmcnv2.models.normalization import Normalization
from mmcnv2.models.weights.converting import build_backbone
from mmcnv2.models.weights.reading import read_normalization, read_state_dict
from mmcnv2.utils.errors import InputError, MissingFileError, errors_name


@dataclass(frozen=True)
class Network:
    """The backbone of a config.

    Attributes:
        kind: 'ConvNeXtV2' or 'ConvNeXt'.
        arch: Name of a size, or dict(depths=, channels=).
        channels: Of the four stages.
        checkpoint: Weights to start from, a local path absolute; None: random.
        decoder_dims: Channels of the decoder, if the checkpoint is a whole FCMAE, official or of this package.
        decoder_depth: Its blocks.
        is_ours: Whether a whole model of this package has written the checkpoint.
        normalization: Mean and std of the images in the training of the checkpoint, if it says them.
    """

    kind: str
    arch: str | dict
    channels: tuple[int, ...]
    checkpoint: str | None = None
    decoder_dims: int | None = None
    decoder_depth: int = 1
    is_ours: bool = False
    normalization: Normalization | None = None

    @property
    def is_small(self) -> bool:
        """Whether it is nano or smaller."""
        return self.channels[0] <= ARCHITECTURES['nano']['channels'][0]


def choose_network(checkpoint: str | None, arch: str | None) -> Network:
    """Return the network of a checkpoint, or without one that of a size, atto if none is named.

    Raises:
        InputError: If there is no such size or file, or no ConvNeXt in the file, or both are given.
    """
    if checkpoint is None:
        arch = arch or 'atto'
        if arch not in ARCHITECTURES:
            raise InputError(f'--arch must be one of {", ".join(ARCHITECTURES)}, got {arch!r}')
        return Network('ConvNeXtV2', arch, ARCHITECTURES[arch]['channels'])
    if arch is not None:
        raise InputError(f'--checkpoint {checkpoint} has its size: leave out --arch {arch}, or the checkpoint')
    if '://' not in checkpoint:
        if not Path(checkpoint).is_file():
            raise MissingFileError(f'--checkpoint {checkpoint}: no such file; give a path, a URL, or timm://NAME')
        checkpoint = str(Path(checkpoint).absolute())
    given = read_state_dict(checkpoint)
    with errors_name(f'--checkpoint {checkpoint}'):
        backbone = build_backbone(given, (0, 1, 2, 3))
    size = dict(depths=backbone.depths, channels=backbone.channels)
    known = [name for name, known in type(backbone).architectures.items() if known == size]
    is_whole = {'mask_token', 'proj.weight'} <= given.keys()
    return Network(
        type(backbone).__name__,
        known[0] if known else size,
        backbone.channels,
        checkpoint,
        decoder_dims=len(given['proj.weight']) if is_whole else None,
        decoder_depth=len({key.split('.')[1] for key in given if key.startswith('decoder.')}) if is_whole else 1,
        is_ours=any(key.startswith('backbone.') for key in given),
        normalization=read_normalization(checkpoint),
    )
