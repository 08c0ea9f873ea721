"""The workers of data loaders: signals do not reach them, none is left over, and the death of one is explained."""

import atexit
import contextlib
import multiprocessing
import os
import signal
import threading
import time
from functools import partial
from multiprocessing.connection import wait
from multiprocessing.context import (
    BaseContext,
    ForkContext,
    ForkProcess,
    ForkServerContext,
    ForkServerProcess,
    SpawnContext,
    SpawnProcess,
)
from typing import TYPE_CHECKING, Any
from weakref import WeakSet

from mmengine.runner import BaseLoop
from torch.utils.data import DataLoader

if TYPE_CHECKING:  # mixed into the processes of all start methods
    from multiprocessing.process import BaseProcess
else:
    BaseProcess = object

#: What a cluster, ``timeout`` or a terminal sends to all processes of a run. The main process decides what follows.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)

#: What to do about a worker that a signal killed; of another signal, the name has to do.
ADVICE = {
    signal.SIGKILL: 'The kernel does this where memory is short: fewer workers or a smaller batch',
    signal.SIGBUS: 'The shared memory, /dev/shm, is full: a larger one (docker run --shm-size) or fewer workers',
    signal.SIGSEGV: 'A library crashed while it read these files',
}


WAIT_SECONDS = 2.0  # for a worker to end whose connection has broken


class _Worker(BaseProcess):
    """A worker that only SIGKILL ends, and that ends itself when the main process does."""

    def start(self) -> None:
        """Start with the signals blocked: from its first instruction on, whatever the start method."""
        before = signal.pthread_sigmask(signal.SIG_BLOCK, SIGNALS)
        try:
            super().start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        _started.add(self)
        # Both torch and, at the end of the program, multiprocessing end a worker that hangs by SIGTERM.
        process: Any = self
        process._popen.terminate = process._popen.kill

    def terminate(self) -> None:
        """End it because nobody needs it any more."""
        _started.discard(self)  # it did not die by itself
        self.kill()

    def run(self) -> None:
        """Work, until there is no main process to work for."""
        threading.Thread(target=_end_with_main_process, daemon=True).start()
        super().run()


class _ForkWorker(_Worker, ForkProcess):
    pass


class _SpawnWorker(_Worker, SpawnProcess):
    pass


class _ForkServerWorker(_Worker, ForkServerProcess):
    pass


class _Fork(ForkContext):
    Process = _ForkWorker


class _Spawn(SpawnContext):
    Process = _SpawnWorker


class _ForkServer(ForkServerContext):
    Process = _ForkServerWorker


_CONTEXTS: dict[str, type[BaseContext]] = {'fork': _Fork, 'spawn': _Spawn, 'forkserver': _ForkServer}
_started: WeakSet[_Worker] = WeakSet()


@atexit.register
def _let_workers_end() -> None:
    """Keep torch's handler of SIGCHLD from raising when the program ends, and with it persistent workers.

    Runs before multiprocessing ends them, which was imported, and so registered its callback, before.
    """
    if _started:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def protect_workers(loader: DataLoader, setting: str) -> None:
    """Keep SIGINT, SIGTERM and SIGUSR1 from the workers that a data loader will start.

    These signals come to all processes of a run. Without its workers the main process could not finish the step and
    save. The workers end when the loader closes them or the main process is gone, be it by SIGKILL.

    Args:
        loader: It starts its workers as it would: by the same method, with the same ``worker_init_fn``.
        setting: Where its config is, to name it if a worker dies.
    """
    if loader.num_workers > 0:
        method = (loader.multiprocessing_context or multiprocessing).get_start_method()
        context: Any = _CONTEXTS[method]()
        context.Process = partial(context.Process, name=f'a worker of {setting}')
        loader.multiprocessing_context = context


def end_workers(loop: BaseLoop) -> None:
    """End the workers that a loop's data loader keeps: persistent ones, and those of a training by iterations.

    Else they end when Python frees the runner, which it does as part of a reference cycle: the queue that tells them
    to end is then closed before torch uses it, and torch waits five seconds for each.

    Args:
        loop: MMEngine's or ours. It may run again, with new workers.
    """
    for keeper in (getattr(loop, name, None) for name in ('dataloader', 'dataloader_iterator')):
        iterator: Any = getattr(keeper, '_iterator', None)
        if hasattr(iterator, '_shutdown_workers'):
            iterator._shutdown_workers()
            keeper._iterator = None  # type: ignore[union-attr]


def death_of_worker(error: Exception) -> str | None:
    """Return what killed a worker of a data loader, where torch has only a RuntimeError or a broken connection.

    Args:
        error: Raised while a data loader was iterated.

    Returns:
        E.g. 'a worker of val_dataloader was killed by SIGKILL. ...', with advice; None if no worker died.
    """
    is_said = 'DataLoader worker' in str(error)
    # A worker that dies while it hands over a batch breaks the connection instead.
    if not is_said and not isinstance(error, ConnectionError | EOFError):
        return None
    deadline = time.monotonic() + WAIT_SECONDS
    while True:
        codes = {worker: worker.exitcode for worker in list(_started)}  # asked once: one may die at any moment
        for worker, code in codes.items():
            if code:
                end = f'ended with exit code {code}'
                if code < 0:
                    number = signal.Signals(-code)
                    end = f'was killed by {number.name}. {ADVICE.get(number, "")}'.rstrip()
                return f'{worker.name} {end}'
        alive = [worker.sentinel for worker, code in codes.items() if code is None]
        remaining = deadline - time.monotonic()
        if not alive or remaining <= 0:
            break
        with contextlib.suppress(RuntimeError):  # torch's signal handler, which may run now
            wait(alive, remaining)
    return f'a worker of a data loader died ({error})' if is_said else None


def _end_with_main_process() -> None:
    main_process = multiprocessing.parent_process()
    assert main_process is not None
    main_process.join()
    os._exit(1)
