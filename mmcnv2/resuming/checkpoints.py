"""Where a stopped run continues."""

import logging
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.logging import print_log

from mmcnv2.models.weights.reading import load_checkpoint
from mmcnv2.utils.errors import ConfigError

#: What ``mmcnv2.PreemptionHook`` writes when a signal stops the run.
PREEMPTED_FILE = 'preempted.pth'
_BEST = 'best_*.pth'


def newest_whole_checkpoint(work_dir: str, allow_pickle: bool = False) -> str | None:
    """Return the checkpoint of the latest iteration in a work dir, and warn of each damaged one that would be later.

    Every byte of it is checked against the checksums in the file, so damage within a tensor is also found.

    Args:
        work_dir: Folder of the run.
        allow_pickle: See ``load_checkpoint``; without it, a file that could run code counts as damaged.

    Returns:
        Its path; None if the work dir has no ``epoch_N.pth``, ``iter_N.pth``, ``preempted.pth`` or ``best_*.pth``.

    Raises:
        ConfigError: If all of them are damaged.
    """
    paths = [
        path
        for pattern in ('epoch_*.pth', 'iter_*.pth', PREEMPTED_FILE, _BEST)
        for path in Path(work_dir).glob(pattern)
        if path.is_file()  # DeepSpeed's are folders
    ]
    iterations: dict[Path, int] = {}
    for path in paths:
        with _warned():
            iterations[path] = _iteration(path, allow_pickle)
    # MMEngine saves the best without the optimizer: only where there is nothing else (``interval=-1``).
    for path in sorted(iterations, key=lambda path: (not path.match(_BEST), iterations[path]), reverse=True):
        with _warned():
            _check_checksums(path)
            return str(path)
    if paths:
        raise ConfigError(
            f'--resume: all checkpoints in {work_dir} are damaged: {", ".join(map(str, paths))}. Name a good one with '
            '--resume PATH, or start again with another --work-dir'
        )
    return None


@contextmanager
def _warned() -> Iterator[None]:
    """Continue after an error of a file, with a warning."""
    try:
        yield
    except (ValueError, OSError) as error:
        print_log(f'Left out a damaged checkpoint: {error}', logger='current', level=logging.WARNING)


def _check_checksums(path: Path) -> None:
    """Read all of a file.

    Raises:
        ValueError: If a part does not match its checksum.
    """
    with zipfile.ZipFile(path) as archive:
        damaged = archive.testzip()
    if damaged:
        raise ValueError(f'{path} (checksum of {damaged})')


def _iteration(path: Path, allow_pickle: bool) -> int:
    """Return how many iterations a checkpoint has seen, without reading its tensors.

    Raises:
        ValueError: If the file is cut off or not a checkpoint of a run.
    """
    if not zipfile.is_zipfile(path):
        raise ValueError(f'{path} (File is not a zip file)')
    content = load_checkpoint(str(path), allow_pickle, mmap=True)
    try:
        return content['meta']['iter']
    except (TypeError, KeyError) as error:
        raise ValueError(f'{path} (not of a run: no iteration)') from error
