"""The table of errors: what is measured is what packed layers lose, and nothing where nothing is lost."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT / "tools"))

from safetensors.torch import save_file  # noqa: E402

import quant_errors  # noqa: E402
from hunyuan_av.hunyuan.foley.config import FoleyConfig  # noqa: E402
from hunyuan_av.hunyuan.foley.transformer import FoleyTransformer  # noqa: E402
from hunyuan_av.hunyuan.layers.packing import PACKINGS  # noqa: E402
from hunyuan_av.model_loaders.foley_packed import load_packed_transformer  # noqa: E402

CONFIG = FoleyConfig(
    hidden_size=64, num_heads=2, joint_depth=2, audio_depth=2,
    latent_channels=6, text_size=10, visual_size=11, sync_size=12,
)  # fmt: skip


@pytest.fixture(scope="module")
def errors():
    with torch.inference_mode():
        weights = quant_errors.random_weights(CONFIG)
        return quant_errors.measure(CONFIG, weights, 1.0, [quant_errors.REFERENCE, *quant_errors.VARIANTS])


def test_the_reference_has_no_error_and_every_block_is_measured(errors):
    blocks = {f"{kind} {number}" for kind in ("joint", "audio") for number in range(2)}
    for name, measured in errors.items():
        assert set(measured.blocks) == blocks
        if name == "float32":
            assert {measured.weights, measured.velocity, *measured.blocks.values()} == {0.0}
        else:
            assert 0 < measured.velocity < 0.3
            assert all(0 < error < 0.5 for error in measured.blocks.values())


def test_more_bits_lose_less(errors):
    def lost(name):
        return errors[name].weights, errors[name].velocity

    for more, fewer in (("Q8_0", "Q6_K"), ("Q6_K", "Q4_K"), ("int8", "fp8"), ("fp8", "fp8_e5m2")):
        assert lost(more) < lost(fewer)
        assert lost(more)[1] < lost(fewer)[1]
    assert errors["int8, modulations too"].velocity > errors["int8"].velocity


def test_the_velocity_is_that_of_the_packed_network(tmp_path):
    weights = quant_errors.random_weights(CONFIG)
    names = FoleyTransformer(CONFIG, device="meta").state_dict()
    save_file({name: weights(name) for name in names}, tmp_path / "foley.safetensors")
    packed = load_packed_transformer(tmp_path / "foley.safetensors", "int8", torch.float32)
    timing = quant_errors.FoleyTiming(1.0)
    variant = quant_errors.Variant("int8", PACKINGS["int8"])

    def random(seed, *shape):
        return torch.randn(shape, generator=torch.Generator().manual_seed(seed))

    with torch.inference_mode():
        ours = quant_errors.Network(CONFIG, weights, variant, timing).velocity(None)
        conditions = packed.prepare(
            random(1, 1, quant_errors.TEXT_TOKENS, CONFIG.text_size),
            random(2, 1, timing.visual_frames, CONFIG.visual_size),
            random(3, 1, timing.sync_tokens, CONFIG.sync_size),
        )
        x = random(4, 1, CONFIG.latent_channels, timing.latent_frames)
        theirs = packed(x, torch.tensor([quant_errors.TIME]), conditions)
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


def test_the_command_prints_a_table():
    command = [sys.executable, "tools/quant_errors.py", "--seconds", "0.7"]
    out = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout
    lines = out.splitlines()
    assert lines[0].startswith("| format | weights | joint block, mean |")
    assert len(lines) == 2 + len(quant_errors.VARIANTS)
