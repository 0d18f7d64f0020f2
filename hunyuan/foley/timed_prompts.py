"""What is to be heard when: prompts that change at times.

    rain                            one prompt, all the time
    0:00 rain | 0:12 rain, thunder  from 12 s on another one, faded over

Times are minutes:seconds or hours:minutes:seconds, exact fractions on the clip's clock.
"""

import math
import re
from bisect import bisect_right
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from typing import Any

import torch
from torch import Tensor

FADE = Fraction(1)  # seconds from one prompt to the next, around the time of the change

EXACT = 9  # decimals of a second in texts that are read back
CLOCK = re.compile(r"(?:(\d+):)?(\d+):([0-5]?\d(?:\.\d+)?)")
TIMED = re.compile(rf"\s*({CLOCK.pattern})(?:\s+(.*))?$", re.DOTALL)


@dataclass(frozen=True)
class TimedPrompt:
    """What is to be heard from `start` (seconds) until the next one starts."""

    start: Fraction
    text: str


@dataclass(frozen=True)
class PromptTrack:
    """Prompts in order of time. The first one starts at 0."""

    prompts: tuple[TimedPrompt, ...]

    def __post_init__(self) -> None:
        starts = [prompt.start for prompt in self.prompts]
        if not starts or starts[0] != 0:
            raise ValueError("The first prompt does not start at 0:00. Say what is heard from there on.")
        for earlier, later in pairwise(self.prompts):
            if later.start <= earlier.start:
                raise ValueError(
                    f"The prompt {later.text!r} at {clock(later.start)} does not come after {earlier.text!r}"
                    f" at {clock(earlier.start)}. Put the prompts in order of time."
                )

    @classmethod
    def parse(cls, text: str) -> "PromptTrack":
        """As the module says. A text without a time at its beginning or after a | is one prompt as it is.

        Raises: ValueError naming the part that has no time, or is out of order.
        """
        parts = text.split("|")
        matches = [TIMED.match(part) for part in parts]
        if not any(matches):
            return cls.plain(text)
        prompts = []
        for number, (part, match) in enumerate(zip(parts, matches, strict=True)):
            if match is None and number:
                words = part.strip()
                raise ValueError(
                    f"The prompt {words!r} does not say when it starts. Write 0:12 {words}, say."
                )
            start = parse_time(match[1]) if match else Fraction(0)
            prompts.append(TimedPrompt(start, ((match[5] or "") if match else part).strip()))
        if prompts[0].start > 0:
            prompts.insert(0, TimedPrompt(Fraction(0), ""))  # until then the picture alone says it
        return cls(tuple(prompts))

    @classmethod
    def plain(cls, text: str) -> "PromptTrack":
        """One prompt all the time, whatever its words are."""
        return cls((TimedPrompt(Fraction(0), text.strip()),))

    def as_text(self) -> str:
        """A text that `parse` reads as this track."""
        if len(self.prompts) == 1:
            return self.prompts[0].text
        return " | ".join(f"{clock(prompt.start, EXACT)} {prompt.text}".strip() for prompt in self.prompts)

    @property
    def texts(self) -> tuple[str, ...]:
        """All different texts, in the order in which they come first."""
        return tuple(dict.fromkeys(prompt.text for prompt in self.prompts))

    def at(self, time: Fraction | float) -> str:
        """The text at a time, no fade considered."""
        return self.prompts[max(0, self._index(time))].text

    def within(self, start: Fraction, end: Fraction) -> "PromptTrack":
        """The part from `start` to `end`, on a clock that starts there."""
        first = TimedPrompt(Fraction(0), self.at(start))
        later = (prompt for prompt in self.prompts if start < prompt.start < end)
        return PromptTrack((first, *(TimedPrompt(p.start - start, p.text) for p in later)))

    def weights(self, times: Tensor, fade: Fraction | float = FADE) -> dict[str, Tensor]:
        """How much of each text is heard at `times` (seconds, (n,)): (n,) each, together 1 everywhere.

        Around each change the old text fades out as the new one fades in, along a smooth step.
        """
        heard = {text: torch.zeros_like(times, dtype=torch.float64) for text in self.texts}
        remaining = torch.ones_like(times, dtype=torch.float64)
        for prompt in reversed(self.prompts):
            begun = smooth_step(times.double(), float(prompt.start), float(fade)) if prompt.start else 1.0
            heard[prompt.text] += remaining * begun
            remaining = remaining * (1.0 - begun)
        return {text: weight for text, weight in heard.items() if weight.any()}

    def _index(self, time: Fraction | float) -> int:
        return bisect_right([prompt.start for prompt in self.prompts], time) - 1


def parse_time(value: Any) -> Fraction:
    """Seconds from a number, or from a text such as 12, 1:02.5 or 1:00:00. Raises ValueError for others."""
    if isinstance(value, (int, float, Fraction)) and not isinstance(value, bool) and 0 <= value < math.inf:
        return Fraction(value)
    match = CLOCK.fullmatch(value.strip()) if isinstance(value, str) else None
    if match:
        hours, minutes, seconds = match.groups(default="0")
        return 3600 * int(hours) + 60 * int(minutes) + Fraction(seconds)
    if isinstance(value, str) and re.fullmatch(r"\d+(\.\d+)?", value.strip()):
        return Fraction(value.strip())
    raise ValueError(
        f"{value!r} is no time. Write seconds, or 1:02.5 for one minute, two and a half seconds."
    )


def clock(seconds: Fraction | float, decimals: int = 3) -> str:
    """A time as people write it: 1:02.5."""
    unit = 10**decimals
    minutes, rest = divmod(round(seconds * unit), 60 * unit)
    hours, minutes = divmod(minutes, 60)
    told = f"{rest // unit:02d}.{rest % unit:0{decimals}d}".rstrip("0").rstrip(".")
    return f"{hours}:{minutes:02d}:{told}" if hours else f"{minutes}:{told}"


def smooth_step(times: Tensor, middle: float, width: float) -> Tensor:
    """From 0 to 1 around `middle`, with no corner; a jump if `width` is 0."""
    if width <= 0:
        return (times >= middle).to(times)
    place = ((times - middle) / width + 0.5).clamp(0, 1)
    return place * place * (3 - 2 * place)
