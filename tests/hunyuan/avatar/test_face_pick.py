import pytest
import torch
from pack.hunyuan.avatar.face_detector import Faces
from pack.hunyuan.avatar.face_pick import box_of, face_at, face_numbered, faces_by_size

SIZE = (100, 200)  # height and width
SMALL, LARGE, INSIDE = (10.0, 10.0, 20.0, 20.0), (100.0, 20.0, 60.0, 60.0), (120.0, 30.0, 10.0, 10.0)
BOXES = [LARGE, SMALL, INSIDE]


def test_the_largest_face_is_first_and_equals_keep_their_order():
    boxes = torch.tensor([SMALL, LARGE, SMALL, INSIDE], dtype=torch.float64)
    found = faces_by_size(
        Faces(boxes=boxes, landmarks=torch.zeros(4, 5, 2), scores=torch.tensor([0.9, 0.8, 0.7, 0.6]))
    )
    assert found.scores.tolist() == pytest.approx([0.8, 0.9, 0.7, 0.6])
    assert tuple(found.boxes[0].tolist()) == LARGE


@pytest.mark.parametrize(
    ("x", "y", "expected"),
    [(0.1, 0.2, SMALL), (0.52, 0.25, LARGE), (0.62, 0.35, INSIDE), (0.0, 0.0, SMALL), (1.0, 1.0, LARGE)],
)
def test_a_point_means_the_smallest_face_around_it_or_the_nearest(x, y, expected):
    assert face_at(BOXES, x, y, SIZE) == expected


def test_numbers_count_from_the_largest():
    assert [face_numbered(BOXES, i, SIZE) for i in range(3)] == BOXES
    with pytest.raises(ValueError, match="no face number 3: 3 found, numbered from 0"):
        face_numbered(BOXES, 3, SIZE)


def test_without_a_face_nothing_can_be_picked():
    for pick in (lambda: face_numbered([], 0, SIZE), lambda: face_at([], 0.5, 0.5, SIZE)):
        with pytest.raises(ValueError, match=r"No face found in the reference image \(200 x 100\)"):
            pick()


def test_a_box_by_hand_is_in_fractions_of_the_picture():
    assert box_of(0.1, 0.2, 0.6, 0.7, SIZE) == pytest.approx((20, 20, 100, 50))
    with pytest.raises(ValueError, match="nothing lies in it"):
        box_of(0.5, 0.2, 0.5, 0.7, SIZE)
