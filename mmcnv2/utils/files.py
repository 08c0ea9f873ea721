"""Files that are written whole or not at all."""

import os
from pathlib import Path

from mmengine.fileio import LocalBackend, register_backend


class AtomicLocalBackend(LocalBackend):
    """Local files, written under a temporary name, forced to the disk and then renamed.

    Whatever stops the writing, a file has all of its old or all of its new content. What a killed process leaves is
    ``.NAME.tmp``, at most one for each name.
    """

    def put(self, obj: bytes, filepath: str | Path) -> None:
        """Writes bytes; folders are made.

        Raises:
            OSError: If they could not be written, e.g. as the disk is full. The file is then what it was before.
        """
        path = Path(filepath)
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = temporary_name(path)
        try:
            with temporary.open('wb') as file:
                file.write(obj)
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
            _sync_folder(path.parent)
        except OSError as error:
            temporary.unlink(missing_ok=True)
            raise OSError(error.errno, error.strerror, str(path)) from error  # a full disk has no name of its own


def write_local_files_atomically() -> None:
    """Makes ``AtomicLocalBackend`` MMEngine's way to write local files, since not all of it lets one choose.

    Checkpoints are written so from then on. ``mmengine.fileio.put`` keeps a backend that it has used already.
    """
    register_backend('local', AtomicLocalBackend, prefixes='', force=True)


def temporary_name(path: Path) -> Path:
    """Where the content of ``path`` is written first."""
    return path.with_name(f'.{path.name}.tmp')


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)  # the new name, too
    finally:
        os.close(descriptor)
