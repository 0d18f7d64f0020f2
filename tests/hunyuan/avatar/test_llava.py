"""LLaVA beside transformers' classes, which are its oracle."""

from types import SimpleNamespace

import pytest
import torch
from pack.hunyuan.avatar.llava import Llava
from pack.hunyuan.avatar.llava_config import LLAMA, VISION, ClipVisionConfig, LlamaConfig, LlavaConfig
from pack.hunyuan.avatar.text_encoder import as_trained_mask, guiding_states
from pack.hunyuan.layers.attention import attention
from torch import nn

IMAGE_TOKEN = 30
TINY = LlavaConfig(
    vision=ClipVisionConfig(hidden_size=16, mlp_size=24, depth=2, num_heads=2, image_size=28, patch_size=14),
    text=LlamaConfig(
        hidden_size=32, mlp_size=40, depth=3, num_heads=4, num_kv_heads=2, vocabulary=40, rope_theta=500_000.0
    ),
    image_token=IMAGE_TOKEN,
)
PATCHES = 4
HEAD = 3


def random_llava(**options):
    llava = Llava(TINY, dtype=torch.float64, **options)
    generator = torch.Generator().manual_seed(0)
    for name, parameter in llava.named_parameters():
        # Small enough that the epsilons of the norms matter.
        std = 1e-3 if "embed" in name else 0.3
        nn.init.normal_(parameter, std=std, generator=generator)
    return llava.eval().requires_grad_(False)


LLAVA = random_llava()
PIXELS = torch.randn(1, 3, 28, 28, generator=torch.Generator().manual_seed(1)).double()
IDS = torch.tensor([1, 7, 3, 12, 9, 8, 22, IMAGE_TOKEN])


def weights_of(prefix):
    return {
        name.removeprefix(prefix): value
        for name, value in LLAVA.state_dict().items()
        if name.startswith(prefix)
    }


def load_lower_layers(model, weights):
    """The layers of ours into a deeper model of transformers."""
    missing, unexpected = model.load_state_dict(weights, strict=False)
    assert not unexpected
    assert all("norm" in name or "layers." in name for name in missing)
    return model.double().eval()


@pytest.fixture(scope="module")
def oracle_llama():
    transformers = pytest.importorskip("transformers")
    text = TINY.text
    config = transformers.LlamaConfig(
        hidden_size=text.hidden_size,
        intermediate_size=text.mlp_size,
        num_hidden_layers=text.depth + 2,
        num_attention_heads=text.num_heads,
        num_key_value_heads=text.num_kv_heads,
        vocab_size=text.vocabulary,
        rope_theta=text.rope_theta,
        rms_norm_eps=1e-5,
        attn_implementation="eager",
    )
    return load_lower_layers(transformers.LlamaModel(config), weights_of(LLAMA))


@pytest.fixture(scope="module")
def oracle_vision():
    transformers = pytest.importorskip("transformers")
    vision = TINY.vision
    config = transformers.CLIPVisionConfig(
        hidden_size=vision.hidden_size,
        intermediate_size=vision.mlp_size,
        num_hidden_layers=vision.depth + 1,
        num_attention_heads=vision.num_heads,
        image_size=vision.image_size,
        patch_size=vision.patch_size,
    )
    model = transformers.CLIPVisionModel(config)
    return load_lower_layers(getattr(model, "vision_model", model), weights_of(VISION))


def test_the_vision_tower_gives_the_states_before_the_last_layer(oracle_vision):
    expected = oracle_vision(pixel_values=PIXELS, output_hidden_states=True).hidden_states[-2][:, 1:]
    found = LLAVA.vision_tower["vision_model"](PIXELS)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("place", [0, 4, 7])
def test_a_padded_prompt_has_the_states_of_the_published_layout(oracle_llama, place):
    ids = IDS.roll(place + 1)
    image = LLAVA.see(PIXELS)
    states, padding = LLAVA(ids, image)

    embed, padded = oracle_llama.embed_tokens, 5
    place = ids.tolist().index(IMAGE_TOKEN)
    tokens = torch.cat([embed(ids[:place]), image[0], embed(ids[place + 1 :]), torch.zeros(padded, 32)])
    valid = len(tokens) - padded
    positions = torch.tensor([*range(valid), *[1] * padded])
    visible = torch.ones(len(tokens), len(tokens)).tril().bool()
    visible[:, valid:] = False
    mask = torch.zeros(1, 1, *visible.shape, dtype=torch.float64).masked_fill(~visible, -torch.inf)
    expected = oracle_llama(
        inputs_embeds=tokens[None].double(),
        position_ids=positions[None],
        attention_mask=mask,
        output_hidden_states=True,
        use_cache=False,
    ).hidden_states[-3]

    torch.testing.assert_close(states, expected[:, :valid], rtol=1e-4, atol=1e-6)
    torch.testing.assert_close(padding.expand(-1, padded, -1), expected[:, valid:], rtol=1e-4, atol=1e-6)


def test_guiding_states_leave_the_head_out_and_repeat_the_padding():
    image = LLAVA.see(PIXELS)
    states, padding = LLAVA(IDS, image)
    guiding, mask = guiding_states(LLAVA, IDS, image, HEAD)
    length = 256 + PATCHES - 1
    assert guiding.shape == (1, length, 32)
    assert mask.shape == (1, length)
    tokens = len(IDS) + PATCHES - 1 - HEAD
    assert torch.equal(guiding[:, :tokens], states[:, HEAD:])
    assert torch.equal(guiding[:, tokens:], padding.expand(-1, length - tokens, -1))
    assert mask.sum() == tokens


def test_the_mask_has_the_images_ones_at_the_end():
    mask = as_trained_mask(tokens=20, image_tokens=576)
    assert mask.tolist() == [[1] * 20 + [0] * 236 + [1] * 575]


@pytest.mark.parametrize("ids", [[1, 2, 3], [1, IMAGE_TOKEN, IMAGE_TOKEN]])
def test_a_prompt_without_exactly_one_image_is_refused(ids):
    with pytest.raises(ValueError, match="shows one image"):
        LLAVA(torch.tensor(ids), LLAVA.see(PIXELS))


def test_an_image_of_another_size_is_refused_with_its_shape():
    with pytest.raises(ValueError, match=r"28 x 28 .* not \(1, 3, 14, 28\)"):
        LLAVA.see(torch.zeros(1, 3, 14, 28))


def test_sizes_are_read_from_the_shapes_and_unused_names_are_known():
    shapes = {name: tuple(value.shape) for name, value in LLAVA.state_dict().items()}
    used = set(shapes)
    unused = {
        "language_model.lm_head.weight",
        f"{LLAMA}norm.weight",
        f"{LLAMA}layers.3.mlp.up_proj.weight",
        f"{LLAMA}layers.4.input_layernorm.weight",
        f"{VISION}encoder.layers.2.mlp.fc1.weight",
        f"{VISION}post_layernorm.bias",
        f"{VISION}embeddings.position_ids",
    }
    shapes |= dict.fromkeys(unused, (1,))
    config = LlavaConfig.from_shapes(shapes, vision_heads=2, text_heads=4, image_token=IMAGE_TOKEN)
    assert config == TINY
    assert {name for name in shapes if not name.startswith(config.unused)} == used


def test_published_sizes_follow_from_published_shapes():
    shapes = {name: tuple(value.shape) for name, value in Llava(device="meta").state_dict().items()}
    shapes[f"{LLAMA}layers.31.input_layernorm.weight"] = (4096,)
    shapes[f"{VISION}encoder.layers.23.layer_norm1.weight"] = (1024,)
    assert LlavaConfig.from_shapes(shapes) == LlavaConfig()


def test_layers_and_attention_are_the_hosts():
    class HostLinear(nn.Linear):
        pass

    class HostEmbedding(nn.Embedding):
        pass

    calls = []

    def host_attention(q, k, v, mask=None):
        calls.append(mask is not None)
        return attention(q, k, v, mask)

    operations = SimpleNamespace(
        Linear=HostLinear, Embedding=HostEmbedding, LayerNorm=nn.LayerNorm, Conv2d=nn.Conv2d
    )
    llava = random_llava(operations=operations, attention=host_attention)
    assert {type(m) for m in llava.modules() if isinstance(m, nn.Linear)} == {HostLinear}
    assert {type(m) for m in llava.modules() if isinstance(m, nn.Embedding)} == {HostEmbedding}
    llava(IDS, llava.see(PIXELS))
    assert calls == [False] * TINY.vision.depth + [True] * TINY.text.depth


def test_half_precision_keeps_its_type():
    llava = random_llava().to(torch.bfloat16)
    states, padding = llava(IDS, llava.see(PIXELS.to(torch.bfloat16)))
    assert states.dtype == padding.dtype == torch.bfloat16
    assert states.isfinite().all()
