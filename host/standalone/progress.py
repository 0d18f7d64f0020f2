"""How far a long job is, on a terminal."""

from collections.abc import Iterable
from typing import TypeVar

Item = TypeVar("Item")


def progress(items: Iterable[Item], total: int | None = None, label: str = "") -> Iterable[Item]:
    """The items themselves; while they are taken, a bar with the time left, if anyone watches standard error.

    Ctrl-C ends the loop as it would without the bar: KeyboardInterrupt passes through.
    """
    from tqdm import tqdm

    return tqdm(items, desc=label or None, total=total, disable=None, dynamic_ncols=True)


def say(sentence: str) -> None:
    """A line on standard output, above the bar if there is one."""
    from tqdm import tqdm

    tqdm.write(sentence)
