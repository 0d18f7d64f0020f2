"""The joins of a film follow from its plan."""

from fractions import Fraction
from itertools import pairwise

import numpy as np
import pytest
from pack.hunyuan.foley.seams import Join
from pack.hunyuan.long_form.joins import joins_of, listen
from pack.hunyuan.long_form.plan import FilmPlan, Shot, WindowSettings


def told(joins):
    return [(round(join.start, 3), round(join.end, 3), join.kind) for join in joins]


def test_windows_meet_where_they_overlap():
    plan = FilmPlan.of_clip(Fraction(3), Fraction(27))
    assert told(joins_of(plan)) == [(8, 9.92, "window"), (16, 17.92, "window")]


def test_shots_meet_at_their_cuts():
    cuts = [Fraction(0), Fraction(9), Fraction(42, 10) + 20, Fraction(30)]
    plan = FilmPlan([Shot(start=a, end=b) for a, b in pairwise(cuts)])
    assert told(joins_of(plan)) == [
        (9, 9.02, "shot"),
        (17, 18.92, "window"),
        (24.2, 24.22, "shot"),
    ]


def test_joins_at_the_very_end_can_be_judged():
    settings = WindowSettings(overlap=Fraction(2))
    plan = FilmPlan([Shot(start=Fraction(0), end=Fraction(10))], settings)
    assert told(joins_of(plan)) == [(8, 9.9, "window")]
    plan = FilmPlan([Shot(start=Fraction(0), end=Fraction(4)), Shot(start=Fraction(4), end=Fraction("4.05"))])
    assert joins_of(plan) == []
    plan = FilmPlan([Shot(start=Fraction(0), end=Fraction(4)), Shot(start=Fraction(4), end=Fraction("4.2"))])
    noise = np.random.default_rng(0).normal(size=round(4.2 * 48_000)).astype(np.float32)
    assert listen(noise, joins_of(plan)).worst_jump < 1


def test_a_short_film_has_no_joins():
    assert joins_of(FilmPlan.of_clip(Fraction(0), Fraction(8))) == []


def test_a_step_at_a_cut_is_heard():
    noise = np.random.default_rng(0).normal(size=30 * 48_000).astype(np.float32) * 0.1
    noise[12 * 48_000 :] *= 2
    report = listen(noise, [Join(6.0, 6.02, "shot"), Join(12.0, 12.02, "shot")])
    assert report.seams[0].jump < 0.3
    assert report.seams[1].jump == pytest.approx(6.02, abs=0.3)
