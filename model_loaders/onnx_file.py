"""How many outputs an ONNX file's graph has, read without any library: it says what sort of network it is.

Protobuf, as far as it is needed: every field is a key, a number times 8 plus a form, and a value.
"""

from pathlib import Path
from typing import BinaryIO

VARINT, FIXED64, BLOCK, FIXED32 = 0, 1, 2, 5  # the forms of a value
SIZES = {FIXED64: 8, FIXED32: 4}
LONGEST_VARINT = 10  # bytes
GRAPH, OUTPUT = 7, 12  # numbers of the fields: the model's graph, the graph's outputs


def count_outputs(path: Path) -> int:
    """Raises ValueError if the file is not ONNX: 0 outputs are none either."""
    try:
        with path.open("rb") as file:
            size = path.stat().st_size
            graph = next((span for number, span in _blocks(file, 0, size) if number == GRAPH), None)
            count = sum(number == OUTPUT for number, _ in _blocks(file, *graph)) if graph else 0
    except EOFError as error:
        raise ValueError(f"{path.name} is no ONNX file, or damaged. Download it again.") from error
    if not count:
        raise ValueError(f"{path.name} is no ONNX file: it holds no graph with outputs.")
    return count


def _blocks(file: BinaryIO, start: int, end: int):
    """Number and span (start, end) of each field that is a block. Raises EOFError where there is no field."""
    file.seek(start)
    while (place := file.tell()) < end:
        key = _varint(file)
        if key & 7 == BLOCK:
            length = _varint(file)
            place = file.tell()
            yield key >> 3, (place, place + length)
            place += length
        elif key & 7 == VARINT:
            _varint(file)
            place = file.tell()
        elif key & 7 in SIZES:
            place = file.tell() + SIZES[key & 7]
        else:
            raise EOFError
        if place > end:
            raise EOFError
        file.seek(place)


def _varint(file: BinaryIO) -> int:
    value = 0
    for i in range(LONGEST_VARINT):
        byte = file.read(1)
        if not byte:
            break
        value |= (byte[0] & 127) << (7 * i)
        if byte[0] < 128:
            return value
    raise EOFError
