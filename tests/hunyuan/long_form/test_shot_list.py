"""Shots: what a film falls into, each with its prompt on its own clock."""

from fractions import Fraction

import pytest
from pack.hunyuan.foley.timed_prompts import PromptTrack
from pack.hunyuan.long_form.shot_list import is_shot_list, read_prompts, read_shots, shots_between

ZERO, TWELVE, TWENTY = Fraction(0), Fraction(12), Fraction(20)


def told(shots):
    return [(float(shot.start), float(shot.end), shot.prompt) for shot in shots]


def test_one_prompt_runs_on_through_the_shots():
    shots = shots_between(ZERO, [4.0, 10.5], TWENTY, PromptTrack.parse("0:00 rain | 0:12 thunder"))
    assert told(shots) == [
        (0, 4, "rain"),
        (4, 10.5, "rain"),
        (10.5, 20, "0:00 rain | 0:01.5 thunder"),
    ]


def test_a_film_without_cuts_is_one_shot():
    assert told(shots_between(ZERO, [], TWELVE, PromptTrack.parse("rain"))) == [(0, 12, "rain")]


def test_prompts_are_on_the_clock_of_the_part_that_is_used():
    shots = shots_between(Fraction(5), [9.0], TWELVE, PromptTrack.parse("0:00 rain | 0:02 wind"))
    assert told(shots) == [(5, 9, "0:00 rain | 0:02 wind"), (9, 12, "wind")]


def test_each_shot_has_its_prompt_and_the_last_one_goes_on():
    prompts = read_prompts("rain\n\n0:00 wind | 0:02 hail\n")
    expected = ["rain", "0:00 wind | 0:02 hail", "0:00 wind | 0:02 hail"]
    assert [shot.prompt for shot in shots_between(ZERO, [4, 8], TWELVE, prompts)] == expected


def test_more_prompts_than_shots_are_refused_with_the_shots_found():
    with pytest.raises(ValueError, match=r"3 prompts for 2 shots, which start at 0:00, 0:04\.5"):
        shots_between(ZERO, [4.5], TWELVE, read_prompts("a\nb\nc"))


@pytest.mark.parametrize("text", ["rain", " rain\n", "\nrain\n\n"])
def test_one_line_is_for_the_whole_film(text):
    assert read_prompts(text) == PromptTrack.parse("rain")


def test_where_nothing_is_said_the_shots_have_no_prompt():
    assert read_prompts(" \n") is None
    assert told(shots_between(ZERO, [4], TWELVE)) == [(0, 4, None), (4, 12, None)]


def test_a_cut_is_exact_to_the_microsecond():
    shots = shots_between(ZERO, [1 / 3], TWELVE, PromptTrack.parse("rain"))
    assert shots[0].end == shots[1].start == Fraction(333333, 1_000_000)


def test_a_list_of_shots_is_read_exactly():
    text = '[{"start": 0, "prompt": "rain"}, {"start": "0:04.2"}, {"start": 9.3, "prompt": "0:01 wind"}]'
    shots = read_shots(text, ZERO, TWENTY)
    assert is_shot_list(text)
    assert [shot.start for shot in shots] == [0, Fraction(42, 10), Fraction(93, 10)]
    assert told(shots)[1:] == [(4.2, 9.3, None), (9.3, 20, "0:00 | 0:01 wind")]


def test_a_list_of_shots_is_on_the_clock_of_the_part_that_is_used():
    assert told(read_shots('[{"start": 0}, {"start": 3}]', TWELVE, TWENTY)) == [
        (12, 15, None),
        (15, 20, None),
    ]


def test_a_list_of_prompts_waits_for_the_cuts():
    text = '["rain", "wind"]'
    assert not is_shot_list(text)
    assert read_prompts(text) == [PromptTrack.parse("rain"), PromptTrack.parse("wind")]


def test_words_are_no_list():
    assert not is_shot_list("rain\nwind")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[{", "is not JSON: .* in line 1"),
        ("{}", "is not a list"),
        ("[]", "is not a list"),
        ('[{"prompt": "rain"}]', "Shot 1 is"),
        ('[{"start": 0}, 5]', "Shot 2 is 5"),
        ('[{"start": 0, "promt": "rain"}]', "Shot 1 is"),
        ('[{"start": 0, "prompt": 5}]', "Shot 1: its prompt 5 is not a text"),
        ('[{"start": "soon"}]', "'soon' is no time"),
        ('[{"start": 1}]', "first shot starts at 0:01"),
        ('[{"start": 0}, {"start": 9}, {"start": 9}]', "Shot 2 starts at 0:09, which is not before shot 3"),
        ('[{"start": 0}, {"start": 30}]', "Shot 2 starts at 0:30, which is not before the end of the video"),
    ],
)
def test_what_is_no_list_of_shots_is_named(text, message):
    with pytest.raises(ValueError, match=message):
        read_shots(text, ZERO, TWENTY)


def test_a_list_of_anything_is_no_list_of_prompts():
    with pytest.raises(ValueError, match="holds texts alone"):
        read_prompts('["rain", 5]')
