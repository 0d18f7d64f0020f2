"""One runner for each kind of Avatar golden that the transformer and its sampling explain."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from golden import Golden, Row
from hunyuan_av.hunyuan.avatar.audio_adapter import (
    AudioProjector,
    CrossAdapter,
    by_latent,
    hear,
    token_mask,
    tokens_inside,
)
from hunyuan_av.hunyuan.avatar.conditions import (
    AvatarConditions,
    AvatarPrompt,
    AvatarScene,
    Character,
    Features,
    Motion,
    Voice,
)
from hunyuan_av.hunyuan.avatar.config import AvatarConfig
from hunyuan_av.hunyuan.avatar.transformer import ROPE_THETA, AvatarTransformer, image_positions
from hunyuan_av.hunyuan.layers.attention import attention
from hunyuan_av.hunyuan.layers.float8 import FLOAT8, Float8Linear, dequantise, quantise
from hunyuan_av.hunyuan.layers.rope import grid_rotary_table

Rows = Iterator[Row]


def load(network: nn.Module, weights: Mapping[str, Tensor]) -> Any:
    network.load_state_dict(weights, strict=True, assign=True)
    return network.eval()


# --- transformer -------------------------------------------------------------------------------------------


def build_transformer(weights: Mapping[str, Tensor], config: Mapping[str, Any]) -> AvatarTransformer:
    """From the shapes, as the loader does it, but for the rotary shares, which shapes do not tell."""
    found = AvatarConfig.from_shapes({name: tensor.shape for name, tensor in weights.items()})
    found = replace(found, rope_sizes=tuple(config["rope_dim_list"]))
    stated = (config["num_heads"], config["depth_double_blocks"], config["depth_single_blocks"])
    if stated != (found.num_heads, found.double_depth, found.single_depth):
        raise ValueError(f"The shapes say {found}, the sidecar {stated}.")
    return load(AvatarTransformer(found, device="meta"), weights)


def dit(golden: Golden) -> Rows:
    transformer = build_transformer(golden.weights, golden.sidecar["config"])
    tolerance = golden.tolerance()
    table = rotary_table_of(golden["in.x"], transformer.config.rope_sizes)
    for name, values in zip(("in.freqs_cos", "in.freqs_sin"), table, strict=True):
        yield golden.compare(name, values, tolerance)

    # Prompts of unequal length do not share a batch here.
    middles = [record(transformer, golden, row) for row in range(golden["in.x"].shape[0])]
    for name in golden.names:
        if name.startswith(("out.", "mid.")):
            values = with_recorded_tail([middle[name] for middle in middles], golden[name])
            yield golden.compare(name, values, tolerance)


def with_recorded_tail(rows: list[Tensor], recorded: Tensor) -> Tensor:
    """The rows as one batch. Text that no valid token ever sees is dropped here, but recorded."""
    filled = recorded.clone()
    for i, row in enumerate(rows):
        filled[i, : row.shape[1]] = row[0]
    return filled


def rotary_table_of(latents: Tensor, sizes: tuple[int, ...]) -> Tensor:
    frames, height, width = latents.shape[2:]
    axes = image_positions(frames, height // 2, width // 2)
    return cosines_and_sines(grid_rotary_table(axes, sizes, ROPE_THETA))


def cosines_and_sines(table: Tensor) -> Tensor:
    """A rotary table as recorded: the sine twice for each pair, without the sign that `rotate` wants."""
    cos, sin = table
    return torch.stack([cos, sin[..., 1::2].repeat_interleave(2, dim=-1)])


def conditions_of(transformer: AvatarTransformer, golden: Golden, row: int) -> AvatarConditions:
    def given(name: str) -> Tensor:
        return golden[f"in.{name}"][row : row + 1]

    motion = Motion(expression=given("motion_exp"), pose=given("motion_pose"), fps=given("fps"))
    return transformer.prepare(
        AvatarPrompt(states=given("text_states"), mask=given("text_mask"), pooled=given("text_states_2")),
        AvatarScene(reference=given("ref_latents"), motion=motion),
        [Character(audio=given("audio_prompts"), mask=given("face_mask"))],
    )


def record(transformer: AvatarTransformer, golden: Golden, row: int) -> dict[str, Tensor]:
    """Every intermediate of one row, under the goldens' names."""
    middle: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda _m, inputs, out, name=name: keep(middle, name, inputs[0], out))
        for name, module in {
            "mid.txt_in": transformer.txt_in,
            "mid.ref_in": transformer.ref_in,
            **{f"mid.double{i}": block for i, block in enumerate(transformer.double_blocks)},
            **{f"mid.single{i}": block for i, block in enumerate(transformer.single_blocks)},
        }.items()
    ]
    conditions = conditions_of(transformer, golden, row)
    x, t, t_cached = (golden[f"in.{name}"][row : row + 1] for name in ("x", "t", "t_cached"))
    features = transformer.features(x, t, conditions)
    middle["out.x"] = transformer.predict(features, t, conditions)
    for hook in hooks:
        hook.remove()

    audio = transformer.audio_proj(golden["in.audio_prompts"][row : row + 1])
    middle["mid.audio_proj"] = audio
    middle["mid.vec"] = transformer.time_in(t, x.dtype) + conditions.vector
    middle["mid.ref_in"] = middle["mid.ref_in"].flatten(1, 3)
    middle["out.cache_out"] = features.tokens
    middle["out.x_cached"] = transformer.predict(features, t_cached, conditions)
    for k, adapter in enumerate(transformer.audio_adapters):
        # Only tokens inside the mask are computed; the goldens have them all, so all are asked for.
        video = replace(features, tokens=middle[f"mid.double{2 * k + 1}.img"]).video
        middle[f"mid.adapter{k}"] = adapter(video, adapter.keys_values(by_latent(audio)))
    if not torch.equal(transformer(x, t, conditions), middle["out.x"]):
        raise ValueError("A forward pass differs from its two parts.")
    return middle


def keep(
    middle: dict[str, Tensor], name: str, first_input: Tensor, out: Tensor | tuple[Tensor, Tensor]
) -> None:
    middle[f"{name}.in"] = first_input
    if isinstance(out, tuple):
        middle[f"{name}.img"], middle[f"{name}.txt"] = out
    else:
        middle[name] = out


def rope(golden: Golden) -> Rows:
    config = golden.sidecar["config"]
    rows, columns = config["token_h"], config["token_w"]
    shift = (0, columns) if config["mode"] == "timecat-w" else (0, 0)
    axes = image_positions(config["frames"], rows, columns, shift)
    table = cosines_and_sines(grid_rotary_table(axes, config["rope_dim_list"], config["theta"]))
    for name, values in zip(("out.cos", "out.sin"), table, strict=True):
        yield golden.compare(name, values, golden.tolerance())


# --- audio -------------------------------------------------------------------------------------------------


def audio_proj(golden: Golden) -> Rows:
    config = golden.sidecar["config"]
    projector = AudioProjector(
        config["seq_len"] * config["blocks"] * config["channels"],
        config["intermediate_dim"],
        config["context_tokens"],
        config["output_dim"],
        device="meta",
    )
    load(projector, golden.weights)
    audio = golden["in.audio"]
    yield golden.compare("out.tokens", projector(audio), golden.tolerance())
    silence = projector(torch.zeros_like(audio))
    yield golden.compare("out.tokens_for_zero_audio", silence, golden.tolerance())


def faa(golden: Golden) -> Rows:
    adapter, config = build_adapter(golden), golden.sidecar["config"]
    image, grouped = golden["in.img_tokens"], by_latent(golden["in.audio_tokens"])
    mask = token_mask(golden["in.face_mask"], config["frames"])
    video = Features(tokens=image, prefix_tokens=mask.shape[-1], frames=config["frames"]).video
    found = {
        "out.grouped_audio": grouped,
        "out.adapter": adapter(video, adapter.keys_values(grouped)),
        "out.token_mask": mask.unflatten(-1, (config["token_h"], config["token_w"])),
        "out.img_tokens": hear(image, [voice(adapter, golden, "")], adapter, 0),
    }
    for name, values in found.items():
        yield golden.compare(name, values, golden.tolerance())


def faa_multi(golden: Golden) -> Rows:
    adapter = build_adapter(golden)
    voices = [voice(adapter, golden, f"_{i}") for i in range(golden.sidecar["config"]["speakers"])]
    image = hear(golden["in.img_tokens"], voices, adapter, 0)
    yield golden.compare("out.img_tokens", image, golden.tolerance())


def build_adapter(golden: Golden) -> CrossAdapter:
    sizes = golden.sidecar["config"]["dim"], golden.sidecar["config"]["dim_head"]
    return load(CrossAdapter(*sizes, heads=1, attention=attention, device="meta"), golden.weights)


def voice(adapter: CrossAdapter, golden: Golden, suffix: str) -> Voice:
    frames = golden.sidecar["config"]["frames"]
    keys_values = adapter.keys_values(by_latent(golden[f"in.audio_tokens{suffix}"]))
    places, weights = tokens_inside(token_mask(golden[f"in.face_mask{suffix}"], frames))
    return Voice(keys_values=keys_values[:, None], places=places, weights=weights)


# --- weights in eight bits ---------------------------------------------------------------------------------


def fp8_linear(golden: Golden) -> Rows:
    weight, scale = golden["in.weight_fp8_bytes"].view(FLOAT8), golden["in.scale"]
    bits, found_scale = quantise(golden["in.weight_fp32"])
    yield golden.equal(
        "in.weight_fp8_bytes", bits.view(torch.uint8).tolist(), weight.view(torch.uint8).tolist()
    )
    yield golden.compare("in.scale", found_scale.view(1), golden.tolerance("fp32"))

    layer = Float8Linear(*reversed(weight.shape))
    state = {"weight": weight, "bias": golden["in.bias"], "scale_weight": scale[0]}
    layer.load_state_dict(state, assign=True)
    for precision, dtype in {"fp32": torch.float32, "bf16": torch.bfloat16}.items():
        tolerance = golden.tolerance(precision)
        yield golden.compare(f"out.dequant_{precision}", dequantise(weight, scale, dtype), tolerance)
        yield golden.compare(f"out.linear_{precision}", layer(golden["in.x"].to(dtype)), tolerance)


RUNNERS: dict[str, Callable[[Golden], Rows]] = {
    "dit": dit,
    "rope": rope,
    "audio_proj": audio_proj,
    "faa": faa,
    "faa_multi": faa_multi,
    "fp8_linear": fp8_linear,
}
