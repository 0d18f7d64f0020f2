"""Long sounds in windows under our own loop."""

from collections.abc import Callable
from dataclasses import replace

from ...hunyuan.foley.velocity import FoleyPrompt
from ...hunyuan.long_form.sliding import SlidingWindows, feature_slices
from ...hunyuan.sampling.solvers import Velocity
from ...hunyuan.sampling.windows import JointVelocity
from ..foley_conditioning import check_heard_at_once
from .objects import Model


def sliding_windows(model: Model, settings: SlidingWindows) -> Model:
    """The MODEL, which now makes what is longer than a window in windows."""
    return replace(model, windows=settings)


def windowed(
    prompt: FoleyPrompt,
    latent_frames: int,
    settings: SlidingWindows | None,
    velocity_of: Callable[[FoleyPrompt], Velocity],
) -> Velocity:
    """The velocity of latents of this length; in windows, where there is more than one.

    velocity_of: of latents that are as long as the prompt's clip.
    Raises: ValueError if the windows do not start where the clocks of picture and sound agree, or if there
            are none, and the model cannot make so much at once.
    """
    windows = settings.plan(latent_frames) if settings else []
    if settings is None or len(windows) == 1:
        check_heard_at_once(latent_frames)
        return velocity_of(prompt)
    if not prompt.drop:
        settings.check_follows_a_video()
    velocities = []
    for window in windows:
        visual, sync = feature_slices(window)
        part = replace(prompt, visual=prompt.visual[:, visual], sync=prompt.sync[:, sync])
        velocities.append(velocity_of(part))
    joint = JointVelocity(windows, velocities)
    joint.blend = settings.blend(windows)
    return joint
