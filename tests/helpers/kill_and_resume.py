"""Trains with --resume again and again and kills it each time; a program of its own, started by test_resume.py.

It imports everything once and forks for each start, which saves the ten seconds that a start takes. (pytest itself
must not be forked: its torch has threads.) Prints JSON: how each start ended.
"""

import contextlib
import json
import os
import random
import runpy
import signal
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path

import mmcnv2.apis  # noqa: F401


def start(config: str, work_dir: str) -> int:
    """Runs tools/train.py in a process group of its own, with a log beside the work dir."""
    output = os.open(f'{work_dir}.log', os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    pid = os.fork()
    if pid:
        os.close(output)
        return pid
    os.setsid()
    os.dup2(output, 1)
    os.dup2(output, 2)
    sys.argv = ['tools/train.py', config, '--work-dir', work_dir, '--resume']
    code = 0
    try:
        runpy.run_path('tools/train.py', run_name='__main__')
    except SystemExit as stop:
        code = stop.code if isinstance(stop.code, int) else 1
        print(stop.code, file=sys.stderr)
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stderr.flush()
        os._exit(code)


def end(pid: int, number: int, is_time: Callable[[], object]) -> int:
    """Sends a signal when it is time, unless the process has ended; its exit code, negative if by a signal."""
    while not is_time() and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        time.sleep(0.0005)
    os.kill(pid, number)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)  # the workers
    return code


def main() -> None:
    config, work_dir, kills = sys.argv[1:]
    draw = random.Random(0)

    def has_trained(iterations: int) -> bool:
        return Path(f'{work_dir}.log').read_text().count('(train)') >= iterations

    def at_any_time() -> bool:
        if not has_trained(wanted):
            return False
        time.sleep(draw.uniform(0, 0.1))
        return True

    def while_it_saves() -> bool:
        return any(Path(work_dir).glob('.tmp.*'))

    ends = []
    for attempt in range(int(kills)):
        wanted = draw.randrange(1, 13)
        moment = while_it_saves if attempt % 2 else at_any_time
        ends.append(end(start(config, work_dir), signal.SIGKILL, moment))
    if ends:
        for number in (signal.SIGTERM, signal.SIGUSR1):
            ends.append(end(start(config, work_dir), number, lambda: has_trained(2)))
    ends.append(os.waitstatus_to_exitcode(os.waitpid(start(config, work_dir), 0)[1]))
    print(json.dumps(ends))


main()
