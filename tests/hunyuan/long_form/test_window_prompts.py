"""Prompts of windows: on the right clock, and the same wherever two windows see the same moment."""

from fractions import Fraction

import pytest
import torch
from pack.hunyuan.long_form.plan import FilmPlan, Shot
from pack.hunyuan.long_form.prompts import WindowPrompts

FILM = [
    Shot(start=Fraction(2), end=Fraction(22)),
    Shot(start=Fraction(22), end=Fraction(29), prompt="0:00 wind | 0:03 hail"),
]


@pytest.fixture(scope="module")
def prompts():
    return WindowPrompts(FilmPlan(FILM), "0:00 rain | 0:12 thunder")


def test_every_text_is_named_once(prompts):
    assert prompts.texts == ["rain", "thunder", "wind", "hail"]


def test_a_film_that_starts_late_counts_from_its_start(prompts):
    first, second, *_ = prompts.plan.windows
    assert prompts(first) == [("rain", None)]
    heard = dict(prompts(second))["thunder"]
    change = next(i for i, weight in enumerate(heard) if weight > 0.5)
    assert second.latent_times[change] - 2 == Fraction(1201, 100)  # the first middle after 12 s


def test_a_shot_of_its_own_counts_from_the_cut(prompts):
    last = prompts.plan.windows[-1]
    heard = dict(prompts(last))
    assert list(heard) == ["wind", "hail"]
    change = next(i for i, weight in enumerate(heard["hail"]) if weight > 0.5)
    assert last.latent_times[change] - 22 == Fraction(301, 100)


def test_where_two_windows_overlap_they_hear_the_same():
    plan = FilmPlan.of_clip(Fraction(0), Fraction(20))
    prompts = WindowPrompts(plan, "0:00 rain | 0:09 thunder")
    first, second = plan.windows[:2]
    shared = first.window.stop - second.window.start
    assert float(dict(prompts(first))["thunder"][-shared:].std()) > 0
    assert torch.equal(dict(prompts(first))["thunder"][-shared:], dict(prompts(second))["thunder"][:shared])


def test_times_that_make_no_sense_are_named():
    with pytest.raises(ValueError, match="does not come after"):
        WindowPrompts(FilmPlan(FILM), "0:10 rain | 0:02 wind")
