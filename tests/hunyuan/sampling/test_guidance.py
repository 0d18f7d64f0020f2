from itertools import pairwise

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.hunyuan.sampling.guidance import (
    ALWAYS,
    GuidanceScales,
    combine,
    guidance_interval,
    needed_branches,
)
from pack.hunyuan.sampling.schedule import flow_sigmas, shifted

SCALES = st.sampled_from([0.0, 0.5, 1.0, 2.0, 4.5])


def full_formula(v: list[torch.Tensor], links: tuple[float, float, float]) -> torch.Tensor:
    return v[0] + sum(g * (after - before) for g, before, after in zip(links, v, v[1:], strict=False))


@given(SCALES, SCALES, SCALES, st.integers(0, 100))
@settings(deadline=None)
def test_skipping_needless_branches_changes_nothing(text, video, sync, seed):
    scales = GuidanceScales(text=text, video=video, sync=sync)
    if text == video == sync <= 1:
        return  # a rule of its own, below
    v = list(torch.randn(4, 5, generator=torch.Generator().manual_seed(seed), dtype=torch.float64))
    branches = needed_branches(scales.chain)
    mine = combine(branches, [v[i] for i in branches], scales.chain)
    torch.testing.assert_close(mine, full_formula(v, scales.chain))


def test_equal_scales_are_the_published_two_passes_bit_for_bit():
    unconditional, conditional = torch.randn(2, 7)
    assert needed_branches((4.5, 4.5, 4.5)) == [0, 3]
    mine = combine([0, 3], [unconditional, conditional], (4.5, 4.5, 4.5))
    assert torch.equal(mine, unconditional + 4.5 * (conditional - unconditional))


def test_no_guidance_runs_the_conditional_branch_alone():
    assert needed_branches((1.0, 1.0, 1.0)) == [3]
    assert needed_branches((0.3, 0.3, 0.3)) == [3]


def test_equal_video_and_sync_save_a_branch():
    assert needed_branches((3.0, 3.0, 5.0)) == [0, 2, 3]


@given(st.integers(1, 1000), st.floats(0, 1), st.floats(0, 1), st.sampled_from([0.3, 1.0, 3.3, 12.0]))
@settings(deadline=None)
def test_so_many_steps_are_guided_as_the_share_says(steps, one, other, shift):
    start, end = (round(steps * share) / steps for share in sorted((one, other)))
    low, high = guidance_interval(start, end, level_at=lambda share: shifted(1 - share, shift))
    begins = [sigma for sigma, _ in pairwise(flow_sigmas(steps, shift=shift).tolist())]
    guided = [i for i, sigma in enumerate(begins) if low <= sigma <= high]
    assert guided == list(range(round(steps * start), round(steps * end)))


def test_all_of_the_sampling_is_every_level_whatever_rounding_does():
    assert guidance_interval(0, 1) == ALWAYS
    low, high = ALWAYS
    assert low <= 0.0
    assert high >= 1.0000001


@pytest.mark.parametrize(("start", "end"), [(0.6, 0.4), (-0.1, 1.0), (0.0, 1.1), (float("nan"), 1.0)])
def test_what_is_no_part_of_the_sampling_is_refused(start, end):
    with pytest.raises(ValueError, match=r"Guidance from .* of the sampling does not work"):
        guidance_interval(start, end)
