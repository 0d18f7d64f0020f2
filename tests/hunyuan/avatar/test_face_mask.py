"""From a face's box to the mask of its speech."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pack.hunyuan.avatar.face_mask import face_mask, face_rectangle, latent_mask

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
