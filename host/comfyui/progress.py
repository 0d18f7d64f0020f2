"""How far a long job is, on the node; and the way to stop it."""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from comfy.model_management import throw_exception_if_processing_interrupted
from comfy.utils import ProgressBar

Item = TypeVar("Item")


def progress(items: Iterable[Item], total: int | None = None, label: str = "") -> Iterator[Item]:
    """The items themselves; while they are taken, a bar on the node. Cancel ends the loop at the next item.

    label: not shown, since the node has a title.
    """
    bar = ProgressBar(total or 0)
    for item in items:
        throw_exception_if_processing_interrupted()
        yield item
        bar.update(1)
