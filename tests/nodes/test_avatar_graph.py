"""Avatar's graph on pocket weights, as a user would wire it."""

import copy
import json

import numpy as np
import pytest
import torch
from pack import host, nodes
from pack.hunyuan.media.container import probe

SIDE = 32  # pixels
SECONDS = 1.3
FRAMES = 32


def voice(seconds=SECONDS, seed=0, rate=16_000, channels=1):
    random = torch.Generator().manual_seed(seed)
    return {
        "waveform": torch.randn(1, channels, int(rate * seconds), generator=random) / 5,
        "sample_rate": rate,
    }


def portrait(*faces, height=SIDE, width=SIDE):
    """Patches of the colour of skin, which the pocket detector takes for faces: x0, y0, x1, y1 each."""
    image = torch.full((1, height, width, 3), 0.2)
    for x0, y0, x1, y1 in faces:
        image[:, y0:y1, x0:x1] = torch.tensor([0.9, 0.7, 0.55])
    return image


def left_half():
    mask = torch.zeros(1, SIDE, SIDE)
    mask[:, :, : SIDE // 2] = 1
    return mask


@pytest.fixture(scope="session")
def avatar_model(run):
    return run(nodes.AvatarModelLoader, weight_dtype="fp32")


@pytest.fixture(scope="session")
def avatar_vae(run):
    return run(nodes.AvatarVAELoader)


@pytest.fixture(scope="session")
def listener(run):
    return run(nodes.AvatarSpeechEncoderLoader)


@pytest.fixture(scope="session")
def detector(run):
    pytest.importorskip("insightface", reason="the extra `faces` is not installed")
    return run(nodes.FaceDetectorLoader)


@pytest.fixture(scope="session")
def avatar_prompts(run):
    reader = run(nodes.AvatarTextEncoderLoader)
    return run(nodes.AvatarPrompt, text_encoder=reader, image=portrait(), positive="a woman explains it")


@pytest.fixture(scope="session")
def character(run, listener):
    speech = run(nodes.AvatarSpeechEncode, speech_encoder=listener, audio=voice())
    return run(nodes.AvatarCharacter, speech=speech, mask=left_half())


@pytest.fixture(scope="session")
def conditions(run, avatar_prompts, avatar_vae, character):
    """positive, negative, latent."""
    positive, negative = avatar_prompts
    return run(
        nodes.AvatarConditioning,
        positive=positive, negative=negative, vae=avatar_vae, image=portrait(), characters=character,
    )  # fmt: skip


def sampled(run, model, conditions, **settings):
    positive, negative, latent = conditions
    inputs = {"model": model, "positive": positive, "negative": negative, "latent": latent, "steps": 2}
    return run(nodes.AvatarSampler, **(inputs | settings))


@pytest.fixture(scope="session")
def video_latent(run, avatar_model, conditions):
    return sampled(run, avatar_model, conditions, seed=1)


# --- from a portrait and a voice to a video ----------------------------------------------------------------


def test_a_portrait_and_a_voice_become_frames_as_many_as_the_speech_lasts(run, video_latent, avatar_vae):
    assert video_latent["samples"].shape == (1, 16, 33, SIDE // 8, SIDE // 8)
    images = run(nodes.AvatarVAEDecode, latent=video_latent, vae=avatar_vae)
    assert images.shape == (FRAMES, SIDE, SIDE, 3)
    assert images.dtype == torch.float32
    assert 0 <= images.min() < images.max() <= 1


def test_the_streamed_video_holds_the_same_frames_and_the_voice(
    run, video_latent, avatar_vae, monkeypatch, tmp_path
):
    monkeypatch.setattr(host, "temporary_file", lambda suffix: tmp_path / f"video{suffix}")
    video = run(
        nodes.AvatarDecodeVideo, latent=video_latent, vae=avatar_vae, audio=voice(rate=44_100, channels=2)
    )
    info = probe(video.get_stream_source())
    assert (info.width, info.height) == (SIDE, SIDE)
    assert info.frame_rate == pytest.approx(25)
    assert info.end_time == pytest.approx(FRAMES / 25, abs=0.001)


def test_a_video_takes_the_sound_of_one_take(run, video_latent, avatar_vae):
    takes = {"waveform": torch.zeros(2, 1, 16_000), "sample_rate": 16_000}
    with pytest.raises(ValueError, match="sound of one take, this one has 2"):
        run(nodes.AvatarDecodeVideo, latent=video_latent, vae=avatar_vae, audio=takes)


def test_long_speech_makes_a_ring_of_windows(run, avatar_prompts, avatar_vae, avatar_model, listener):
    speech = run(nodes.AvatarSpeechEncode, speech_encoder=listener, audio=voice(5.6))
    people = run(nodes.AvatarCharacter, speech=speech, mask=left_half())
    positive, negative = avatar_prompts
    conditions = run(
        nodes.AvatarConditioning,
        positive=positive, negative=negative, vae=avatar_vae, image=portrait(), characters=people,
    )  # fmt: skip
    latent = conditions[2]
    assert (latent["samples"].shape[2], latent["avatar_frames"]) == (36, 140)
    made = sampled(run, avatar_model, conditions, steps=1)
    assert made["samples"].isfinite().all()
    assert made["avatar_frames"] == 140


def test_a_seed_is_a_take(run, avatar_model, conditions, video_latent):
    assert torch.equal(sampled(run, avatar_model, conditions, seed=1)["samples"], video_latent["samples"])
    other = sampled(run, avatar_model, conditions, seed=2)["samples"]
    assert (other - video_latent["samples"]).abs().max() > 0.1


def test_eight_bit_weights_make_nearly_the_same_video(run, conditions, video_latent):
    small = run(nodes.AvatarModelLoader, weight_dtype="fp8_e4m3fn")
    stored = {p.dtype for p in small.diffusion_model.single_blocks.parameters()}
    assert stored == {torch.float8_e4m3fn, torch.float32}
    made, exact = sampled(run, small, conditions, seed=1)["samples"], video_latent["samples"]
    assert 0 < (made - exact).norm() / exact.norm() < 0.2


def test_every_setting_is_heard(run, avatar_model, conditions):
    plain = sampled(run, avatar_model, conditions, steps=4)["samples"]
    for changed in ({"cfg": 3.0}, {"schedule": "published"}, {"mask_strength": 0.2}, {"step_cache": "off"}):
        made = sampled(run, avatar_model, conditions, steps=4, **changed)["samples"]
        assert not torch.allclose(made, plain)


def test_two_takes_are_made_at_once(run, avatar_prompts, avatar_vae, avatar_model, character):
    positive, negative = avatar_prompts
    conditions = run(
        nodes.AvatarConditioning, positive=positive, negative=negative, vae=avatar_vae, image=portrait(),
        characters=character, batch_size=2,
    )  # fmt: skip
    made = sampled(run, avatar_model, conditions, steps=1)
    assert made["samples"].shape[0] == 2
    assert run(nodes.AvatarVAEDecode, latent=made, vae=avatar_vae).shape[0] == 2 * FRAMES
    with pytest.raises(ValueError, match="A video holds one take, the latent has 2"):
        run(nodes.AvatarDecodeVideo, latent=made, vae=avatar_vae)


def test_no_node_changes_its_inputs(run, avatar_prompts, avatar_vae, avatar_model, character):
    positive, negative = avatar_prompts
    before = set(positive[0][1]), copy.deepcopy(character[0].mask)
    made = run(
        nodes.AvatarConditioning,
        positive=positive, negative=negative, vae=avatar_vae, image=portrait(), characters=character,
    )  # fmt: skip
    assert set(positive[0][1]) == before[0]
    assert torch.equal(character[0].mask, before[1])
    latent = made[2]["samples"].clone()
    sampled(run, avatar_model, made, steps=1)
    assert torch.equal(made[2]["samples"], latent)


# --- speech ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("rate", "channels"), [(44_100, 2), (8_000, 1), (48_000, 6)])
def test_speech_of_any_rate_and_channels_has_its_length(run, listener, rate, channels):
    sound = voice(0.5, rate=rate, channels=channels)
    assert run(nodes.AvatarSpeechEncode, speech_encoder=listener, audio=sound).windows.shape[1] == 12


@pytest.mark.parametrize("fps", [12.5, 25.0, 30.0])
def test_the_frame_rate_of_the_speech_is_that_of_the_video(run, listener, fps):
    speech = run(nodes.AvatarSpeechEncode, speech_encoder=listener, audio=voice(1.0), fps=fps)
    assert speech.windows.shape[1] == int(fps)


def test_speech_that_is_none_is_named(run, listener):
    for sound, message in (
        (None, "There is no speech"),
        ({"waveform": torch.zeros(1, 1, 0), "sample_rate": 16_000}, "There is no speech"),
        (voice(0.01), r"shorter than one video frame \(0.04 s\)"),
        ({"waveform": torch.zeros(2, 1, 16_000), "sample_rate": 16_000}, "has 2 takes"),
    ):
        with pytest.raises(ValueError, match=message):
            run(nodes.AvatarSpeechEncode, speech_encoder=listener, audio=sound)


# --- characters --------------------------------------------------------------------------------------------


def test_characters_follow_one_another(run, listener, character):
    speech = run(nodes.AvatarSpeechEncode, speech_encoder=listener, audio=voice(0.5, seed=3))
    both = run(nodes.AvatarCharacter, speech=speech, mask=1 - left_half(), characters=character)
    assert both[0] is character[0]
    assert len(both) == 2


def test_a_character_without_a_mask_is_refused(run, character):
    with pytest.raises(ValueError, match="mask is empty, so nobody would speak"):
        run(nodes.AvatarCharacter, speech=character[0].speech, mask=torch.zeros(1, SIDE, SIDE))


def test_what_does_not_fit_is_named(run, avatar_prompts, avatar_vae, listener, character):
    positive, negative = avatar_prompts

    def conditioning(**changed):
        given = {"image": portrait(), "characters": character, **changed}
        return run(nodes.AvatarConditioning, positive=positive, negative=negative, vae=avatar_vae, **given)

    slow = run(nodes.AvatarSpeechEncode, speech_encoder=listener, audio=voice(0.5), fps=12.5)
    mixed = run(nodes.AvatarCharacter, speech=slow, mask=left_half(), characters=character)
    narrow = run(nodes.AvatarCharacter, speech=slow, mask=torch.ones(1, 64, 16))
    for changed, message in (
        ({"image": portrait(height=60)}, "portrait is 32 x 60, its sides must be multiples of 16"),
        ({"characters": mixed}, "encoded at 12.5 and 25 frames per second"),
        ({"characters": narrow}, "proportions"),
    ):
        with pytest.raises(ValueError, match=message):
            conditioning(**changed)


def test_a_mask_of_the_original_picture_fits_the_resized_one(run, avatar_prompts, avatar_vae, character):
    large = torch.nn.functional.interpolate(left_half()[None], scale_factor=3)[0]
    people = run(nodes.AvatarCharacter, speech=character[0].speech, mask=large)
    positive, negative = avatar_prompts
    made = run(
        nodes.AvatarConditioning,
        positive=positive, negative=negative, vae=avatar_vae, image=portrait(), characters=people,
    )  # fmt: skip
    (fitted,) = made[0][0][1]["avatar_characters"]
    assert fitted.mask.shape == (1, 1, 1, SIDE // 8, SIDE // 8)
    assert fitted.mask[..., : SIDE // 16].mean() > 0.9 > 0.1 > fitted.mask[..., SIDE // 16 :].mean()


def test_an_emotion_image_needs_a_module_that_reads_it(
    run, avatar_prompts, avatar_vae, avatar_model, character
):
    positive, negative = avatar_prompts
    conditions = run(
        nodes.AvatarConditioning, positive=positive, negative=negative, vae=avatar_vae, image=portrait(),
        characters=character, emotion_image=portrait(),
    )  # fmt: skip
    with pytest.raises(ValueError, match="no audio emotion module"):
        sampled(run, avatar_model, conditions)


# --- what the sampler and the decoders refuse --------------------------------------------------------------


def test_conditionings_and_latents_of_other_nodes_are_refused(
    run, avatar_model, avatar_prompts, conditions, clip, avatar_vae
):
    positive, negative, latent = conditions
    foley, _ = run(nodes.FoleyPrompt, clip=clip, positive="rain")
    for given, message in (
        ((avatar_prompts[0], avatar_prompts[1], latent), "Connect Avatar Conditioning between"),
        ((positive * 2, negative, latent), "positive conditioning has 2 entries"),
        ((positive, foley, latent), "holds no prompt for Avatar"),
        ((positive, negative, {"samples": torch.zeros(1, 16, 9, 4, 4)}), r"latents are \(1, 16, 9, 4, 4\)"),
        ((positive, negative, {**latent, "noise_mask": torch.ones(1)}), "Take the noise mask off"),
    ):
        with pytest.raises(ValueError, match=message):
            sampled(run, avatar_model, given)


def test_vaes_and_latents_of_other_models_are_refused(
    run, vae, avatar_vae, video_latent, avatar_prompts, character
):
    with pytest.raises(ValueError, match="VAE is not Avatar's"):
        run(nodes.AvatarVAEDecode, latent=video_latent, vae=vae)
    with pytest.raises(ValueError, match=r"latents are \(1, 128, 50\)"):
        run(nodes.AvatarVAEDecode, latent={"samples": torch.zeros(1, 128, 50)}, vae=avatar_vae)


# --- faces -------------------------------------------------------------------------------------------------

SMALL, LARGE = (16, 16, 48, 48), (90, 40, 170, 120)


@pytest.fixture(scope="session")
def faces(detector):
    return nodes.FaceDetect.execute(detector, portrait(SMALL, LARGE, height=192, width=192))


def test_faces_are_found_the_largest_first_and_shown_to_the_browser(faces):
    found, told = faces.args[0], faces.ui["hyav_faces"]
    assert len(found.boxes) == 2
    (shown,) = json.loads(json.dumps(told))
    assert (shown["width"], shown["height"]) == (192, 192)
    for box, expected in zip(shown["boxes"], (LARGE, SMALL), strict=True):
        assert np.allclose(box[:4], expected, atol=8)
        assert 0.5 < box[4] <= 1
    assert set(shown["image"]) == {"filename", "subfolder", "type"}


@pytest.mark.parametrize(
    ("pick", "expected"),
    [
        ({"pick": "largest"}, LARGE),
        ({"pick": "index", "face_index": 1}, SMALL),
        ({"pick": "point", "pick_x": 0.15, "pick_y": 0.15}, SMALL),
        ({"pick": "point", "pick_x": 0.7, "pick_y": 0.9}, LARGE),
        (
            {"pick": "box", "box_left": 0.5, "box_top": 0.5, "box_right": 0.75, "box_bottom": 1.0},
            (96, 96, 144, 192),
        ),
    ],
)
def test_a_face_is_picked(run, faces, pick, expected):
    mask = run(nodes.FaceMask, faces=faces.args[0], enlarge=1.0, **pick)
    rows, columns = mask[0].any(1).nonzero().flatten(), mask[0].any(0).nonzero().flatten()
    extent = int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1
    assert np.allclose(extent, expected, atol=8)
    assert mask.shape == (1, 192, 192)


def test_the_picked_face_is_shown_and_the_mask_is_three_times_as_wide(faces):
    defaults = {s.id: s.default for s in nodes.FaceMask.define_schema().inputs if hasattr(s, "default")}
    out = nodes.FaceMask.execute(**{**defaults, "pick": "index", "face_index": 1}, faces=faces.args[0])
    (shown,) = out.ui["hyav_faces"]
    assert np.allclose(shown["picked"], SMALL, atol=8)
    assert out.args[0].sum() == pytest.approx(80 * 80, rel=0.25)  # cut at the corner


def test_a_face_can_be_chosen_before_anything_is_made():
    assert nodes.FaceMask.define_schema().is_output_node


def test_a_mask_of_ones_own_goes_through_as_it_is(run):
    mask = torch.rand(3, 64, 64)
    assert torch.equal(run(nodes.FaceMask, mask=mask), mask)
    assert run(nodes.FaceMask, mask=mask[0]).shape == (1, 64, 64)


def test_no_face_and_nothing_to_pick_are_named(run, detector, faces):
    nobody = run(nodes.FaceDetect, detector=detector, image=portrait())
    for given, message in (
        ({}, "connect Face Detect, or a mask"),
        ({"faces": nobody}, r"No face found in the reference image \(32 x 32\).*connect a mask"),
        ({"faces": faces.args[0], "pick": "index", "face_index": 5}, "no face number 5: 2 found"),
        ({"faces": faces.args[0], "pick": "box", "box_left": 0.9}, "nothing lies in it"),
    ):
        with pytest.raises(ValueError, match=message):
            run(nodes.FaceMask, **given)


# --- the portrait ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("height", "width", "size", "expected"),
    [(100, 100, 64, (64, 64)), (30, 40, 128, (128, 192)), (16, 16, 64, (64, 64)), (64, 256, 256, (128, 640))],
)
def test_portraits_come_to_a_trained_size(run, height, width, size, expected):
    image = run(nodes.AvatarReferenceImage, image=torch.rand(2, height, width, 4), size=size)
    assert image.shape == (1, *expected, 3)


def test_a_portrait_that_is_a_line_is_refused(run):
    with pytest.raises(ValueError, match="too narrow"):
        run(nodes.AvatarReferenceImage, image=torch.rand(1, 4, 2000, 3), size=64)
