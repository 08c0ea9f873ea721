"""Trains with --resume again and again and stops it each time; a program of its own, started by test_resume.py.

SIGKILL goes to the main process, the other signals to all, also to workers of data loaders. None may be left over.

Arguments: a config, its work dir, and the stops, each MOMENT:SIGNAL; a moment is a number of iterations that this
start has trained, or ``saving``. Prints JSON: how each start ended, the last one, which nothing stops, included.
"""

import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from helpers.fork_server import kill_group, start


def end(pid: int, number: int, is_time: Callable[[], object]) -> int:
    """Sends a signal when it is time, unless the process has ended; its exit code, negative if by a signal."""
    while not is_time() and os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None:
        time.sleep(0.0005)
    (os.kill if number == signal.SIGKILL else os.killpg)(pid, number)
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    for _ in range(1000):
        try:
            os.killpg(pid, 0)
        except ProcessLookupError:
            return code
        time.sleep(0.01)
    kill_group(pid)
    sys.exit('workers are left over')


def main() -> None:
    config, work_dir, *stops = sys.argv[1:]
    log = Path(f'{work_dir}.log')

    def train() -> int:
        log.write_bytes(b'')
        command = ['tools/train.py', config, '--work-dir', work_dir, '--resume']
        return start(command, str(log), str(log), {})

    def is_time(moment: str) -> bool:
        if moment == 'saving':
            return any(Path(work_dir).glob('.tmp.*'))
        return log.read_text().count('(train)') >= int(moment)

    ends = []
    for stop in stops:
        moment, name = stop.split(':')
        ends.append(end(train(), signal.Signals[name], lambda moment=moment: is_time(moment)))
    ends.append(os.waitstatus_to_exitcode(os.waitpid(train(), 0)[1]))
    print(json.dumps(ends))


main()
