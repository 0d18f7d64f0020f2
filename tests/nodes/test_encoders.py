"""Video from files, memory and images; and sound back into latents."""

from fractions import Fraction
from io import BytesIO
from types import SimpleNamespace

import av
import numpy as np
import pytest
import torch
from pack import nodes
from pack.hunyuan.long_form.sliding import feature_slices
from pack.hunyuan.sampling.windows import Window


class Video:
    """What ComfyUI hands over: a source to stream from, and since 0.23 the part that is meant."""

    def __init__(self, source, window=None):
        self.source = source
        if window:
            self.get_active_trim_window = lambda: window

    def get_stream_source(self):
        return self.source


@pytest.fixture(scope="module")
def video_path(tmp_path_factory, images):
    """The images without loss, at 24 fps."""
    path = tmp_path_factory.mktemp("video") / "clip.mov"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("png", rate=24)
        stream.width, stream.height, stream.pix_fmt = 56, 40, "rgb24"
        stream.time_base = Fraction(1, 24)
        for image in levels(images):
            for packet in stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")):
                container.mux(packet)
        container.mux(stream.encode())
    return str(path)


def levels(images):
    return np.rint(images.numpy() * 255).astype(np.uint8)


def test_a_file_memory_and_images_show_the_same(run, video_encoder, video_path, images, features):
    with open(video_path, "rb") as file:  # noqa: PTH123 - the fixture gives text, as ComfyUI does
        memory = BytesIO(file.read())
    memory.seek(7)
    for video in (Video(video_path), Video(memory)):
        seen = run(nodes.FoleyVideoEncode, video_encoder=video_encoder, video=video)
        assert seen.sync_frames == features.sync_frames
        torch.testing.assert_close(seen.sync, features.sync, rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(seen.visual, features.visual, rtol=1e-4, atol=1e-4)


def test_a_video_made_of_images_is_seen_as_these(run, video_encoder, images, features):
    class Streamed:
        def get_stream_source(self):
            raise AssertionError("encoded, with loss, what is there as images")

    class Made(Streamed):
        def get_components(self):
            return SimpleNamespace(images=images, frame_rate=Fraction(24))

    seen = run(nodes.FoleyVideoEncode, video_encoder=video_encoder, video=Made())
    assert torch.equal(seen.sync, features.sync)
    assert torch.equal(seen.visual, features.visual)


def test_a_part_of_a_video_is_the_same_from_widgets_and_from_a_trimmed_video(
    run, video_encoder, video_path, images
):
    part = {"start": 0.5, "length": 0.7}
    by_widget = run(nodes.FoleyVideoEncode, video_encoder=video_encoder, video=Video(video_path), **part)
    trimmed = Video(video_path, window=(0.5, 0.7))
    by_trim = run(nodes.FoleyVideoEncode, video_encoder=video_encoder, video=trimmed)
    of_images = run(nodes.FoleyVideoEncode, video_encoder=video_encoder, images=images, **part)
    of_both = run(
        nodes.FoleyVideoEncode, video_encoder=video_encoder, video=Video(video_path, (0.25, 0.95)), start=0.25
    )
    assert by_widget.sync_frames < 18
    for other in (by_trim, of_images, of_both):
        assert other.sync_frames == by_widget.sync_frames
        torch.testing.assert_close(other.sync, by_widget.sync, rtol=1e-4, atol=1e-4)


def test_a_fourth_channel_is_not_looked_at(run, video_encoder, images, features):
    with_alpha = torch.cat([images, torch.zeros_like(images[..., :1])], dim=-1)
    seen = run(nodes.FoleyVideoEncode, video_encoder=video_encoder, images=with_alpha)
    assert torch.equal(seen.sync, features.sync)


def test_a_mask_hides_what_is_outside_and_a_full_one_hides_nothing(run, video_encoder, images, features):
    whole = run(
        nodes.FoleyVideoEncode, video_encoder=video_encoder, images=images, mask=torch.ones(1, 10, 14)
    )
    assert torch.equal(whole.sync, features.sync)
    assert torch.equal(whole.visual, features.visual)

    left = torch.zeros(1, 40, 56)
    left[..., :28] = 1
    altered = images.clone()
    altered[:, :, 28:] = 0.2
    seen = [
        run(nodes.FoleyVideoEncode, video_encoder=video_encoder, images=i, mask=left)
        for i in (images, altered)
    ]
    assert torch.equal(seen[0].sync, seen[1].sync)
    assert not torch.equal(seen[0].sync, features.sync)


def test_it_must_be_clear_what_to_watch(run, video_encoder, video_path, images):
    for inputs in ({}, {"video": Video(video_path), "images": images}):
        with pytest.raises(ValueError, match="either a video or images"):
            run(nodes.FoleyVideoEncode, video_encoder=video_encoder, **inputs)


def test_a_clip_that_is_too_long_is_named_with_its_length(run, video_encoder):
    with pytest.raises(ValueError, match=r"16\.00 s long.*at most 15 s"):
        run(nodes.FoleyVideoEncode, video_encoder=video_encoder, images=torch.zeros(32, 8, 8, 3), fps=2.0)


def test_who_says_how_long_may_watch_more_than_one_generation(run, video_encoder):
    """Its windows, 8 s apart, are seen as clips that are cut there, up to what the next one sees too."""
    images = torch.rand(34, 8, 8, 3, generator=torch.Generator().manual_seed(0))
    whole, later = (
        run(nodes.FoleyVideoEncode, video_encoder=video_encoder, images=images, fps=2.0, start=s, length=n)
        for s, n in ((0.0, 17.0), (8.0, 9.0))
    )
    assert whole.timing.seconds > 16.5
    visual, sync = feature_slices(Window(400, 400 + later.timing.latent_frames, 400))
    torch.testing.assert_close(whole.visual[:, visual][:, :64], later.visual[:, :64])
    torch.testing.assert_close(whole.sync[:, sync][:, :192], later.sync[:, :192])


def test_nothing_is_left_of_a_start_after_the_end(run, video_encoder, video_path, images):
    for inputs in ({"images": images}, {"video": Video(video_path)}):
        with pytest.raises(ValueError, match="no frame"):
            run(nodes.FoleyVideoEncode, video_encoder=video_encoder, start=9.0, length=1.0, **inputs)


def test_sound_becomes_latents_and_sound_again_of_its_length(run, vae):
    waveform = torch.rand(2, 1, 2500, generator=torch.Generator().manual_seed(0)) - 0.5
    latent = run(nodes.FoleyVAEEncode, audio={"waveform": waveform, "sample_rate": 48_000}, vae=vae)
    assert latent["samples"].shape == (2, 128, 3)
    with torch.no_grad():
        whole = vae.first_stage_model.encode(waveform).mode
    torch.testing.assert_close(latent["samples"], whole, rtol=1e-4, atol=1e-4)
    assert run(nodes.FoleyVAEDecode, latent=latent, vae=vae)["waveform"].shape == (2, 1, 3 * 960)


def test_stereo_of_another_rate_is_mixed_and_resampled(run, vae):
    time = torch.arange(4410) / 44_100
    tone = torch.sin(2 * torch.pi * 440 * time)
    stereo = torch.stack([tone + 0.1, tone - 0.1])[None]
    direct = torch.sin(2 * torch.pi * 440 * torch.arange(4800) / 48_000)[None, None]
    rates = {44_100: stereo, 48_000: direct}
    latents = [
        run(nodes.FoleyVAEEncode, audio={"waveform": wave, "sample_rate": rate}, vae=vae)["samples"]
        for rate, wave in rates.items()
    ]
    assert latents[0].shape == latents[1].shape == (1, 128, 5)
    assert (latents[0] - latents[1])[..., 2].norm() < 0.02 * latents[1][..., 2].norm()


def test_a_video_without_sound_gives_none_to_encode(run, vae):
    with pytest.raises(ValueError, match="no sound"):
        run(nodes.FoleyVAEEncode, audio=None, vae=vae)


def test_a_vae_without_its_encoder_says_so(run):
    decoder = run(nodes.FoleyVAELoader, part="decoder")
    sound = {"waveform": torch.zeros(1, 1, 960), "sample_rate": 48_000}
    with pytest.raises(ValueError, match="without its encoder"):
        run(nodes.FoleyVAEEncode, audio=sound, vae=decoder)
