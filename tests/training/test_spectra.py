"""How far sounds are apart, by what decoders learn."""

import pytest
import torch
from pack.training.spectra import band_distance, course_distance

SAMPLES = 9600  # ten latents


@pytest.fixture
def struck() -> torch.Tensor:
    """(2, samples): noise that dies away, as after an impact, and another one that is much softer."""
    generator = torch.Generator().manual_seed(0)
    decay = torch.exp(-torch.arange(SAMPLES) / 1500)
    return torch.randn(2, SAMPLES, generator=generator) * decay * torch.tensor([[0.3], [0.03]])


def test_a_sound_is_not_apart_from_itself(struck):
    assert float(band_distance(struck, struck)) == 0


def test_phase_hardly_counts_and_a_dull_sound_is_far_however_soft_it_is(struck):
    spectrum = torch.fft.rfft(struck)
    frequencies = torch.fft.rfftfreq(SAMPLES, 1 / 48_000)
    dull = torch.fft.irfft(spectrum * torch.where(frequencies < 3000, 1.0, 0.1), SAMPLES)
    turned = torch.fft.irfft(spectrum * torch.exp(torch.tensor(1j)), SAMPLES)
    assert float(band_distance(turned, struck)) < 0.05
    for one in (0, 1):
        assert float(band_distance(dull[one : one + 1], struck[one : one + 1])) > 0.3


def test_what_nobody_hears_beside_the_rest_does_not_count(struck):
    hum = 3e-5 * torch.sin(torch.arange(SAMPLES) * 0.5)
    assert float(band_distance(struck[:1] + hum, struck[:1])) < 0.01


@pytest.mark.parametrize("distance", [band_distance, course_distance])
def test_gradients_are_finite_in_silence(distance):
    made = torch.zeros(1, SAMPLES, requires_grad=True)
    distance(made, torch.zeros(1, SAMPLES)).backward()
    assert made.grad is not None
    assert bool(made.grad.isfinite().all())


def test_the_course_of_a_sound_tells_milliseconds_and_no_phase():
    sound = torch.zeros(1, 19_200)
    burst = torch.randn(4800, generator=torch.Generator().manual_seed(0)) * torch.exp(
        -torch.arange(4800) / 600
    )
    for start in (2000, 11_600):
        sound[0, start : start + len(burst)] = 0.3 * burst
    apart = [float(course_distance(torch.roll(sound, ms * 48, dims=1), sound)) for ms in (0, 1, 3, 6, 12)]
    assert apart == sorted(apart)
    assert apart[0] == 0
    assert apart[2] > 0.2
    assert course_distance(-sound, sound) < 1e-5
