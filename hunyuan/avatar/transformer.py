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
from .audio_adapter import AudioProjector, CrossAdapter, hear, inside, token_mask
from .blocks import DoubleBlock, FinalLayer, RunBlock, SingleBlock, run_block
from .checks import check_characters, check_masks, check_prompt, check_scene, check_speech, check_window
from .conditions import (
    AvatarConditions,
    AvatarPrompt,
    AvatarScene,
    Character,
    Features,
    Motion,
    Opening,
    RotaryTable,
    Speaker,
    Voice,
)
from .config import DOUBLE_BLOCKS_PER_ADAPTER, PATCH, AvatarConfig
from .emotion import EmotionModule
from .ring import heard_frames
from .timing import WINDOW_FRAMES, WINDOW_LATENTS, latent_frames
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
        """Everything that depends neither on the step nor on the window; computed in the dtype of the states.

        characters: their speech lasts one window. For a longer video see `listen`.
        Raises: ValueError on inputs that do not fit this transformer or each other, on prompts of unequal
            length in one batch, and on an emotion image where the file brought no emotion module.
        """
        check_prompt(prompt, self.config)
        check_scene(scene, self.config)
        check_characters(characters, self.config)
        check_masks(characters, scene)
        states, mask = prompt.states, prompt.mask.bool()
        reference = scene.reference.to(states)

        text, text_context = self.txt_in.prepare(states, mask)
        conditions = AvatarConditions(
            text=text,
            text_context=text_context,
            text_mask=mask,
            text_tokens=int(mask[0].sum()),
            vector=self._motion(scene.motion, states) + self.vector_in(prompt.pooled.to(states)),
            # As trained: the leading frame passes the video's embedder, what is added to all frames its own.
            prefix=self.img_in(reference[:, :, :1])[:, 0],
            reference=self.before_proj(self.ref_in(reference)),
            voices=self._voices(characters, states),
            emotion=self._emotion_tokens(scene, states),
            emotion_strength=scene.emotion_strength,
            reference_shift=scene.reference_shift,
        )
        return replace(conditions, table=self._rotary_table(WINDOW_LATENTS, conditions))

    def listen(self, characters: Sequence[Character], like: Tensor) -> tuple[Speaker, ...]:
        """The characters' speech as all adapters hear it, once for all windows.

        It is computed on the device and in the dtype of `like`, a window's worth at a time, and left where
        the character's features are. A character without any token inside its mask is left out.
        """
        check_speech(characters, self.config)
        speakers = []
        for character in characters:
            mask = token_mask(character.mask.float() * character.strength, character.mask.shape[2])
            places, weights = inside(mask)
            if places.numel():
                keys_values = torch.cat(
                    [
                        self._keys_values(part.to(like)).to(part.device)
                        for part in character.audio.split(WINDOW_FRAMES, dim=1)
                    ],
                    dim=3,
                )
                speakers.append(
                    Speaker(
                        keys_values=keys_values, places=places, weights=weights, frame_tokens=mask.shape[2]
                    )
                )
        return tuple(speakers)

    def forward(self, x: Tensor, t: Tensor, conditions: AvatarConditions) -> Tensor:
        """The velocity d x / d sigma, computed in the dtype of x.

        x: (b, c, f, h, w), noisy latents. t: (b,), time in 0..1000.
        conditions: as many rows as x, from `prepare`. Returns x's shape.
        """
        return self.predict(self.features(x, t, conditions), t, conditions)

    def features(
        self, x: Tensor, t: Tensor, conditions: AvatarConditions, run: RunBlock = run_block
    ) -> Features:
        """The first part of `forward`: all blocks but the last. A step cache keeps what this returns.

        run: calls each block, in the place of `run_block`.
        """
        return self.speak(self.open(x, t, conditions, run), t, conditions, run)

    def open(self, x: Tensor, t: Tensor, conditions: AvatarConditions, run: RunBlock = run_block) -> Opening:
        """The part of `features` in which nobody is heard yet: guided and unguided halves share it where
        they share the prompt."""
        check_window(x, conditions)
        vec = F.silu(self._vector(t, conditions, x.dtype))
        table = self._table(x.shape[2], conditions)

        video = self.img_in(x) + conditions.reference
        image = torch.cat([conditions.prefix[:, None], video], dim=1).flatten(1, 3)
        text = self.txt_in(conditions.text, conditions.text_context, conditions.text_mask, t)
        # Rows past the prompt's length attend only each other, so nothing is lost without them.
        text = text[:, : conditions.text_tokens]

        for i, block in enumerate(self.double_blocks[:DOUBLE_BLOCKS_PER_ADAPTER]):
            image, text = run("double", i, block, image, text, vec, table)
            image = self._show_emotion(image, i, conditions)
        return Opening(image=image, text=text, frames=x.shape[2])

    def speak(
        self, opening: Opening, t: Tensor, conditions: AvatarConditions, run: RunBlock = run_block
    ) -> Features:
        """The rest of `features`. t, conditions: of as many rows as the opening."""
        image, text = opening.image, opening.text
        vec = F.silu(self._vector(t, conditions, image.dtype))
        table = self._table(opening.frames, conditions)

        for i, block in enumerate(self.double_blocks):
            if i >= DOUBLE_BLOCKS_PER_ADAPTER:
                image, text = run("double", i, block, image, text, vec, table)
                image = self._show_emotion(image, i, conditions)
            if (i + 1) % DOUBLE_BLOCKS_PER_ADAPTER == 0:
                k = i // DOUBLE_BLOCKS_PER_ADAPTER
                image = hear(image, conditions.voices, self.audio_adapters[k], k)

        tokens = torch.cat([image, text], dim=1)
        for i, block in enumerate(self.single_blocks[:-1]):
            tokens = run("single", i, block, tokens, vec, table)
        return Features(tokens=tokens, prefix_tokens=conditions.prefix_tokens, frames=opening.frames)

    def predict(
        self, features: Features, t: Tensor, conditions: AvatarConditions, run: RunBlock = run_block
    ) -> Tensor:
        """The second part of `forward`: the last block and the output layer, with t's own modulation."""
        vec = self._vector(t, conditions, features.tokens.dtype)
        table = self._table(features.frames, conditions)
        number = len(self.single_blocks) - 1
        tokens = run("single", number, self.single_blocks[-1], features.tokens, F.silu(vec), table)

        rows, columns = conditions.prefix.shape[1:3]
        return rearrange(
            self.final_layer(replace(features, tokens=tokens).video.flatten(1, 2), vec),
            "b (f rows columns) (c p q) -> b c f (rows p) (columns q)",
            rows=rows, columns=columns, p=PATCH, q=PATCH,
        )  # fmt: skip

    @property
    def audio_adapters(self) -> list[CrossAdapter]:
        return list(self.audio_adapter_blocks)  # type: ignore[arg-type]

    def _vector(self, t: Tensor, conditions: AvatarConditions, dtype: torch.dtype) -> Tensor:
        return (self.time_in(t, dtype) + conditions.vector)[:, None]

    def _motion(self, motion: Motion, like: Tensor) -> Tensor:
        """As trained: raw scores and rates, embedded like times; scores one by one, then side by side."""
        rows, dtype = motion.fps.shape[0], like.dtype
        expression, pose, fps = (x.to(like.device) for x in (motion.expression, motion.pose, motion.fps))
        expression = self.motion_exp(expression.flatten(), dtype).view(rows, -1)
        return self.fps_proj(fps, dtype) + expression + self.motion_pose(pose.flatten(), dtype).view(rows, -1)

    def _keys_values(self, audio: Tensor) -> Tensor:
        """audio: (b, f, window, states, audio size), f video frames. Returns (b, adapters, 2, f, n, size)."""
        source = self.audio_proj(audio)
        return torch.stack([adapter.keys_values(source) for adapter in self.audio_adapters], dim=1)

    def _voices(self, characters: Sequence[Character], like: Tensor) -> tuple[Voice, ...]:
        """What a single window hears of characters who speak as long as it lasts."""
        frames = [torch.arange(character.audio.shape[1]) for character in characters]
        return tuple(
            speaker.at(torch.arange(latent_frames(len(heard))), heard_frames(heard)).like(like)
            for heard, character in zip(frames, characters, strict=True)
            for speaker in self.listen([character], like)
        )

    def _emotion_tokens(self, scene: AvatarScene, like: Tensor) -> Tensor | None:
        if self.emotion is None or scene.emotion is None or scene.emotion_strength == 0:
            return None
        return self.emotion.embed(scene.emotion.to(like))

    def _table(self, frames: int, conditions: AvatarConditions) -> Tensor:
        table = conditions.table
        if table is None or table.frames != frames:
            table = self._rotary_table(frames, conditions)
        return table.values

    def _rotary_table(self, frames: int, conditions: AvatarConditions) -> RotaryTable:
        rows, columns = conditions.prefix.shape[1:3]
        axes = image_positions(
            frames, rows, columns, conditions.reference_shift, device=conditions.prefix.device
        )
        return RotaryTable(grid_rotary_table(axes, self.config.rope_sizes, ROPE_THETA), frames)

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
