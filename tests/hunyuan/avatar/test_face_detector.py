"""Faces found by networks simple enough to know what they should find."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.hunyuan.avatar.face_detector import (
    Faces,
    ScrfdDetector,
    YoloDetector,
    distinct,
    faces_in,
    overlap,
    yolo_grids,
    yolo_size,
)


def picture(height, width, boxes, colour=(255, 0, 0)):
    """A black picture with a rectangle x, y, width, height for each face."""
    image = np.zeros((height, width, 3), np.uint8)
    for x, y, box_width, box_height in boxes:
        image[y : y + box_height, x : x + box_width] = colour
    return image


def row(x1, y1, x2, y2, objectness=0.9, probability=0.9):
    box = [(x1 + x2) / 2, (y1 + y2) / 2, x2 - x1, y2 - y1]
    return torch.tensor([*box, objectness, *[x1, y1] * 5, probability])


class RedFinder:
    """The box around what is red in its first image channel, as a row of the released network."""

    def __call__(self, image, grids):
        assert [grid.shape[2:4] for grid in grids] == [
            (image.shape[2] // stride, image.shape[3] // stride) for stride in (8, 16, 32)
        ]
        assert image[0, 1:].max() == 0
        y, x = (image[0, 0] > 0.5).nonzero().T
        return row(x.min(), y.min(), x.max() + 1, y.max() + 1)[None, None]


class RedModel:
    """The same with the face of an insightface detector, which reads BGR."""

    def detect(self, image):
        y, x = (image[..., 2] > 128).nonzero()
        if not len(x):
            return np.zeros((0, 5), np.float32), None
        box = [x.min(), y.min(), x.max() + 1, y.max() + 1, 0.8]
        return np.array([box], np.float32), np.full((1, 5, 2), 7, np.float32)


@pytest.mark.parametrize(("height", "width"), [(768, 704), (704, 1216), (512, 512), (100, 260)])
def test_boxes_come_back_in_pixels_of_the_image(height, width):
    box = (width // 4, height // 3, width // 5, height // 4)
    faces = YoloDetector(RedFinder())(picture(height, width, [box]))
    assert len(faces) == 1
    cell = max(height / yolo_size(height, width)[0], 1)
    torch.testing.assert_close(faces.boxes[0], torch.tensor(box).double(), rtol=0, atol=2 * cell)
    torch.testing.assert_close(faces.landmarks[0, 3], faces.boxes[0, :2])
    assert faces.scores.item() == pytest.approx(0.81)


def test_scrfd_is_given_bgr():
    faces = ScrfdDetector(RedModel())(picture(50, 60, [(10, 20, 30, 15)]))
    assert faces.boxes.tolist() == [[10, 20, 30, 15]]
    assert faces.landmarks.shape == (1, 5, 2)
    assert faces.scores.tolist() == pytest.approx([0.8])


def test_a_picture_without_faces_has_none():
    faces = ScrfdDetector(RedModel())(picture(50, 60, [(10, 20, 30, 15)], colour=(0, 0, 255)))
    assert len(faces) == 0
    assert faces.largest is None
    assert len(faces_in(torch.zeros(10, 16), (416, 416), (416, 416))) == 0


@given(height=st.integers(64, 3000), width=st.integers(64, 3000))
def test_the_detector_sees_a_short_side_of_416(height, width):
    net_height, net_width = yolo_size(height, width)
    assert min(net_height, net_width) == 416
    assert net_height % 32 == net_width % 32 == 0
    scale = 416 / min(height, width)
    assert -1 < net_width - width * scale < 32
    assert -1 < net_height - height * scale < 32


def test_grids_hold_columns_before_rows():
    for stride, grid in zip((8, 16, 32), yolo_grids(96, 64), strict=True):
        assert grid.shape == (1, 1, 96 // stride, 64 // stride, 2)
        assert grid[0, 0, 2, 1].tolist() == [1, 2]


def test_unlikely_rows_are_left_out_and_the_others_sorted():
    rows = torch.stack(
        [
            row(0, 0, 10, 10, 0.75, 0.75),
            row(20, 0, 30, 10, 0.5, 1.0),  # objectness must exceed a half
            row(40, 0, 50, 10, 0.9, 0.55),  # and so must its product with the probability
            row(60, 0, 70, 10, 0.9, 0.9),
        ]
    )
    faces = faces_in(rows, (416, 416), (416, 416))
    assert faces.boxes[:, 0].tolist() == [60, 0]
    assert faces.scores.tolist() == pytest.approx([0.81, 0.5625])


@given(st.lists(st.tuples(*[st.integers(0, 12)] * 4), min_size=2, max_size=2))
@settings(deadline=None)
def test_overlap_is_the_shared_part_of_the_painted_pixels(boxes):
    canvas = np.zeros((2, 30, 30), bool)
    for layer, (x, y, width, height) in zip(canvas, boxes, strict=True):
        layer[y : y + height, x : x + width] = True
    union = (canvas[0] | canvas[1]).sum()
    expected = (canvas[0] & canvas[1]).sum() / union if union else 0.0
    a, b = (torch.tensor([x, y, x + width, y + height]).float() for x, y, width, height in boxes)
    assert overlap(a, b) == pytest.approx(expected)


@given(st.integers(0, 2**31), st.integers(1, 12))
@settings(max_examples=25, deadline=None)
def test_each_face_is_kept_once_and_by_its_best_box(seed, count):
    generator = torch.Generator().manual_seed(seed)
    corner, size = (torch.rand(count, 2, generator=generator) * 20 for _ in range(2))
    corners, scores = torch.cat([corner, corner + size + 1], dim=1), torch.rand(count, generator=generator)
    kept = distinct(corners, scores)
    for index in range(count):
        better = [k for k in kept if scores[k] > scores[index]]
        covered = any(overlap(corners[index], corners[k]) > 0.45 for k in better)
        assert (index in kept) == (not covered)
    assert scores[kept].tolist() == sorted(scores[kept].tolist(), reverse=True)


def test_the_largest_face_is_the_first_of_equals():
    corners = torch.tensor([[0, 0, 4, 4], [0, 0, 8, 2], [5, 5, 9, 9.0]])
    scores = torch.tensor([0.6, 0.7, 0.9])
    faces = Faces.from_corners(corners, torch.zeros(3, 5, 2), scores)
    assert faces.scores.tolist() == pytest.approx([0.9, 0.7, 0.6])
    assert faces.largest == 0
