"""What materials look like: a colour for every place of a thing.

Axes: h w; a shade takes x (1, w) and y (h, 1) and gives (h, w, 3), see `painting`.
"""

import colorsys
from dataclasses import dataclass

import numpy as np

from .painting import Canvas, Colour, Ellipse, Shade

LIGHT = np.array([-0.45, -0.65, 0.61], np.float32)  # where it comes from: left, above, before the picture
GLASS_OPACITY = 0.45


@dataclass(frozen=True)
class Look:
    """One piece of a material: its colour, and where its grain lies."""

    material: str
    colour: np.ndarray
    phase: float

    @classmethod
    def draw(cls, material: str, rng: np.random.Generator) -> "Look":
        colour = np.asarray(COLOURS[material](rng), np.float32) * rng.uniform(0.9, 1.1)
        return cls(material, colour, float(rng.uniform(0, 6.28)))

    def flat(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """A surface that faces the picture."""
        return self.colour * TEXTURES[self.material](x, y, self.phase)[..., None]

    def darker(self, factor: float) -> Shade:
        return lambda x, y: self.flat(x, y) * factor

    def ball(self, canvas: Canvas, place: Ellipse) -> None:
        """A ball of it, lit from the side; glass lets through what is behind."""

        def shade(x: np.ndarray, y: np.ndarray) -> np.ndarray:
            right, down = (x - place.x) / place.wide, (y - place.y) / place.high
            front = np.sqrt(np.clip(1 - right * right - down * down, 0, 1))
            lit = right * LIGHT[0] + down * LIGHT[1] + front * LIGHT[2]
            return BALLS[self.material](self.flat(x - place.x, y - place.y), front, lit)

        if self.material == "glass":
            canvas.paint(place, shade, GLASS_OPACITY)
            rim = Ellipse(
                place.x - place.wide * 0.3, place.y - place.high * 0.4, place.wide / 4, place.high / 5
            )
            canvas.paint(rim, (1, 1, 1), 0.9)
        else:
            canvas.paint(place, shade)


# --- colours ------------------------------------------------------------------------------------------------


def rubber(rng: np.random.Generator) -> Colour:
    return colorsys.hsv_to_rgb(rng.uniform(), rng.uniform(0.8, 0.95), rng.uniform(0.75, 0.95))


COLOURS = {
    "wood": lambda rng: (0.62, rng.uniform(0.38, 0.44), rng.uniform(0.16, 0.24)),
    "metal": lambda rng: (rng.uniform(0.58, 0.66), 0.66, rng.uniform(0.68, 0.76)),
    "rubber": rubber,
    "glass": lambda rng: (rng.uniform(0.7, 0.8), 0.95, 0.97),
    "gravel": lambda rng: (rng.uniform(0.5, 0.58), 0.52, rng.uniform(0.46, 0.5)),
}


# --- grain, as a factor (h, w) of the brightness ------------------------------------------------------------


def grain(x: np.ndarray, y: np.ndarray, phase: float) -> np.ndarray:
    return 0.85 + 0.18 * np.sin(110 * (y + 0.15 * np.sin(9 * x + phase)) + phase)


def polish(x: np.ndarray, y: np.ndarray, phase: float) -> np.ndarray:
    return 0.85 + 0.2 * np.sin(26 * (x - y) + phase)


def pebbles(x: np.ndarray, y: np.ndarray, phase: float) -> np.ndarray:
    return 0.75 + 0.35 * np.sin(171 * x + 3 * np.sin(97 * y + phase)) * np.sin(203 * y + 3 * np.sin(83 * x))


def plain(x: np.ndarray, y: np.ndarray, phase: float) -> np.ndarray:
    return np.ones(np.broadcast_shapes(x.shape, y.shape), np.float32)


TEXTURES = {"wood": grain, "metal": polish, "rubber": plain, "glass": plain, "gravel": pebbles}


# --- balls: from the flat colour (h, w, 3), how far the surface faces us and the light (h, w) ---------------


def matte(colour: np.ndarray, front: np.ndarray, lit: np.ndarray) -> np.ndarray:
    return colour * (0.35 + 0.75 * np.maximum(lit, 0))[..., None]


def mirror(colour: np.ndarray, front: np.ndarray, lit: np.ndarray) -> np.ndarray:
    glint = np.maximum(lit, 0) ** 24
    return colour * (0.2 + 0.9 * np.abs(np.sin(4.2 * lit)))[..., None] + glint[..., None]


def clear(colour: np.ndarray, front: np.ndarray, lit: np.ndarray) -> np.ndarray:
    return colour * (0.55 + 0.6 * (1 - front) ** 2)[..., None]


BALLS = {"wood": matte, "rubber": matte, "metal": mirror, "glass": clear, "gravel": matte}
