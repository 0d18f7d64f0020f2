"""The pocket audio autoencoder: 48 kHz sound to 50 latents a second and back.

    python -m hunyuan_av.training.audio_vae --out DIR --clips CLIPS [--steps N] [--seed S] [--device D]

Spectral distance over several resolutions, a little of the waveform itself, and the divergence from a
standard normal (arXiv:1312.6114). Afterwards the latents are turned to their principal axes and scaled for
the sampler, which is folded into the two projections of kernel 1: the published format has no constants for
that.

Axes: b batch, c latent channels, t latents.
"""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor, nn

from ..hunyuan.foley.audio_vae import AudioVAE, AudioVAEConfig
from ..hunyuan.foley.timing import SAMPLES_PER_LATENT
from .clips import Clips, draw_sounds
from .initial import initialise
from .lapped import begin_lapped
from .loop import Batch, Plan, Training, command, has_run, trained_weights
from .spectra import spectral_distance

# The coarsest stride lies next to the waveform, where every layer costs most.
CONFIG = AudioVAEConfig(
    encoder_dim=8, encoder_rates=(8, 4, 6, 5), decoder_dim=128, decoder_rates=(5, 6, 4, 8)
)
PLAN = Plan(steps=400, learning_rate=1.5e-4, decay=0.01, average=0.99, mixed=False)
DECODER_PLAN = Plan(steps=800, learning_rate=3e-4, decay=0.5, average=0.99, mixed=False)
BATCH, LATENTS = 6, 20  # windows of 0.4 s
DIVERGENCE_WEIGHT = 2e-4  # of the sum over channels
WAVEFORM_WEIGHT = 0.3  # a right phase is welcome, but a missing sound is worse than one of another phase
QUIET_ENERGY = 1e-2  # of a window whose waveform matters little
LOUDEST_OF = 3  # windows that one is chosen from, most often: impacts are rare, and silence is soon learned
ANY = 0.25  # of the windows are taken as they come
FIRST_LEVEL, QUIET = 0.02, 0.002  # root mean squares: of a common window, of one that is hardly heard
FIRST_BATCHES = 16  # whose sounds the first weights are made from

DECODER = "decoder"  # folder of the second run, within the first one's

KEPT_VARIANCE = 0.9995  # of the latents, by the channels that stay; the rest of the published 128 are zero
WHITENING = 0.5  # 0 keeps the axes' own scales, 1 makes them equal
LEVEL = 0.25  # root mean square of the latents: impacts, which are rare, then stay within a few units


def objective(vae: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
    """batch: "sound", (b, samples)."""
    assert isinstance(vae, AudioVAE)
    sound = batch["sound"]
    posterior = vae.encode(sound[:, None])
    noise = torch.randn(posterior.mean.shape, generator=generator).to(sound.device)
    made = vae.decode(posterior.sample(noise))[:, 0].float()

    spectral = spectral_distance(made, sound)
    waveform = ((made - sound).square().sum(1) / (sound.square().sum(1) + QUIET_ENERGY)).mean()
    divergence = 0.5 * (posterior.mean**2 + posterior.std**2 - 1 - posterior.logvar).sum(1).mean()
    loss = spectral + WAVEFORM_WEIGHT * waveform + DIVERGENCE_WEIGHT * divergence
    return {"loss": loss, "spectral": spectral, "waveform": waveform, "divergence": divergence}


def new_vae(seed: int, sounds: Tensor, config: AudioVAEConfig = CONFIG) -> AudioVAE:
    """sounds: (b, samples), a few to begin from."""
    vae = AudioVAE(config, part="both")
    initialise(vae, seed)
    begin_lapped(vae, sounds)
    return vae


def training(folder: Path, clips: Clips, plan: Plan, config: AudioVAEConfig = CONFIG) -> Training:
    draw = partial(draw_batch, clips)
    sounds = torch.cat([draw(plan.generator(-1 - i))["sound"] for i in range(FIRST_BATCHES)])
    # All as loud, or the loudest kinds would take most of the axes.
    sounds = sounds / (sounds.square().mean(1, keepdim=True).sqrt() + QUIET)
    return Training(new_vae(plan.seed, FIRST_LEVEL * sounds, config), objective, draw, plan, folder)


def draw_batch(clips: Clips, generator: torch.Generator) -> Batch:
    windows = draw_sounds(clips, LOUDEST_OF * BATCH, LATENTS * SAMPLES_PER_LATENT, generator)
    candidates = rearrange(windows, "(b tries) samples -> b tries samples", b=BATCH)
    loudest = candidates.square().mean(-1).argmax(1)
    loudest[torch.rand(BATCH, generator=generator) < ANY] = 0
    return {"sound": candidates[torch.arange(BATCH), loudest]}


def decoder_training(folder: Path, clips: Clips, plan: Plan) -> Training:
    """Goes on with the decoder of the run in `folder` alone: latents that were cached stay as they are."""
    vae = AudioVAE(CONFIG, part="both")
    vae.load_state_dict(trained_weights(folder))
    vae.encoder.requires_grad_(False)
    vae.quant_conv.requires_grad_(False)
    return Training(vae, objective, partial(draw_batch, clips), plan, folder / DECODER)


def train(folder: Path, clips: Clips, plan: Plan, decoder_steps: int = DECODER_PLAN.steps) -> None:
    training(folder, clips, plan).run()
    decoder_plan = replace(DECODER_PLAN, steps=decoder_steps, seed=plan.seed, device=plan.device)
    decoder_training(folder, clips, decoder_plan).run()


def trained(folder: Path, clips: Clips, count: int = 60) -> AudioVAE:
    """The autoencoder that a run has reached, its latents turned and scaled on sounds of `count` clips."""
    vae = AudioVAE(CONFIG, part="both")
    vae.load_state_dict(trained_weights(folder / DECODER if has_run(folder / DECODER) else folder))
    vae.eval().requires_grad_(False)
    align_latents(vae, (clips.sound(i) for i in range(min(count, len(clips)))))
    return vae


@torch.no_grad()
def align_latents(vae: AudioVAE, sounds: Iterator[Tensor]) -> None:
    """Turn the latents to their principal axes, drop those that hold nothing, and scale the others.

    Every kept channel's deviation becomes the square root of what it was, times what brings them to `LEVEL`.
    The posterior's width, which nothing but training uses, becomes its mean.
    """
    posteriors = [vae.encode(sound[None, None]) for sound in sounds]
    means = torch.cat([rearrange(p.mean, "1 c t -> t c") for p in posteriors]).double()
    widths = torch.cat([rearrange(p.std, "1 c t -> t c") for p in posteriors]).double().square().mean(0)
    centre = means.mean(0)
    variances, axes = torch.linalg.eigh(torch.cov((means - centre).T))
    variances, axes = variances.flip(0).clamp(min=0), axes.flip(1)  # (c,), (c, axis)
    kept = int((variances.cumsum(0) < KEPT_VARIANCE * variances.sum()).sum()) + 1

    deviations = variances[:kept].sqrt() ** (1 - WHITENING)
    gains = torch.zeros_like(variances)
    gains[:kept] = LEVEL * deviations / deviations.square().mean().sqrt() / variances[:kept].sqrt()
    into = gains[:, None] * axes.T
    back = axes[:, :kept] / gains[:kept]
    turn_projections(vae, into, back, centre, widths)


def turn_projections(vae: AudioVAE, into: Tensor, back: Tensor, centre: Tensor, widths: Tensor) -> None:
    """New latents are into (z - centre); z is back times the first of them, plus centre."""
    channels, kept = back.shape
    quant, post = vae.quant_conv, vae.post_quant_conv
    weight, bias = quant.weight[:channels, :, 0].double(), quant.bias[:channels].double()
    quant.weight.zero_()
    quant.weight[:channels, :, 0] = (into @ weight).float()
    quant.bias[:channels] = (into @ (bias - centre)).float()
    quant.bias[channels:] = ((into**2) @ widths).clamp(min=1e-6).log().float()

    weight = post.weight[:, :, 0].double()
    post.bias += (weight @ centre).float()
    post.weight.zero_()
    post.weight[:, :kept, 0] = (weight @ back).float()


def main() -> None:
    parser, planned = command(__doc__, PLAN)
    parser.add_argument("--clips", type=Path, required=True, help="folder of rendered clips")
    parser.add_argument("--decoder-steps", type=int, default=DECODER_PLAN.steps)
    args = parser.parse_args()
    train(args.out, Clips(args.clips), planned(args), args.decoder_steps)


if __name__ == "__main__":
    main()
