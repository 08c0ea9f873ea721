"""A line on stderr now and then: how much is done, how fast, and how long the rest will take."""

import datetime
import sys
import time

_SECONDS_BETWEEN_LINES = 10


class Progress:
    """Writes a line at most every 10 seconds.

    Args:
        what: What is computed, the beginning of the line.
        total: How many images there are; 0 if nobody knows.
    """

    def __init__(self, what: str, total: int) -> None:
        self.what = what
        self.total = total
        self._start = self._said = time.monotonic()

    def update(self, done: int) -> None:
        """Say that so many images are done since the beginning, if it is time for a line."""
        now = time.monotonic()
        if now - self._said < _SECONDS_BETWEEN_LINES or not done:
            return
        self._said = now
        rate = done / (now - self._start)
        of = f' of {self.total}' if self.total else ''
        left = f', ETA {datetime.timedelta(seconds=round((self.total - done) / rate))}' if self.total >= done else ''
        print(f'{self.what}: {done}{of} images, {rate:.3g} images/s{left}', file=sys.stderr, flush=True)
