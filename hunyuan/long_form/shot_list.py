"""A film's shots with their prompts, from cuts that were found and what people write."""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

from ..foley.timed_prompts import PromptTrack, clock, parse_time
from ..media.container import read_frames
from ..media.shots import CHANGE, find_cuts
from .plan import Shot, exact

Frames = Iterable[tuple[float, np.ndarray]]
Prompts = PromptTrack | Sequence[PromptTrack | None]


def shots_between(
    start: Fraction, cuts: Iterable[float | Fraction], end: Fraction, prompts: Prompts | None = None
) -> list[Shot]:
    """A film's shots, from `start` to `end`, in seconds on the file's clock.

    prompts: one for the whole film, whose clock starts with it; or one for each shot, on the shot's clock,
        the last of which goes on. None leaves it to whoever uses the shots.
    Raises:  ValueError if there are more prompts than shots.
    """
    spans = list(pairwise([start, *(exact(cut) for cut in cuts), end]))
    tracks = list(_tracks(spans, start, prompts or [None]))
    return [
        Shot(start=first, end=last, prompt=track and track.as_text())
        for (first, last), track in zip(spans, tracks, strict=True)
    ]


def _tracks(
    spans: Sequence[tuple[Fraction, Fraction]], start: Fraction, prompts: Prompts
) -> Iterator[PromptTrack | None]:
    """The prompts of each shot."""
    if isinstance(prompts, PromptTrack):
        yield from (prompts.within(first - start, last - start) for first, last in spans)
    elif len(prompts) > len(spans):
        raise ValueError(
            f"There are {len(prompts)} prompts for {len(spans)} shots, which start at"
            f" {', '.join(clock(first) for first, _ in spans)}. Leave some out, or lower the threshold."
        )
    else:
        yield from (prompts[min(number, len(prompts) - 1)] for number in range(len(spans)))


def shots_of_film(
    path: Path,
    start: Fraction,
    end: Fraction,
    text: str = "",
    threshold: float = CHANGE,
    watch: Callable[[Frames], Frames] = lambda frames: frames,
) -> list[Shot]:
    """The shots of a part of a video file: as they are written, or between the cuts that are found.

    text:  what people write: shots or prompts, see `read_shots` and `read_prompts`.
    watch: passes the frames on, and may show how far they are.
    """
    if is_shot_list(text):
        return read_shots(text, start, end)
    prompts = read_prompts(text)
    frames = watch(read_frames(path, float(start), float(end - start)))
    cuts = [start + exact(cut) for cut in find_cuts(frames, threshold)]
    return shots_between(start, cuts, end, prompts)


def read_prompts(text: str) -> PromptTrack | list[PromptTrack] | None:
    """Prompts as they are typed: one line is for the whole film, several are one for each shot.

    A JSON list of texts is one for each shot, too. Nothing typed is None.
    """
    if text.lstrip().startswith("["):
        entries = _json_list(text)
        if not all(isinstance(entry, str) for entry in entries):
            raise ValueError('A list of prompts holds texts alone, such as ["rain", "rain, thunder"].')
        return [PromptTrack.parse(entry) for entry in entries]
    lines = [line for line in text.splitlines() if line.strip()]
    if len(lines) > 1:
        return [PromptTrack.parse(line) for line in lines]
    return PromptTrack.parse(lines[0]) if lines else None


def read_shots(text: str, start: Fraction, end: Fraction) -> list[Shot]:
    """Shots from a JSON list such as [{"start": 0, "prompt": "rain"}, {"start": "1:04.2"}].

    Each lasts until the next one starts, the last until `end`; the first starts at `start` or 0. Times are on
    the film's clock, which starts with it: numbers of seconds, or texts such as 1:02.5.
    Raises: ValueError naming the entry that cannot be understood.
    """
    entries = [_entry(number, entry) for number, entry in enumerate(_json_list(text), 1)]
    starts = [begin for begin, _ in entries]
    _check_order(starts, end - start)
    return shots_between(start, [start + begin for begin in starts[1:]], end, [track for _, track in entries])


def is_shot_list(text: str) -> bool:
    """Whether this is a JSON list of shots that say when they start: no cuts are looked for then."""
    return text.lstrip().startswith("[") and any(isinstance(entry, dict) for entry in _json_list(text))


def list_shots(shots: Sequence[Shot]) -> str:
    """A line for each shot, for people."""
    return "\n".join(
        f"{number}. {clock(shot.start)} - {clock(shot.end)} {shot.prompt or ''}".rstrip()
        for number, shot in enumerate(shots, 1)
    )


def _json_list(text: str) -> list[Any]:
    try:
        # Decimals as they were written: 4.2 is 42/10.
        entries = json.loads(text, parse_float=Fraction)
    except json.JSONDecodeError as error:
        raise ValueError(f"The list of shots is not JSON: {error.msg} in line {error.lineno}.") from error
    if not isinstance(entries, list) or not entries:
        raise ValueError('The list of shots is not a list such as [{"start": 0, "prompt": "rain"}].')
    return entries


def _entry(number: int, entry: Any) -> tuple[Fraction, PromptTrack | None]:
    if not isinstance(entry, dict) or entry.keys() - {"start", "prompt"} or "start" not in entry:
        raise ValueError(
            f'Shot {number} is {entry!r}. Write it like {{"start": "0:04.2", "prompt": "rain"}}.'
        )
    prompt = entry.get("prompt")
    if not isinstance(prompt, (str, type(None))):
        raise ValueError(f"Shot {number}: its prompt {prompt!r} is not a text.")
    return parse_time(entry["start"]), None if prompt is None else PromptTrack.parse(prompt)


def _check_order(starts: Sequence[Fraction], end: Fraction) -> None:
    if starts[0] != 0:
        raise ValueError(f"The first shot starts at {clock(starts[0])}, not at 0:00, and nothing before it.")
    for number, (start, following) in enumerate(pairwise([*starts, end]), 1):
        if start >= following:
            what = f"shot {number + 1}" if number < len(starts) else "the end of the video"
            raise ValueError(
                f"Shot {number} starts at {clock(start)}, which is not before {what} at {clock(following)}."
            )
