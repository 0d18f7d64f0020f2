"""Foley laid under a voice: ducked where it speaks, whatever the two sounds are like."""

import numpy as np
import pytest
import torch
from pack import nodes
from pack.hunyuan.media.audio import resample
from pack.hunyuan.media.soundtrack import mix_tracks

RATE = 48_000


def noise(seconds: float, channels: int = 1, takes: int = 1, seed: int = 0) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    return 0.2 * torch.rand(takes, channels, round(seconds * RATE), generator=generator) - 0.1


def speech(seconds: float = 3.0, channels: int = 1) -> torch.Tensor:
    """Loud in the first second only."""
    waveform = noise(seconds, channels, seed=1)
    waveform[..., RATE:] = 0
    return waveform


def sound(waveform: torch.Tensor, rate: int = RATE) -> dict:
    return {"waveform": waveform, "sample_rate": rate}


def level(waveform: torch.Tensor) -> float:
    return 10 * torch.log10(waveform.square().mean()).item()


def test_foley_steps_back_while_the_voice_speaks_and_comes_back_after(run):
    voice, foley = speech(), noise(3.0)
    mixed = run(nodes.FoleyMix, voice=sound(voice), foley=sound(foley), gain_db=-6.0, duck_db=12.0)
    under = mixed["waveform"] - voice
    spoken, after = slice(RATE // 2, RATE), slice(5 * RATE // 2, 3 * RATE)
    assert mixed["sample_rate"] == RATE
    assert level(under[..., spoken]) - level(foley[..., spoken]) == pytest.approx(-18, abs=0.2)
    assert level(under[..., after]) - level(foley[..., after]) == pytest.approx(-6, abs=0.4)


def test_silent_foley_leaves_the_voice_as_it_was_recorded(run):
    voice = speech(channels=2)
    mixed = run(nodes.FoleyMix, voice=sound(voice), foley=sound(torch.zeros(1, 1, RATE)))
    assert torch.equal(mixed["waveform"], voice)


def test_rates_and_channels_are_those_of_the_command_line(run):
    """Both at 48 kHz, more than two channels as their mean, mono on both sides of stereo."""
    voice, foley = noise(0.5, channels=2, seed=3), noise(0.5, channels=6, seed=4)
    mixed = run(
        nodes.FoleyMix, voice=sound(voice, 44_100), foley=sound(foley, 32_000), gain_db=-3.0, duck_db=6.0
    )
    tracks = (
        resample(foley[0].numpy().mean(axis=0, keepdims=True), 32_000, RATE),
        resample(voice[0].numpy(), 44_100, RATE),
    )
    wanted = mix_tracks(*tracks, gain_db=-3.0, duck_db=6.0, sample_rate=RATE)
    assert mixed["waveform"].shape == (1, 2, round(0.75 * RATE))
    np.testing.assert_allclose(mixed["waveform"][0].numpy(), wanted, atol=1e-6)


@pytest.mark.parametrize(("voices", "takes"), [(1, 3), (3, 1), (3, 3)])
def test_each_take_is_mixed_as_if_alone(run, voices, takes):
    voice, foley = noise(0.2, takes=voices, seed=5), noise(0.3, takes=takes)
    mixed = run(nodes.FoleyMix, voice=sound(voice), foley=sound(foley))["waveform"]
    assert mixed.shape == (3, 1, round(0.3 * RATE))
    for i in range(3):
        alone = {"voice": voice[[i % voices]], "foley": foley[[i % takes]]}
        assert torch.equal(
            run(nodes.FoleyMix, **{name: sound(of) for name, of in alone.items()})["waveform"][0], mixed[i]
        )


def test_takes_that_do_not_pair_are_counted(run):
    with pytest.raises(ValueError, match="3 takes of foley do not pair with 2 voices"):
        run(nodes.FoleyMix, voice=sound(noise(0.1, takes=2)), foley=sound(noise(0.1, takes=3)))


def test_a_video_without_sound_has_none_to_keep(run):
    with pytest.raises(ValueError, match="no sound: the video"):
        run(nodes.FoleyMix, voice=None, foley=sound(noise(0.1)))
