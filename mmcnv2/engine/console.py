"""What the console shows of a run: the start in a few lines. The log file has all of it."""

import logging
from typing import Any

from mmengine.logging import MMLogger

#: How MMEngine's long listings at the start of a run begin, and its warnings about settings of its own.
_FOR_THE_FILE = (
    '\n------------------------------------------------------------\nSystem environment:',
    'Config:\n',
    'Distributed training is not used, all SyncBatchNorm',
    'Hooks will be executed in the following order:',
    'paramwise_options -- ',
    'Name of parameter - Initialization information',
    '"FileClient" will be deprecated',
    '"HardDiskBackend" is the alias',
)


class BriefConsole:
    """Base to put before one of MMEngine's runners or strategies: listings go to its log file only."""

    def build_logger(self, *args: Any, **kwargs: Any) -> MMLogger:
        """Build the logger, with a filter on what writes to the console."""
        logger: MMLogger = super().build_logger(*args, **kwargs)  # type: ignore[misc]  # of what comes after it
        for handler in logger.handlers:
            if not isinstance(handler, logging.FileHandler):
                handler.addFilter(_is_brief)
        return logger


def _is_brief(record: logging.LogRecord) -> bool:
    return not record.getMessage().startswith(_FOR_THE_FILE)
