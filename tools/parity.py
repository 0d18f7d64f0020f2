"""Compare this project with recorded tensors of the published programs.

    python tools/parity.py DIR [DIR...] [--kind KIND] [--json]

One line per tensor, and last `N passed, M failed`. Exit status 1 if anything failed or a kind has no runner.
"""

import argparse
import dataclasses
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

import _pack  # noqa: F401 - makes hunyuan_av importable
import parity_avatar
import parity_avatar_loop
import parity_avatar_media
import parity_encoders
import parity_foley
from golden import Golden, Row, find_goldens

RUNNERS: dict[tuple[str, str], Callable[[Golden], Iterator[Row]]] = {
    (system, kind): runner
    for system, module in (
        ("foley", parity_foley),
        ("foley", parity_encoders),
        ("avatar", parity_avatar),
        ("avatar", parity_avatar_loop),
        ("avatar", parity_avatar_media),
    )
    for kind, runner in module.RUNNERS.items()
}


def run(golden: Golden) -> Iterator[Row]:
    """Every row of one golden, whatever was recorded and not compared included."""
    runner = RUNNERS.get((golden.system, golden.kind))
    if runner is None:
        yield golden.row(
            golden.kind, float("nan"), "-", passed=False, note=f"no runner for this {golden.system} kind"
        )
        return
    compared = 0
    try:
        with torch.inference_mode():
            for row in runner(golden):
                compared += 1
                yield row
    except Exception as error:  # whatever breaks here is a finding about one golden, and the others still run
        note = f"{type(error).__name__}: {error}"
        yield golden.row(golden.kind, float("nan"), "-", passed=False, note=note)
    if not compared:
        yield golden.row(golden.kind, float("nan"), "-", passed=False, note="nothing compared")
    yield from golden.forgotten()


def main() -> int:
    parser = argparse.ArgumentParser(description="Compare with recorded tensors of the published programs.")
    parser.add_argument("folders", nargs="+", type=Path, metavar="DIR")
    parser.add_argument("--kind", help="only goldens of this kind")
    parser.add_argument("--json", action="store_true", help="one JSON object per line")
    arguments = parser.parse_args()
    for folder in arguments.folders:
        if not folder.is_dir():
            parser.error(f"{folder} is no folder.")

    counts = {"ok": 0, "FAILED": 0, "info": 0}
    for golden in find_goldens(arguments.folders):
        if arguments.kind in (None, golden.kind):
            for row in run(golden):
                counts[row.status] += 1
                print(json.dumps(dataclasses.asdict(row)) if arguments.json else row)
    if not sum(counts.values()):
        print("No golden found: nothing was compared.", file=sys.stderr)
        return 1
    print(f"{counts['ok']} passed, {counts['FAILED']} failed")
    return int(counts["FAILED"] > 0)


if __name__ == "__main__":
    sys.exit(main())
