import torch
from hypothesis import given
from hypothesis import strategies as st
from pack.hunyuan.sampling.denoise import MaskedVelocity, denoise, draw_noise, noised
from pack.hunyuan.sampling.schedule import flow_sigmas
from pack.hunyuan.sampling.solvers import SOLVERS


@given(st.integers(0, 2**63 - 1), st.integers(1, 5), st.integers(1, 40))
def test_fewer_takes_are_the_first_of_more(seed, takes, length):
    more = draw_noise((6, 128, length), seed)
    assert torch.equal(draw_noise((takes, 128, length), seed), more[:takes])


def test_noise_leaves_the_global_generator_alone():
    torch.manual_seed(3)
    expected = torch.randn(4)
    torch.manual_seed(3)
    draw_noise((2, 128, 9), 7)
    assert torch.equal(torch.randn(4), expected)


def test_kept_latents_come_back_bit_for_bit():
    kept, noise = draw_noise((1, 8, 50), 1), draw_noise((1, 8, 50), 2)
    mask = torch.zeros(1, 1, 50)
    mask[..., 20:30] = 1
    velocity = MaskedVelocity(lambda x, _s: torch.ones_like(x), kept, noise, mask)
    for solver in SOLVERS.values():
        *_, latents = denoise(velocity, noise, flow_sigmas(8), solver)
        pasted = velocity.paste(latents)
        outside = torch.cat([pasted[..., :20], pasted[..., 30:]], -1)
        assert torch.equal(outside, torch.cat([kept[..., :20], kept[..., 30:]], -1))
        assert not torch.isclose(pasted[..., 20:30], kept[..., 20:30]).all()


def test_a_full_mask_changes_nothing():
    noise = draw_noise((1, 8, 20), 2)

    def velocity(x, sigma):
        return x * sigma - 1

    masked = MaskedVelocity(velocity, torch.zeros_like(noise), noise, torch.ones(1, 1, 20))
    *_, plain = denoise(velocity, noise, flow_sigmas(10))
    *_, through_mask = denoise(masked, noise, flow_sigmas(10))
    torch.testing.assert_close(plain, through_mask)


def test_the_masked_model_sees_the_kept_sound_at_its_noise_level():
    kept, noise = draw_noise((1, 4, 10), 1), draw_noise((1, 4, 10), 2)
    seen = []
    velocity = MaskedVelocity(
        lambda x, s: seen.append((x, s)) or torch.zeros_like(x), kept, noise, torch.zeros(1, 1, 10)
    )
    list(denoise(velocity, noise, flow_sigmas(4)))
    for x, sigma in seen:
        torch.testing.assert_close(x, noised(kept, noise, sigma))
