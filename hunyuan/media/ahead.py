"""Work done ahead: frames of a video are decoded and made small while others are encoded."""

import threading
from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import copy_context
from typing import Any, TypeVar

Item = TypeVar("Item")


def ahead(items: Iterable[Item | None], count: int) -> Generator[Item, None, None]:
    """The items in their order, taken from where they come from in a thread of their own.

    None among them stands for nothing: it is left out. What ends the items early ends this, with the same
    exception, after the items before it; the thread is gone when this ends or is closed.

    count: how many items lie ready at most; as many are in memory, and the one that is being made.
    """
    source, stopped, end = iter(items), threading.Event(), object()

    def following() -> Item | object:
        for item in source:
            if item is not None:
                return item
            if stopped.is_set():
                break
        return end

    # What a host knows of its running job, it knows by context: progress is told from the thread, too.
    context = copy_context()
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:
        ready = deque(thread.submit(context.run, following) for _ in range(count))
        try:
            while (item := ready.popleft().result()) is not end:
                ready.append(thread.submit(context.run, following))
                yield item  # type: ignore[misc]
        finally:
            stopped.set()
            thread.shutdown(wait=True, cancel_futures=True)


Submit = Callable[..., Future]  # a function and its arguments, to the future of its answer


def at_once(function: Callable[..., Any], *arguments: Any) -> Future:
    """Done where it is asked for."""
    done: Future = Future()
    done.set_result(function(*arguments))
    return done


class Helpers:
    """Threads that share the work, as a context. Who hands out more than they can take has to wait.

    count: of the threads. With none, all is done where it is asked for.
    """

    def __init__(self, count: int) -> None:
        self.count = count
        self._threads = ThreadPoolExecutor(max(1, count), thread_name_prefix="helper")
        self._under_way: deque[Future] = deque()

    def __enter__(self) -> "Helpers":
        return self

    def __exit__(self, *failure: object) -> None:
        self._threads.shutdown(wait=True, cancel_futures=True)

    def submit(self, function: Callable[..., Any], *arguments: Any) -> Future:
        """The future of an answer, or of an exception."""
        if not self.count:
            return at_once(function, *arguments)
        # What waits holds its arguments in memory, whole frames: no more of them than threads, twice.
        if len(self._under_way) == 2 * self.count:
            self._under_way.popleft().exception()
        self._under_way.append(self._threads.submit(function, *arguments))
        return self._under_way[-1]
