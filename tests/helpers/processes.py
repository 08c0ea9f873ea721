"""How tests start other processes: the tools as a user does, or functions side by side."""

import os
import runpy
import subprocess

import torch


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


def spawn(function, *args):
    """Calls ``function(rank, *args)`` of a test file in two processes, which find it by the path of that file."""
    name = function.__code__.co_filename, function.__name__
    torch.multiprocessing.spawn(_call, (*name, args), nprocs=2, daemon=True)


def _call(rank, file, name, args):
    runpy.run_path(file)[name](rank, *args)
