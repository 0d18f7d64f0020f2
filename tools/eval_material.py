"""Tells by ear what was struck: a small classifier that learns from the true sounds of rendered scenes.

A sound is described by its spectrum at its onsets and how it rings on; the classifier is a linear one.
"""

import numpy as np
import torch

import _pack  # noqa: F401 - makes hunyuan_av importable
from hunyuan_av.hunyuan.foley.synchrony import find_onsets
from hunyuan_av.hunyuan.media.compare import HOP, log_mel
from hunyuan_av.training.scenes import MATERIALS, SAMPLE_RATE, Scene

NAMES = tuple(sorted({material for kind in ("ball", "hammer", "footsteps") for material in MATERIALS[kind]}))
MOMENTS = ((0.0, 0.03), (0.06, 0.12), (0.2, 0.3))  # seconds after an onset that are listened to
BANDS = 20
RANGE = 45.0  # dB below the loudest band that are told apart
SCENES_PER_THING = 10
SECONDS = 4.0
DECAY = 3e-3  # of the weights
STEPS = 60


def describe(sound: np.ndarray) -> np.ndarray:
    """(features,) of a sound (samples,) at 48 kHz: levels after its onsets, against the loudest."""
    levels = log_mel(sound, SAMPLE_RATE).reshape(-1, BANDS, 4).mean(axis=-1)
    onsets = find_onsets(sound, SAMPLE_RATE)
    if not len(onsets):
        onsets = np.array([levels.max(axis=1).argmax() * HOP])
    heard = [[moment(levels, onset + a, onset + b) for a, b in MOMENTS] for onset in onsets]
    spectra = np.median(heard, axis=0)
    return np.maximum(spectra - spectra.max(), -RANGE).ravel() / RANGE


def moment(levels: np.ndarray, start: float, end: float) -> np.ndarray:
    """(bands,): mean levels from one time to another, of the last moment where there is none."""
    first = min(round(start / HOP), len(levels) - 1)
    return levels[first : max(first + 1, round(end / HOP))].mean(axis=0)


class MaterialClassifier:
    """`classify(sound)` names the material."""

    def __init__(self, sounds: list[np.ndarray], materials: list[str]) -> None:
        """Learns from sounds and what was struck in them."""
        features = torch.tensor(np.stack([describe(sound) for sound in sounds])).float()
        targets = torch.tensor([NAMES.index(material) for material in materials])
        self.centre, self.spread = features.mean(0), features.std(0) + 1e-3
        self.layer = torch.nn.Linear(features.shape[1], len(NAMES))
        torch.nn.init.zeros_(self.layer.weight)
        torch.nn.init.zeros_(self.layer.bias)
        optimizer = torch.optim.LBFGS(self.layer.parameters(), max_iter=STEPS)
        inputs = (features - self.centre) / self.spread

        def loss() -> torch.Tensor:
            optimizer.zero_grad()
            error = torch.nn.functional.cross_entropy(self.layer(inputs), targets)
            total = error + DECAY * self.layer.weight.square().sum()
            total.backward()
            return total

        optimizer.step(loss)

    @classmethod
    def of_scenes(cls, scenes_per_thing: int = SCENES_PER_THING) -> "MaterialClassifier":
        """Learned from training scenes, so that held-out ones are new to it."""
        things = [(kind, m) for kind, ms in MATERIALS.items() for m in ms if m in NAMES]
        scenes = [
            Scene.draw(seed, kind=kind, material=material, seconds=SECONDS)
            for kind, material in things
            for seed in range(scenes_per_thing)
        ]
        return cls([scene.waveform() for scene in scenes], [scene.material for scene in scenes])

    @torch.no_grad()
    def classify(self, sound: np.ndarray) -> str:
        features = torch.from_numpy(describe(sound)).float()
        return NAMES[int(self.layer((features - self.centre) / self.spread).argmax())]
