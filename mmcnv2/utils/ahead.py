"""Work ahead in a thread."""

from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar('T')
_END = object()


def ahead(values: Iterable[T], count: int) -> Iterator[T]:
    """Yield what an iterable yields, which a thread computes up to ``count`` values ahead.

    Errors of the iterable are raised here. A consumer that stops early leaves no thread behind.
    """
    iterator = iter(values)
    with ThreadPoolExecutor(1, thread_name_prefix='ahead') as pool:
        pending = deque(pool.submit(next, iterator, _END) for _ in range(count))
        try:
            while (value := pending.popleft().result()) is not _END:
                pending.append(pool.submit(next, iterator, _END))
                yield value  # type: ignore[misc]
        finally:
            for future in pending:
                future.cancel()
            pool.shutdown()
            if isinstance(iterator, Generator):
                iterator.close()  # files and cameras, now rather than when it is collected
