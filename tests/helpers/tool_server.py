"""Starts tools as a user does, but in forks of one process that has imported torch and OpenMMLab already.

That saves seconds a start. The package itself, mmdet, mmseg and torchvision are imported by each fork, as by the
process of a user. (pytest itself must not be forked: its torch has threads.)
"""

import json
import os
import runpy
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path


class ToolServer:
    """Starts tools one after the other, in the repository ``root``, with one thread each."""

    def __init__(self, root):
        env = {**os.environ, 'PYTHONPATH': str(root), 'OMP_NUM_THREADS': '1'}
        pipes = dict(stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.process = subprocess.Popen([sys.executable, __file__], cwd=root, env=env, **pipes)

    def run(self, tool, *arguments):
        """Runs ``python TOOL arguments`` and returns the finished process."""
        argv = [tool, *map(str, arguments)]
        with tempfile.TemporaryDirectory() as folder:
            files = Path(folder, 'stdout'), Path(folder, 'stderr')
            self.process.stdin.write(json.dumps([argv, *map(str, files)]) + '\n')
            self.process.stdin.flush()
            code = int(self.process.stdout.readline())
            return subprocess.CompletedProcess(argv, code, *(file.read_text() for file in files))

    def close(self):
        self.process.communicate()


def start(argv, stdout, stderr):
    """Runs a tool in a fork, with output to files, and returns its exit code."""
    pid = os.fork()
    if pid:
        return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, path in ((1, stdout), (2, stderr)):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    sys.argv, sys.path[0] = argv, os.path.dirname(argv[0])
    code = 0
    try:
        runpy.run_path(argv[0], run_name='__main__')
    except SystemExit as stop:
        code = stop.code or 0
        if isinstance(code, str):
            print(code, file=sys.stderr)
            code = 1
    except BaseException:
        traceback.print_exc()
        code = 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def main():
    import mmcv.cnn  # noqa: F401
    import mmengine.runner  # noqa: F401
    import torch  # noqa: F401

    for line in sys.stdin:
        print(start(*json.loads(line)), flush=True)


if __name__ == '__main__':
    main()
