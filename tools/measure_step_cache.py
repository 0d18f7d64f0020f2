"""What each step cache of Avatar saves and costs: full steps, and how far the final latents are off.

    python tools/measure_step_cache.py [--steps 25 50] [--tolerance 0.05 0.3 0.4 0.5] [--ring 40]

The transformer is the pocket one, the inputs are random. Distances are relative to the same run without a
cache. The pocket network is untrained, and what it says changes by 30 % in each step, so that only large
tolerances let anything pass.
"""

import argparse

import torch
from torch import Tensor

import _pack  # noqa: F401 - makes hunyuan_av importable
from hunyuan_av.host.model_files import PACK, PLACES
from hunyuan_av.hunyuan.avatar.conditions import AvatarPrompt, AvatarScene, Character, Motion
from hunyuan_av.hunyuan.avatar.config import AUDIO_STATES, AUDIO_WINDOW
from hunyuan_av.hunyuan.avatar.settings import FLOW_SHIFT, AvatarSettings
from hunyuan_av.hunyuan.avatar.transformer import AvatarTransformer
from hunyuan_av.hunyuan.avatar.velocity import AvatarClip, RingVelocity, denoise_ring
from hunyuan_av.hunyuan.sampling.denoise import draw_noise
from hunyuan_av.hunyuan.sampling.schedule import flow_sigmas
from hunyuan_av.model_loaders.avatar import load_transformer

SIDE = 8  # latents


@torch.no_grad()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--steps", type=int, nargs="+", default=[25, 50])
    parser.add_argument("--tolerance", type=float, nargs="+", default=[0.05, 0.3, 0.4, 0.5])
    parser.add_argument("--ring", type=int, default=40, help="latents")
    given = parser.parse_args()
    model = load_transformer(PACK / PLACES["avatar_model"].pocket, torch.float32)
    clip = random_clip(model, given.ring)
    for steps in given.steps:
        exact, _ = sampled(model, clip, given.ring, steps, AvatarSettings(step_cache="off"))
        caches = {name: AvatarSettings(step_cache=name) for name in ("published", "scaled")}
        for tolerance in given.tolerance:
            settings = AvatarSettings(step_cache="error-driven", tolerance=tolerance)
            caches[f"error-driven {tolerance:g}"] = settings
        for name, settings in caches.items():
            made, full = sampled(model, clip, given.ring, steps, settings)
            off = float((made - exact).norm() / exact.norm())
            print(f"{steps} steps  {name:18}  {full} full  {100 * off:.2f} % off", flush=True)


def random_clip(model: AvatarTransformer, ring: int) -> AvatarClip:
    config, random = model.config, torch.Generator().manual_seed(0)

    def numbers(*shape: int) -> Tensor:
        return torch.randn(shape, generator=random)

    mask = torch.zeros(1, 1, 1, SIDE, SIDE)
    mask[..., : SIDE // 2, :] = 1
    prompts = [
        AvatarPrompt(
            states=numbers(1, 64, config.text_size),
            mask=torch.ones(1, 64, dtype=torch.int64),
            pooled=numbers(1, config.pooled_size),
        )
        for _ in range(2)
    ]
    audio = numbers(1, 4 * ring - 3, AUDIO_WINDOW, AUDIO_STATES, config.audio_size)
    return AvatarClip(
        positive=prompts[0],
        negative=prompts[1],
        scene=AvatarScene(reference=numbers(1, config.latent_channels, 1, SIDE, SIDE), motion=Motion.of()),
        characters=(Character(audio=audio, mask=mask),),
    )


def sampled(
    model: AvatarTransformer, clip: AvatarClip, ring: int, steps: int, settings: AvatarSettings
) -> tuple[Tensor, int]:
    """The final latents, and how many steps were computed in full."""
    velocity = RingVelocity.of(model, clip, settings, steps, ring)
    noise = draw_noise((1, model.config.latent_channels, ring, SIDE, SIDE), 1)
    *_, last = denoise_ring(velocity, noise, flow_sigmas(steps, shift=FLOW_SHIFT))
    cache = velocity.step_cache
    return last, len(cache.full_steps) if cache else sum(not step.cached for step in velocity.schedule)


if __name__ == "__main__":
    main()
