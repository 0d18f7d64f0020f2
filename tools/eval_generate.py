"""Makes sound for rendered scenes, with every condition as one wants it."""

import argparse
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

import _pack  # noqa: F401 - makes hunyuan_av importable
from hunyuan_av.cli.foley_models import FoleyModels
from hunyuan_av.host.standalone.memory import Placement
from hunyuan_av.hunyuan.foley.features import FoleyFeatures, encode_video
from hunyuan_av.hunyuan.foley.text_encoder import NEGATIVE_PROMPT
from hunyuan_av.hunyuan.foley.velocity import FoleyPrompt, GuidedVelocity
from hunyuan_av.hunyuan.sampling.denoise import denoise, draw_noise
from hunyuan_av.hunyuan.sampling.guidance import GuidanceScales, guidance_interval
from hunyuan_av.hunyuan.sampling.schedule import flow_sigmas
from hunyuan_av.hunyuan.sampling.solvers import SOLVERS
from hunyuan_av.training.scenes import Scene

POCKET_CFG = 1.5  # of the pocket weights; the published ones take 4.5


def add_options(parser: argparse.ArgumentParser) -> None:
    """How sound is made by every tool that judges it."""
    parser.add_argument("--steps", type=int, default=25)
    parser.add_argument("--cfg", type=float, default=POCKET_CFG, help="guidance scale (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--weights", type=Path, help="folder with weights (default: the pocket ones)")
    parser.add_argument("--device")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """How a sound is sampled.

    text_scale: guidance by the prompt, in multiples of cfg.
    guide_from, guide_to: share of the sampling in which guidance acts.
    """

    steps: int = 25
    cfg: float = POCKET_CFG
    text_scale: float = 1.0
    solver: str = "euler"
    seed: int = 0
    guide_from: float = 0.0
    guide_to: float = 1.0

    @property
    def scales(self) -> GuidanceScales:
        return GuidanceScales(text=self.cfg * self.text_scale, video=self.cfg, sync=self.cfg)


@dataclass(eq=False)
class Generator:
    """The networks, and the features of the scenes they have seen."""

    models: FoleyModels
    seen: dict[Scene, FoleyFeatures] = field(default_factory=dict)

    @classmethod
    def load(cls, weights: Path | None, device: str | None) -> "Generator":
        """The networks in a folder, else the pocket ones."""
        return cls(FoleyModels.load(weights, None, Placement.choose(device), vae_part="both"))

    def features(self, scene: Scene) -> FoleyFeatures:
        """What is seen of a scene; encoded once."""
        if scene not in self.seen:
            models = self.models
            self.seen[scene] = encode_video(scene.stream(), models.visual_encoder, models.sync_encoder)
        return self.seen[scene]

    @torch.inference_mode()
    def sound(
        self,
        scene: Scene,
        settings: Settings,
        *,
        prompt: str | None = None,
        picture: Scene | None = None,
        drop: frozenset[str] = frozenset(),
    ) -> np.ndarray:
        """(samples,) at 48 kHz.

        prompt: instead of the scene's caption. picture: the scene that is looked at instead.
        drop: modalities that are not looked at.
        """
        models, features = self.models, self.features(picture or scene)
        device = models.placement.device
        negative, positive = models.text_encoder.encode(NEGATIVE_PROMPT, prompt or scene.caption)
        conditions = FoleyPrompt(
            positive=positive.to(device), negative=negative.to(device),
            visual=features.visual.to(device), sync=features.sync.to(device), drop=drop,
        )  # fmt: skip
        velocity = GuidedVelocity(
            models.transformer, conditions, settings.scales, dtype=models.placement.dtype,
            interval=guidance_interval(settings.guide_from, settings.guide_to),
        )  # fmt: skip
        shape = 1, models.transformer.config.latent_channels, features.timing.latent_frames
        noise = draw_noise(shape, settings.seed).to(device)
        *_, latents = denoise(velocity, noise, flow_sigmas(settings.steps), SOLVERS[settings.solver])
        return models.audio_vae.decode_tiled(latents)[0, 0].float().cpu().numpy()

    @torch.inference_mode()
    def round_trip(self, sound: np.ndarray) -> np.ndarray:
        """The sound after encoding and decoding, as long as before."""
        waveform = torch.from_numpy(sound)[None, None].to(self.models.placement.device)
        latents = self.models.audio_vae.encode_tiled(waveform).mode
        decoded = self.models.audio_vae.decode_tiled(latents)[0, 0].float().cpu().numpy()
        return np.pad(decoded, (0, max(0, len(sound) - len(decoded))))[: len(sound)]
