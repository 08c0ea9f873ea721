"""How tests start the tools as a user does."""

import os
import subprocess


def run(root, *command, timeout=300, **env):
    """Runs a command in the repository, with one thread, and returns the finished process."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=root,
        env={**os.environ, 'PYTHONPATH': str(root), 'OMP_NUM_THREADS': '1', **env},
        capture_output=True,
        text=True,
        timeout=timeout,
    )
