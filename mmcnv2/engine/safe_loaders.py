"""The loaders of checkpoints and images that the tools use instead of MMEngine's and mmcv's."""

from importlib import import_module
from typing import Any

from mmengine.config import Config
from mmengine.runner import CheckpointLoader
from torch import Tensor

from mmcnv2.datasets.transforms import LoadCheckedImage
from mmcnv2.models.weights.reading import find_state_dict, load_checkpoint
from mmcnv2.utils.errors import InputError
from mmcnv2.utils.hub import SCHEME

_OURS = ('', 'http://', 'https://', SCHEME)


def install_safe_loaders(cfg: Config, allow_pickle: bool = False) -> None:
    """Make MMEngine and mmcv read checkpoints and images with loaders that check, from now on in the whole process.

    Checkpoints (``load_from``, ``resume``, ``init_cfg=dict(type='Pretrained')``, ``Runner.load_checkpoint``): as
    ``load_checkpoint`` reads them, so that no file can run code. MMEngine's own loaders fall back to running it. The
    weights are under ``state_dict`` then, wherever the file has them: hooks and strategies look for them there.

    Images (``LoadImageFromFile`` in the pipelines of the config's scope): by :class:`LoadCheckedImage`.

    Args:
        cfg: Its ``default_scope`` says whose pipelines it has: 'mmdet', 'mmseg', 'mmpretrain' ...
        allow_pickle: Read checkpoints that hold more than tensors and plain values, and those of the model zoos that
            MMEngine knows by name (``torchvision://`` ...): they can run any code.
    """

    def load_weights_only(filename: str, map_location: Any = None) -> dict:
        """Load onto the CPU whatever ``map_location`` says: loading into model and optimizer moves the values.

        For 'meta', the values are not needed and not read.
        """
        content = load_checkpoint(filename, allow_pickle, mmap=map_location == 'meta')
        if not isinstance(content, dict):
            raise InputError(f'checkpoint {filename} holds no state dict, but a {type(content).__name__}')
        weights = find_state_dict(content)
        if weights is content:  # a bare state dict, or no checkpoint of a model, which is left to who asks for it
            is_bare = any(isinstance(value, Tensor) for value in content.values())
            return dict(state_dict=content) if is_bare else content
        return dict(content, state_dict=weights)

    def refuse(filename: str, map_location: Any = None) -> dict:
        raise InputError(
            f'checkpoint {filename}: MMEngine reads what has such a name in a way that could run any code. Give a '
            'path or an http(s) URL or, if you trust the source, --allow-pickle'
        )

    # From the private list of schemes, so that none that MMEngine has or will have is forgotten.
    others = [] if allow_pickle else [prefix for prefix in CheckpointLoader._schemes if prefix not in _OURS]
    CheckpointLoader.register_scheme(others, refuse, force=True)
    CheckpointLoader.register_scheme(_OURS, load_weights_only, force=True)
    default_scope = cfg.get('default_scope')
    if default_scope in ('mmdet', 'mmseg', 'mmpretrain'):
        # By name and not in the configs: MMSegInferencer looks for this very name in test pipelines.
        transforms = import_module(f'{default_scope}.registry').TRANSFORMS
        transforms.import_from_location()  # the library's own first: it registers the name without force
        transforms.register_module('LoadImageFromFile', force=True, module=LoadCheckedImage)
