"""Faces in the reference image, best first, over a network that is handed in.

Two networks are spoken to: SCRFD (arXiv:2105.04714) through insightface, and the YOLO face detector
(arXiv:2105.12931) that was released with Avatar.

Axes: n faces, h w height and width.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

LANDMARKS = 5  # eyes, nose, corners of the mouth

YOLO_SHORT_SIDE = 416  # pixels that the released detector looks at
YOLO_STRIDES = (8, 16, 32)
YOLO_THRESHOLD = 0.5  # of objectness, and of the score
YOLO_OVERLAP = 0.45  # intersection over union above which two boxes are the same face


@dataclass(frozen=True, kw_only=True)
class Faces:
    """What was found, by descending score, in pixels of the image.

    boxes:     (n, 4) float64: x and y of the upper left corner, width, height.
    landmarks: (n, 5, 2) float64: x and y.
    scores:    (n,) float64, in 0..1.
    """

    boxes: Tensor
    landmarks: Tensor
    scores: Tensor

    def __len__(self) -> int:
        return len(self.boxes)

    @property
    def largest(self) -> int | None:
        """Index of the face with the largest box, the first of equals; None if there is no face."""
        return int((self.boxes[:, 2] * self.boxes[:, 3]).argmax()) if len(self) else None

    @classmethod
    def from_corners(cls, corners: Tensor, landmarks: Tensor, scores: Tensor) -> "Faces":
        """In the order of `scores`. corners: (n, 4), x1, y1, x2, y2. landmarks: (n, 5, 2)."""
        order = scores.argsort(descending=True, stable=True)
        corners, landmarks, scores = (x[order].double() for x in (corners, landmarks, scores))
        boxes = torch.cat([corners[:, :2], corners[:, 2:] - corners[:, :2]], dim=1)
        return cls(boxes=boxes, landmarks=landmarks, scores=scores)


class ScrfdDetector:
    """SCRFD, as insightface runs it.

    model: an insightface model of the task "detection", prepared with its threshold and input size.
    """

    def __init__(self, model: Any) -> None:
        self.model = model

    def __call__(self, image: np.ndarray) -> Faces:
        """image: (h, w, 3) uint8 RGB."""
        found, landmarks = self.model.detect(np.ascontiguousarray(image[..., ::-1]))  # it reads BGR
        found = torch.from_numpy(np.asarray(found, dtype=np.float64)).view(-1, 5)
        if landmarks is None:
            landmarks = np.zeros((len(found), LANDMARKS, 2))
        landmarks = torch.from_numpy(np.asarray(landmarks, dtype=np.float64)).view(-1, LANDMARKS, 2)
        return Faces.from_corners(found[:, :4], landmarks, found[:, 4])


class YoloDetector:
    """The released detector: its network, and what was done before and after it.

    network: takes an image (1, 3, h, w) RGB in [0, 1] and the cell indexes of each stride, (1, 1, rows,
        columns, 2) with x before y; gives rows (1, n, 16), see `faces_in`.
    """

    def __init__(
        self, network: Callable[[Tensor, Sequence[Tensor]], Tensor], device: torch.device | str = "cpu"
    ) -> None:
        self.network, self.device = network, device

    def __call__(self, image: np.ndarray) -> Faces:
        """image: (h, w, 3) uint8 RGB."""
        height, width = image.shape[:2]
        size = yolo_size(height, width)
        pixels = torch.from_numpy(image).permute(2, 0, 1)[None].to(self.device, torch.float32) / 255
        pixels = F.interpolate(pixels, size, mode="bilinear", align_corners=False)
        rows = self.network(pixels, [grid.to(self.device) for grid in yolo_grids(*size)])
        return faces_in(rows[0].float().cpu(), size, (height, width))


def yolo_size(height: int, width: int) -> tuple[int, int]:
    """Height and width that the detector sees an image at: the short side at 416, both filled up to 32."""
    scale, multiple = YOLO_SHORT_SIDE / min(height, width), YOLO_STRIDES[-1]
    net_height, net_width = (
        int(side * scale + multiple - 1) // multiple * multiple for side in (height, width)
    )
    return net_height, net_width


def yolo_grids(height: int, width: int) -> list[Tensor]:
    """The indexes (x, y) of the cells at each stride: (1, 1, rows, columns, 2) float32 each."""
    grids = []
    for stride in YOLO_STRIDES:
        rows, columns = torch.arange(height // stride), torch.arange(width // stride)
        y, x = torch.meshgrid(rows, columns, indexing="ij")
        grids.append(torch.stack([x, y], dim=-1)[None, None].float())
    return grids


def faces_in(rows: Tensor, net_size: tuple[int, int], image_size: tuple[int, int]) -> Faces:
    """The faces that the network's rows describe, each once.

    rows: (n, 16): centre x and y, width, height, objectness, x and y of five landmarks, probability of a
        face; pixels are the network's.
    net_size, image_size: height and width that the network saw, and those of the image.
    """
    rows = rows[rows[:, 4] > YOLO_THRESHOLD]
    scores = rows[:, 4] * rows[:, 15]
    rows, scores = rows[scores > YOLO_THRESHOLD], scores[scores > YOLO_THRESHOLD]

    centre, size = rows[:, :2], rows[:, 2:4]
    corners = torch.cat([centre - size / 2, centre + size / 2], dim=1)
    kept = distinct(corners, scores)

    scale = torch.tensor([image_size[1] / net_size[1], image_size[0] / net_size[0]], dtype=torch.float64)
    landmarks = rows[kept, 5:15].double().view(-1, LANDMARKS, 2) * scale
    return Faces.from_corners(corners[kept].double() * scale.repeat(2), landmarks, scores[kept])


def distinct(corners: Tensor, scores: Tensor) -> list[int]:
    """Indexes of boxes that no better box covers too much of, best first. corners: (n, 4), x1, y1, x2, y2."""
    kept: list[int] = []
    for candidate in scores.argsort(descending=True, stable=True).tolist():
        if all(overlap(corners[candidate], corners[better]) <= YOLO_OVERLAP for better in kept):
            kept.append(candidate)
    return kept


def overlap(a: Tensor, b: Tensor) -> float:
    """Intersection over union of two boxes x1, y1, x2, y2."""
    sides = (torch.minimum(a[2:], b[2:]) - torch.maximum(a[:2], b[:2])).clamp(min=0)
    shared = float(sides.prod())
    union = float((a[2:] - a[:2]).prod()) + float((b[2:] - b[:2]).prod()) - shared
    return shared / union if union else 0.0
