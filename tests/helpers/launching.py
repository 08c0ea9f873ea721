"""How tests start the scripts for several processes, with a stand-in for slurm where one is needed."""

import os

from helpers.processes import free_port, run, run_forked

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


def ports():
    """The variables of a free port, for the scripts and for slurm."""
    return dict.fromkeys(('PORT', 'MASTER_PORT'), free_port())


def succeeded(done):
    """The finished process, if it ended well."""
    assert done.returncode == 0, done.stderr[-3000:]
    return done


def launch(root, *command, **env):
    """Runs a script as a user starts it; it must end well."""
    return succeeded(run(root, *command, **{**ports(), **env}))


def launch_forked(root, *command, **options):
    """``run_forked``; it must end well."""
    return succeeded(run_forked(root, *command, **options))


def launch_with_slurm(root, folder, *command, **env):
    """Returns the arguments that srun got; ``folder`` is for the stand-ins."""
    for name, text in (('srun', SRUN.format(notes=folder / 'notes')), ('scontrol', SCONTROL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    launch(root, *command, PATH=f'{folder}{os.pathsep}{os.environ["PATH"]}', **env)
    return (folder / 'notes').read_text().splitlines()
