"""A model as the commands are given it: config and checkpoint, a work dir, an exported file."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mmcnv2.recipes import config_of_work_dir
from mmcnv2.resuming import newest_whole_checkpoint
from mmcnv2.utils.errors import ConfigError, InputError, MissingFileError
from mmcnv2.utils.hub import is_hub

from .predictor import Predictor, is_onnx


def load_predictor(what: str, given: Sequence[str], **settings: Any) -> Predictor:
    """Load a model.

    Args:
        what: How messages call it, e.g. '--detector'.
        given: Config and checkpoint, the work dir of a training, whose config and newest checkpoint are taken, an
            exported ``.onnx`` file, or ``hf://owner/name``.
        **settings: Of ``Predictor``.

    Raises:
        InputError: It cannot be loaded.
    """
    if len(given) > 2:
        raise InputError(
            f'{what} takes a config and a checkpoint, a work dir, a .onnx file or hf://owner/name, got '
            f'{len(given)} values'
        )
    if len(given) == 1 and not is_onnx(given[0]) and not is_hub(given[0]):
        given = _of_work_dir(what, given[0], settings.get('allow_pickle', False))
    config, checkpoint = given if len(given) == 2 else (given[0], None)
    return Predictor(config, checkpoint, **settings)


def _of_work_dir(what: str, given: str, allow_pickle: bool) -> tuple[str, str]:
    if not Path(given).is_dir():
        raise MissingFileError(
            f'{what} {given}: no such work dir; give one (make quickstart makes some), or a config and a checkpoint'
        )
    try:
        checkpoint = newest_whole_checkpoint(given, allow_pickle=allow_pickle)
    except ConfigError as error:
        raise ConfigError(f'{what} {given}: {error}. Give a config and a good checkpoint') from error
    if checkpoint is None:
        raise MissingFileError(f'{what} {given} has no checkpoint (epoch_*.pth or iter_*.pth)')
    return str(config_of_work_dir(Path(given))), checkpoint
