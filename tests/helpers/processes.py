"""How tests start other processes: the tools as a user does or in forks, scripts, or functions side by side."""

import functools
import itertools
import json
import os
import runpy
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

# Not the ports that the system gives to connections. Each worker of pytest-xdist (gw0, gw1, ...) has its own 500.
_FIRST_PORT = 20000 + 500 * int(os.environ.get('PYTEST_XDIST_WORKER', 'gw0')[2:])
_ports = itertools.cycle(range(_FIRST_PORT, _FIRST_PORT + 500))


def environment(root):
    """What tools need beside the tests: this copy of the package, the helpers of the tests, one thread."""
    return dict(PYTHONPATH=f'{root}{os.pathsep}{root / "tests"}', OMP_NUM_THREADS='1', PYTHON=sys.executable)


def run(root, *command, timeout=300, **env):
    """Runs a command in the repository and returns the finished process."""
    return subprocess.run(
        [str(part) for part in command],
        cwd=root,
        env={**os.environ, **environment(root), **env},
        capture_output=True,
        text=True,
        timeout=timeout,
    )


def run_forked(root, *command, processes=1, timeout=300, **env):
    """Runs a script of the repository, given by its path, in forks of a process that has imported what it imports.

    It ends as it would for ``run``, with the same output, but starts at once. Several ``processes`` are those of one
    training, as torchrun starts them. What depends on a fresh interpreter needs ``run``.
    """
    envs = [env]
    if processes > 1:
        command = (*command, '--launcher', 'pytorch')
        common = dict(env, WORLD_SIZE=str(processes), MASTER_ADDR='127.0.0.1', MASTER_PORT=free_port())
        envs = [dict(common, RANK=str(rank), LOCAL_RANK=str(rank)) for rank in range(processes)]
    command = [str(part) for part in command]
    with tempfile.TemporaryDirectory() as folder:
        output, errors = (Path(folder, name) for name in ('output', 'errors'))
        request = dict(command=command, output=str(output), errors=str(errors), envs=envs, timeout=timeout)
        server = _fork_server(root)
        server.stdin.write(json.dumps(request) + '\n')
        server.stdin.flush()
        answer = server.stdout.readline()
        assert answer, 'the fork server has ended; its error is on stderr'
        code = next(filter(None, json.loads(answer)), 0)
        return subprocess.CompletedProcess(command, code, output.read_text(), errors.read_text())


@functools.cache
def _fork_server(root):
    """It ends with its input, when this process does."""
    return subprocess.Popen(
        [sys.executable, root / 'tests/helpers/fork_server.py'],
        cwd=root,
        env={**os.environ, **environment(root)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def free_port():
    """A port of this machine on which processes can meet."""
    for port in _ports:
        with socket.socket() as free:
            if free.connect_ex(('127.0.0.1', port)):
                return str(port)


def assert_refused(done, *parts):
    """The process ended with one line of error, which names these parts."""
    assert done.returncode == 1, done.stderr[-3000:]
    assert 'Traceback' not in done.stderr, done.stderr[-3000:]
    message = done.stderr[done.stderr.index('error: ') :]
    for part in parts:
        assert str(part) in message, message


def spawn(function, *args):
    """Calls ``function(rank, *args)`` of a test file in two processes, which find it by the path of that file."""
    name = function.__code__.co_filename, function.__name__
    torch.multiprocessing.spawn(_call, (*name, args), nprocs=2, daemon=True)


def _call(rank, file, name, args):
    runpy.run_path(file)[name](rank, *args)
