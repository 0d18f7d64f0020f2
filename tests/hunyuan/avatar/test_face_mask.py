"""From a face's box to the mask of its speech."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pack.hunyuan.avatar.face_mask import face_mask, face_rectangle, fit_mask, latent_mask
from pack.hunyuan.avatar.timing import AvatarTiming

COORDINATES = st.floats(-500, 1500)
SIDES = st.floats(0, 1500)


@pytest.mark.parametrize(
    ("box", "size", "rectangle"),
    [
        ((250.3, 120.7, 180.2, 220.9), (768, 704), (70, 0, 610, 562)),
        ((300.0, 200.0, 101.0, 133.0), (1216, 704), (199, 67, 501, 465)),
        ((400.2, 650.9, 111.7, 100.1), (768, 512), (289, 550, 512, 768)),
        ((330.0, 330.0, 24.0, 31.0), (704, 704), (306, 299, 378, 391)),
    ],
)
def test_published_rectangles_are_reproduced(box, size, rectangle):
    assert face_rectangle(box, *size) == rectangle


@given(box=st.tuples(COORDINATES, COORDINATES, SIDES, SIDES), enlarge=st.floats(0.1, 5))
def test_a_mask_stays_inside_the_image(box, enlarge):
    left, top, right, bottom = face_rectangle(box, 96, 64, enlarge)
    assert 0 <= left <= right
    assert 0 <= top <= bottom
    if left < right and top < bottom:
        assert (right <= 64, bottom <= 96) == (True, True)
    mask = face_mask(box, 96, 64, enlarge)
    area = max(min(right, 64) - left, 0) * max(min(bottom, 96) - top, 0)
    assert mask.sum() == area
    assert mask[top:bottom, left:right].eq(1).all()


def test_a_box_beside_the_image_leaves_nothing():
    assert face_mask((-300, 10, 20, 20), 96, 64).sum() == 0
    assert face_mask((10, 900, 20, 20), 96, 64).sum() == 0


def test_without_a_face_everything_is_inside():
    assert face_mask(None, 16, 24).eq(1).all()


def test_a_latent_takes_the_mean_of_the_four_pixels_in_its_middle():
    mask = torch.rand(2, 24, 16, generator=torch.Generator().manual_seed(0))
    found = latent_mask(mask)
    assert found.shape == (1, 1, 2, 3, 2)
    for frame, row, column in [(0, 0, 0), (1, 2, 1), (0, 1, 1)]:
        middle = mask[frame, 8 * row + 3 : 8 * row + 5, 8 * column + 3 : 8 * column + 5]
        assert found[0, 0, frame, row, column] == pytest.approx(middle.mean().item())


@pytest.mark.parametrize("shape", [(16, 16), (1, 16, 20), (1, 0, 16)])
def test_a_mask_of_another_shape_is_refused_with_its_shape(shape):
    with pytest.raises(ValueError, match=r"multiples of 8 pixels, not \("):
        latent_mask(torch.zeros(shape))


# --- any mask


TIMING = AvatarTiming(150, fit=True)  # 39 latents


def test_a_mask_of_the_pictures_size_is_what_the_transformer_takes():
    mask = face_mask((20, 30, 20, 20), 128, 64)[None]
    assert torch.equal(fit_mask(mask, 128, 64, TIMING), latent_mask(mask))


def test_a_mask_of_another_size_marks_the_same_part():
    mask = torch.zeros(1, 50, 40)
    mask[:, 25:, :20] = 1
    found = fit_mask(mask, 128, 96, TIMING)
    assert found.shape == (1, 1, 1, 16, 12)
    assert found[0, 0, 0, 9:, :5].min() > 0.99
    assert found[0, 0, 0, :7].max() < 0.01
    assert found[0, 0, 0, :, 7:].max() < 0.01


def test_a_mask_for_each_frame_gives_each_latent_the_mean_of_its_own():
    frames = torch.zeros(150, 32, 32)
    frames[0] = 1
    frames[3] = 1  # of the second latent, frames 1 to 4
    frames[-1] = 1
    found = fit_mask(frames, 32, 32, TIMING)
    means = found.mean((0, 1, 3, 4))
    assert found.shape[2] == TIMING.ring_latents
    assert means[:3].tolist() == pytest.approx([1, 0.25, 0])
    assert means[-1] == pytest.approx(1)  # of frame 149 alone


def test_a_mask_for_each_latent_is_taken_as_it_is():
    masks = torch.rand(TIMING.ring_latents, 32, 32, generator=torch.Generator().manual_seed(0))
    assert torch.equal(fit_mask(masks, 32, 32, TIMING), latent_mask(masks))


def test_as_many_masks_as_frames_are_for_the_frames_even_if_the_ring_is_as_long():
    timing = AvatarTiming(33, fit=True)
    assert timing.ring_latents == timing.kept_frames == 33
    frames = torch.zeros(33, 32, 32)
    frames[9:] = 1  # from the fourth latent on, which holds frames 9 to 12
    assert fit_mask(frames, 32, 32, timing).mean((0, 1, 3, 4)).tolist() == [0] * 3 + [1] * 30


def test_a_mark_that_no_token_sees_is_refused():
    mask = torch.zeros(1, 64, 96)
    mask[:, :, 8:16] = 1  # the second column of latents: a token looks at the first of two
    with pytest.raises(ValueError, match=r"too small for a video of 96 x 64.*16 x 16 pixels apart"):
        fit_mask(mask, 64, 96, TIMING)


def test_masks_of_a_short_clip_stay_to_the_end_of_its_ring():
    timing = AvatarTiming(20, fit=True)
    frames = torch.ones(20, 32, 32)
    assert fit_mask(frames, 32, 32, timing).shape[2] == timing.ring_latents == 33


@pytest.mark.parametrize(
    ("mask", "sentence"),
    [
        (torch.zeros(1, 32, 32), "The mask is empty"),
        (torch.full((1, 32, 32), torch.nan), "values that are no numbers"),
        (
            torch.ones(1, 32, 100),
            r"mask of 100 x 32 pixels has not the proportions of the reference image of 32 x 32",
        ),
        (torch.ones(32, 32), r"not \(32, 32\)"),
        (torch.ones(7, 32, 32), "7 masks for 150 video frames"),
    ],
)
def test_a_mask_that_cannot_be_meant_is_refused(mask, sentence):
    with pytest.raises(ValueError, match=sentence):
        fit_mask(mask, 32, 32, TIMING)
