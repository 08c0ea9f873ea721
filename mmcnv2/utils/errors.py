"""Errors that say all there is to say: tools print their message without a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """Something given, a file, a setting or a value, cannot be used. The message names it and says what to do."""


class ConfigError(InputError):
    """Something the user named is not there or does not fit."""


class MissingFileError(InputError, FileNotFoundError):
    """A file or folder is not there."""


class ExistingFileError(InputError, FileExistsError):
    """A file or folder is there already, and is left alone."""


class MissingPackageError(InputError, ImportError):
    """An optional package is not installed. The message says how to install it."""


class TrainingStopped(Exception):
    """A training cannot or should not go on. The message is all there is to say; the tools print no traceback."""


@contextmanager
def errors_name(source: str) -> Iterator[None]:
    """Put the name of what was read before the message of an InputError."""
    try:
        yield
    except InputError as error:
        raise InputError(f'{source}: {error}') from None
