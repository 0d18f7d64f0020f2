"""Synchformer's visual branch against published tensors, dense masked attention, and torch's own layer."""

import json
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pack.hunyuan.foley.sync_blocks import GroupAggregator
from pack.hunyuan.foley.sync_encoder import (
    PREFIX,
    SPACE_GROUPS,
    TIME_GROUPS,
    DividedAttention,
    SyncEncoder,
    SyncEncoderConfig,
    segments_of,
)
from pack.hunyuan.foley.timing import FoleyTiming
from pack.hunyuan.layers.attention import attention
from safetensors.torch import load_file
from torch import Tensor, nn

KEYS = Path(__file__).parents[2] / "keys"
TINY = SyncEncoderConfig(hidden_size=24, depth=2, num_heads=3, patch_size=4, image_size=12, mlp_ratio=2.0)


def randomised(network: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    for parameter in network.parameters():
        parameter.data.normal_(std=0.3, generator=generator)
    return network.eval().requires_grad_(False)


def random_segments(*shape: int, config: SyncEncoderConfig = TINY) -> Tensor:
    generator = torch.Generator().manual_seed(sum(shape))
    shape = (*shape, 16, 3, config.image_size, config.image_size)
    return torch.rand(shape, generator=generator, dtype=torch.float64) * 2 - 1


@pytest.fixture(scope="module")
def encoder() -> SyncEncoder:
    return randomised(SyncEncoder(TINY, dtype=torch.float64))


def recorded(sidecar: Path) -> tuple[SyncEncoder, Tensor, dict[str, Tensor], dict[str, float]]:
    """Network, segments (1, s, 16, 3, h, w), the tensors to compare, and the tolerance."""
    facts = json.loads(sidecar.read_text())
    tensors = load_file(sidecar.with_name(facts["file"]))
    start = f"weights.{PREFIX}"
    weights = {name.removeprefix(start): t for name, t in tensors.items() if name.startswith(start)}
    shapes = {name: tensor.shape for name, tensor in weights.items()}
    encoder = SyncEncoder(SyncEncoderConfig.from_shapes(shapes, facts["config"]["num_heads"]), device="meta")
    encoder.load_state_dict(weights, assign=True)
    if "case0.in.segments" in tensors:
        segments = tensors["case0.in.segments"].transpose(0, 1)
    else:
        segments = segments_of(pattern(**facts["pattern"]))[None]
    return encoder.requires_grad_(False), segments, tensors, facts["suggested_tolerance"]


def pattern(
    *, frames: int, height: int, width: int, a: int, b: int, cx: int, cy: int, off: int, **_
) -> Tensor:
    sizes = (frames, 3, height, width)
    t, c, y, x = torch.meshgrid(*map(torch.arange, sizes), indexing="ij")
    levels = (t * a + c * b + y * cy + x * cx + x * y // 7 * (c + 1) + off) % 256
    return (levels.to(torch.uint8).float() / 255 - 0.5) / 0.5


def every_stage(encoder: SyncEncoder, segments: Tensor) -> Iterator[tuple[str, Tensor]]:
    stages = {f"mid.block{i}": block for i, block in enumerate(encoder.blocks)}
    stages["mid.normed_patch_tokens"] = encoder.norm
    seen: dict[str, Tensor] = {}
    hooks = [
        module.register_forward_hook(lambda _m, _i, out, name=name: seen.update({name: out}))
        for name, module in stages.items()
    ]
    features = encoder(segments)
    for hook in hooks:
        hook.remove()
    yield from seen.items()
    yield "mid.tokens_with_pos", encoder.embed(segments[0])
    yield "out.features_flat", features
    yield "out.features", features.unflatten(1, (segments.shape[1], -1)).transpose(0, 1)


def test_published_tensors_are_reproduced(goldens):
    sidecars = sorted((goldens / "foley").glob("synchformer_*.json"))
    assert sidecars
    for sidecar in sidecars:
        encoder, segments, tensors, tolerance = recorded(sidecar)
        for name, found in every_stage(encoder, segments):
            torch.testing.assert_close(found, tensors[f"case0.{name}"], **tolerance)


def test_names_and_shapes_are_those_of_the_published_file():
    published = json.loads((KEYS / "synchformer_visual_keys.json").read_text())
    network = SyncEncoder(device="meta")
    found = {PREFIX + name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    assert len(found) == 238
    assert found == published


@pytest.mark.parametrize("config", [TINY, SyncEncoderConfig()])
def test_sizes_are_read_from_the_shapes(config):
    shapes = {name: tensor.shape for name, tensor in SyncEncoder(config, device="meta").state_dict().items()}
    heads = None if config.hidden_size == 64 * config.num_heads else config.num_heads
    assert SyncEncoderConfig.from_shapes(shapes, heads) == config


def test_heads_that_no_shape_tells_are_asked_for():
    shapes = {name: tensor.shape for name, tensor in SyncEncoder(TINY, device="meta").state_dict().items()}
    with pytest.raises(ValueError, match="24 does not split into 0 heads: give the sync encoder's number"):
        SyncEncoderConfig.from_shapes(shapes)


@pytest.mark.parametrize("shape", [(1, 5), (5, 1)])
def test_a_segment_gives_the_same_features_alone_and_in_company(encoder, shape):
    segments = random_segments(*shape)
    together = encoder(segments).reshape(5, 8, -1)
    alone = torch.cat([encoder(segment[None, None]) for segment in segments.flatten(0, 1)])
    torch.testing.assert_close(together, alone)


def test_tokens_follow_the_segments_in_time(encoder):
    segments = random_segments(1, 3)
    features = encoder(segments)
    assert features.shape == (1, 3 * 8, TINY.hidden_size)
    torch.testing.assert_close(
        encoder(segments.flip(1)).reshape(3, 8, -1), features.reshape(3, 8, -1).flip(0)
    )


def seen_by(token: int, along: str) -> list[int]:
    """Which of the class token and 8 x 9 patches a token may read."""
    everything = range(1 + 8 * TINY.places)
    if token == 0:
        return list(everything)
    place, time = (token - 1) % TINY.places, (token - 1) // TINY.places
    if along == TIME_GROUPS:
        return [0, *(other for other in everything[1:] if (other - 1) % TINY.places == place)]
    return [0, *(other for other in everything[1:] if (other - 1) // TINY.places == time)]


@pytest.mark.parametrize("along", [TIME_GROUPS, SPACE_GROUPS])
def test_divided_attention_is_dense_attention_under_a_mask(along):
    layer = randomised(DividedAttention(TINY, along, attention=attention, dtype=torch.float64))
    tokens = 1 + 8 * TINY.places
    x = torch.randn(
        2, tokens, TINY.hidden_size, dtype=torch.float64, generator=torch.Generator().manual_seed(1)
    )
    mask = torch.zeros(tokens, tokens, dtype=torch.bool)
    for token in range(tokens):
        mask[token, seen_by(token, along)] = True

    q, k, v = (part.unflatten(2, (3, 8)).transpose(1, 2) for part in layer.qkv(x).chunk(3, dim=-1))
    scores = (q @ k.mT / 8**0.5).masked_fill(~mask, float("-inf"))
    expected = layer.proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
    torch.testing.assert_close(layer(x), expected)


def test_the_aggregator_is_a_transformer_layer_read_at_its_own_token():
    ours = randomised(GroupAggregator(24, 3, 40, attention=attention, dtype=torch.float64))
    theirs = nn.TransformerEncoderLayer(
        24, 3, 40, 0.0, "gelu", 1e-6, batch_first=True, norm_first=True, dtype=torch.float64
    )
    weights = ours.state_dict()
    token = weights.pop("cls_token")
    theirs.load_state_dict(weights)

    groups = torch.randn(5, 7, 24, dtype=torch.float64, generator=torch.Generator().manual_seed(2)) * 1e-3
    with torch.no_grad():
        expected = theirs(torch.cat([token.expand(5, 1, 24), groups], dim=1))[:, 0]
    torch.testing.assert_close(ours(groups), expected)


def test_layer_norms_have_the_published_epsilon(encoder):
    assert {layer.eps for layer in encoder.modules() if isinstance(layer, nn.LayerNorm)} == {1e-6}


def test_the_embedding_of_single_frames_has_no_effect():
    encoder = randomised(SyncEncoder(TINY, dtype=torch.float64))
    segments = random_segments(1, 1)
    before = encoder(segments)
    nn.init.constant_(encoder.patch_embed.proj.weight, float("nan"))
    torch.testing.assert_close(encoder(segments), before, rtol=0, atol=0)


def test_the_residual_stream_is_float32_under_autocast():
    encoder = randomised(SyncEncoder(TINY))
    seen = []
    for block in encoder.blocks:
        block.register_forward_hook(lambda _m, _i, out: seen.append(out.dtype))
        block.mlp.register_forward_hook(lambda _m, _i, out: seen.append(out.dtype))
    with torch.autocast("cpu", torch.bfloat16):
        encoder(random_segments(1, 1).float())
    assert seen == [torch.bfloat16, torch.float32] * TINY.depth


def test_every_layer_is_the_hosts_and_so_is_attention():
    layers: list[str] = []
    calls: list[torch.Size] = []

    def layer(name: str):
        kind = getattr(nn, name)
        return lambda *sizes, **options: (layers.append(name), kind(*sizes, **options))[1]

    def counted(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        calls.append(q.shape)
        return attention(q, k, v)

    names = ("Linear", "Conv2d", "Conv3d", "LayerNorm")
    operations = SimpleNamespace(**{name: layer(name) for name in names})
    encoder = randomised(SyncEncoder(TINY, operations=operations, attention=counted))
    assert len(layers) == sum(isinstance(m, tuple(getattr(nn, n) for n in names)) for m in encoder.modules())

    encoder(random_segments(1, 2).float())
    cls, in_time, in_space = (2, 3, 1, 8), (2 * 9, 3, 8, 8), (2 * 8, 3, 9, 8)
    assert calls == [cls, in_time, cls, in_space] * TINY.depth + [(2 * 8, 3, 1, 8)]


@pytest.mark.parametrize(
    "shape", [(1, 2, 15, 3, 12, 12), (1, 2, 16, 12, 12, 3), (2, 16, 3, 12, 12), (1, 2, 16, 3, 12, 16)]
)
def test_segments_of_another_shape_are_named(encoder, shape):
    with pytest.raises(ValueError, match=r"segments of shape \(b, s, 16, 3, 12, 12\), not \(") as error:
        encoder(torch.zeros(shape))
    assert str(shape) in str(error.value)


def test_a_short_clip_names_the_missing_frames():
    with pytest.raises(
        ValueError, match=r"9 frames at 25 fps, it needs 16 \(0\.64 s\)\. Use a longer clip\."
    ):
        segments_of(torch.zeros(9, 3, 2, 2))


@given(frames=st.integers(16, 80), clips=st.integers(1, 2))
def test_segments_are_windows_into_the_frames(frames, clips):
    video = torch.arange(clips * frames * 3 * 2 * 2).reshape(clips, frames, 3, 2, 2)
    segments = segments_of(video)
    assert segments.shape[:2] == (clips, FoleyTiming.from_sync_frames(frames).sync_segments)
    assert segments.untyped_storage().data_ptr() == video.untyped_storage().data_ptr()
    for i in range(segments.shape[1]):
        assert segments[:, i].equal(video[:, 8 * i : 8 * i + 16])
    assert frames - (8 * i + 16) < 8
