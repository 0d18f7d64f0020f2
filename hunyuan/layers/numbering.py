"""Numbered blocks in a checkpoint's names."""

import re
from collections.abc import Iterable


def count_blocks(names: Iterable[str], prefix: str) -> int:
    """How many numbered blocks `prefix.N.` the names speak of."""
    pattern = re.compile(rf"{re.escape(prefix)}\.(\d+)\.")
    return 1 + max((int(match[1]) for match in map(pattern.match, names) if match), default=-1)
