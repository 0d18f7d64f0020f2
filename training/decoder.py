"""The autoencoder's decoder alone, at last: to sound well with latents as the transformer makes them.

    python -m hunyuan_av.training.decoder --out DIR --generated GENERATED [--begin FILE] [--steps N]

The transformer places its outlines sharply, but what it makes of the details beside them is too soft, hardly
has a pitch, and begins a latent early. A decoder of true latents does not look at the outline, since
the details tell it all. Here details are blurred, or the transformer's, so that the outline tells when and
how loud, and they tell what.

Axes: b batch, c latent channels, l latents.
"""

from pathlib import Path

import torch
import torch.nn.functional as F
from safetensors import safe_open
from torch import Tensor, nn

from ..hunyuan.foley.audio_vae import AudioVAE
from ..hunyuan.foley.timing import SAMPLES_PER_LATENT
from ..model_loaders.foley import load_audio_vae
from ..model_loaders.foley_folder import POCKET, find_foley
from . import audio_vae, outline
from .audio_vae import ANY, BANDS_WEIGHT, LOUDEST_OF, ROUGHNESS, waveform_distance
from .clips import draw_int
from .loop import Batch, Plan, Training, command, trained_weights
from .scenes.scene import Split
from .spectra import band_distance, course_distance, spectral_distance

PLAN = Plan(steps=6000, learning_rate=1.2e-3, decay=0.7, average=0.995, mixed=False)
ROWS, LATENTS = 6, 24  # windows of 0.48 s
# Latents on each side of a window. The decoder reaches 14; with these, at most 0.5 % of the power is off.
AROUND = 5
ALONE = 0.5  # of the batches have none, as at the ends of a sound
# Of the windows: the transformer's, where the sound is like them, and true ones whose details are blurred.
MADE, BLURRED = 0.3, 0.3
SPECTRAL_WEIGHT, COURSE_WEIGHT, WAVEFORM_WEIGHT, ENDS_WEIGHT = 3.0, 4.0, 2.0, 0.1

ENDS = 48  # samples at each end of a sound: no distance of spectra sees a step of -60 dBFS there
FAINTEST = 1e-8  # power, -80 dBFS

SHIFT = SAMPLES_PER_LATENT // 5  # 4 ms
SHIFTS = tuple(range(-6 * SHIFT, 6 * SHIFT + 1, SHIFT))  # by which a sound may be made too early or too late
FARTHEST = 0.1  # of the outline's variance: what is made differently is no example

GAINS = 0.25, 1.2  # of blurred details, the least and the most
SPREAD = 0.7  # largest part of them that goes to the neighbours
NOISE = 0.7  # largest deviation of noise in them, against their own level around


class Generated:
    """What `generated.build` wrote, in windows."""

    def __init__(self, folder: Path, split: Split = "train") -> None:
        """Raises: FileNotFoundError if nothing was made there."""
        paths = sorted(folder.glob(f"{split}-*.safetensors"))
        if not paths:
            raise FileNotFoundError(
                f"No generated {split} latents in {folder}. Make some with hunyuan_av.training.generated."
            )
        self.shards = [safe_open(path, framework="pt") for path in paths]
        counts = [shard.get_slice("made").get_shape()[0] for shard in self.shards]
        self.places = [(shard, row) for shard, count in enumerate(counts) for row in range(count)]
        self.length = self.shards[0].get_slice("made").get_shape()[2]

    def draw(self, generator: torch.Generator) -> Batch:
        """ "latents" (b, c, l, and `AROUND` more on either side or none), and "sound" (b, samples), as the l
        are to sound; "exact" (b,) bool, whether they are that sound's own.
        """
        alone = torch.rand((), generator=generator) < ALONE
        fates = torch.rand(ROWS, generator=generator)
        rows = [self._row(fate, generator) for fate in fates.tolist()]
        latents, sounds = (torch.stack(parts) for parts in zip(*rows, strict=True))
        if alone:
            latents = latents[..., AROUND:-AROUND]
        return {"latents": latents, "sound": sounds, "exact": fates >= MADE + BLURRED}

    def _row(self, fate: float, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        if fate < MADE:
            latents, sound = self._window("made", generator)
            nearest = nearest_sound(latents[:, AROUND:-AROUND], sound)
            if nearest is not None:
                return latents, nearest
        # What was made otherwise than it was gives way to a true one that is blurred.
        latents, sound = self._window("latents", generator)
        sound = sound[SHIFTS[-1] : -SHIFTS[-1]]
        return (blurred(latents, generator) if fate < MADE + BLURRED else latents), sound

    def _window(self, kind: str, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Latents, and the sound with what is around it: mostly the loudest of a few."""
        tries = 1 if torch.rand((), generator=generator) < ANY else LOUDEST_OF
        places = [self._place(generator) for _ in range(tries)]
        sounds = [self._sound(*place) for place in places]
        loudest = int(torch.stack([sound.abs().max() for sound in sounds]).argmax())
        clip, start = places[loudest]
        return self._read(kind, clip, start - AROUND, LATENTS + 2 * AROUND), sounds[loudest]

    def _place(self, generator: torch.Generator) -> tuple[int, int]:
        """A clip, and where in it a window begins."""
        clip = draw_int(generator, len(self.places))
        return clip, AROUND + draw_int(generator, self.length - LATENTS - 2 * AROUND + 1)

    def _sound(self, clip: int, start: int) -> Tensor:
        """(samples and the largest shift on either side,)."""
        first, samples = start * SAMPLES_PER_LATENT, LATENTS * SAMPLES_PER_LATENT
        return self._read("waveform", clip, first - SHIFTS[-1], samples + 2 * SHIFTS[-1])

    def _read(self, name: str, clip: int, first: int, count: int) -> Tensor:
        shard, row = self.places[clip]
        return self.shards[shard].get_slice(name)[row : row + 1, ..., first : first + count][0].float()


def nearest_sound(latents: Tensor, sound: Tensor) -> Tensor | None:
    """The part of the sound whose outline is the most like that of the latents; None if it is not like it.

    latents: (c, l). sound: (samples and the largest shift on either side,).
    """
    samples = latents.shape[1] * SAMPLES_PER_LATENT
    moved = torch.stack([sound[SHIFTS[-1] + shift :][:samples] for shift in SHIFTS])
    # The first two and the last look at what is beyond the window: a rise is from the latent before.
    apart = (outline.outline_latents(moved) - latents[-outline.CHANNELS :])[..., 2:-1].square().mean((1, 2))
    nearest = int(apart.argmin())
    return moved[nearest] if apart[nearest] < FARTHEST * outline.LEVEL**2 else None


def blurred(latents: Tensor, generator: torch.Generator) -> Tensor:
    """Softer details, spread to their neighbours and in noise, beside the outline as it was: (c, l)."""
    details, rest = latents[: -outline.CHANNELS], latents[-outline.CHANNELS :]
    gain, spread, forward, noise = torch.rand(4, generator=generator).tolist()
    around = F.pad(details[None], (1, 1), mode="replicate")[0]
    neighbours = forward * around[:, :-2] + (1 - forward) * around[:, 2:]
    details = torch.lerp(details, neighbours, SPREAD * spread)
    level = F.avg_pool1d(details.square().mean(0)[None], 3, stride=1, padding=1).sqrt()
    details = details + NOISE * noise * level * torch.randn(details.shape, generator=generator)
    least, most = GAINS
    return torch.cat([least * (most / least) ** gain * details, rest])


def objective(vae: nn.Module, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
    """batch: as of `Generated.draw`."""
    assert isinstance(vae, AudioVAE)
    latents, sound, exact = batch["latents"], batch["sound"], batch["exact"]
    noise = torch.randn(latents.shape, generator=generator).to(latents.device)
    made = vae.decode(latents + ROUGHNESS * noise)[:, 0].float()
    around = (made.shape[1] - sound.shape[1]) // 2
    made = made[:, around : around + sound.shape[1]]
    losses = {
        "spectral": spectral_distance(made, sound),
        "bands": band_distance(made, sound),
        "course": course_distance(made, sound),
    }
    loss = SPECTRAL_WEIGHT * losses["spectral"] + BANDS_WEIGHT * losses["bands"]
    loss = loss + COURSE_WEIGHT * losses["course"]
    if not around:
        losses["ends"] = ends_distance(made, sound)
        loss = loss + ENDS_WEIGHT * losses["ends"]
    if exact.any():
        losses["waveform"] = waveform_distance(made[exact], sound[exact])
        loss = loss + WAVEFORM_WEIGHT * losses["waveform"]
    return {"loss": loss, **losses}


def ends_distance(made: Tensor, sound: Tensor) -> Tensor:
    """How far the first and last `ENDS` samples are apart, against the sound's own power there.

    made, sound: (b, samples). Returns a scalar, the mean of logarithms.
    """
    apart, level = (
        torch.stack([one[:, :ENDS], one[:, -ENDS:]]).square().mean(-1) for one in (made - sound, sound)
    )
    return (1 + apart / (level + FAINTEST)).log().mean()


def training(folder: Path, generated: Generated, plan: Plan, vae: AudioVAE) -> Training:
    """vae: whose decoder goes on; its encoder stays as it is."""
    vae.requires_grad_(False)
    vae.post_quant_conv.requires_grad_(True)
    vae.decoder.requires_grad_(True)
    return Training(vae, objective, generated.draw, plan, folder)


def trained(folder: Path) -> AudioVAE:
    """The autoencoder with the decoder that the run has reached."""
    vae = AudioVAE(audio_vae.CONFIG, part="both")
    vae.load_state_dict(trained_weights(folder))
    return vae.eval().requires_grad_(False)


def main() -> None:
    parser, planned = command(__doc__, PLAN)
    parser.add_argument("--generated", type=Path, required=True, help="folder of generated latents")
    parser.add_argument(
        "--begin", type=Path, metavar="FILE", help="autoencoder to go on from (default: the shipped one)"
    )
    args = parser.parse_args()
    begin = args.begin or find_foley(POCKET, None).audio_vae
    vae = load_audio_vae(begin, part="both")
    training(args.out, Generated(args.generated), planned(args), vae).run()


if __name__ == "__main__":
    main()
