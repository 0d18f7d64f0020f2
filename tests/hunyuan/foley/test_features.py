from pathlib import Path

import numpy as np
import pytest
import torch
from pack.hunyuan.foley.features import encode_video
from pack.hunyuan.foley.sync_encoder import SyncEncoder
from pack.hunyuan.foley.visual_encoder import VisualEncoder
from pack.hunyuan.media.video import (
    FramePicker,
    normalise,
    normalise_crops,
    resize_and_crop,
    resize_squashed,
)
from pack.model_loaders.encoders import load_visual_encoder
from pack.model_loaders.foley import load_sync_encoder
from pack.model_loaders.foley_folder import POCKET

ENCODERS = tuple[VisualEncoder, SyncEncoder]


@pytest.fixture(scope="module")
def encoders() -> ENCODERS:
    return load_visual_encoder(POCKET / "siglip2"), load_sync_encoder(POCKET / "synchformer.safetensors")


def clip(frames: int, fps: float = 30.0, first: float = 0.0, size: tuple[int, int] = (40, 60)):
    generator = np.random.default_rng(frames)
    for i in range(frames):
        yield first + i / fps, generator.integers(0, 256, (*size, 3), dtype=np.uint8)


def at_once(frames: list[tuple[float, np.ndarray]], encoders: ENCODERS) -> tuple[torch.Tensor, torch.Tensor]:
    """The plain way: all frames in memory, then both encoders."""
    visual, sync = encoders
    picks = {}
    for rate in (8, 25):
        picker = FramePicker(rate, 15.0)
        picks[rate] = [frame for time, frame in frames for _ in range(picker.take(time))]
    squashed = np.stack([resize_squashed(frame, visual.image_size) for frame in picks[8]])
    crops = torch.stack([resize_and_crop(frame, sync.image_size) for frame in picks[25]])
    starts = range(0, len(crops) - 15, 8)
    segments = torch.stack([normalise_crops(crops[start : start + 16]) for start in starts])
    with torch.no_grad():
        return visual(normalise(torch.from_numpy(squashed).permute(0, 3, 1, 2)))[None], sync(segments[None])


@pytest.mark.parametrize(("frames", "fps"), [(60, 30.0), (50, 24.0), (47, 25.0), (200, 60.0), (12, 8.0)])
def test_streaming_equals_everything_at_once(encoders, frames, fps):
    pictures = list(clip(frames, fps))
    visual, sync = at_once(pictures, encoders)
    features = encode_video(pictures, *encoders)
    torch.testing.assert_close(features.visual, visual)
    torch.testing.assert_close(features.sync, sync)


def test_chunk_size_changes_no_value(encoders):
    one = encode_video(clip(90), *encoders, batch=1)
    for batch in (2, 3, 8):
        other = encode_video(clip(90), *encoders, batch=batch)
        torch.testing.assert_close(other.visual, one.visual, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(other.sync, one.sync, rtol=1e-5, atol=1e-6)


def test_by_default_a_cut_gives_bit_for_bit_the_features_of_the_whole(encoders):
    whole = encode_video(clip(120), *encoders)
    part = encode_video(list(clip(120))[:70], *encoders)
    assert torch.equal(part.visual, whole.visual[:, : part.visual.shape[1]])
    assert torch.equal(part.sync, whole.sync[:, : part.sync.shape[1]])


def test_lengths_follow_the_picks(encoders):
    features = encode_video(clip(90, 30.0), *encoders)
    assert features.visual.shape[1] == 24
    assert features.sync_frames == 75
    assert features.sync.shape[1] == 8 * features.timing.sync_segments
    assert features.timing.latent_frames == 150


def test_a_repeated_frame_is_encoded_once(encoders):
    visual, sync = encoders
    images = []
    hook = visual.register_forward_pre_hook(lambda _m, inputs: images.append(len(inputs[0])))
    features = encode_video(clip(4, fps=1.0), visual, sync)
    hook.remove()
    assert sum(images) == 4
    assert features.visual.shape[1] == 25


@pytest.mark.parametrize("frames", [1, 2, 9])
def test_a_clip_shorter_than_a_segment_stands_still_on_its_last_frame(encoders, frames):
    pictures = list(clip(frames, 25.0))
    features = encode_video(pictures, *encoders)
    assert features.sync.shape[1] == 8
    assert features.sync_frames < 16
    held = [*pictures, *((i / 25.0, pictures[-1][1]) for i in range(frames, 40))]
    assert torch.equal(encode_video(held, *encoders).sync[:, :8], features.sync)


def test_a_late_first_frame_stands_for_the_time_before_it(encoders):
    features = encode_video(clip(30, 30.0, first=0.4), *encoders)
    assert torch.equal(features.visual[:, 0], features.visual[:, 3])
    assert features.sync_frames == 11 + 24


def test_nothing_to_see_is_an_error(encoders):
    with pytest.raises(ValueError, match="shows no frame between 0 and 15 s"):
        encode_video(clip(5, first=20.0), *encoders)
    with pytest.raises(ValueError, match="shows no frame"):
        encode_video([], *encoders)


def test_pocket_encoders_are_where_the_loaders_look():
    assert (Path(POCKET) / "transformer.safetensors").is_file()
