"""Files that are written whole or not at all."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend


@contextmanager
def written_whole(path: str | Path) -> Iterator[Path]:
    """Yield a temporary path to write to; at the end the file is flushed to disk and renamed to ``path``.

    Whatever stops the writing, ``path`` has all of its old or all of its new content. Folders are created. The
    temporary name is ``.tmp.NAME`` in the same folder, with the ending of ``path``; a killed process may leave it, at
    most one for each name, and an error removes it.

    Raises:
        OSError: If the file could not be written, e.g. because the disk is full.
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = temporary_name(path)
    try:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)  # also the new name
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error  # with a full disk it names no file
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def temporary_name(path: Path) -> Path:
    """Return where the content of ``path`` is written first."""
    return path.with_name(f'.tmp.{path.name}')


class AtomicLocalBackend(LocalBackend):
    """MMEngine's backend for local files, with files that are written whole or not at all."""

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Write bytes.

        Raises:
            OSError: If they could not be written. The file is then what it was before.
        """
        with written_whole(filepath) as temporary:
            temporary.write_bytes(obj)


#: Settings with which MMEngine writes checkpoints through ``AtomicLocalBackend``.
ATOMIC_BACKEND_ARGS = dict(backend='atomic_local')
register_backend(ATOMIC_BACKEND_ARGS['backend'], AtomicLocalBackend, force=True)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
