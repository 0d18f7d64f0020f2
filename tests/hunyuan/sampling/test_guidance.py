import torch
from hypothesis import given
from hypothesis import strategies as st
from pack.hunyuan.sampling.guidance import GuidanceScales, combine, needed_branches

SCALES = st.sampled_from([0.0, 0.5, 1.0, 2.0, 4.5])


def full_formula(v: list[torch.Tensor], links: tuple[float, float, float]) -> torch.Tensor:
    return v[0] + sum(g * (after - before) for g, before, after in zip(links, v, v[1:], strict=False))


@given(SCALES, SCALES, SCALES, st.integers(0, 100))
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
