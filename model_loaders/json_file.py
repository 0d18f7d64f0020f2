"""The JSON files that are published beside weights."""

import json
from pathlib import Path
from typing import Any


def read_table(path: Path) -> dict[str, Any]:
    """The names and values of a JSON file. Raises ValueError, naming it, if it holds anything else."""
    try:
        table = json.loads(path.read_text("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: it is not JSON. Download it again.") from error
    if not isinstance(table, dict):
        raise ValueError(f"{path} is damaged: it is not a table of names and values. Download it again.")
    return table
