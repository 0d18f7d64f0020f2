import threading
import time
from copy import deepcopy
from pathlib import Path

import numpy as np
import pytest
import torch
from pack.hunyuan.foley import features as features_module
from pack.hunyuan.foley.features import FeatureStream, encode_video
from pack.hunyuan.foley.sync_encoder import SyncEncoder
from pack.hunyuan.foley.visual_encoder import VisualEncoder
from pack.hunyuan.media.ahead import Helpers
from pack.hunyuan.media.container import read_frames
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
from torch import nn

ENCODERS = tuple[VisualEncoder, SyncEncoder]


@pytest.fixture(scope="module")
def encoders() -> ENCODERS:
    return load_visual_encoder(POCKET / "siglip2"), load_sync_encoder(POCKET / "synchformer.safetensors")


def pictures_of(frames: int, fps: float = 30.0, first: float = 0.0, size: tuple[int, int] = (40, 60)):
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
    pictures = list(pictures_of(frames, fps))
    visual, sync = at_once(pictures, encoders)
    features = encode_video(pictures, *encoders)
    torch.testing.assert_close(features.visual, visual)
    torch.testing.assert_close(features.sync, sync)


def test_chunk_size_changes_no_value(encoders):
    one = encode_video(pictures_of(90), *encoders, batch=1)
    for batch in (2, 3, 8):
        other = encode_video(pictures_of(90), *encoders, batch=batch)
        torch.testing.assert_close(other.visual, one.visual, rtol=1e-5, atol=1e-6)
        torch.testing.assert_close(other.sync, one.sync, rtol=1e-5, atol=1e-6)


def test_by_default_a_cut_gives_bit_for_bit_the_features_of_the_whole(encoders):
    whole = encode_video(pictures_of(120), *encoders)
    part = encode_video(list(pictures_of(120))[:70], *encoders)
    assert torch.equal(part.visual, whole.visual[:, : part.visual.shape[1]])
    assert torch.equal(part.sync, whole.sync[:, : part.sync.shape[1]])


def test_lengths_follow_the_picks(encoders):
    features = encode_video(pictures_of(90, 30.0), *encoders)
    assert features.visual.shape[1] == 24
    assert features.sync_frames == 75
    assert features.sync.shape[1] == 8 * features.timing.sync_segments
    assert features.timing.latent_frames == 150


def test_a_repeated_frame_is_encoded_once(encoders):
    visual, sync = encoders
    images = []
    hook = visual.register_forward_pre_hook(lambda _m, inputs: images.append(len(inputs[0])))
    features = encode_video(pictures_of(4, fps=1.0), visual, sync)
    hook.remove()
    assert sum(images) == 4
    assert features.visual.shape[1] == 25


@pytest.mark.parametrize("frames", [1, 2, 9])
def test_a_clip_shorter_than_a_segment_stands_still_on_its_last_frame(encoders, frames):
    pictures = list(pictures_of(frames, 25.0))
    features = encode_video(pictures, *encoders)
    assert features.sync.shape[1] == 8
    assert features.sync_frames < 16
    held = [*pictures, *((i / 25.0, pictures[-1][1]) for i in range(frames, 40))]
    assert torch.equal(encode_video(held, *encoders).sync[:, :8], features.sync)


def test_a_late_first_frame_stands_for_the_time_before_it(encoders):
    features = encode_video(pictures_of(30, 30.0, first=0.4), *encoders)
    assert torch.equal(features.visual[:, 0], features.visual[:, 3])
    assert features.sync_frames == 11 + 24


def test_nothing_to_see_is_an_error(encoders):
    with pytest.raises(ValueError, match="shows no frame between 0 and 15 s"):
        encode_video(pictures_of(5, first=20.0), *encoders)
    with pytest.raises(ValueError, match="shows no frame"):
        encode_video([], *encoders)


def test_pocket_encoders_are_where_the_loaders_look():
    assert (Path(POCKET) / "transformer.safetensors").is_file()


# --- frames are made ready while others are encoded ---------------------------------------------------------


@pytest.fixture
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    assert set(threading.enumerate()) == before


@pytest.mark.parametrize(
    ("frames", "fps", "first"), [(90, 30.0, 0.0), (30, 60.0, 0.0), (6, 1.0, 0.0), (70, 24.0, 0.4)]
)
@pytest.mark.parametrize("batch", [None, 1, 3, 8])
@pytest.mark.parametrize("resizers", [0, 4])
def test_features_are_to_the_bit_those_of_one_frame_after_another(
    encoders, frames, fps, first, batch, resizers, no_thread_is_left, monkeypatch
):
    monkeypatch.setattr(features_module, "Helpers", lambda _: Helpers(resizers))
    stream = FeatureStream(*encoders, batch=batch)
    for when, frame in pictures_of(frames, fps, first):
        stream.see(when, frame)
    expected, found = stream.finish(), encode_video(pictures_of(frames, fps, first), *encoders, batch=batch)
    assert torch.equal(found.visual, expected.visual)
    assert torch.equal(found.sync, expected.sync)
    assert found.sync_frames == expected.sync_frames


class Sleeper(nn.Module):
    """An encoder that computes elsewhere, as on a GPU: it only takes its time, so many seconds an input."""

    image_size = 16

    def __init__(self, seconds: float, tokens: int | None) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(1))
        self.seconds, self.tokens, self.threads = seconds, tokens, set()

    def forward(self, inputs: torch.Tensor) -> torch.Tensor:
        count = len(inputs) if self.tokens is None else inputs.shape[1]
        self.threads.add(threading.current_thread())
        time.sleep(self.seconds * count)
        return torch.zeros(count, 4) if self.tokens is None else torch.zeros(1, count * self.tokens, 4)


def slow(frames, seconds):
    for item in frames:
        time.sleep(seconds)
        yield item


def test_it_takes_as_long_as_the_slower_of_decoding_and_encoding_not_as_both(no_thread_is_left):
    """Measured against one after the other here and now: what a busy machine adds, it adds to both."""
    visual, sync = Sleeper(0.04, None), Sleeper(0.12, 8)
    pictures = list(pictures_of(45, 30.0, size=(16, 16)))  # 12 images and 3 segments: 0.84 s

    start = time.perf_counter()
    stream = FeatureStream(visual, sync, batch=1)
    for when, frame in slow(pictures, 0.02):  # 0.9 s
        stream.see(when, frame)
    stream.finish()
    both = time.perf_counter() - start
    start = time.perf_counter()
    encode_video(slow(pictures, 0.02), visual, sync, batch=1)
    assert time.perf_counter() - start < 0.75 * both  # at best 0.9 of 1.74 s, which is 0.52


@pytest.mark.parametrize("batch", [1, 8])
def test_a_batchs_worth_of_frames_is_made_ready_while_another_is_encoded(batch, no_thread_is_left):
    """Encoding waits for frames that one thread alone would not fetch before it has ended."""
    ready, enough = [], threading.Event()

    class Waiting(Sleeper):
        def forward(self, inputs):
            assert enough.wait(30)
            return super().forward(inputs)

    def fetched():
        for item in pictures_of(200, 25.0, size=(16, 16)):
            ready.append(item)
            if len(ready) == 16 + 8 * (batch - 1) + 8 * batch:  # a first batch of segments, and a second
                enough.set()
            yield item

    sync = Waiting(0, 8)
    encode_video(fetched(), Sleeper(0, None), sync, batch=batch)
    assert sync.threads == {threading.current_thread()}  # networks stay where they were
    assert len(ready) == 200


def test_what_is_wrong_with_a_video_is_told_as_by_the_decoder(encoders, clip, tmp_path, no_thread_is_left):
    path = tmp_path / "text.mp4"
    path.write_text("no video at all")
    with pytest.raises(ValueError, match=r"text\.mp4 is no video or sound that can be read"):
        encode_video(read_frames(path), *encoders)
    with pytest.raises(ValueError, match=r"late\.mp4: no frame can be decoded from 50 s on"):
        encode_video(read_frames(clip("late.mp4"), 50.0), *encoders)


@pytest.mark.parametrize("resizers", [0, 4])
def test_a_frame_that_cannot_be_made_small_is_told(encoders, resizers, no_thread_is_left, monkeypatch):
    monkeypatch.setattr(features_module, "Helpers", lambda _: Helpers(resizers))
    pictures = list(pictures_of(60))
    pictures[30] = pictures[30][0], np.zeros((4, 4), np.uint8)
    with pytest.raises(ValueError, match="uint8"):
        encode_video(pictures, *encoders)


@pytest.mark.parametrize("resizers", [0, 4])
def test_cancelling_in_the_middle_ends_the_thread(encoders, resizers, no_thread_is_left, monkeypatch):
    monkeypatch.setattr(features_module, "Helpers", lambda _: Helpers(resizers))

    class Cancelled(BaseException):
        pass

    def cancelled():
        for i, item in enumerate(pictures_of(90)):
            if i == 40:
                raise Cancelled
            yield item

    with pytest.raises(Cancelled):
        encode_video(cancelled(), *encoders)


def test_an_encoder_that_fails_ends_the_thread(no_thread_is_left):
    class Full(Sleeper):
        def forward(self, inputs):
            raise MemoryError("no room for this batch")

    taken = []
    with pytest.raises(MemoryError, match="no room for this batch"):
        encode_video(
            (taken.append(item) or item for item in pictures_of(10_000, size=(16, 16))),
            Full(0, None), Sleeper(0, 8), batch=8,
        )  # fmt: skip
    assert len(taken) < 200


def test_cards_multiply_in_tf32_while_they_encode_and_as_before_after_that():
    before = torch.get_float32_matmul_precision()
    with features_module.tensor_cores(torch.device("cpu")):
        assert torch.get_float32_matmul_precision() == before
    within = []

    def encode() -> None:
        with features_module.tensor_cores(torch.device("cuda")):
            within.append(torch.get_float32_matmul_precision())
            raise KeyError

    with pytest.raises(KeyError):
        encode()
    assert within == ["high"]
    assert torch.get_float32_matmul_precision() == before


@pytest.mark.gpu
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_on_a_gpu_features_are_nearly_those_of_a_cpu_and_made_in_tf32(encoders):
    pictures, precisions = list(pictures_of(60)), set()
    on_cpu = encode_video(pictures, *encoders)
    copies = [deepcopy(encoder).cuda() for encoder in encoders]
    for copy in copies:
        copy.register_forward_pre_hook(lambda *_: precisions.add(torch.get_float32_matmul_precision()))
    on_card = encode_video(pictures, *copies)
    assert precisions == {"high"}
    for name in ("visual", "sync"):
        ours, theirs = getattr(on_card, name), getattr(on_cpu, name)
        assert float((ours - theirs).norm() / theirs.norm()) < 5e-3
