"""Work done ahead of whoever waits for it: a video is decoded while its last frames are being encoded."""

import threading
from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from typing import TypeVar

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
