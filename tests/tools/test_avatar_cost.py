"""FLOPs of Avatar's guided step: the count agrees with what follows from the sizes alone."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from avatar_cost import step_cost

from activation_peak import AVATAR_SIZES, AVATAR_TEXT, EARLY, LATE, PUBLISHED

HEARD = 0.25


def expected(height, width, config, *, early):
    """(attention, all) of blocks, adapters and refiner: 2 for each weight and token, 4 d for each pair."""
    d, adapter, frame = config.hidden_size, config.adapter_size, height * width // 16**2
    tokens = 34 * frame + AVATAR_TEXT
    halves = 2 * (config.double_depth + config.single_depth)
    block_rows = halves if early else halves - 2  # what comes before anyone is heard is shared
    heard = 33 * round(HEARD * frame) * 2 * config.num_adapters
    prompts = (2 if early else 1) * config.refiner_depth

    attention = block_rows * 4 * tokens**2 * d + heard * 4 * 16 * adapter + prompts * 4 * AVATAR_TEXT**2 * d
    linear = block_rows * 24 * tokens * d**2 + heard * 4 * d * adapter + prompts * 24 * AVATAR_TEXT * d**2
    return attention, attention + linear


@pytest.mark.parametrize("size", AVATAR_SIZES)
@pytest.mark.parametrize("early", [False, True])
def test_the_count_is_what_the_sizes_say(size, early):
    """With few blocks; the rest, embedders and modulation, is less than a hundredth."""
    config = replace(PUBLISHED, double_depth=4, single_depth=2)
    cost = step_cost(*size, EARLY if early else LATE, HEARD, config)
    attention, total = expected(*size, config, early=early)
    assert cost.attention == attention
    assert total < cost.flop < 1.01 * total


def test_attention_is_most_of_it_and_more_so_the_larger_the_picture():
    shares = [
        attention / total
        for attention, total in (expected(*size, PUBLISHED, early=False) for size in AVATAR_SIZES)
    ]
    assert shares == [pytest.approx(0.745, abs=0.001), pytest.approx(0.797, abs=0.001)]
