"""Reporters whose errors become one warning."""

import logging
from collections.abc import Callable
from functools import wraps
from typing import Any

from mmengine.logging import print_log

from mmcnv2.utils.errors import TrainingStopped


def spare(reporter: Any, prefixes: tuple[str, ...]) -> None:
    """Replace the methods of an object whose names begin so: an error is a warning, once, and the run goes on.

    What stops a training on purpose, and the death of a data loader's worker, pass through.
    """
    name = type(reporter).__name__
    failed: set[str] = set()  # shared by its methods

    def spared(method: Callable) -> Callable:
        @wraps(method)
        def call(*args: Any, **kwargs: Any) -> Any:
            try:
                return method(*args, **kwargs)
            except TrainingStopped:
                raise
            except Exception as error:
                if 'DataLoader worker' in str(error):  # torch raises this anywhere
                    raise
                if name not in failed:
                    failed.add(name)
                    print_log(
                        f'{name} failed, the run goes on: {type(error).__name__}: {error}. This is said once',
                        logger='current',
                        level=logging.WARNING,
                    )

        return call

    for key in dir(reporter):
        if key.startswith(prefixes):
            setattr(reporter, key, spared(getattr(reporter, key)))
