"""A function in several processes, each call within a time: what hangs is killed, and only that."""

from __future__ import annotations

import multiprocessing
import queue
import threading
from typing import Any, Callable


class Raised(Exception):
    """What the function raised, as text."""


class Died(Exception):
    """The process ended under a call: killed, out of memory, a crash of its own."""


class PoolError(Exception):
    """No process, and so no verdict."""


class TimedPool:
    """Calls function(*arguments) in one of `processes` processes. Thread-safe; calls beyond that many wait their turn.

    The function has to be importable: at the top of a module, and serve() below `if __name__ == "__main__":`.
    """

    def __init__(self, function: Callable[..., Any], processes: int = 4, timeout_s: float = 5.0,
                 start_timeout_s: float = 60.0):
        self._function, self._timeout_s, self._start_timeout_s = function, timeout_s, start_timeout_s
        self._context = multiprocessing.get_context("spawn")  # a fork would copy gRPC's threads' locks
        self._idle: queue.Queue[_Worker | None] = queue.Queue()
        self._lock = threading.Lock()
        self._workers: set[_Worker] = set()
        self._closed = False
        for _ in range(processes):
            self._idle.put(self._start())
        for _ in range(processes):  # all of them are up, and what they import is there
            worker = self._idle.get()
            worker.await_ready(start_timeout_s)
            self._idle.put(worker)

    def call(self, *arguments: Any) -> Any:
        """The function's result. Raised: what it raised. TimeoutError: it took too long, and its process is gone.
        Died: its process ended under it. PoolError: there is no process to be had."""
        worker = self._idle.get()
        try:
            if worker is None or not worker.alive():
                worker = self._replace(worker)
            return worker.call(arguments, self._timeout_s)
        except (TimeoutError, Died):
            self._discard(worker)
            worker = None
            raise
        except PoolError:
            worker = None
            raise
        finally:
            self._idle.put(worker)

    def close(self) -> None:
        """Ends the processes; calls under way fail."""
        with self._lock:
            self._closed = True
            workers, self._workers = self._workers, set()
        for worker in workers:
            worker.end()

    def __enter__(self) -> TimedPool:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _start(self) -> _Worker:
        worker = _Worker(self._context, self._function)
        with self._lock:
            if self._closed:
                worker.end()
                raise PoolError("the pool is closed")
            self._workers.add(worker)
        return worker

    def _replace(self, worker: _Worker | None) -> _Worker:
        self._discard(worker)
        fresh = self._start()
        try:
            fresh.await_ready(self._start_timeout_s)
        except (TimeoutError, Died) as error:
            self._discard(fresh)
            raise PoolError(f"a process did not start: {error}") from None
        return fresh

    def _discard(self, worker: _Worker | None) -> None:
        if worker is None:
            return
        with self._lock:
            self._workers.discard(worker)
        worker.end()


class _Worker:
    def __init__(self, context: Any, function: Callable[..., Any]):
        self._connection, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(function, theirs), daemon=True)
        self._process.start()
        theirs.close()
        self._ready = False

    def alive(self) -> bool:
        return self._process.is_alive()

    def await_ready(self, timeout_s: float) -> None:
        if not self._ready:
            self._receive(timeout_s)
            self._ready = True

    def call(self, arguments: tuple, timeout_s: float) -> Any:
        try:
            self._connection.send(arguments)
        except OSError as error:
            raise Died(f"the process of the pool is gone: {error}") from None
        raised, result = self._receive(timeout_s)
        if raised:
            raise result
        return result

    def end(self) -> None:
        self._process.kill()
        self._process.join()
        self._connection.close()

    def _receive(self, timeout_s: float) -> Any:
        try:
            if not self._connection.poll(timeout_s):
                raise TimeoutError(f"no result within {timeout_s:g} s")
            return self._connection.recv()
        except (EOFError, OSError) as error:
            if isinstance(error, TimeoutError):
                raise
            raise Died(f"the process of the pool died: {error or 'it closed its end'}") from None


def _work(function: Callable[..., Any], connection: Any) -> None:
    connection.send("ready")
    while True:
        try:
            arguments = connection.recv()
        except EOFError:
            return
        try:
            answer = (False, function(*arguments))
        except Exception as error:  # noqa: BLE001
            answer = (True, Raised(f"{type(error).__name__}: {error}"))
        try:
            connection.send(answer)
        except Exception as error:  # noqa: BLE001
            connection.send((True, Raised(f"the result cannot be sent: {error}")))
