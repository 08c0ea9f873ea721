"""An MLflow server on loopback: MLflow's own application, with a database and files in a folder.

A program of its own, started by ``mlflow_server``. (`mlflow server` comes with the whole of MLflow, whose pyarrow is
older than that of the tests.)
"""

import contextlib
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from helpers.processes import environment, free_port

# Nothing of a test goes to another machine.
QUIET = dict(MLFLOW_DISABLE_TELEMETRY='true', DO_NOT_TRACK='true')


@contextlib.contextmanager
def mlflow_server(root, folder):
    """Yields the address of a server; it ends with the block."""
    port = free_port()
    address = f'http://127.0.0.1:{port}'
    env = {**os.environ, **environment(root), **QUIET}
    with (folder / 'server.log').open('w') as log:
        server = subprocess.Popen([sys.executable, __file__, port, folder], env=env, stdout=log, stderr=log)
        try:
            wait_for(server, address, folder / 'server.log')
            yield address
        finally:
            server.kill()
            server.wait()


def wait_for(server, address, log):
    """Returns once the server answers."""
    end = time.monotonic() + 120
    while time.monotonic() < end and server.poll() is None:
        with contextlib.suppress(OSError):
            urllib.request.urlopen(f'{address}/health').close()
            return
        time.sleep(0.1)
    raise AssertionError(log.read_text()[-3000:])


def serve(port, folder):
    from mlflow.server import app, constants
    from werkzeug.serving import run_simple

    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = f'sqlite:///{folder / "runs.db"}'
    os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = 'mlflow-artifacts:/'
    os.environ[constants.ARTIFACTS_DESTINATION_ENV_VAR] = str(folder / 'artifacts')
    os.environ[constants.SERVE_ARTIFACTS_ENV_VAR] = 'true'
    run_simple('127.0.0.1', port, app, threaded=True)


if __name__ == '__main__':
    serve(int(sys.argv[1]), Path(sys.argv[2]))
