"""Errors of the commands: one line for bad input, a traceback for everything else."""

import re
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

from mmcnv2.utils.errors import InputError, TrainingStopped


@contextmanager
def errors_in_one_line() -> Iterator[None]:
    """End the program with ``error: ...`` and exit code 1 on bad input and if training cannot continue.

    Ctrl-C ends it with exit code 130.

    Bad input is an InputError, an OSError that names a file, and whatever is raised while MMEngine builds a component
    of the config. Other errors keep their traceback.
    """
    try:
        yield
    except TrainingStopped as stop:
        sys.exit(f'error: {stop}')
    except KeyboardInterrupt:
        print('error: stopped by SIGINT', file=sys.stderr)
        sys.exit(128 + signal.SIGINT)
    except InputError as error:
        # An error in a worker of a data loader arrives as the text of a whole traceback.
        message = re.split(rf'^\S*\b{type(error).__name__}: ', str(error), flags=re.MULTILINE)[-1]
        sys.exit(f'error: {message.strip()}')
    except Exception as error:
        frame = traceback.extract_tb(error.__traceback__)[-1]
        where = f'{frame.filename}:{frame.lineno}'
        if component := _being_built(error):
            what = f'{component} cannot be built: {type(error).__name__}: {error}'
            sys.exit(f'error: {what} ({where}). Check its settings in the config')
        if isinstance(error, OSError) and error.filename is not None:
            sys.exit(f'error: {error} ({where})')
        raise


def _being_built(error: Exception) -> str | None:
    """Return the component that MMEngine was building when an error occurred."""
    component = None
    for frame, _ in traceback.walk_tb(error.__traceback__):
        if frame.f_code.co_name == 'build_from_cfg':
            component = str(frame.f_locals['cfg'].get('type'))
        elif frame.f_code.co_name == 'from_cfg':
            component = 'the runner'
    return component
