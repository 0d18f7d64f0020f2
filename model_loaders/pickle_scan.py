"""A pickle's instructions, listed without running them, held against the few that saved tensors need.

`torch.load(weights_only=True)` runs behind this check. The check is narrower: no callable that could fill the
memory, nothing that other programs in the same process have added to torch's list, and a name for the error.
"""

import io
import pickletools
import re
from collections.abc import Iterator
from pathlib import Path

INSTRUCTIONS = re.compile(
    r"""PROTO | STOP | MARK | GLOBAL | REDUCE | BUILD | BINPERSID | (LONG_)?BIN(PUT|GET)
      | NONE | NEW(TRUE|FALSE) | BININT[12]? | LONG1 | BINFLOAT | BINUNICODE | SHORT_BINSTRING
      | (EMPTY_)?TUPLE | TUPLE[123] | EMPTY_(LIST|DICT) | APPENDS? | SETITEMS?""",
    re.VERBOSE,
)

NAMES = re.compile(
    r"""collections\.OrderedDict
      | torch\.( Size | device | nn\.parameter\.Parameter | float8_e4m3fn | float8_e5m2
              | (storage\.)?\w+Storage
              | _utils\._rebuild_( tensor(_v[23])? | parameter(_with_state)? ) )""",
    re.VERBOSE,
)


def check_pickles(path: Path, stream: io.BytesIO, count: int = 1) -> None:
    """Raises ValueError unless each of the next `count` pickles of `stream` could be saved tensors."""
    for _ in range(count):
        for instruction, argument in _instructions(path, stream):
            _check(path, instruction, argument)


def _instructions(path: Path, stream: io.BytesIO) -> Iterator[tuple[str, object]]:
    try:
        yield from ((opcode.name, argument) for opcode, argument, _ in pickletools.genops(stream))
    except ValueError as error:
        raise ValueError(f"{path.name} is truncated or damaged: its pickle cannot be read.") from error


def _check(path: Path, instruction: str, argument: object) -> None:
    if not INSTRUCTIONS.fullmatch(instruction):
        raise ValueError(
            f"{path.name} is refused: saved tensors never need the pickle instruction {instruction}."
        )
    name = str(argument).replace(" ", ".", 1)
    if instruction == "GLOBAL" and not NAMES.fullmatch(name):
        raise ValueError(
            f"{path.name} is refused: opening it would call {name:.80}; checkpoints may hold tensors only."
        )
