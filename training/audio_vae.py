"""The pocket audio autoencoder: 48 kHz sound to 50 latents a second and back.

    python -m hunyuan_av.training.audio_vae --out DIR --clips CLIPS [--steps N] [--seed S] [--device D]

Spectral distance over several resolutions, a little of the waveform itself, and the divergence from a
standard normal (arXiv:1312.6114). Then the latents are turned to their principal axes and scaled for the
sampler, which is folded into the two projections of kernel 1: the published format has no constants for that.

Such latents follow the waveform: what is seen tells how strong they are, but nothing of their mean, and a
small transformer learns hardly anything from that. So the channels that are missed least become the outline
of the sound, which does follow from the picture, and by which the others can go. In a second run the decoder
learns to read it, and the encoder to write it; there the levels of bands count more than the waveform.

Axes: b batch, c latent channels, t latents.
"""

from collections.abc import Iterator
from copy import deepcopy
from dataclasses import replace
from functools import partial
from pathlib import Path

import torch
from einops import rearrange
from torch import Tensor, nn

from ..hunyuan.foley.audio_vae import AudioVAE, AudioVAEConfig, Posterior
from ..hunyuan.foley.timing import SAMPLES_PER_LATENT
from . import outline
from .clips import Clips, draw_sounds
from .initial import initialise
from .lapped import begin_lapped
from .loop import Batch, Plan, Training, command, has_run, trained_weights
from .spectra import band_distance, spectral_distance

# The coarsest stride lies next to the waveform, where every layer costs most.
CONFIG = AudioVAEConfig(
    encoder_dim=8, encoder_rates=(8, 4, 6, 5), decoder_dim=128, decoder_rates=(5, 6, 4, 8)
)
PLAN = Plan(steps=2600, learning_rate=2e-4, decay=0.25, average=0.99, mixed=False)
OUTLINE_PLAN = Plan(steps=2500, learning_rate=3e-4, decay=0.5, average=0.99, mixed=False)
BATCH, LATENTS = 6, 20  # windows of 0.4 s
DIVERGENCE_WEIGHT = 2e-4  # of the sum over channels
WAVEFORM_WEIGHT = 0.3  # a right phase is welcome, but a missing sound is worse than one of another phase
QUIET_ENERGY = 1e-2  # of a window whose waveform matters little
LOUDEST_OF = 3  # windows that one is chosen from, most often: impacts are rare, and silence is soon learned
ANY = 0.25  # of the windows are taken as they come
FIRST_LEVEL, QUIET = 0.02, 0.002  # root mean squares: of a common window, of one that is hardly heard
FIRST_BATCHES = 16  # whose sounds the first weights are made from

OUTLINED = "outlined"  # folder of the second run, within the first one's
IMITATION_WEIGHT = 50.0  # of the encoder's squared distance from the latents it is to give
# 128 channels 50 times a second describe a sound up to 3 kHz; what is above, the decoder makes up. By the
# waveform silence is better there than a wrong guess: levels of bands must outweigh it, or all becomes dull.
BANDS_WEIGHT, OUTLINED_WAVEFORM_WEIGHT = 4.0, 0.1
ROUGHNESS = 0.005  # standard deviation of the noise that the decoder learns to overlook
MISSED_SOUNDS = 24  # windows that tell which channels are missed least

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

    spectral, waveform = spectral_distance(made, sound), waveform_distance(made, sound)
    divergence = 0.5 * (posterior.mean**2 + posterior.std**2 - 1 - posterior.logvar).sum(1).mean()
    loss = spectral + WAVEFORM_WEIGHT * waveform + DIVERGENCE_WEIGHT * divergence
    return {"loss": loss, "spectral": spectral, "waveform": waveform, "divergence": divergence}


def waveform_distance(made: Tensor, sound: Tensor) -> Tensor:
    """The part of each sound's energy by which the other differs; little of one that is hardly heard."""
    return ((made - sound).square().sum(1) / (sound.square().sum(1) + QUIET_ENERGY)).mean()


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
    loudest = candidates.abs().amax(-1).argmax(1)  # by peak: what rings briefly is chosen as often
    loudest[torch.rand(BATCH, generator=generator) < ANY] = 0
    return {"sound": candidates[torch.arange(BATCH), loudest]}


class OutlineLearner(nn.Module):
    """An aligned autoencoder, and the encoder that says what its latents are to be, which stays as it is."""

    def __init__(self, vae: AudioVAE) -> None:
        super().__init__()
        self.vae = vae
        self.reference = nn.Sequential(deepcopy(vae.encoder), deepcopy(vae.quant_conv)).requires_grad_(False)

    @torch.no_grad()
    def latents(self, sound: Tensor) -> Tensor:
        """What the transformer learns from: (b, samples) -> (b, c, t), the last channels the outline."""
        latents = Posterior(self.reference(sound[:, None])).mean
        return torch.cat([latents[:, : -outline.CHANNELS], outline.outline_latents(sound)], 1)


def outline_objective(learner: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
    """batch: "sound", (b, samples)."""
    assert isinstance(learner, OutlineLearner)
    sound = batch["sound"]
    latents = learner.latents(sound)
    noise = torch.randn(latents.shape, generator=generator).to(sound.device)
    made = learner.vae.decode(latents + ROUGHNESS * noise)[:, 0].float()
    spectral, waveform = spectral_distance(made, sound), waveform_distance(made, sound)
    bands = band_distance(made, sound)
    imitation = (learner.vae.encode(sound[:, None]).mean - latents).square().mean()
    loss = spectral + BANDS_WEIGHT * bands + OUTLINED_WAVEFORM_WEIGHT * waveform
    loss = loss + IMITATION_WEIGHT * imitation
    return {"loss": loss, "spectral": spectral, "bands": bands, "waveform": waveform, "imitation": imitation}


def outline_learner(folder: Path, clips: Clips) -> OutlineLearner:
    """Made of what the first run has reached; empty where the second has a state, which brings all of it."""
    started = has_run(folder / OUTLINED)
    return OutlineLearner(AudioVAE(CONFIG, part="both") if started else aligned(folder, clips))


def outline_training(folder: Path, clips: Clips, plan: Plan) -> Training:
    """Goes on with what the run in `folder` has reached."""
    learner = outline_learner(folder, clips)
    learner.vae.requires_grad_(True)
    return Training(learner, outline_objective, partial(draw_batch, clips), plan, folder / OUTLINED)


def train(folder: Path, clips: Clips, plan: Plan, outline_steps: int = OUTLINE_PLAN.steps) -> None:
    training(folder, clips, plan).run()
    outline_plan = replace(OUTLINE_PLAN, steps=outline_steps, seed=plan.seed, device=plan.device)
    outline_training(folder, clips, outline_plan).run()


def trained(folder: Path, clips: Clips) -> OutlineLearner:
    """The autoencoder that the runs have reached, and what its latents are to be."""
    learner = outline_learner(folder, clips)
    if has_run(folder / OUTLINED):
        learner.load_state_dict(trained_weights(folder / OUTLINED))
    return learner.eval().requires_grad_(False)


def aligned(folder: Path, clips: Clips, count: int = 60) -> AudioVAE:
    """What the first run has reached, its latents turned and scaled on sounds of `count` clips."""
    vae = AudioVAE(CONFIG, part="both")
    vae.load_state_dict(trained_weights(folder))
    vae.eval().requires_grad_(False)
    align_latents(vae, (clips.sound(i) for i in range(min(count, len(clips)))))
    generator = torch.Generator().manual_seed(0)
    make_room(vae, draw_sounds(clips, MISSED_SOUNDS, LATENTS * SAMPLES_PER_LATENT, generator))
    return vae


@torch.no_grad()
def make_room(vae: AudioVAE, sounds: Tensor) -> None:
    """Bring the channels that are missed least to the end, and clear them. sounds: (b, samples)."""
    latents = vae.encode(sounds[:, None]).mean
    missed = []
    for channel in range(latents.shape[1]):
        without = latents.clone()
        without[:, channel] = 0
        missed.append(spectral_distance(vae.decode(without)[:, 0], sounds))
    spared = torch.stack(missed).argsort()[: outline.CHANNELS]
    others = [channel for channel in range(len(missed)) if channel not in spared.tolist()]
    order = torch.cat([torch.tensor(others), spared.sort().values])

    moments = torch.cat([order, order + len(order)])
    for parameter in (vae.quant_conv.weight, vae.quant_conv.bias):
        parameter.copy_(parameter[moments])
        parameter[len(others) : len(order)] = 0
    vae.post_quant_conv.weight.copy_(vae.post_quant_conv.weight[:, order])
    vae.post_quant_conv.weight[:, len(others) :] = 0


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
    parser.add_argument("--outline-steps", type=int, default=OUTLINE_PLAN.steps)
    args = parser.parse_args()
    train(args.out, Clips(args.clips), planned(args), args.outline_steps)


if __name__ == "__main__":
    main()
