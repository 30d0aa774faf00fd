"""One thread that owns what may be touched by one thread only: the CUDA context and all that lives in it."""

from __future__ import annotations

import queue
import threading
import traceback
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError  # another class than TimeoutError before Python 3.11
from typing import Any, TypeVar

from edge.errors import EngineFault

T = TypeVar("T")


class Owner:
    """Runs functions one after the other in its thread; callers wait without holding the GIL.

    The thread is a daemon: a GPU that never answers must not keep the process alive.
    """

    def __init__(self, name: str) -> None:
        self._work: queue.SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = queue.SimpleQueue()
        self._ended = False
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    def call(self, work: Callable[[], T], timeout_s: float) -> T:
        """The result of `work`, or what it raised. EngineFault if it takes longer than `timeout_s`, or after `end`."""
        if self._ended:
            raise EngineFault("the engine is closed", "its thread has ended", "open it again")
        future: Future[T] = Future()
        self._work.put((future, work))
        try:
            return future.result(timeout_s)
        except FutureTimeoutError as error:
            future.cancel()
            raise EngineFault(
                "the GPU does not answer", f"waited {timeout_s:.0f} s", "open the engine again"
            ) from error

    def end(self, timeout_s: float) -> bool:
        """Let the thread end after what is queued; False if it does not within `timeout_s`. May be called twice."""
        if not self._ended:
            self._ended = True
            self._work.put(None)
        self._thread.join(timeout_s)
        return not self._thread.is_alive()

    def _run(self) -> None:
        while (item := self._work.get()) is not None:
            future, work = item
            if not future.set_running_or_notify_cancel():
                continue
            try:
                future.set_result(work())
            except BaseException as error:
                _let_go(error)
                future.set_exception(error)
            del item, future, work  # or the last result would live until the next call


def _let_go(error: BaseException | None) -> None:
    """Clear the local variables of the frames that `error` came through: they would keep engines and buffers alive
    after their context is gone, which CUDA answers with an abort."""
    while error is not None:
        traceback.clear_frames(error.__traceback__)
        error = error.__cause__ or error.__context__
