"""Runs the tools in forks of a process that has imported everything, which saves the seconds that a start takes.

A program of its own, started by processes.py (pytest itself must not be forked: its torch has threads). It reads
a run a line, the arguments of ``run`` as JSON, and answers each with the exit codes of its processes.
"""

import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import sys
import time
import traceback

import mmcnv2.apis  # noqa: F401

with contextlib.redirect_stdout(None):  # they print
    for library in ('mmdet', 'mmseg'):
        for part in ('datasets', 'engine', 'evaluation', 'models', 'visualization'):
            importlib.import_module(f'{library}.{part}')
gc.freeze()  # a data set collects garbage when it is built: a quarter second over all that was imported


def start(command: list[str], output: str, errors: str, env: dict[str, str]) -> int:
    """Run a script in a process group of its own and return its pid."""
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    for number, path, flags in ((0, os.devnull, os.O_RDONLY), (1, output, os.O_WRONLY), (2, errors, os.O_WRONLY)):
        os.dup2(os.open(path, flags | (number and os.O_CREAT | os.O_APPEND)), number)
    os.environ.update(env)
    sys.argv, sys.path[0] = command, os.path.dirname(command[0])
    code = 1
    try:
        runpy.run_path(command[0], run_name='__main__')
        code = 0
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else int(stop.code is not None)
        if isinstance(stop.code, str):
            print(stop.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def run(envs: list[dict[str, str]], timeout: float, **what) -> list[int]:
    """Start a process for each of ``envs`` and return their exit codes, negative if a signal ended them.

    When one has failed the others have 20 seconds, then they are killed, as all are when the time is over.
    """
    codes = {start(env=env, **what): None for env in envs}
    end = time.monotonic() + timeout
    while None in codes.values():
        if any(codes.values()):
            end = min(end, time.monotonic() + 20)
        for pid in [pid for pid, code in codes.items() if code is None]:
            if time.monotonic() > end:
                kill_group(pid)
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                codes[pid] = os.waitstatus_to_exitcode(status)
                kill_group(pid)
        time.sleep(0.005)
    return [*codes.values()]


def kill_group(pid: int) -> None:
    """Kill a process that ``start`` gave, and what it has left: workers of data loaders."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


def main() -> None:
    for line in sys.stdin:
        print(json.dumps(run(**json.loads(line))), flush=True)


if __name__ == '__main__':
    main()
