"""What the server allows, and how it batches."""

import math
import os
import re
from dataclasses import dataclass
from pathlib import Path

from mmcnv2.utils.errors import InputError, MissingFileError

TOKEN_VARIABLE = 'MMCNV2_SERVE_TOKEN'
#: Seconds within which the body of a request must arrive.
BODY_SECONDS = 30.0
#: Bytes of a decoded image for each pixel that is allowed: four bands of 32 bits, or eight of 16.
BYTES_PER_PIXEL = 16


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Limits and batching of a server.

    Args:
        max_batch: Most images that the model computes at once.
        max_wait: Seconds that the first image of a batch waits for others.
        max_requests: Most requests that are answered at a time, those that wait included; others get 503.
        max_bytes: Most bytes of the body of a request.
        max_pixels: Most pixels of an image, and a sixteenth of the bytes that it may have when decoded.
        drain_seconds: Seconds within which accepted requests are answered once the server is told to stop.
        token: What requests must carry; None: nothing.

    Raises:
        InputError: A number is out of range, or the token is none that a header can carry.
    """

    max_batch: int = 8
    max_wait: float = 0.005
    max_requests: int = 128
    max_bytes: int = 20_000_000
    max_pixels: int = 25_000_000
    drain_seconds: int = 30
    token: str | None = None

    def __post_init__(self) -> None:
        for name in ('max_batch', 'max_requests', 'max_bytes', 'max_pixels', 'drain_seconds'):
            if getattr(self, name) < 1:
                raise InputError(f'{name} must be at least 1, got {getattr(self, name)}')
        if not (math.isfinite(self.max_wait) and self.max_wait >= 0):
            raise InputError(f'max_wait must be 0 or more seconds, got {self.max_wait}')
        if self.token is not None and not re.fullmatch(r'[!-~]+', self.token):
            raise InputError('the token must be one word of printable ASCII characters, and not empty')


def read_token(file: Path | None) -> str | None:
    """Return the token in a file or in the environment, where other users of the machine do not see it.

    Args:
        file: Holds the token, white space around it does not count; None: the variable ``MMCNV2_SERVE_TOKEN``.

    Returns:
        The token; None if there is neither.

    Raises:
        InputError: The file cannot be read, or there are both.
    """
    variable = os.environ.get(TOKEN_VARIABLE)
    if file is None:
        return variable
    if variable is not None:
        raise InputError(f'--token-file and {TOKEN_VARIABLE} are both set: keep one')
    try:
        return file.read_text().strip()
    except (OSError, UnicodeError) as error:
        raise MissingFileError(f'--token-file {file} cannot be read: {error}') from error
