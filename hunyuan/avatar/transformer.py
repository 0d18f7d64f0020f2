"""The Avatar transformer: a video diffusion transformer led by a portrait, a prompt and speech.

Source: HunyuanVideo-Avatar, arXiv:2505.20156, over HunyuanVideo, arXiv:2412.03603. The portrait enters twice:
as a frame before the video, and projected into every frame. Between double blocks the tokens inside a
character's mask hear that character's speech.

Axes: b batch, c latent channels, f latent frames, h w latent height and width, n tokens.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from ..layers.attention import Attention, attention
from ..layers.embeddings import TimestepEmbedder
from ..layers.rope import grid_rotary_table
from .audio_adapter import AudioProjector, CrossAdapter, by_latent, hear, token_mask, tokens_inside
from .blocks import DoubleBlock, FinalLayer, SingleBlock
from .checks import check_characters, check_masks, check_prompt, check_scene, check_window
from .conditions import AvatarConditions, AvatarPrompt, AvatarScene, Character, Features, Motion, Voice
from .config import DOUBLE_BLOCKS_PER_ADAPTER, PATCH, AvatarConfig
from .emotion import EmotionModule
from .timing import latent_frames
from .token_refiner import TokenRefiner

ROPE_THETA = 256.0  # base of the geometric series of rotary frequencies


class AvatarTransformer(nn.Module):
    """Velocity of a window of latents at a time, given what it shows and who speaks."""

    def __init__(
        self,
        config: AvatarConfig,
        *,
        dtype: torch.dtype | None = None,
        device: torch.device | str | None = None,
        operations=nn,
        attention: Attention = attention,
    ) -> None:
        super().__init__()
        size = config.hidden_size
        build = {"dtype": dtype, "device": device}
        layers = {**build, "operations": operations}
        blocks = {**layers, "attention": attention}
        self.config = config

        self.img_in = PatchEmbedder(config, **layers)
        self.ref_in = PatchEmbedder(config, **layers)
        self.before_proj = operations.Linear(size, size, **build)
        self.txt_in = TokenRefiner(config, **blocks)

        self.time_in = TimestepEmbedder(size, **layers)
        self.vector_in = PooledEmbedder(config.pooled_size, size, **layers)
        self.motion_exp = TimestepEmbedder(config.motion_size, **layers)
        self.motion_pose = TimestepEmbedder(config.motion_size, **layers)
        self.fps_proj = TimestepEmbedder(size, **layers)

        self.audio_proj = AudioProjector(
            config.audio_features, config.audio_hidden_size, config.audio_tokens, size, **layers
        )
        # As trained: one head over all channels of an adapter.
        self.audio_adapter_blocks = nn.ModuleList(
            CrossAdapter(size, config.adapter_size, heads=1, **blocks) for _ in range(config.num_adapters)
        )
        self.emotion = EmotionModule(config, **blocks) if config.emotion else None

        self.double_blocks = nn.ModuleList(DoubleBlock(config, **blocks) for _ in range(config.double_depth))
        self.single_blocks = nn.ModuleList(SingleBlock(config, **blocks) for _ in range(config.single_depth))
        self.final_layer = FinalLayer(config, **layers)

    def prepare(
        self, prompt: AvatarPrompt, scene: AvatarScene, characters: Sequence[Character] = ()
    ) -> AvatarConditions:
        """Everything that does not depend on the step, once per window; computed in the dtype of the states.

        Raises: ValueError on inputs that do not fit this transformer or each other, on prompts of unequal
            length in one batch, and on an emotion image where the file brought no emotion module.
        """
        check_prompt(prompt, self.config)
        check_scene(scene, self.config)
        check_masks(characters, scene)
        states, mask = prompt.states, prompt.mask.bool()
        reference = scene.reference.to(states)

        text, text_context = self.txt_in.prepare(states, mask)
        return AvatarConditions(
            text=text,
            text_context=text_context,
            text_mask=mask,
            text_tokens=int(mask[0].sum()),
            vector=self._motion(scene.motion, states.dtype) + self.vector_in(prompt.pooled.to(states)),
            # As trained: the leading frame passes the video's embedder, what is added to all frames its own.
            prefix=self.img_in(reference[:, :, :1])[:, 0],
            reference=self.before_proj(self.ref_in(reference)),
            voices=self.listen(characters, states.dtype),
            emotion=self._emotion_tokens(scene, states),
            emotion_strength=scene.emotion_strength,
            reference_shift=scene.reference_shift,
        )

    def listen(self, characters: Sequence[Character], dtype: torch.dtype) -> tuple[Voice, ...]:
        """The characters' speech as all adapters hear it: what changes from one window to the next.

        A character without any token inside its mask is left out.
        """
        check_characters(characters, self.config)
        heard = []
        for character in characters:
            frames = latent_frames(character.audio.shape[1])
            mask = token_mask(character.mask.float() * character.strength, frames)
            places, weights = tokens_inside(mask)
            if places.numel():
                source = by_latent(self.audio_proj(character.audio.to(dtype)))
                keys_values = [adapter.keys_values(source) for adapter in self.audio_adapters]
                heard.append(
                    Voice(keys_values=torch.stack(keys_values, dim=1), places=places, weights=weights)
                )
        return tuple(heard)

    def forward(self, x: Tensor, t: Tensor, conditions: AvatarConditions) -> Tensor:
        """The velocity d x / d sigma, computed in the dtype of x.

        x: (b, c, f, h, w), noisy latents. t: (b,), time in 0..1000.
        conditions: as many rows as x, from `prepare`. Returns x's shape.
        """
        return self.predict(self.features(x, t, conditions), t, conditions)

    def features(self, x: Tensor, t: Tensor, conditions: AvatarConditions) -> Features:
        """The first part of `forward`: all blocks but the last. A step cache keeps what this returns."""
        check_window(x, conditions)
        vec = F.silu(self._vector(t, conditions, x.dtype))
        table = self._rotary_table(x.shape[2], conditions)

        video = self.img_in(x) + conditions.reference
        image = torch.cat([conditions.prefix[:, None], video], dim=1).flatten(1, 3)
        text = self.txt_in(conditions.text, conditions.text_context, conditions.text_mask, t)
        # Rows past the prompt's length attend only each other, so nothing is lost without them.
        text = text[:, : conditions.text_tokens]

        for i, block in enumerate(self.double_blocks):
            image, text = block(image, text, vec, table)
            image = self._show_emotion(image, i, conditions)
            if (i + 1) % DOUBLE_BLOCKS_PER_ADAPTER == 0:
                k = i // DOUBLE_BLOCKS_PER_ADAPTER
                image = hear(image, conditions.voices, self.audio_adapters[k], k)

        tokens = torch.cat([image, text], dim=1)
        for block in self.single_blocks[:-1]:
            tokens = block(tokens, vec, table)
        return Features(tokens=tokens, prefix_tokens=conditions.prefix_tokens, frames=x.shape[2])

    def predict(self, features: Features, t: Tensor, conditions: AvatarConditions) -> Tensor:
        """The second part of `forward`: the last block and the output layer, with t's own modulation."""
        vec = self._vector(t, conditions, features.tokens.dtype)
        table = self._rotary_table(features.frames, conditions)
        last = replace(features, tokens=self.single_blocks[-1](features.tokens, F.silu(vec), table))

        rows, columns = conditions.prefix.shape[1:3]
        return rearrange(
            self.final_layer(last.video.flatten(1, 2), vec),
            "b (f rows columns) (c p q) -> b c f (rows p) (columns q)",
            rows=rows, columns=columns, p=PATCH, q=PATCH,
        )  # fmt: skip

    @property
    def audio_adapters(self) -> list[CrossAdapter]:
        return list(self.audio_adapter_blocks)  # type: ignore[arg-type]

    def _vector(self, t: Tensor, conditions: AvatarConditions, dtype: torch.dtype) -> Tensor:
        return (self.time_in(t, dtype) + conditions.vector)[:, None]

    def _motion(self, motion: Motion, dtype: torch.dtype) -> Tensor:
        """As trained: raw scores and rates, embedded like times; scores one by one, then side by side."""
        rows = motion.fps.shape[0]
        expression = self.motion_exp(motion.expression.flatten(), dtype).view(rows, -1)
        pose = self.motion_pose(motion.pose.flatten(), dtype).view(rows, -1)
        return self.fps_proj(motion.fps, dtype) + expression + pose

    def _emotion_tokens(self, scene: AvatarScene, like: Tensor) -> Tensor | None:
        if self.emotion is None or scene.emotion is None or scene.emotion_strength == 0:
            return None
        return self.emotion.embed(scene.emotion.to(like))

    def _rotary_table(self, frames: int, conditions: AvatarConditions) -> Tensor:
        rows, columns = conditions.prefix.shape[1:3]
        axes = image_positions(
            frames, rows, columns, conditions.reference_shift, device=conditions.prefix.device
        )
        return grid_rotary_table(axes, self.config.rope_sizes, ROPE_THETA)

    def _show_emotion(self, image: Tensor, block: int, conditions: AvatarConditions) -> Tensor:
        if self.emotion is None or conditions.emotion is None:
            return image
        prefix, video = image.tensor_split([conditions.prefix_tokens], dim=1)
        video = self.emotion(video, block, conditions.emotion, conditions.emotion_strength)
        return torch.cat([prefix, video], dim=1)


class PatchEmbedder(nn.Module):
    """Latents (b, c, f, h, w) to tokens (b, f, rows, columns, hidden)."""

    def __init__(self, config: AvatarConfig, *, dtype=None, device=None, operations=nn) -> None:
        super().__init__()
        patch = (1, PATCH, PATCH)
        self.proj = operations.Conv3d(
            config.latent_channels, config.hidden_size, patch, stride=patch, dtype=dtype, device=device
        )

    def forward(self, latents: Tensor) -> Tensor:
        return rearrange(self.proj(latents), "b d f rows columns -> b f rows columns d")


class PooledEmbedder(nn.Module):
    """The pooled prompt as a part of the modulation vector."""

    def __init__(self, size: int, hidden_size: int, *, dtype=None, device=None, operations=nn) -> None:
        super().__init__()
        self.in_layer = operations.Linear(size, hidden_size, dtype=dtype, device=device)
        self.out_layer = operations.Linear(hidden_size, hidden_size, dtype=dtype, device=device)

    def forward(self, pooled: Tensor) -> Tensor:
        return self.out_layer(F.silu(self.in_layer(pooled)))


def image_positions(
    frames: int, rows: int, columns: int, reference_shift: tuple[int, int] = (0, 0), *, device=None
) -> list[Tensor]:
    """Time, row and column of every image token: the reference at time -1, then the video from time 0.

    As trained: time starts anew in every window. Returns three tensors (n,).
    """
    sides = (torch.arange(-1, frames), torch.arange(rows), torch.arange(columns))
    time, row, column = (axis.flatten() for axis in torch.meshgrid(*sides, indexing="ij"))
    row, column = (
        torch.where(time < 0, axis + shift, axis)
        for axis, shift in zip((row, column), reference_shift, strict=True)
    )
    return [axis.to(device) for axis in (time, row, column)]
