"""Which of the faces in a picture is meant: by size, by number, by a point, or a box drawn by hand.

A box is x and y of its upper left corner, width and height, in pixels of the picture.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .face_detector import Faces

FaceBox = tuple[float, float, float, float]

ADVICE = "Use a larger frontal face, or connect a mask to skip detection."


def faces_by_size(faces: "Faces") -> "Faces":
    """The same faces, the largest box first; equals stay in order of their scores."""
    order = (faces.boxes[:, 2] * faces.boxes[:, 3]).argsort(descending=True, stable=True)
    return replace(
        faces, boxes=faces.boxes[order], landmarks=faces.landmarks[order], scores=faces.scores[order]
    )


def face_numbered(boxes: Sequence[FaceBox], index: int, size: tuple[int, int]) -> FaceBox:
    """The face of that number. size: height and width of the picture.

    Raises: ValueError if there is no face at all, or none of that number.
    """
    _check_any(boxes, size)
    if index >= len(boxes):
        raise ValueError(
            f"There is no face number {index}: {len(boxes)} found, numbered from 0. Choose a smaller number."
        )
    return boxes[index]


def face_at(boxes: Sequence[FaceBox], x: float, y: float, size: tuple[int, int]) -> FaceBox:
    """The smallest face around a point, or the one whose centre is nearest.

    x, y: fractions of the picture's width and height. size: its height and width.
    Raises: ValueError if there is no face.
    """
    _check_any(boxes, size)
    point = x * size[1], y * size[0]
    around = [box for box in boxes if _holds(box, point)]
    if around:
        return min(around, key=lambda box: box[2] * box[3])
    return min(boxes, key=lambda box: _distance(box, point))


def box_of(left: float, top: float, right: float, bottom: float, size: tuple[int, int]) -> FaceBox:
    """A box drawn by hand; the sides are fractions of the picture. Raises ValueError if nothing is in it."""
    if right <= left or bottom <= top:
        raise ValueError(
            f"The face's box goes from {left:g} to {right:g} and from {top:g} to {bottom:g}: nothing lies"
            " in it. Its right and lower sides must be greater than the others."
        )
    height, width = size
    return left * width, top * height, (right - left) * width, (bottom - top) * height


def _check_any(boxes: Sequence[FaceBox], size: tuple[int, int]) -> None:
    if not len(boxes):
        raise ValueError(f"No face found in the reference image ({size[1]} x {size[0]}). {ADVICE}")


def _holds(box: FaceBox, point: tuple[float, float]) -> bool:
    x, y, width, height = box
    return x <= point[0] <= x + width and y <= point[1] <= y + height


def _distance(box: FaceBox, point: tuple[float, float]) -> float:
    x, y, width, height = box
    return (x + width / 2 - point[0]) ** 2 + (y + height / 2 - point[1]) ** 2
