"""One guided step of each transformer, with random weights, as `tools/bench.py` times and counts it."""

import os
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor, nn

import _pack  # noqa: F401 - makes hunyuan_av importable
from bench_plain import PlainVelocity
from hunyuan_av.host.planned_memory import AVATAR_TEXT
from hunyuan_av.host.standalone.memory import Placement
from hunyuan_av.hunyuan.avatar.blocks import use_tokenwise
from hunyuan_av.hunyuan.avatar.compiled import compiled_tokenwise
from hunyuan_av.hunyuan.avatar.conditions import AvatarPrompt, AvatarScene, Character, Motion
from hunyuan_av.hunyuan.avatar.config import AUDIO_STATES, AUDIO_WINDOW, PUBLISHED, AvatarConfig
from hunyuan_av.hunyuan.avatar.settings import AvatarSettings
from hunyuan_av.hunyuan.avatar.timing import WINDOW_FRAMES, latent_frames
from hunyuan_av.hunyuan.avatar.tokenwise import PLAIN
from hunyuan_av.hunyuan.avatar.transformer import AvatarTransformer
from hunyuan_av.hunyuan.avatar.velocity import AvatarClip, RingVelocity
from hunyuan_av.hunyuan.avatar.video_vae_config import SPACE_RATIO
from hunyuan_av.hunyuan.foley.compiled import compiled_blocks
from hunyuan_av.hunyuan.foley.config import XL, XXL, FoleyConfig
from hunyuan_av.hunyuan.foley.graphed import StepGraphs
from hunyuan_av.hunyuan.foley.timing import FoleyTiming
from hunyuan_av.hunyuan.foley.transformer import FoleyTransformer, RunBlock, run_block
from hunyuan_av.hunyuan.foley.velocity import FoleyPrompt, GuidedVelocity
from hunyuan_av.hunyuan.sampling.guidance import GuidanceScales
from hunyuan_av.model_loaders.foley_folder import POCKET, find_foley

TEXT_TOKENS = 16  # of Foley's prompts
GUIDANCE = 4.5
AVATAR_STEPS = 50
LATE_STEP = 30  # one of the many that speech alone guides; kept features are made there, not used

Step = Callable[[], object]


@dataclass(frozen=True, kw_only=True)
class Setting:
    placement: Placement
    size: str
    seconds: float
    batch: int
    height: int = 704  # pixels, of Avatar's video
    width: int = 768
    frames: int = WINDOW_FRAMES

    @property
    def timing(self) -> FoleyTiming:
        return FoleyTiming(self.seconds)

    def random(self, network: nn.Module) -> nn.Module:
        """A network built on the meta device, on this one with small random weights.

        Raises ValueError for weights that this machine cannot hold.
        """
        network = network.to(self.placement.dtype).eval().requires_grad_(False)
        if self.placement.device.type == "meta":
            return network
        _check_room(network, self.placement.device)
        network = network.to_empty(device=self.placement.device)
        for tensor in network.state_dict().values():
            tensor.normal_(std=0.02)
        return network

    def noise(self, *shape: int) -> Tensor:
        return torch.randn(shape, device=self.placement.device)


def _check_room(network: nn.Module, device: torch.device) -> None:
    needed = sum(parameter.nbytes for parameter in network.parameters())
    if device.type == "cuda":
        there = torch.cuda.get_device_properties(device).total_memory
    else:
        there = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    if needed > there:
        raise ValueError(
            f"The weights alone take {needed / 1e9:.1f} GB, and {device} has {there / 1e9:.1f} GB."
            " Choose another device, --dtype bfloat16, or --count, which computes nothing."
        )


# --- Foley --------------------------------------------------------------------------------------------------


def foley_config(size: str) -> FoleyConfig:
    from hunyuan_av.model_loaders.checkpoint import open_checkpoint

    published = {"xl": XL, "xxl": XXL}
    if size in published:
        return published[size]
    return FoleyConfig.from_shapes(open_checkpoint(find_foley(POCKET).transformer).shapes)


@cache
def random_transformer(size: str, placement: Placement) -> FoleyTransformer:
    """One for all lengths and batches."""
    setting = Setting(placement=placement, size=size, seconds=1.0, batch=1)
    return setting.random(FoleyTransformer(foley_config(size), device="meta"))


@cache
def shared_compiled_blocks() -> RunBlock:
    """Compiled once: another length shares what was compiled for the first, as it does for users."""
    return compiled_blocks()


def foley_steps(
    setting: Setting, *, plain: bool = False, compiled: bool = False, graphed: bool = False
) -> dict[str, Step]:
    """Two passes of the transformer, as guidance needs them, on `batch` samples; ours first.

    plain: also as the published program computes it. compiled: also ours with compiled blocks. graphed: also
    each of ours from CUDA graphs.
    """
    config, dtype = foley_config(setting.size), setting.placement.dtype
    transformer = random_transformer(setting.size, setting.placement)
    timing = setting.timing
    text = setting.noise(1, TEXT_TOKENS, config.text_size)
    prompt = FoleyPrompt(
        positive=text, negative=-text,
        visual=setting.noise(1, timing.visual_frames, config.visual_size),
        sync=setting.noise(1, timing.sync_tokens, config.sync_size),
    )  # fmt: skip
    latents = setting.noise(setting.batch, config.latent_channels, timing.latent_frames)

    runs = {"": run_block} | ({"compiled ": shared_compiled_blocks()} if compiled else {})
    velocities = {
        name: GuidedVelocity(transformer, prompt, GuidanceScales.all(GUIDANCE), dtype=dtype, run=run)
        for name, run in runs.items()
    }
    if graphed:
        velocities |= {f"graphed {name}": recorded(velocity) for name, velocity in velocities.items()}
    if plain:
        velocities["plain "] = PlainVelocity(
            transformer=transformer,
            prompt=prompt,
            scale=GUIDANCE,
            dtype=dtype,
        )
    return {name: lambda velocity=velocity: velocity(latents, 0.5) for name, velocity in velocities.items()}


def recorded(velocity: GuidedVelocity) -> Callable[[Tensor, float], Tensor]:
    """The velocity from CUDA graphs. Raises ValueError where nothing could be recorded: that is not timed."""
    graphs = StepGraphs(velocity.transformer)

    def call(latents: Tensor, sigma: float) -> Tensor:
        answer = graphs(velocity, latents, sigma)
        if not graphs.captured:
            raise ValueError("No graph could be recorded, for the reason above. Leave out --graphs.")
        return answer

    return call


# --- Avatar -------------------------------------------------------------------------------------------------


def avatar_steps(
    setting: Setting, config: AvatarConfig = PUBLISHED, *, compiled: bool = False
) -> dict[str, Step]:
    """One guided step over all windows of the ring.

    compiled: also with compiled operations between its products.
    """
    transformer = setting.random(AvatarTransformer(config, device="meta"))
    assert isinstance(transformer, AvatarTransformer)
    step = avatar_step(transformer, setting)
    if not compiled:
        return {"": step}
    operations = compiled_tokenwise()

    def compiled_step() -> object:
        use_tokenwise(transformer, operations)
        try:
            return step()
        finally:
            use_tokenwise(transformer, PLAIN)

    return {"": step, "compiled ": compiled_step}


def avatar_step(transformer: AvatarTransformer, setting: Setting, **options: Any) -> Step:
    """A late guided step without a cache. options: of `RingVelocity`."""
    config, ring = transformer.config, latent_frames(setting.frames)
    height, width = setting.height // SPACE_RATIO, setting.width // SPACE_RATIO
    velocity = RingVelocity.of(
        transformer, avatar_clip(setting, config), AvatarSettings(step_cache="off"), AVATAR_STEPS, ring,
        dtype=setting.placement.dtype, **options,
    )  # fmt: skip
    latents = setting.noise(setting.batch, config.latent_channels, ring, height, width)
    return lambda: velocity(latents, 0.5, LATE_STEP)


def avatar_clip(setting: Setting, config: AvatarConfig) -> AvatarClip:
    """What guides a video with the longest prompt; the upper half of the picture hears one character."""
    height, width = setting.height // SPACE_RATIO, setting.width // SPACE_RATIO
    device = setting.placement.device
    prompt = AvatarPrompt(
        states=setting.noise(1, AVATAR_TEXT, config.text_size),
        mask=torch.ones(1, AVATAR_TEXT, dtype=torch.int64, device=device),
        pooled=setting.noise(1, config.pooled_size),
    )
    audio = setting.noise(1, setting.frames, AUDIO_WINDOW, AUDIO_STATES, config.audio_size)
    mask = torch.zeros(1, 1, 1, height, width, device=device)
    mask[..., : height // 2, :] = 1
    return AvatarClip(
        positive=prompt,
        negative=prompt,
        scene=AvatarScene(
            reference=setting.noise(1, config.latent_channels, 1, height, width), motion=Motion.of()
        ),
        characters=(Character(audio=audio, mask=mask),),
    )
