"""The guided velocity of a window: its features, and the prompts that are heard in it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from ..foley.features import FoleyFeatures
from ..foley.graphed import StepGraphs
from ..foley.timing import FoleyTiming
from ..foley.transformer import FoleyTransformer, RunBlock, run_block
from ..foley.velocity import ALWAYS, FoleyPrompt, GuidedVelocity
from ..sampling.guidance import GuidanceScales
from ..sampling.solvers import Velocity
from .plan import PlannedWindow

# What is heard in a window: prompts, each with its weight at every latent frame of it, (n,) float32. The
# weights sum to one; None is 1 everywhere.
PromptsOf = Callable[[PlannedWindow], Sequence[tuple[str, Tensor | None]]]
EncodeText = Callable[[str, str], tuple[Tensor, Tensor]]  # negative, positive -> the states of both


@dataclass(frozen=True, kw_only=True)
class GuidedWindow:
    """What a solver asks for in one window.

    parts: the velocity of each prompt, with its weights. batch and graphs: as of `GuidedWindows`.
    """

    parts: Sequence[tuple[GuidedVelocity, Tensor | None]]
    batch: int | None
    graphs: StepGraphs | None

    def __call__(self, latents: Tensor, sigma: float) -> Tensor:
        parts = [(self.graphs.of(part) if self.graphs else part, weights) for part, weights in self.parts]
        rows = latents.split(self.batch or len(latents))
        return torch.cat([weighted_sum(parts, some, sigma) for some in rows])

    @property
    def nbytes(self) -> int:
        return sum(part.nbytes for part, _ in self.parts)


@dataclass(frozen=True, kw_only=True)
class GuidedWindows:
    """Calling it with a window and its features gives what a solver asks for: (latents, sigma) -> velocity.

    prompts: `lambda window: [(prompt, None)]` for one prompt throughout.
    drop:    modalities that no branch shall see; for sound from text alone, both.
    batch:   takes that are made at once; None is all.
    run:     calls each of the transformer's blocks, see `FoleyTransformer.forward`.
    graphs:  what the steps of all windows are recorded in; None does without.
    """

    transformer: FoleyTransformer
    encode_text: EncodeText
    prompts: PromptsOf
    negative_prompt: str
    scales: GuidanceScales
    interval: tuple[float, float] = ALWAYS
    drop: frozenset[str] = frozenset()
    batch: int | None = None
    dtype: torch.dtype = torch.float32
    device: torch.device | str = "cpu"
    run: RunBlock = run_block
    graphs: StepGraphs | None = None
    states: dict[str, tuple[Tensor, Tensor]] = field(default_factory=dict)  # of prompts heard before

    def __call__(self, window: PlannedWindow, features: FoleyFeatures | None) -> GuidedWindow:
        """features: None without a video."""
        features = features or self._nothing(window)
        parts = [(self._velocity(prompt, features), weights) for prompt, weights in self.prompts(window)]
        return GuidedWindow(parts=parts, batch=self.batch, graphs=self.graphs)

    def _nothing(self, window: PlannedWindow) -> FoleyFeatures:
        timing, config = FoleyTiming(float(window.seconds)), self.transformer.config
        return FoleyFeatures(
            visual=torch.zeros(1, timing.visual_frames, config.visual_size),
            sync=torch.zeros(1, timing.sync_tokens, config.sync_size),
            sync_frames=timing.sync_frames,
        )

    def _velocity(self, prompt: str, features: FoleyFeatures) -> GuidedVelocity:
        if prompt not in self.states:
            negative, positive = self.encode_text(self.negative_prompt, prompt)
            self.states[prompt] = negative.to(self.device), positive.to(self.device)
        negative, positive = self.states[prompt]
        guide = FoleyPrompt(
            positive=positive, negative=negative, drop=self.drop,
            visual=features.visual.to(self.device), sync=features.sync.to(self.device),
        )  # fmt: skip
        return GuidedVelocity(
            self.transformer, guide, self.scales, interval=self.interval, dtype=self.dtype, run=self.run
        )


def weighted_sum(parts: Sequence[tuple[Velocity, Tensor | None]], latents: Tensor, sigma: float) -> Tensor:
    """The velocities, each with its weight (n,), which is 1 where it is None."""
    velocities = [(velocity(latents, sigma), weights) for velocity, weights in parts]
    weighted = [v if weights is None else v * weights.to(v) for v, weights in velocities]
    return torch.stack(weighted).sum(dim=0) if len(weighted) > 1 else weighted[0]
