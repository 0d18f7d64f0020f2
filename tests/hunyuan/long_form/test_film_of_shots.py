"""From frames to sound with stand-ins for the networks: cuts, prompts and the room, all together."""

from fractions import Fraction

import numpy as np
import pytest
import torch
from marker_film import CHANNELS, HOP, marker_parts, run
from pack.hunyuan.foley.timed_prompts import PromptTrack
from pack.hunyuan.long_form.deliver import levelled
from pack.hunyuan.long_form.job import Job
from pack.hunyuan.long_form.joins import joins_of, listen
from pack.hunyuan.long_form.pipeline import LongFilm
from pack.hunyuan.long_form.plan import FilmPlan
from pack.hunyuan.long_form.prompts import WindowPrompts
from pack.hunyuan.long_form.shot_list import shots_between
from pack.hunyuan.media.shots import find_cuts
from pack.hunyuan.sampling.schedule import flow_sigmas

FPS, LENGTHS = 12, (60, 75, 48)  # frames of three shots
END = Fraction(sum(LENGTHS), FPS)
CUTS = [5.0, 11.25]
LOUD = {"rain": 0.1, "silence": 0.0, "hail": 0.3}
DRIFT = (1.0, 0.6, 1.3)  # how loud each shot comes out that should be the same


def frames_from(start):
    shots = [level for level, length in zip((40, 120, 200), LENGTHS, strict=True) for _ in range(length)]
    for i, level in enumerate(shots):
        if Fraction(i + 1, FPS) > start:
            yield i / FPS, np.full((8, 8, 3), level, np.uint8)


def noise(latents):
    """(1, c, n) -> (1, 1, samples): noise, as loud as the first channel says."""
    samples = torch.randn(1, 1, latents.shape[-1], HOP, generator=torch.Generator().manual_seed(0))
    return (samples * latents[:, :1, :, None]).flatten(2)


def film_of(tmp_path, prompts):
    """The plan, and its sound before and after the room is made one."""
    shots = shots_between(Fraction(0), find_cuts(frames_from(0)), END, prompts)
    plan = FilmPlan(shots)
    words = WindowPrompts(plan, "")

    def velocity(window, features):
        loud = sum(LOUD[text] * (1.0 if weights is None else weights) for text, weights in words(window))
        target = torch.zeros(1, CHANNELS, window.window.length)
        target[:, 0] = loud * DRIFT[window.shot]
        return lambda latents, sigma: (latents - target) / max(sigma, 1e-3)

    parts = marker_parts(velocity)
    parts = type(parts)(**{**vars(parts), "decode": noise})
    job = Job.open(tmp_path / "job", {"inputs": {}, "settings": {}})
    made = run(LongFilm(job, plan, parts, sigmas=flow_sigmas(2), seed=0), frames_from)[0]
    return plan, made, np.array(levelled(job, plan, made)[0])


def level(sound, start, end):
    """dB from `start` to `end`, in seconds."""
    return 20 * np.log10(sound[round(start * 48_000) : round(end * 48_000)].std() + 1e-9)


def test_the_room_keeps_its_level_across_cuts(tmp_path):
    plan, made, sound = film_of(tmp_path, PromptTrack.parse("rain"))
    assert [float(shot.start) for shot in plan.shots] == [0, *CUTS]
    assert listen(made, joins_of(plan)).worst_jump > 4
    assert listen(sound, joins_of(plan)).worst_jump < 1.5


def test_what_is_heard_in_one_shot_does_not_run_into_the_next(tmp_path):
    _, _, sound = film_of(tmp_path, [PromptTrack.parse(text) for text in ("rain", "silence", "hail")])
    for cut, quiet in zip(CUTS, (1, -1), strict=True):
        silent = sorted((cut + quiet * 0.04, cut + quiet * 1.0))
        heard = sorted((cut - quiet * 0.04, cut - quiet * 1.0))
        assert level(sound, *silent) < -100
        assert level(sound, *heard) > -30


@pytest.mark.parametrize("change", [2.0, 3.5])
def test_a_timed_prompt_is_heard_from_its_time_on(tmp_path, change):
    _, made, _ = film_of(tmp_path, PromptTrack.parse(f"0:00 silence | 0:0{change} hail"))
    before, middle, after = (level(made, change + at, change + at + 0.1) for at in (-0.7, -0.05, 0.6))
    assert before < -100
    assert after == pytest.approx(20 * np.log10(0.3), abs=0.5)
    assert middle == pytest.approx(after - 6, abs=1)
