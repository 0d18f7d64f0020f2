"""Draws the pictures that ComfyUI's template browser shows: workflows/*.jpg, each graph in miniature.

python tools/make_thumbnails.py
"""

import json
import sys
from collections.abc import Mapping
from typing import Any

from PIL import Image, ImageColor, ImageDraw, ImageFont

import _pack

SIZE = 960, 640
MARGIN, TOP = 40, 128
GROUND, PANEL, NODE, INK, DIM = "#15171c", "#1f232b", "#343a46", "#f2f4f8", "#9aa4b5"
OF_TYPE = {
    "MODEL": "#b39ddb", "VAE": "#ff6e6e", "CLIP": "#ffd54f", "CONDITIONING": "#ffb74d", "LATENT": "#ff9cf9",
    "AUDIO": "#7ddfa6", "VIDEO": "#64b5f6", "IMAGE": "#64b5f6", "MASK": "#81c784",
}  # fmt: skip # links, as the frontend colours them
SCALE = 2  # drawn larger, then reduced, for smooth edges


def main() -> int:
    for path in sorted((_pack.ROOT / "workflows").glob("*.json")):
        picture = draw(json.loads(path.read_text()), title(path.stem))
        picture.save(path.with_suffix(".jpg"), quality=88, optimize=True)
        print(path.with_suffix(".jpg").name)
    return 0


def title(stem: str) -> tuple[str, str]:
    """("Foley", "Video to sound") of foley_video_to_sound."""
    system, _, words = stem.partition("_")
    return system.capitalize(), words.replace("_", " ").capitalize()


def draw(workflow: Mapping[str, Any], words: tuple[str, str]) -> Image.Image:
    picture = Image.new("RGB", tuple(SCALE * side for side in SIZE), GROUND)
    pen = ImageDraw.Draw(picture)
    system, name = words
    pen.text((SCALE * MARGIN, SCALE * 26), system.upper(), DIM, ImageFont.load_default(SCALE * 20))
    pen.text((SCALE * MARGIN, SCALE * 52), name, INK, ImageFont.load_default(SCALE * 44))
    Miniature(workflow).draw(pen)
    return picture.resize(SIZE, Image.Resampling.LANCZOS)


class Miniature:
    """A graph, fitted below the title."""

    def __init__(self, workflow: Mapping[str, Any]) -> None:
        self.workflow = workflow
        bounds = [group["bounding"] for group in workflow["groups"]]
        self.left, self.top = min(b[0] for b in bounds), min(b[1] for b in bounds)
        width = max(b[0] + b[2] for b in bounds) - self.left
        height = max(b[1] + b[3] for b in bounds) - self.top
        room = SIZE[0] - 2 * MARGIN, SIZE[1] - TOP - MARGIN
        self.zoom = min(room[0] / width, room[1] / height)
        self.shift = MARGIN + (room[0] - width * self.zoom) / 2, TOP + (room[1] - height * self.zoom) / 2

    def at(self, x: float, y: float) -> tuple[float, float]:
        across, down = (x - self.left) * self.zoom, (y - self.top) * self.zoom
        return SCALE * (self.shift[0] + across), SCALE * (self.shift[1] + down)

    def draw(self, pen: ImageDraw.ImageDraw) -> None:
        for group in self.workflow["groups"]:
            x, y, width, height = group["bounding"]
            box = (*self.at(x, y), *self.at(x + width, y + height))
            pen.rounded_rectangle(box, SCALE * 10, fill=mixed(group["color"], PANEL, 0.25))
        nodes = {node["id"]: node for node in self.workflow["nodes"]}
        for link in self.workflow["links"]:
            self.draw_link(pen, nodes[link[1]], link[2], nodes[link[3]], link[4], link[5])
        for node in nodes.values():
            self.draw_node(pen, node)

    def draw_node(self, pen: ImageDraw.ImageDraw, node: Mapping[str, Any]) -> None:
        (x, y), (width, height) = node["pos"], node["size"]
        box = (*self.at(x, y - 30), *self.at(x + width, y + height))
        is_note = node["type"] == "MarkdownNote"
        pen.rounded_rectangle(box, SCALE * 5, fill="#5b4a2c" if is_note else NODE)
        if not is_note:
            ours = node["type"].startswith("HunyuanAV")
            head = (*self.at(x, y - 30), *self.at(x + width, y))
            pen.rounded_rectangle(head, SCALE * 4, fill="#5a7bb0" if ours else "#4a5160")
        for line in range(2, max(3, int(height / 26))):
            start, end = self.at(x + 20, y + 26 * line - 20), self.at(x + width * 0.8, y + 26 * line - 20)
            pen.line((*start, *end), fill="#7b6a4a" if is_note else "#485061", width=SCALE)

    def draw_link(
        self, pen: ImageDraw.ImageDraw, source: Any, out: int, target: Any, given: int, of: str
    ) -> None:
        start = self.at(source["pos"][0] + source["size"][0], source["pos"][1] + 20 * out + 14)
        end = self.at(target["pos"][0], target["pos"][1] + 20 * given + 14)
        reach = max(SCALE * 14, abs(end[0] - start[0]) / 2)
        points = [bezier(start, end, reach, step / 24) for step in range(25)]
        pen.line(points, fill=OF_TYPE.get(of, "#8fa3bf"), width=round(SCALE * 1.6), joint="curve")


def bezier(
    start: tuple[float, float], end: tuple[float, float], reach: float, t: float
) -> tuple[float, float]:
    weights = (1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t**2 * (1 - t), t**3
    xs = start[0], start[0] + reach, end[0] - reach, end[0]
    ys = start[1], start[1], end[1], end[1]
    return sum(w * x for w, x in zip(weights, xs, strict=True)), sum(
        w * y for w, y in zip(weights, ys, strict=True)
    )


def mixed(colour: str, ground: str, share: float) -> tuple[int, ...]:
    pairs = zip(ImageColor.getrgb(colour)[:3], ImageColor.getrgb(ground)[:3], strict=True)
    return tuple(round(share * a + (1 - share) * b) for a, b in pairs)


if __name__ == "__main__":
    sys.exit(main())
