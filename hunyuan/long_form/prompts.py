"""Which prompts a window hears: those of its shot, faded into each other on the shot's clock."""

import torch
from torch import Tensor

from ..foley.timed_prompts import PromptTrack
from .plan import FilmPlan, PlannedWindow


class WindowPrompts:
    """The prompts of a film's windows; called with a window, it gives each with its weights.

    prompt: the film's, timed or not, for shots without one of their own. It is on the film's clock; a shot's
        prompt is on the shot's.
    Raises: ValueError for a prompt whose times make no sense.
    """

    def __init__(self, plan: FilmPlan, prompt: str) -> None:
        self.plan = plan
        film = PromptTrack.parse(prompt)
        self.tracks = [
            film.within(shot.start - plan.start, shot.end - plan.start)
            if shot.prompt is None
            else PromptTrack.parse(shot.prompt)
            for shot in plan.shots
        ]

    def __call__(self, planned: PlannedWindow) -> list[tuple[str, Tensor | None]]:
        """The texts heard in a window, each with how much of it at every latent frame: (n,) float32.

        Together the weights are 1; a text that is alone has none.
        """
        shot = self.plan.shots[planned.shot]
        times = torch.tensor([float(time - shot.start) for time in planned.latent_times], dtype=torch.float64)
        weights = self.tracks[planned.shot].weights(times)
        if len(weights) == 1:
            return [(text, None) for text in weights]
        return [(text, weight.float()) for text, weight in weights.items()]

    @property
    def texts(self) -> list[str]:
        """All different texts of the film."""
        return list(dict.fromkeys(text for track in self.tracks for text in track.texts))
