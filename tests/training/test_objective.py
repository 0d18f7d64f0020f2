"""What the transformer is trained on: the loss, and windows as the sampler sees clips of their length."""

from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pack.hunyuan.foley.config import FoleyConfig
from pack.hunyuan.foley.features import FeatureStream, encode_video
from pack.hunyuan.foley.timing import FoleyTiming
from pack.hunyuan.foley.transformer import FoleyTransformer
from pack.hunyuan.long_form.plan import FilmPlan
from pack.hunyuan.long_form.watch import watch_windows
from pack.hunyuan.media.video import resize_and_crop
from pack.training import clock, features, outline
from pack.training.hearing import Hearing
from pack.training.initial import initialise
from pack.training.objective import (
    NOISY_FROM,
    Alignment,
    AlignmentHead,
    draw_sigmas,
    flow_losses,
    least_error,
    weights_of,
)
from torch.utils._python_dispatch import TorchDispatchMode

CONFIG = FoleyConfig(
    hidden_size=16, num_heads=2, joint_depth=1, audio_depth=2, mlp_ratio=1.0,
    latent_channels=8, text_size=6, visual_size=6, sync_size=6,
)  # fmt: skip


@pytest.fixture
def transformer():
    return initialise(FoleyTransformer(CONFIG), 0, zero=()).eval()


def batch(rows=3, seed=0):
    draw = torch.Generator().manual_seed(seed)
    shapes = {"latents": (8, 32), "visual": (5, 6), "sync": (16, 6), "text": (4, 6), "teacher": (32, 5)}
    tensors = {name: torch.randn(rows, *shape, generator=draw) for name, shape in shapes.items()}
    return tensors | {"drop_video": torch.zeros(rows, dtype=torch.bool)}


def losses(transformer, given, **options):
    return flow_losses(transformer, given, torch.Generator().manual_seed(5), **options)


class Oracle(torch.nn.Module):
    """Knows the latents, and answers with the exact velocity."""

    def __init__(self, latents):
        super().__init__()
        self.latents = latents
        self.empty_clip_feat = self.empty_sync_feat = torch.zeros(1, 6)

    def prepare(self, text, visual, sync):
        return None

    def forward(self, x, t, conditions, run=None):
        assert ((t > 0) & (t < 1000)).all()
        return (x - self.latents) / (t / 1000)[:, None, None]


def test_the_velocity_that_leads_from_noise_to_the_latents_has_no_loss():
    given = batch()
    assert losses(Oracle(given["latents"]), given)["loss"] < 1e-6
    assert losses(Oracle(-given["latents"]), given)["loss"] > 0.1


@pytest.mark.parametrize("sigma", [0.05, 0.4, 0.9])
def test_the_least_error_is_that_of_the_best_scaling_of_what_is_seen(sigma):
    generator = torch.Generator().manual_seed(0)
    latents, noise = (
        0.25 * torch.randn(100_000, generator=generator),
        torch.randn(100_000, generator=generator),
    )
    x, velocity = (1 - sigma) * latents + sigma * noise, noise - latents
    best = (x @ velocity) / (x @ x)
    left = float((best * x - velocity).square().mean())
    assert float(least_error(torch.tensor(sigma), 0.25)) == pytest.approx(left, rel=0.02)


def test_with_a_level_every_row_counts_by_what_it_leaves_unexplained(transformer):
    given = batch(rows=1)
    plain, levelled = losses(transformer, given), losses(transformer, given, level=1.0)
    sigma = (levelled["velocity"] / levelled["loss"]).item()  # of unit latents: from 1 at the ends to 2
    assert plain["velocity"] == levelled["velocity"] == plain["loss"]
    assert 1 <= sigma <= 2


def test_a_share_of_the_noise_levels_is_high_and_the_others_stay_as_they_are():
    plain = draw_sigmas(4000, torch.Generator().manual_seed(3))
    noisy = draw_sigmas(4000, torch.Generator().manual_seed(3), 0.5)
    changed = noisy[noisy != plain]
    assert changed.min() >= NOISY_FROM
    assert changed.max() <= 1
    assert len(changed) == pytest.approx(2000, abs=150)


def test_rows_without_video_learn_the_empties_alone(transformer):
    given = batch()
    given["drop_video"][1] = True
    changed = given | {name: given[name].clone() for name in ("visual", "sync")}
    changed["visual"][1], changed["sync"][1] = 9.0, 9.0
    assert losses(transformer, changed)["loss"] == losses(transformer, given)["loss"]
    losses(transformer, given)["loss"].backward()
    assert transformer.empty_sync_feat.grad.abs().max() > 0
    assert transformer.empty_clip_feat.grad.abs().max() > 0


def test_alignment_reaches_its_block_and_those_before_it_alone(transformer):
    head = initialise(AlignmentHead(16, 5), 1)
    parts = losses(transformer, batch(), head=head, alignment=Alignment(block=0))
    parts["alignment"].backward()
    assert 0 < parts["alignment"] < 2
    assert transformer.single_blocks[0].linear_qkv.weight.grad.abs().max() > 0
    assert transformer.single_blocks[1].linear_qkv.weight.grad is None


def test_the_clock_asks_the_early_blocks_where_a_token_lies(transformer):
    asked = initialise(clock.Clock(16, joint_depth=1), 1)
    parts = losses(transformer, batch(), clock=asked)
    parts["clock"].backward()
    assert transformer.triple_blocks[0].audio_self_proj.weight.grad.abs().max() > 0
    assert transformer.single_blocks[0].linear_qkv.weight.grad.abs().max() > 0
    assert transformer.single_blocks[1].linear_qkv.weight.grad is None


def test_who_knows_the_place_and_the_lag_makes_no_error_and_who_does_not_a_half():
    asked = clock.Clock(clock.ASKED, joint_depth=0)
    asked.heads[0] = torch.nn.Identity()
    known = clock.asked_of(1024, sync_tokens=488).expand(2, -1, -1)
    assert float(asked.error({("audio", 0): known}, 488)) == 0
    assert float(asked.error({("audio", 0): torch.zeros_like(known)}, 488)) == pytest.approx(0.5, abs=0.05)


@pytest.mark.parametrize(("tokens", "sync_tokens", "pace"), [(400, 192, -1), (398, 184, 1)])
def test_what_is_shown_stays_with_what_is_due_at_its_own_pace_and_leaves_the_other(tokens, sync_tokens, pace):
    told = clock.of_pace(torch.arange(tokens), sync_tokens)
    ahead = torch.complex(told[:, 4:6], told[:, 6:8])  # at both paces
    own, other = (0, 1) if pace < 0 else (1, 0)
    assert ahead[:, own].real.min() > 0.6
    assert ahead[:, other].mean().abs() < 0.3
    assert told[:, 8].unique().tolist() == [pytest.approx(pace)]


def test_a_key_that_knows_its_lag_is_found_at_the_time_that_it_shows():
    """As attention does it: keys by their own waves and rotation, queries by their rotation alone."""
    tokens, sync_tokens = 398, 184
    place = torch.arange(tokens)
    lag = place - clock.shown(tokens, sync_tokens)
    query, told = (torch.complex(*clock.rotations(t, clock.LAG_PAIRS).chunk(2, 1)) for t in (place, lag))
    key = query * told.conj()
    found = (query @ key.conj().T).real.argmax(1)
    assert (clock.shown(tokens, sync_tokens)[found] - place)[8:380].abs().max() <= 2


@pytest.mark.parametrize("frames", [200, 199])
def test_the_time_shown_is_that_of_the_two_frames_in_the_middle_of_which_it_lies(frames):
    timing = FoleyTiming.from_sync_frames(frames)
    of_frames = torch.arange(frames).double() / 25
    # Eight tokens for each segment of sixteen frames, two frames each.
    segments = of_frames.unfold(0, 16, 8).unflatten(1, (8, 2)).mean(2).flatten()
    expected = 50 * (segments + 1 / 50)  # frames last a 25th of a second
    shown = clock.shown(timing.latent_frames, timing.sync_tokens).double()
    assert set(shown.tolist()) == set(expected.round(decimals=6).tolist())
    behind = torch.arange(timing.latent_frames) - shown
    lost = float(behind[-16:].mean() - behind[:16].mean())
    assert lost == pytest.approx({200: 16, 199: 32}[frames], abs=5)  # one segment over the clip, or two


def test_what_the_clock_asks_for_is_made_where_it_is_needed():
    """A copy from the host could not be recorded as part of a step."""

    class NoCopies(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            assert "lift" not in func.name()  # what torch.tensor does with numbers of the host
            return func(*args, **(kwargs or {}))

    with NoCopies():
        clock.asked_of(398, 184)
        with pytest.raises(AssertionError):
            torch.tensor([1.0])


def test_hearing_asks_the_middle_blocks_for_the_outline_without_noise(transformer):
    asked = initialise(Hearing(16, audio_depth=2), 1)
    given = batch() | {"latents": torch.randn(3, 16, 32, generator=torch.Generator().manual_seed(2))}
    knowing = Hearing(outline.CHANNELS, audio_depth=2)
    knowing.heads[0] = torch.nn.Identity()
    known = given["latents"][:, -outline.CHANNELS :].mT / outline.LEVEL
    assert float(knowing.error({("audio", 1): known}, given["latents"])) == 0

    wide = initialise(FoleyTransformer(replace(CONFIG, latent_channels=16)), 0, zero=()).eval()
    parts = losses(wide, given, hearing=asked)
    parts["hearing"].backward()
    assert wide.single_blocks[0].linear_qkv.weight.grad.abs().max() > 0
    assert wide.final_layer.linear.weight.grad is None
    assert Hearing(16, audio_depth=4).places == [("audio", 1), ("audio", 2)]


def test_channels_that_hold_nothing_hardly_count(transformer):
    weights = weights_of(torch.tensor([1.0, 0.5, 0, 0, 0, 0, 0, 0]))
    given, other = batch(), batch()
    plain = losses(transformer, given)["velocity"]
    other["latents"] = given["latents"] + 0.0
    weighted = losses(transformer, other, channel_weights=weights)["velocity"]
    assert weights[2] < 0.1 * weights[1]
    assert weighted != plain


class Means:
    """An encoder whose features tell exactly which frames it was shown."""

    image_size = 112

    def parameters(self):
        yield torch.zeros(1)

    def __call__(self, x):
        if x.ndim == 4:
            return x.mean((1, 2, 3))[:, None].expand(-1, 6)
        pairs = x.unflatten(2, (8, 2)).mean((3, 4, 5, 6))  # (b, s, 8)
        return pairs.flatten(1)[..., None].expand(-1, -1, 6)


@pytest.mark.parametrize("seconds", [8, 10, 5, 3])
@pytest.mark.parametrize("fps", [24, 25, 30000 / 1001, 30, 60])
def test_windows_are_drawn_as_long_as_videos_of_their_rate_are(fps, seconds):
    shown = ((i / fps, np.zeros((112, 112, 3), np.uint8)) for i in range(round(seconds * fps)))
    seen = encode_video(shown, Means(), Means()).sync_frames
    drawn = [features.draw_window(torch.Generator().manual_seed(seed)) for seed in range(400)]
    assert seen in {frames for frames, _ in drawn}
    for frames, places in drawn:
        last = (places - 1) * features.SEGMENT_STEP + frames
        assert features.FRAMES - features.SEGMENT_STEP < last <= features.FRAMES


def test_most_windows_are_a_films_or_of_8_s():
    drawn = [features.draw_window(torch.Generator().manual_seed(seed))[0] for seed in range(400)]
    film = FilmPlan.of_clip(Fraction(0), Fraction(60)).windows[0]
    assert max(drawn, key=drawn.count) == round(film.seconds * 25)
    assert {frames for frames in drawn if frames >= film.seconds * 25} == set(features.LONG)
    assert 0.6 < sum(frames in (*features.LONG, 199, 200) for frames in drawn) / len(drawn) < 0.9


@pytest.mark.parametrize(
    ("start", "frames"), [(0, 250), (0, 248), (1, 242), (6, 200), (0, 199), (3, 48), (7, 61), (17, 64)]
)
def test_a_window_has_the_features_of_a_clip_that_is_cut_out(start, frames):
    video = np.random.default_rng(0).integers(0, 255, (250, 112, 112, 3), dtype=np.uint8)
    window = window_of(video, start, frames)
    expected = seen_of(video[start * 8 : start * 8 + frames])
    assert window["visual"].shape == expected.visual[0].shape
    assert window["sync"].shape == expected.sync[0].shape
    assert window["latents"].shape[-1] == FoleyTiming.from_sync_frames(frames).latent_frames
    assert float(window["latents"][0, 0]) == 16 * start
    assert torch.allclose(window["visual"], expected.visual[0], atol=1e-4)
    assert torch.allclose(window["sync"], expected.sync[0], atol=1e-4)


@pytest.mark.parametrize("seed", [2, 3])
def test_a_clip_shows_what_a_window_of_a_film_shows(seed):
    """Its frames for Synchformer are picked, and its sound begins, as where the film of its scene is cut."""
    clip = features.Excerpt.draw(seed, "train")
    assert clip.start == (8.0 if seed % 2 else 0.0)
    fps = clip.scene.fps if clip.scene.fps <= 30 else clip.scene.fps / 2
    film = (
        (time, resize_and_crop(frame, 112).permute(1, 2, 0).numpy())
        for time, frame in clip.scene.stream(fps=fps)
    )
    planned = FilmPlan.of_clip(Fraction(0), Fraction(60)).windows[seed % 2]
    ((_, shown),) = watch_windows(film, [planned], lambda: FeatureStream(Means(), Means()))
    window = window_of(clip.picture().permute(0, 2, 3, 1).numpy(), 0, 248)
    assert torch.allclose(window["sync"], shown.sync[0], atol=1e-4)

    def of_sound(waveform):
        rows = torch.from_numpy(waveform).reshape(1, -1, 960)
        return {"latents": rows.square().sum(-1), "teacher": rows[0, :, :2]}

    heard = clip.sound(SimpleNamespace(of_sound=of_sound))
    expected = of_sound(clip.scene.waveform(clip.start, 10.0))
    assert heard["latents"].shape == (1, 500)
    assert torch.allclose(heard["latents"], expected["latents"], atol=1e-5)
    assert torch.allclose(heard["teacher"], expected["teacher"], atol=1e-5)


def window_of(video, start, frames):
    encoders = SimpleNamespace(visual=Means(), sync=Means(), device=torch.device("cpu"))
    picture = features.Encoders.of_picture(encoders, torch.from_numpy(video).permute(0, 3, 1, 2))
    latents = torch.arange(500.0).expand(1, 2, 1, 500)
    cached = features.Features.__new__(features.Features)
    cached.tables = {name: tensor[None] for name, tensor in picture.items()}
    cached.tables |= {"latents": latents, "teacher": latents.mT}
    cached.teacher_centre = torch.zeros(1)
    rows = cached.windows([0, 0], [0, 1], [0, start], frames)
    return {name: tensor[1] for name, tensor in rows.items()}


def seen_of(frames):
    # A little late, or the picker's clock would drop a frame of a true 25 fps clip here and there.
    return encode_video(((i / 25 + 1e-9, frame) for i, frame in enumerate(frames)), Means(), Means())
