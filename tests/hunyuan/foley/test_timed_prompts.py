"""Prompts that change at times: read from a line, cut into parts, faded into each other."""

from fractions import Fraction

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.hunyuan.foley.timed_prompts import FADE, PromptTrack, TimedPrompt, clock, parse_time


def told(track):
    return [(float(prompt.start), prompt.text) for prompt in track.prompts]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("rain", [(0, "rain")]),
        ("", [(0, "")]),
        ("a tin | a drum", [(0, "a tin | a drum")]),
        ("a clock shows 12:30", [(0, "a clock shows 12:30")]),
        ("0:00 rain | 0:12 rain, thunder", [(0, "rain"), (12, "rain, thunder")]),
        ("rain|1:02.5 thunder", [(0, "rain"), (62.5, "thunder")]),
        ("0:05 rain", [(0, ""), (5, "rain")]),
        ("0:00 rain | 0:10 | 1:00:00 wind", [(0, "rain"), (10, ""), (3600, "wind")]),
        ("0:00 rain\n| 0:03 wind\nand hail", [(0, "rain"), (3, "wind\nand hail")]),
    ],
)
def test_a_line_is_read(text, expected):
    assert told(PromptTrack.parse(text)) == expected


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("0:00 rain | thunder", r"'thunder' does not say when it starts. Write 0:12 thunder"),
        ("0:00 rain | 0:12 wind | 0:11 hail", r"'hail' at 0:11 does not come after 'wind' at 0:12"),
        ("0:00 rain | 0:00 wind", r"'wind' at 0:00 does not come after"),
    ],
)
def test_what_makes_no_sense_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        PromptTrack.parse(text)


def test_prompts_that_start_late_are_no_track():
    with pytest.raises(ValueError, match="does not start at 0:00"):
        PromptTrack((TimedPrompt(Fraction(1), "rain"),))


@pytest.mark.parametrize(
    ("value", "seconds"),
    [(3, 3), (0.5, 0.5), ("12", 12), ("1.25", 1.25), ("1:02.5", 62.5), ("2:00:01", 7201)],
)
def test_times_are_exact(value, seconds):
    assert parse_time(value) == Fraction(seconds)


def test_a_decimal_time_is_the_fraction_that_was_written():
    assert parse_time("0:04.2") == Fraction(42, 10)


@pytest.mark.parametrize("value", [-1, "soon", "1:72", None, True, float("nan"), float("inf"), "1:2:3:4", ""])
def test_what_is_no_time_is_named(value):
    with pytest.raises(ValueError, match="is no time"):
        parse_time(value)


@settings(max_examples=30)
@given(st.integers(0, 20_000_000))
def test_a_clock_is_read_back(thousandths):
    assert parse_time(clock(Fraction(thousandths, 1000))) == Fraction(thousandths, 1000)


@settings(max_examples=20)
@given(st.lists(st.integers(1, 10**9), max_size=4))
def test_a_track_is_read_back_from_its_text(gaps):
    starts = [Fraction(sum(gaps[:i]), 10**6) for i in range(len(gaps) + 1)]
    track = PromptTrack(tuple(TimedPrompt(start, f"words {i}") for i, start in enumerate(starts)))
    assert PromptTrack.parse(track.as_text()) == track


def test_a_part_has_a_clock_of_its_own():
    track = PromptTrack.parse("0:00 rain | 0:12 thunder | 0:20 wind")
    assert told(track.within(Fraction(10), Fraction(18))) == [(0, "rain"), (2, "thunder")]
    assert told(track.within(Fraction(12), Fraction(20))) == [(0, "thunder")]
    assert told(track.within(Fraction(30), Fraction(40))) == [(0, "wind")]


def test_a_prompt_fades_into_the_next_around_its_time():
    track = PromptTrack.parse("0:00 rain | 0:12 thunder")
    times = torch.tensor([0.0, 11.4, 11.75, 12.0, 12.25, 12.6, 20.0])
    heard = track.weights(times, fade=1)
    torch.testing.assert_close(heard["thunder"], torch.tensor([0, 0, 0.15625, 0.5, 0.84375, 1, 1]).double())
    torch.testing.assert_close(heard["rain"] + heard["thunder"], torch.ones(7).double())


def test_without_a_fade_the_prompt_changes_at_once():
    heard = PromptTrack.parse("0:00 rain | 0:12 thunder").weights(torch.tensor([11.99, 12.0]), fade=0)
    assert heard["thunder"].tolist() == [0, 1]


def test_a_text_that_comes_back_is_one_prompt_and_what_is_not_heard_is_left_out():
    track = PromptTrack.parse("0:00 rain | 0:10 thunder | 0:12 rain | 0:50 wind")
    heard = track.weights(torch.arange(200) / 10)
    assert list(heard) == ["rain", "thunder"]
    assert float(heard["rain"][150]) == 1


@settings(max_examples=20, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=6), st.floats(0, 5))
def test_all_that_is_heard_adds_up_to_one(gaps, fade):
    starts = [sum(gaps[:i]) for i in range(len(gaps))]
    track = PromptTrack(tuple(TimedPrompt(Fraction(start, 4), str(i % 3)) for i, start in enumerate(starts)))
    heard = track.weights(torch.arange(0, 80) / 4, fade)
    assert all((weight >= 0).all() for weight in heard.values())
    torch.testing.assert_close(sum(heard.values()), torch.ones(80).double())


def test_a_second_is_the_usual_fade():
    assert FADE == 1
