"""Frame picking and the two resizes against published numbers and slower definitions."""

import json
from decimal import ROUND_HALF_EVEN, Decimal
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.hunyuan.foley.timing import FoleyTiming
from pack.hunyuan.media.video import (
    FramePicker,
    frames_from_tensor,
    normalise,
    normalise_crops,
    resize_and_crop,
    resize_squashed,
    resized_shape,
)
from PIL import Image
from safetensors.torch import load_file


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def pick(times, rate: float, max_seconds: float = 15.0) -> list[int]:
    picker = FramePicker(rate, max_seconds)
    return [i for i, time in enumerate(times) for _ in range(picker.take(time))]


def grid(rate: float, end: float) -> list[float]:
    points = [0.0]
    while points[-1] <= end:
        points.append(points[-1] + 1 / rate)
    return points[:-1]


# --- picking ------------------------------------------------------------------------------------------------


def test_published_picks_are_reproduced(goldens):
    recorded = json.loads((goldens / "foley" / "frame_sampling_a.json").read_text())
    for case in recorded["cases"]:
        numerator, denominator = case["time_base"]
        pts = case.get("pts") or [case["pts_start"] + i * case["pts_step"] for i in range(case["n_frames"])]
        times = [float(tick) * numerator / denominator for tick in pts]
        picks = {rate: pick(times, rate, recorded["max_seconds"]) for rate in (8, 25)}
        timing = FoleyTiming.from_sync_frames(len(picks[25]))
        assert picks[8] == case["selected_8fps"], case["label"]
        assert picks[25] == case["selected_25fps"], case["label"]
        assert (timing.seconds, timing.latent_frames) == (case["audio_seconds"], case["latent_frames"])
        assert (timing.sync_segments, timing.samples) == (case["sync_segments"], case["output_samples"])


@pytest.mark.parametrize("fps", [25, 24, 12.5])
def test_a_grid_that_begins_anew_picks_what_it_would_in_a_clip_cut_there(fps):
    seconds, restart = 40, 8.0
    picker, cut = FramePicker(25, seconds, restart), FramePicker(25, restart)
    times = [i / fps for i in range(int(seconds * fps))]
    picked = [i for i, time in enumerate(times) for _ in range(picker.take(time))]
    first = int(32 * fps)
    here = [first + i for i in range(int(restart * fps)) for _ in range(cut.take(i / fps))]
    assert picked[800 : 800 + len(here)] == here


times_in_order = st.lists(st.floats(-1, 17, allow_subnormal=False), max_size=60).map(sorted)


@given(times_in_order, st.sampled_from([8, 25, 30]))
def test_every_grid_point_gets_the_first_frame_at_or_after_it(times, rate):
    seen = [(i, time) for i, time in enumerate(times) if 0 <= time <= 15]
    points = grid(rate, seen[-1][1]) if seen else []
    assert pick(times, rate) == [next(i for i, time in seen if time >= point) for point in points]


@given(times_in_order)
def test_frames_that_are_not_picked_may_be_left_out(times):
    picked = sorted(set(pick(times, 25)))
    assert pick([times[i] for i in picked], 25) == [
        i for i, _ in enumerate(picked) for _ in range(pick(times, 25).count(picked[i]))
    ]


def test_exactly_the_limit_is_still_seen():
    assert pick([0.0, 15.0], 8) == [0] + [1] * 120
    assert pick([0.0, np.nextafter(15.0, 16)], 8) == [0]


# --- sizes --------------------------------------------------------------------------------------------------


def test_published_preprocessing_is_reproduced(goldens):
    recorded = json.loads((goldens / "foley" / "preprocess_a.json").read_text())
    tensors = load_file(goldens / "foley" / recorded["file"])
    for i, case in enumerate(recorded["cases"]):
        image = tensors[f"case{i}.in.image_hwc_uint8"].numpy()
        squashed = torch.from_numpy(resize_squashed(image)).permute(2, 0, 1)
        cropped = resize_and_crop(image)
        assert list(resized_shape(*image.shape[:2], 224)) == case["sync_resized_hw"]
        assert torch.equal(squashed[:, 1::4, 1::4], tensors[f"case{i}.out.siglip_resized_chw_uint8_stride4"])
        assert torch.equal(cropped, tensors[f"case{i}.out.sync_resized_cropped_chw_uint8"])
        for name, values in {"siglip": normalise(squashed), "sync": normalise_crops(cropped)}.items():
            statistics = torch.stack([values.mean((1, 2)), values.std((1, 2))])
            assert (values[:, :64, :64] - tensors[f"case{i}.out.{name}_norm_crop64"]).abs().max() <= 1e-6
            assert (statistics - tensors[f"case{i}.out.{name}_norm_mean_std"]).abs().max() <= 1e-6


@pytest.mark.parametrize("normalisation", [normalise, normalise_crops])
def test_all_levels_are_normalised_to_the_nearest_float(normalisation):
    levels = torch.arange(256, dtype=torch.uint8)
    exact = (levels.double() / 255 - 0.5) / 0.5
    assert normalisation(levels).dtype == torch.float32
    assert (normalisation(levels).double() - exact).abs().max() <= 2.4e-7


@pytest.mark.parametrize(
    ("margin", "offset"), [(0, 0), (1, 0), (2, 1), (3, 2), (4, 2), (5, 2), (6, 3), (7, 4)]
)
def test_odd_margins_are_cropped_half_to_even(margin, offset):
    wide, tall = noise(224, 224 + margin), noise(224 + margin, 224)
    assert np.array_equal(resize_and_crop(wide).numpy(), wide[:, offset : offset + 224].transpose(2, 0, 1))
    assert np.array_equal(resize_and_crop(tall).numpy(), tall[offset : offset + 224].transpose(2, 0, 1))


@pytest.mark.parametrize("shape", [(360, 641), (641, 360), (480, 853), (37, 41), (300, 224), (2160, 4097)])
def test_the_long_side_is_truncated(shape):
    short, long = sorted(shape)
    expected = (224 * long) // short
    assert sorted(resized_shape(*shape, 224)) == [224, expected]
    assert (np.argmax(resized_shape(*shape, 224)) == np.argmax(shape)) or expected == 224


def slow_crop(image: np.ndarray, size: int) -> np.ndarray:
    """Pillow's bicubic resize, which rounds between its passes as torch's kernel does, and a decimal crop."""
    height, width, _ = image.shape
    scale = Fraction(size, min(height, width))
    height, width = int(height * scale), int(width * scale)
    resized = np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
    top, left = (
        int((Decimal(side - size) / 2).quantize(Decimal(1), ROUND_HALF_EVEN)) for side in (height, width)
    )
    return resized[top : top + size, left : left + size].transpose(2, 0, 1)


@pytest.mark.parametrize(
    "shape", [(640, 360), (361, 641), (100, 60), (48, 64), (224, 500), (500, 224), (3, 2), (1, 1), (1, 100)]
)
def test_portrait_odd_and_tiny_frames_agree_with_pillow(shape):
    image = noise(*shape)
    difference = np.abs(resize_and_crop(image).numpy().astype(int) - slow_crop(image, 224))
    assert difference.max() <= 2
    assert difference.mean() < 0.05


@pytest.mark.parametrize("shape", [(640, 360), (1, 1), (1, 4000), (4000, 1)])
def test_any_frame_can_be_squashed(shape):
    image = noise(*shape)
    squashed = torch.from_numpy(resize_squashed(image)).permute(2, 0, 1).int()
    native = torch.nn.functional.interpolate(
        torch.from_numpy(image).permute(2, 0, 1)[None], (512, 512), mode="bilinear", antialias=True
    )[0]
    assert (squashed - native.int()).abs().max() <= 1


@pytest.mark.parametrize("resize", [resize_squashed, resize_and_crop])
def test_memory_layout_does_not_matter(resize):
    image = noise(120, 90)
    turned = np.rot90(np.ascontiguousarray(np.rot90(image)), -1)
    assert not turned.flags.c_contiguous
    assert np.array_equal(np.asarray(resize(turned)), np.asarray(resize(image)))


def test_a_sliver_is_refused_by_name():
    with pytest.raises(ValueError, match="4000 x 1, more than 100 times as long"):
        resize_and_crop(noise(1, 4000))


@pytest.mark.parametrize(
    "frame",
    [np.zeros((4, 4)), np.zeros((4, 4, 3)), np.zeros((4, 4, 4), np.uint8), np.zeros((0, 4, 3), np.uint8)],
)
def test_what_is_no_frame_is_refused(frame):
    for resize in (resize_squashed, resize_and_crop):
        with pytest.raises(ValueError, match="A frame is"):
            resize(frame)


# --- images -------------------------------------------------------------------------------------------------


def test_whole_rates_give_the_times_of_a_container():
    images = np.zeros((300, 1, 1, 3), np.uint8)
    for fps in (8, 24, 25, 60, 25.0):
        assert [time for time, _ in frames_from_tensor(images, fps)] == [i / fps for i in range(300)]
    ntsc = [float(i * 1001) / 30000 for i in range(300)]
    assert [time for time, _ in frames_from_tensor(images, Fraction(30000, 1001))] == ntsc


@settings(max_examples=20)
@given(st.sampled_from([torch.float32, torch.float64]), st.integers(0, 2**32 - 1))
def test_levels_survive_as_floats(dtype, seed):
    levels = noise(8, 8, seed)[None]
    images = torch.from_numpy(levels).to(dtype) / 255
    for source in (levels, torch.from_numpy(levels), images, images.numpy()):
        ((_, frame),) = frames_from_tensor(source, 25)
        assert np.array_equal(frame, levels[0])


def test_floats_beyond_the_range_are_clipped():
    images = torch.tensor([-0.5, 0.5, 1.5], dtype=torch.bfloat16).reshape(1, 1, 1, 3)
    assert next(frames_from_tensor(images, 8))[1].tolist() == [[[0, 128, 255]]]


@pytest.mark.parametrize(
    ("images", "fps", "message"),
    [
        (torch.zeros(4, 4, 3), 25, "Images have 4 axes"),
        (torch.zeros(1, 4, 4, 1), 25, "A frame is"),
        (torch.zeros(1, 4, 4, 3), 0, "A frame rate of 0 fps"),
        (torch.zeros(1, 4, 4, 3), float("nan"), "A frame rate of nan fps"),
    ],
)
def test_other_images_and_rates_are_refused(images, fps, message):
    with pytest.raises(ValueError, match=message):
        list(frames_from_tensor(images, fps))
