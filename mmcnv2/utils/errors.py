"""Errors whose message says everything: tools print it without a traceback."""

from collections.abc import Iterator
from contextlib import contextmanager


class InputError(ValueError):
    """A file, a setting or a value cannot be used. The message names it and says what to do."""


class ConfigError(InputError):
    """Something the user named does not exist or does not fit."""


class MissingFileError(InputError, FileNotFoundError):
    """A file or folder does not exist."""


class ExistingFileError(InputError, FileExistsError):
    """A file or folder exists already, and is left alone."""


class RefusedError(InputError):
    """A file is whole, but reading it could run code, which nobody has allowed."""


class MissingPackageError(InputError, ImportError):
    """An optional package is not installed. The message says how to install it."""


class TrainingStopped(Exception):
    """A training cannot or should not continue. The message says everything; the tools print no traceback."""


@contextmanager
def errors_name(source: str) -> Iterator[None]:
    """Put the name of what was read before the message of an InputError."""
    try:
        yield
    except InputError as error:
        raise InputError(f'{source}: {error}') from None
