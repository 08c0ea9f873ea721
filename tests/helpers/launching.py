"""How tests start the scripts for several processes, with a stand-in for slurm where one is needed."""

import os
import socket
import sys

from helpers.processes import run

SRUN = """#!/bin/bash
# Notes its arguments, then starts the command as two tasks, as srun would.
printf '%s\\n' "$@" > {notes}
while [[ $1 == --* ]]; do shift; done
export SLURM_NTASKS=2 SLURM_NODELIST=nodes
SLURM_PROCID=1 SLURM_LOCALID=1 "$@" & second=$!
SLURM_PROCID=0 SLURM_LOCALID=0 "$@" || exit
wait $second
"""
SCONTROL = """#!/bin/bash
[[ "$*" == 'show hostnames nodes' ]] && printf '127.0.0.1\\nother\\n'
"""


def environment(root):
    """What the scripts need: this Python, the helpers of the tests, and a free port for the processes to meet."""
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = str(free.getsockname()[1])
    path = f'{root}{os.pathsep}{root / "tests"}'
    return dict(PYTHON=sys.executable, PYTHONPATH=path, OMP_NUM_THREADS='1', PORT=port, MASTER_PORT=port)


def launch(root, *command, **env):
    done = run(root, *command, **{**environment(root), **env})
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def launch_with_slurm(root, folder, *command, **env):
    """Returns the arguments that srun got; ``folder`` is for the stand-ins."""
    for name, text in (('srun', SRUN.format(notes=folder / 'notes')), ('scontrol', SCONTROL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    launch(root, *command, PATH=f'{folder}{os.pathsep}{os.environ["PATH"]}', **env)
    return (folder / 'notes').read_text().splitlines()
