"""The device that is computed on."""

import torch

from .errors import InputError


def choose_device(name: str) -> str:
    """Return the device that a user names: 'auto' is a GPU if torch sees one, else the CPU.

    Raises:
        InputError: If ``name`` is neither 'auto' nor 'cpu' nor a GPU that torch sees.
    """
    if name == 'auto':
        return 'cuda' if torch.cuda.is_available() else 'cpu'
    gpus = ['cuda', *(f'cuda:{i}' for i in range(torch.cuda.device_count()))] if torch.cuda.is_available() else []
    if name not in ('cpu', *gpus):
        seen = ', '.join(['auto', 'cpu', *gpus])
        raise InputError(f'device must be one of {seen} (what torch {torch.__version__} sees), got {name!r}')
    return name
