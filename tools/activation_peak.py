"""What networks of published size need beside their weights, by count, against what the hosts plan.

    python tools/activation_peak.py [foley] [avatar] [decode]

Nothing is computed: networks and inputs are on the meta device. The peak is of the bytes of all tensors that
a guided step, or a decoding, makes and has not let go of, its result included. Workspaces of convolutions and
attention, and what an allocator wastes, are not in it.
"""

import argparse
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from unittest.mock import patch

import torch
from torch import Tensor, nn

import _pack  # noqa: F401 - makes hunyuan_av importable
from bench_count import Count, count
from hunyuan_av.host.planned_memory import (
    AVATAR_TEXT,
    audio_decode_bytes,
    audio_encode_bytes,
    avatar_bytes,
    foley_factor,
    planned_bytes,
)
from hunyuan_av.hunyuan.avatar import velocity as velocity_module
from hunyuan_av.hunyuan.avatar.conditions import (
    AvatarConditions,
    AvatarPrompt,
    AvatarScene,
    Motion,
    Speaker,
)
from hunyuan_av.hunyuan.avatar.config import PATCH, PUBLISHED, AvatarConfig
from hunyuan_av.hunyuan.avatar.schedule import AvatarStep
from hunyuan_av.hunyuan.avatar.timing import FRAMES_PER_LATENT, WINDOW_LATENTS
from hunyuan_av.hunyuan.avatar.transformer import AvatarTransformer
from hunyuan_av.hunyuan.avatar.velocity import AvatarClip, RingVelocity
from hunyuan_av.hunyuan.avatar.video_vae import VideoVAE
from hunyuan_av.hunyuan.avatar.video_vae_config import SPACE_RATIO, VideoVAEConfig
from hunyuan_av.hunyuan.foley.audio_vae import AudioVAE, AudioVAEConfig
from hunyuan_av.hunyuan.foley.conditions import FoleyConditions
from hunyuan_av.hunyuan.foley.config import XL, XXL, FoleyConfig
from hunyuan_av.hunyuan.foley.timing import FoleyTiming
from hunyuan_av.hunyuan.foley.transformer import FoleyTransformer
from hunyuan_av.hunyuan.layers.attention import Attention, attention
from hunyuan_av.hunyuan.layers.float8 import Float8Linear, use_float8

HALVES = 2  # of guidance
FOLEY_TEXT = 77  # tokens, the most
FOLEY_SECONDS = (2.0, 8.0, 15.0, 60.0)
AVATAR_SIZES = ((544, 736), (704, 768))  # pixels
LATE = AvatarStep(
    guidance=6.0, negative=False, voice_strength=1.0, cached=False
)  # most steps: speech is guided
EARLY = AvatarStep(guidance=7.5, negative=True, voice_strength=0.6, cached=False)  # away from the prompt too


@dataclass(frozen=True)
class Row:
    """One line of the table: bytes that were counted, and bytes that are planned."""

    what: str
    counted: int
    planned: float

    @property
    def ratio(self) -> float:
        return self.planned / self.counted


def meta(*shape: int, dtype: torch.dtype = torch.bfloat16) -> Tensor:
    return torch.empty(shape, dtype=dtype, device="meta")


def counted(run: Callable[[], object], network: nn.Module) -> Count:
    network.eval().requires_grad_(False)
    return count(run)


# --- Foley --------------------------------------------------------------------------------------------------


def foley_network(config: FoleyConfig, dtype: torch.dtype = torch.bfloat16) -> FoleyTransformer:
    return FoleyTransformer(config, dtype=dtype, device="meta")


def foley_step(network: FoleyTransformer, seconds: float, batch: int) -> Count:
    """Both halves of guidance at once, as ComfyUI runs them where there is room."""
    config, timing, rows = network.config, FoleyTiming(seconds), HALVES * batch
    dtype, size = network.empty_clip_feat.dtype, config.hidden_size
    conditions = FoleyConditions(
        text_kv=meta(rows, config.joint_depth, 2, FOLEY_TEXT, size, dtype=dtype),
        visual=meta(rows, timing.visual_frames, size, dtype=dtype),
        sync=meta(rows, timing.sync_tokens, size, dtype=dtype),
    )
    x = meta(rows, config.latent_channels, timing.latent_frames, dtype=dtype)
    t = meta(rows, dtype=torch.float32)
    return counted(lambda: network(x, t, conditions), network)


def foley_row(network: FoleyTransformer, seconds: float, batch: int) -> Row:
    config, dtype = network.config, network.empty_clip_feat.dtype
    places = HALVES * batch * FoleyTiming(seconds).latent_frames
    peak = foley_step(network, seconds, batch).peak_bytes
    name = "XXL" if config.hidden_size == XXL.hidden_size else "XL"
    planned = planned_bytes(foley_factor(config), places, dtype.itemsize)
    return Row(f"Foley {name}, {seconds:g} s, batch {batch}", peak, planned)


def foley_rows() -> Iterator[Row]:
    for config in (XL, XXL):
        network = foley_network(config)
        for seconds in FOLEY_SECONDS:
            for batch in (1, 4):
                yield foley_row(network, seconds, batch)


# --- Avatar -------------------------------------------------------------------------------------------------


class Prepared:
    """A transformer on the meta device, whose prompts and speech are told by their shapes alone."""

    def __init__(self, network: AvatarTransformer, height: int, width: int, heard: float) -> None:
        """height, width: of the latents. heard: share of a frame's tokens that is inside a mask."""
        self.network, config = network, network.config
        self.open, self.speak, self.predict = network.open, network.speak, network.predict
        rows, columns, size = height // PATCH, width // PATCH, config.hidden_size
        dtype = network.before_proj.weight.dtype
        conditions = AvatarConditions(
            text=meta(1, AVATAR_TEXT, size, dtype=dtype), text_context=meta(1, size, dtype=dtype),
            text_mask=meta(1, AVATAR_TEXT, dtype=torch.bool), text_tokens=AVATAR_TEXT,
            vector=meta(1, size, dtype=dtype), prefix=meta(1, rows, columns, size, dtype=dtype),
            reference=meta(1, 1, rows, columns, size, dtype=dtype),
        )  # fmt: skip
        table = network._rotary_table(WINDOW_LATENTS, conditions)
        self.conditions = AvatarConditions(**{**vars(conditions), "table": table})
        frames, tokens = FRAMES_PER_LATENT * WINDOW_LATENTS, round(heard * rows * columns)
        speech = config.num_adapters, 2, frames, config.audio_tokens, config.adapter_size
        self.speaker = Speaker(
            keys_values=meta(1, *speech, dtype=dtype),
            # On the CPU: how many there are is read from them.
            places=torch.arange(tokens)[None, None], weights=torch.ones(1, 1, tokens),
            frame_tokens=rows * columns,
        )  # fmt: skip

    def prepare(self, prompt: AvatarPrompt, scene: AvatarScene) -> AvatarConditions:
        return self.conditions

    def listen(self, characters: object, like: Tensor) -> tuple[Speaker, ...]:
        return (self.speaker,)


def avatar_network(
    config: AvatarConfig = PUBLISHED, dtype: torch.dtype = torch.bfloat16, attention: Attention = attention
) -> AvatarTransformer:
    return AvatarTransformer(config, dtype=dtype, device="meta", attention=attention)


def avatar_step(
    network: AvatarTransformer,
    height: int,
    width: int,
    *,
    rows: int | None = None,
    plan: AvatarStep = LATE,
    heard: float = 1.0,
) -> Count:
    """A guided step over one window of the ring, features kept for a cached step after it.

    height, width: of the video in pixels. rows: halves of guidance at once; None for what the size says.
    heard: share of the picture that is inside a mask.
    """
    config = network.config
    latents = height // SPACE_RATIO, width // SPACE_RATIO
    prompt = AvatarPrompt(
        states=meta(1, 1, config.text_size), mask=meta(1, 1), pooled=meta(1, config.pooled_size)
    )
    scene = AvatarScene(reference=meta(1, config.latent_channels, 1, *latents), motion=Motion.of())
    clip = AvatarClip(positive=prompt, negative=prompt, scene=scene, characters=())
    cached = AvatarStep(**{**vars(plan), "cached": True})
    x = meta(1, config.latent_channels, WINDOW_LATENTS, *latents, dtype=torch.float32)
    network.eval().requires_grad_(False)
    with torch.inference_mode():
        velocity = RingVelocity(
            Prepared(network, *latents, heard), clip, [plan, cached], WINDOW_LATENTS, dtype=torch.bfloat16
        )
    largest = {None: velocity_module.LARGEST_BATCH, 1: 0, HALVES: height * width}[rows]
    with patch.object(velocity_module, "LARGEST_BATCH", largest):
        return counted(lambda: velocity(x, 0.5, 0), network)


def float8_products_network(config: AvatarConfig = PUBLISHED) -> AvatarTransformer:
    """Weights of the blocks in 8 bits, and what enters them rounded to 8 bits, too."""
    network = avatar_network(config)
    for block in (*network.double_blocks, *network.single_blocks):
        use_float8(block)
        for layer in block.modules():
            if isinstance(layer, Float8Linear):
                layer.rounds_input = True
    return network


def avatar_row(network: AvatarTransformer, height: int, width: int, rows: int) -> Row:
    rounds = any(getattr(layer, "rounds_input", False) for layer in network.modules())
    peak = avatar_step(network, height, width, rows=rows).peak_bytes
    planned = avatar_bytes(
        network.config,
        height * width // SPACE_RATIO**2,
        rows,
        torch.bfloat16.itemsize,
        float8_products=rounds,
    )
    name = "Avatar, products in 8 bits," if rounds else "Avatar"
    return Row(f"{name} {height} x {width}, {rows} at once", peak, planned)


def avatar_rows() -> Iterator[Row]:
    network = avatar_network()
    for height, width in AVATAR_SIZES:
        for rows in (1, HALVES):
            yield avatar_row(network, height, width, rows)


# --- decoders -----------------------------------------------------------------------------------------------


def decoder_rows() -> Iterator[Row]:
    audio = AudioVAE(AudioVAEConfig(), part="both", device="meta")
    for seconds in FOLEY_SECONDS:
        frames, samples = FoleyTiming(seconds).latent_frames, FoleyTiming(seconds).samples
        latents = meta(1, audio.config.latent_dim, frames, dtype=torch.float32)
        waveform = meta(1, 1, samples, dtype=torch.float32)
        cost = counted(lambda latents=latents: audio.decode(latents), audio)
        yield Row(f"Audio decoder, {seconds:g} s", cost.peak_bytes, audio_decode_bytes(audio.config, frames))
        cost = counted(lambda waveform=waveform: audio.encode(waveform), audio)
        yield Row(f"Audio encoder, {seconds:g} s", cost.peak_bytes, audio_encode_bytes(audio.config, samples))
    video = VideoVAE(VideoVAEConfig(), dtype=torch.float16, device="meta")
    config = video.config
    tile = meta(
        1,
        config.latent_channels,
        config.tile_latent_frames + 1,
        *[config.tile_latents] * 2,
        dtype=torch.float16,
    )
    cost = counted(lambda: video.decode(tile), video)
    yield Row("Video decoder, a tile", cost.peak_bytes, config.tile_numbers * torch.float16.itemsize)


TABLES = {"foley": foley_rows, "avatar": avatar_rows, "decode": decoder_rows}


def main() -> int:
    parser = argparse.ArgumentParser(description="Count what networks need beside their weights.")
    parser.add_argument("tables", nargs="*", metavar="TABLE", help=", ".join(TABLES))
    for name in parser.parse_args().tables or TABLES:
        for row in TABLES[name]():
            print(
                f"{row.what:32} {row.counted / 2**20:9.0f} MiB, planned {row.planned / 2**20:6.0f},"
                f" {row.ratio:.2f} times as much"
            )
    return 0


if __name__ == "__main__":
    sys.exit(main())
