"""Nodes that find the faces of a picture and say inside which part of it a character's speech acts.

Both nodes tell the browser what they saw, for its face picker, as `ui` data under `hyav_faces`: a list of one

    {
      "width": 704, "height": 768,                    # of the picture, in pixels
      "boxes": [[x0, y0, x1, y1, score], ...],        # pixels and 0..1, largest face first
      "image": {"filename", "subfolder", "type"},     # the picture, for /view
      "picked": [x0, y0, x1, y1]                      # Face Mask alone: the box in use, before enlarging
    }

The picker only writes Face Mask's ordinary widgets: `pick` ("largest", "index", "point" or "box");
`face_index` (0 is the largest); `pick_x`, `pick_y`; and `box_left`, `box_top`, `box_right`, `box_bottom`. All
but the index are fractions of the picture's width and height, from 0 to 1. `enlarge` is the mask's side in
sides of the box.
"""

from collections.abc import Sequence
from typing import Any

from torch import Tensor

from .. import host
from ..hunyuan.avatar.face_mask import ENLARGE, face_mask
from ..hunyuan.avatar.face_pick import FaceBox, box_of, face_at, face_numbered, faces_by_size
from .avatar_sockets import (
    AVATAR_CATEGORY,
    FaceDetectorSocket,
    FacesSocket,
    FoundFaces,
    one_picture,
    pixels_of,
)
from .sockets import NOT_CONNECTED

io = host.io

PICKS = ("largest", "index", "point", "box")
NOTHING_TO_CHOOSE = "Face Mask needs something to choose from: connect Face Detect, or a mask."


class FaceDetect(io.ComfyNode):
    """detector, IMAGE -> HYAV_FACES."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVFaceDetect",
            display_name="Face Detect",
            category=AVATAR_CATEGORY,
            description="Finds every face in the picture, the largest first.",
            search_aliases=["insightface", "scrfd", "detect faces"],
            inputs=[
                FaceDetectorSocket.Input("detector", tooltip="From the Face Detector Loader."),
                io.Image.Input("image", tooltip="The picture, at best from Avatar Reference Image."),
            ],
            outputs=[
                FacesSocket.Output(
                    display_name="faces", tooltip="All faces with the picture they are in, for Face Mask."
                )
            ],
        )

    @classmethod
    def execute(cls, detector: Any, image: Tensor) -> io.NodeOutput:
        picture = one_picture(image)
        found = FoundFaces(faces_by_size(detector(pixels_of(picture))), picture)
        return io.NodeOutput(found, ui=seen(found))


class FaceMask(io.ComfyNode):
    """HYAV_FACES and a pick, or any MASK, enlarge -> MASK."""

    @classmethod
    def define_schema(cls) -> io.Schema:
        return io.Schema(
            node_id="HunyuanAVFaceMask",
            display_name="Face Mask",
            category=AVATAR_CATEGORY,
            description="The part of the picture that a character's speech moves: around one of the faces, "
            "or any mask of your own, for animals and cartoons.",
            search_aliases=["face picker", "speaker mask", "choose face"],
            inputs=[
                FacesSocket.Input(
                    "faces", optional=True, tooltip="From Face Detect. Not needed where a mask is connected."
                ),
                io.Mask.Input(
                    "mask",
                    optional=True,
                    tooltip="A mask of your own, used as it is in place of a face: one for the whole video, "
                    "or one for each of its latent frames.",
                ),
                io.Combo.Input(
                    "pick",
                    options=list(PICKS),
                    default="largest",
                    tooltip="Which face: the largest one, one by its number, the one at a point, or a box "
                    "drawn by hand.",
                ),
                io.Int.Input(
                    "face_index",
                    default=0,
                    min=0,
                    max=255,
                    tooltip="The face's number where pick is index; 0 is the largest.",
                ),
                fraction("pick_x", 0.5, "Where pick is point: how far right the face is"),
                fraction("pick_y", 0.5, "Where pick is point: how far down the face is"),
                fraction("box_left", 0.25, "Where pick is box: its left side"),
                fraction("box_top", 0.25, "Where pick is box: its upper side"),
                fraction("box_right", 0.75, "Where pick is box: its right side"),
                fraction("box_bottom", 0.75, "Where pick is box: its lower side"),
                io.Float.Input(
                    "enlarge",
                    default=ENLARGE,
                    min=0.1,
                    max=20.0,
                    step=0.1,
                    tooltip="Width and height of the mask, in widths and heights of the face's box. The "
                    "model was trained with 3; less keeps still what is around the face.",
                ),
            ],
            outputs=[
                io.Mask.Output(display_name="mask", tooltip="1 where the speech acts, for Avatar Character.")
            ],
            is_output_node=True,  # so that it can be run by itself, to choose a face before anything is made
        )

    @classmethod
    def validate_inputs(
        cls, pick: str | None = None, faces: Any = NOT_CONNECTED, mask: Any = NOT_CONNECTED
    ) -> bool | str:
        """Whether there is anything to choose from: alone in a graph, the node must not stop the others.

        `pick` is named because only an input that is there can carry a message, and checked because no one
        else does when it is named.
        """
        if faces is NOT_CONNECTED and mask is NOT_CONNECTED:
            return NOTHING_TO_CHOOSE
        return pick in (None, *PICKS) or f"There is no pick {pick!r}. Choose one of {', '.join(PICKS)}."

    @classmethod
    def execute(
        cls, pick: str, face_index: int, pick_x: float, pick_y: float, box_left: float, box_top: float,
        box_right: float, box_bottom: float, enlarge: float,
        faces: FoundFaces | None = None, mask: Tensor | None = None,
    ) -> io.NodeOutput:  # fmt: skip
        if mask is not None:
            return io.NodeOutput(mask if mask.ndim == 3 else mask[None])
        found = needed(faces)
        chosen = {
            "largest": lambda: face_numbered(found.boxes, 0, found.size),
            "index": lambda: face_numbered(found.boxes, face_index, found.size),
            "point": lambda: face_at(found.boxes, pick_x, pick_y, found.size),
            "box": lambda: box_of(box_left, box_top, box_right, box_bottom, found.size),
        }[pick]()
        return io.NodeOutput(face_mask(chosen, *found.size, enlarge)[None], ui=seen(found, chosen))


def fraction(input_id: str, default: float, what: str):
    """A place in the picture."""
    return io.Float.Input(
        input_id,
        default=default,
        min=0.0,
        max=1.0,
        step=0.001,
        tooltip=f"{what}, as a fraction of the picture: 0 is left or top, 1 right or bottom.",
    )


def needed(faces: FoundFaces | None) -> FoundFaces:
    """Raises ValueError if there is nothing to choose from."""
    if faces is None:
        raise ValueError(NOTHING_TO_CHOOSE)
    return faces


def seen(found: FoundFaces, picked: FaceBox | None = None) -> dict[str, list[dict[str, Any]]]:
    """What the browser is told; see the module's text."""
    height, width = found.size
    boxes = [[*corners(box), score] for box, score in zip(found.boxes, found.scores, strict=True)]
    told = {"width": width, "height": height, "boxes": boxes, "image": host.save_preview(found.picture)}
    if picked is not None:
        told["picked"] = corners(picked)
    return {"hyav_faces": [told]}


def corners(box: Sequence[float]) -> list[float]:
    """x0, y0, x1, y1 of a box given by corner, width and height."""
    x, y, width, height = box
    return [x, y, x + width, y + height]
