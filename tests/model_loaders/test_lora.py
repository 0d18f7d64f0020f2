"""LoRA files for the Foley transformer: both forms, what they add, and what is refused."""

import pytest
import torch
from pack.hunyuan.foley.config import FoleyConfig
from pack.hunyuan.foley.transformer import FoleyTransformer
from pack.model_loaders.lora import LowRank, add_lora, flat, lora_tensors, read_lora
from safetensors.torch import save_file

LINEAR, CONVOLUTION = "single_blocks.0.linear_qkv.weight", "single_blocks.0.linear2.w1.weight"
SHAPES = {LINEAR: (12, 4), CONVOLUTION: (6, 4, 3)}


def addition(shape: tuple[int, ...], rank: int = 2, scale: float = 0.5) -> LowRank:
    generator = torch.Generator().manual_seed(len(shape))
    down = torch.randn(rank, *shape[1:], generator=generator)
    up = torch.randn(shape[0], rank, *(1 for _ in shape[2:]), generator=generator)
    return LowRank(down=down, up=up, scale=scale)


def additions() -> dict[str, LowRank]:
    return {name: addition(shape) for name, shape in SHAPES.items()}


def saved(path, tensors):
    save_file(tensors, path)
    return path


def in_second_form(tensors):
    renamed = {"lora_A": "lora_down", "lora_B": "lora_up"}
    for name in SHAPES:
        layer = "diffusion_model." + name.removesuffix(".weight")
        for key in [key for key in tensors if key.startswith(layer)]:
            rest = key.removeprefix(layer)
            for old, new in renamed.items():
                rest = rest.replace(old, new)
            tensors[flat(name) + rest] = tensors.pop(key)
    return tensors


def test_what_is_written_is_read_back(tmp_path):
    read = read_lora(saved(tmp_path / "a.safetensors", lora_tensors(additions())), SHAPES)
    for name, expected in additions().items():
        torch.testing.assert_close(read[name].delta(), expected.delta(), rtol=0, atol=0)


def test_the_second_form_says_the_same(tmp_path):
    read = read_lora(saved(tmp_path / "a.safetensors", in_second_form(lora_tensors(additions()))), SHAPES)
    for name, expected in additions().items():
        torch.testing.assert_close(read[name].delta(), expected.delta(), rtol=0, atol=0)


def test_an_addition_to_a_convolution_is_two_convolutions():
    low = addition(SHAPES[CONVOLUTION])
    x = torch.randn(1, 4, 9)
    between = torch.nn.functional.conv1d(x, low.down, padding=1)
    expected = low.scale * torch.nn.functional.conv1d(between, low.up)
    torch.testing.assert_close(torch.nn.functional.conv1d(x, low.delta(), padding=1), expected)


def test_without_alpha_an_addition_is_not_scaled(tmp_path):
    tensors = {k: t for k, t in lora_tensors(additions()).items() if not k.endswith("alpha")}
    read = read_lora(saved(tmp_path / "a.safetensors", tensors), SHAPES)
    assert read[LINEAR].scale == 1.0


def test_strength_scales_what_is_added_to_a_network(tmp_path):
    config = FoleyConfig(
        hidden_size=16, num_heads=2, joint_depth=1, audio_depth=1,
        latent_channels=4, text_size=4, visual_size=4, sync_size=4,
    )  # fmt: skip
    transformer = FoleyTransformer(config)
    for parameter in transformer.parameters():
        torch.nn.init.normal_(parameter)
    before = transformer.state_dict()[LINEAR].clone()
    low = addition(tuple(before.shape))
    add_lora(transformer, saved(tmp_path / "a.safetensors", lora_tensors({LINEAR: low})), strength=0.25)
    torch.testing.assert_close(transformer.state_dict()[LINEAR], before + 0.25 * low.delta())


def damaged(change):
    tensors = lora_tensors(additions())
    change(tensors)
    return tensors


LAYER = "diffusion_model." + LINEAR.removesuffix(".weight")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.pop(f"{LAYER}.lora_B.weight"), "incomplete: it has .*lora_A.* and no .*lora_B"),
        (lambda t: t.update({f"{LAYER}.lora_B.weight": torch.ones(5, 2)}), "for no weight of shape"),
        (lambda t: t.update({f"{LAYER}.lora_A.weight": torch.ones(3, 4)}), "for no weight of shape"),
        (lambda t: t.update({f"{LAYER}.dora_scale": torch.ones(1)}), "is not a LoRA .*dora_scale"),
        (
            lambda t: t.update({"diffusion_model.x.lora_A.weight": torch.ones(1, 1)}),
            "no layer for .*lora_A",
        ),
        (lambda t: t.update({"transformer.x.lora.down.weight": torch.ones(1, 1)}), "is not a LoRA"),
        (lambda t: t.clear() or t.update({"w": torch.ones(1)}), "is not a LoRA"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path, change, message):
    path = saved(tmp_path / "bad.safetensors", damaged(change))
    with pytest.raises(ValueError, match=f"bad.safetensors.*{message}"):
        read_lora(path, SHAPES)
