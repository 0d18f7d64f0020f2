"""Many Foley jobs from a table: finished rows are skipped, a bad row does not stop the others."""

import csv
import dataclasses
import hashlib
import io
import json
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ..hunyuan.media.files import digest
from .foley_job import AUTO, FoleyJob
from .foley_presets import with_preset

SHARED = {
    "device",
    "dtype",
    "vae_dtype",
}  # columns no row may have: one set of weights serves the whole table
TRUTH = {
    **dict.fromkeys(("1", "true", "yes", "on"), True),
    **dict.fromkeys(("0", "false", "no", "off"), False),
}
READERS: dict[str, Callable[[Any], Any]] = {
    **dict.fromkeys(("steps", "seed", "takes", "batch"), int),
    **dict.fromkeys(("cfg", "text_scale", "video_scale", "sync_scale", "shift"), float),
    **dict.fromkeys(("start", "seconds", "denoise", "fade", "gain", "duck", "loudness", "true_peak"), float),
    "overlap": float,
    **dict.fromkeys(("high_quality", "keep_job", "restart"), lambda value: TRUTH[str(value).lower()]),
    **dict.fromkeys(("guide_from", "guide_to"), float),
    "regenerate": lambda value: pair(value),
}
PATHS = {"video", "out", "sound", "job"}


def read_rows(path: Path) -> list[dict[str, Any]]:
    """The table's rows: CSV with a header line, or one JSON object per line.

    Raises: ValueError for a file that is no such table, naming the line.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ValueError(f"{path.name} is not UTF-8 text. Save the table as CSV in UTF-8.") from error
    if path.suffix.lower() == ".csv":
        return [dict(row) for row in csv.DictReader(io.StringIO(text, newline=""))]
    if path.suffix.lower() == ".jsonl":
        return [_json_row(path, i, line) for i, line in enumerate(text.split("\n"), 1) if line.strip()]
    raise ValueError(f"{path.name} is no table of jobs: it must be .csv or .jsonl.")


def _json_row(path: Path, number: int, line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise ValueError(f"{path.name}, line {number}: not JSON ({error.msg}).") from error
    if not isinstance(row, dict):
        raise ValueError(f'{path.name}, line {number}: not a JSON object like {{"video": ..., "out": ...}}.')
    return row


def job_of(row: Mapping[str, Any], folder: Path, **shared: Any) -> FoleyJob:
    """A row's job. Empty cells mean the default; paths are relative to the table's folder.

    Raises: ValueError naming the column.
    """
    known = {field.name for field in dataclasses.fields(FoleyJob)} - SHARED | {"preset"}
    settings: dict[str, Any] = {}
    for name, value in row.items():
        if name not in known:
            raise ValueError(f"There is no column {name!r}. Columns are {', '.join(sorted(known))}.")
        if value not in (None, ""):
            settings[name] = folder / str(value) if name in PATHS else _cell(name, value)
    if settings.get("shots", AUTO) != AUTO:
        settings["shots"] = str(folder / settings["shots"])
    if "out" not in settings:
        raise ValueError("The column out is empty: it names the file to write.")
    return FoleyJob(**with_preset(settings, settings.pop("preset", None)), **shared)


def pair(value: Any) -> tuple[float, float]:
    """Two numbers, as a list or as `1.5-3`."""
    first, last = value.split("-") if isinstance(value, str) else value
    return float(first), float(last)


def _cell(name: str, value: Any) -> Any:
    try:
        return READERS.get(name, str)(value)
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"Column {name}: {value!r} cannot be understood.") from error


class Ledger:
    """What is finished, one line each in a file beside the table.

    A line holds the key of a job (its settings and what its files hold) and the content of its files; a job
    is finished while both still hold. A line is appended once the files are in place: a kill loses one job.
    """

    def __init__(self, path: Path, weights: str) -> None:
        self.path, self.weights = path, weights
        self.finished: dict[str, dict[str, str]] = dict(self._read())
        self.writers: dict[Path, int] = {}

    def _read(self) -> Iterator[tuple[str, dict[str, str]]]:
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        for line in lines:
            try:
                entry = json.loads(line)
                yield entry["key"], dict(entry["files"])
            except (ValueError, TypeError, KeyError):
                continue  # an empty line, or one that a kill cut off

    def key(self, job: FoleyJob) -> str:
        settings = {
            name: str(value.resolve() if isinstance(value, Path) else value)
            for name, value in dataclasses.asdict(job).items()
        }
        contents = {"video": job.video, "sound": job.sound}
        if job.shots not in (None, AUTO):
            contents["shots"] = Path(job.shots)
        for name, path in contents.items():
            settings[f"{name} content"] = digest(path) if path else ""
        settings["weights"] = self.weights
        return hashlib.sha256(json.dumps(settings, sort_keys=True).encode()).hexdigest()

    def claim(self, job: FoleyJob, row: int) -> None:
        """Raises ValueError if an earlier row of the table writes a file that this one would overwrite."""
        for path in job.outputs:
            writer = self.writers.setdefault(path.resolve(), row)
            if writer != row:
                raise ValueError(
                    f"{path.name} is written by row {writer} already. Give this row another out."
                )

    def is_finished(self, job: FoleyJob, key: str) -> bool:
        files = self.finished.get(key, {})
        return bool(files) and all(
            path.is_file() and digest(path) == files.get(str(path.resolve())) for path in job.outputs
        )

    def record(self, job: FoleyJob, key: str) -> None:
        self.finished[key] = {str(path.resolve()): digest(path) for path in job.outputs}
        with self.path.open("a") as file:
            # The first newline ends a line that a kill cut off.
            file.write("\n" + json.dumps({"key": key, "files": self.finished[key]}) + "\n")
