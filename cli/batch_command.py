"""`hunyuan_av batch`: a table of jobs, a line of report for each."""

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..host.standalone.progress import progress
from . import batch, foley
from .foley_command import add_weights_options
from .foley_graphs import check_graphs
from .foley_models import FoleyModels, Placement
from .mistakes import MISTAKES, sentence


def add_parser(commands) -> None:
    parser = commands.add_parser(
        "batch",
        help="many foley jobs from a CSV or JSONL table",
        description="Runs every row of a table; columns are named like the options of `foley`. Finished rows"
        " are skipped when the command is repeated, unless a setting or the video has changed.",
    )
    parser.add_argument("table", type=Path, help=".csv with a header line, or .jsonl with an object per line")
    add_weights_options(parser)
    parser.set_defaults(run=run)


def run(options: argparse.Namespace) -> None:
    rows = batch.read_rows(options.table)
    placement = Placement.choose(options.device, options.dtype)
    check_graphs(options.graphs, placement.device)
    models = FoleyModels.load(
        options.weights, options.size, placement,
        vae_part="both", vae_dtype=options.vae_dtype, loras=options.lora,
        compiled=options.compile, graphs=options.graphs,
    )  # fmt: skip
    print(f"Weights: {models.origin}")

    ledger = batch.Ledger(options.table.with_suffix(options.table.suffix + ".done"), models.fingerprint)
    counts = {"made": 0, "unchanged": 0, "failed": 0}
    for number, row in enumerate(rows, 1):
        outcome, report = run_row(number, row, options, models, ledger)
        counts[outcome] += 1
        print(f"row {number}: {outcome}: {report}", flush=True)
    print(", ".join(f"{count} {outcome}" for outcome, count in counts.items()))
    if counts["failed"]:
        raise ValueError(f"{counts['failed']} of {len(rows)} rows failed; see the lines above.")


def run_row(
    number: int,
    row: Mapping[str, Any],
    options: argparse.Namespace,
    models: FoleyModels,
    ledger: batch.Ledger,
) -> tuple[str, str]:
    """What became of a row, and its files or the reason."""
    try:
        job = batch.job_of(
            row, options.table.parent, **{name: getattr(options, name) for name in batch.SHARED}
        )
        ledger.claim(job, number)
        key = ledger.key(job)
        if ledger.is_finished(job, key):
            return "unchanged", ", ".join(map(str, job.outputs))
        made = list(foley.make(job, models, progress))
        ledger.record(job, key)
    except MISTAKES as error:
        return "failed", sentence(error)
    return "made", ", ".join(made)
