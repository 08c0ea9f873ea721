"""Where a stopped run continues."""

import logging
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log

from mmcnv2.models.weights.reading import load_checkpoint
from mmcnv2.utils.errors import ConfigError, RefusedError

#: What ``mmcnv2.PreemptionHook`` writes when a signal stops the run.
PREEMPTED_FILE = 'preempted.pth'
_BEST = 'best_*.pth'


def newest_of(cfg: Config, allow_pickle: bool = False) -> str | None:
    """Return where a training of a config continues: ``newest_whole_checkpoint`` of its folders."""
    folders = [cfg.work_dir]
    if out_dir := ((cfg.get('default_hooks') or {}).get('checkpoint') or {}).get('out_dir'):
        folders.append(str(Path(out_dir, Path(cfg.work_dir).name)))  # as MMEngine does it
    try:
        return newest_whole_checkpoint(*folders, allow_pickle=allow_pickle)
    except ConfigError as error:
        raise ConfigError(
            f'--resume: {error}. Name a good one with --resume PATH, or start again with another --work-dir'
        ) from error


def newest_whole_checkpoint(*folders: str, allow_pickle: bool = False) -> str | None:
    """Return the checkpoint of the latest iteration in folders, and warn of each that cannot be used.

    Every byte of it is checked against the checksums in the file, so damage within a tensor is also found.

    Args:
        *folders: The work dir, and others that the run saves to.
        allow_pickle: See ``load_checkpoint``; without it, a file that could run code is not used.

    Returns:
        Its path; None if there is no ``epoch_N.pth``, ``iter_N.pth``, ``preempted.pth`` or ``best_*.pth``.

    Raises:
        ConfigError: If none of them can be used.
    """
    paths = [
        path
        for folder in folders
        for pattern in ('epoch_*.pth', 'iter_*.pth', PREEMPTED_FILE, _BEST)
        for path in Path(folder).glob(pattern)
        if path.is_file()  # DeepSpeed's are folders
    ]
    problems = _Problems()
    iterations: dict[Path, int] = {}
    for path in paths:
        with problems.noted(path):
            iterations[path] = _iteration(path, allow_pickle)
    # MMEngine saves the best without the optimizer: only where there is nothing else (``interval=-1``).
    for path in sorted(iterations, key=lambda path: (not path.match(_BEST), iterations[path]), reverse=True):
        with problems.noted(path):
            _check_checksums(path)
            return str(path)
    if paths:
        raise ConfigError(f'all checkpoints in {" and ".join(folders)} are {problems}')
    return None


class _Problems:
    """Collects which files cannot be used, and warns of each."""

    def __init__(self) -> None:
        self._damaged: list[Path] = []
        self._refused: list[Path] = []

    @contextmanager
    def noted(self, path: Path) -> Iterator[None]:
        """Continue after an error of a file."""
        try:
            yield
        except RefusedError as error:
            self._refused.append(path)
            print_log(f'Left out a checkpoint that is refused: {error}', logger='current', level=logging.WARNING)
        except (ValueError, OSError) as error:
            self._damaged.append(path)
            print_log(f'Left out a damaged checkpoint: {error}', logger='current', level=logging.WARNING)

    def __str__(self) -> str:
        parts = {'damaged': self._damaged, 'refused, as they could run code (--allow-pickle)': self._refused}
        return ' or '.join(f'{what}: {", ".join(map(str, paths))}' for what, paths in parts.items() if paths)


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
