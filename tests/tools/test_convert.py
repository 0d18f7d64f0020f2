"""Re-saving checkpoints: nothing is lost, nothing is half written."""

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import convert  # noqa: E402


def test_a_vae_keeps_its_tensors_and_arguments(tmp_path, goldens):
    source, target = goldens / "foley" / "dac_tiny_checkpoint.pth", tmp_path / "vae.safetensors"
    convert.convert(source, target)

    saved = torch.load(source, weights_only=True)
    tensors = load_file(target)
    assert tensors.keys() == saved["state_dict"].keys()
    assert all(torch.equal(tensor, saved["state_dict"][name]) for name, tensor in tensors.items())
    with safe_open(target, "pt") as file:
        metadata = file.metadata()
    assert json.loads(metadata["config"]) == saved["metadata"]["kwargs"]
    assert metadata["format"] == "pt"
    assert metadata["source"] == "dac_tiny_checkpoint.pth"
    assert metadata["source_sha256"] == hashlib.sha256(source.read_bytes()).hexdigest()
    assert [path.name for path in tmp_path.iterdir()] == ["vae.safetensors"]


def test_every_dtype_and_shape_survives(tmp_path):
    tensors = {
        "scalar": torch.tensor(3.5, dtype=torch.float64),
        "single": torch.randn(3, 5),
        "half": torch.randn(7).half(),
        "brain": torch.randn(3, 1, 2).bfloat16(),
        "e4": torch.randn(5).to(torch.float8_e4m3fn),
        "e5": torch.randn(2, 2).to(torch.float8_e5m2),
        "count": torch.arange(3),
        "flag": torch.tensor([True, False, True]),
        "turned": torch.randn(4, 3).T,
        "empty": torch.zeros(0, 4),
    }
    torch.save(tensors, tmp_path / "in.pth")
    written = convert.convert(tmp_path / "in.pth", tmp_path / "out.safetensors")
    again = load_file(tmp_path / "out.safetensors")
    for name, tensor in tensors.items():
        assert written.dtypes[name] == again[name].dtype == tensor.dtype
        assert torch.equal(again[name].double(), tensor.double())
        assert again[name].data_ptr() % tensor.dtype.itemsize == 0


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16", "float8_e4m3fn", "float8_e5m2"])
def test_a_dtype_is_given_to_weights_alone(tmp_path, dtype):
    torch.manual_seed(0)
    tensors = {"weight": torch.randn(4, 3), "norm": torch.randn(1, 4, 1), "ids": torch.arange(5)}
    save_file(tensors, tmp_path / "in.safetensors", metadata={"num_heads": "3"})
    asked = getattr(torch, dtype)
    written = convert.convert(tmp_path / "in.safetensors", tmp_path / "out.safetensors", asked)
    assert written.dtypes["weight"] == asked
    assert written.dtypes["norm"] == (torch.bfloat16 if dtype.startswith("float8") else asked)
    assert written.dtypes["ids"] == torch.int64
    assert torch.equal(written["weight"].float(), tensors["weight"].to(asked).float())
    assert written.metadata["num_heads"] == "3"


def test_the_input_is_never_overwritten(tmp_path):
    path = tmp_path / "in.safetensors"
    save_file({"a": torch.randn(2)}, path)
    before = path.read_bytes()
    (tmp_path / "link.safetensors").symlink_to(path)
    (tmp_path / "twin.safetensors").hardlink_to(path)
    for target in (path, tmp_path / "link.safetensors", tmp_path / "twin.safetensors"):
        with pytest.raises(ValueError, match="is the input itself"):
            convert.convert(path, target)
    assert path.read_bytes() == before


def test_a_failure_leaves_no_file_and_an_old_one_whole(tmp_path):
    save_file({"a": torch.tensor([[1.0, 2.0], [3.0, 1e6]])}, tmp_path / "in.safetensors")
    target = tmp_path / "out.safetensors"
    target.write_bytes(b"old")
    with pytest.raises(ValueError, match=r"a of in\.safetensors reaches 1e\+06, and float16 ends at 65504"):
        convert.convert(tmp_path / "in.safetensors", target, torch.float16)
    assert target.read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["in.safetensors", "out.safetensors"]


def test_a_dtype_that_safetensors_lack_is_named(tmp_path):
    torch.save({"a": torch.zeros(2, dtype=torch.complex128)}, tmp_path / "in.pth")
    with pytest.raises(ValueError, match=r"Tensor a is torch\.complex128"):
        convert.convert(tmp_path / "in.pth", tmp_path / "out.safetensors")


def test_the_command_runs_from_a_checkout(tmp_path, goldens):
    source = (goldens / "foley" / "dac_tiny_checkpoint.pth").resolve()
    command = [
        sys.executable,
        "tools/convert.py",
        source,
        tmp_path / "vae.safetensors",
        "--dtype",
        "bfloat16",
    ]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "a Foley audio VAE, 186 tensors" in done.stdout


def test_the_command_explains_a_failure_in_one_line(tmp_path, monkeypatch, capsys):
    absent = tmp_path / "absent.pth"
    monkeypatch.setattr(sys, "argv", ["convert.py", str(absent), str(tmp_path / "out.safetensors")])
    assert convert.main() == 1
    assert capsys.readouterr().err == f"error: There is no checkpoint file {absent}.\n"


def foley_file(path: Path, hidden: int = 64) -> Path:
    from hunyuan_av.hunyuan.foley.config import FoleyConfig
    from hunyuan_av.hunyuan.foley.transformer import FoleyTransformer

    config = FoleyConfig(
        hidden_size=hidden, num_heads=2, joint_depth=1, audio_depth=1,
        latent_channels=6, text_size=10, visual_size=12, sync_size=14,
    )  # fmt: skip
    network = FoleyTransformer(config, device="meta")
    save_file({name: torch.randn(t.shape) * 0.1 for name, t in network.state_dict().items()}, path)
    return path


def test_what_does_not_fit_a_format_keeps_16_bits_and_is_named(tmp_path, caplog):
    pytest.importorskip("gguf")
    source = foley_file(tmp_path / "in.safetensors", hidden=36)
    written = convert.convert_gguf(source, tmp_path / "out.gguf", "Q4_K")
    # 36 x 36 is no whole number of 256, 4 x 36 x 36 neither.
    said = [record.message for record in caplog.records if "no whole number of Q4_K blocks" in record.message]
    assert any("single_blocks.0.linear_qkv.weight of shape (108, 36)" in line for line in said)
    assert "single_blocks.0.linear_qkv.weight" not in written.packings
    assert written.dtypes["single_blocks.0.linear_qkv.weight"] == torch.float16
    assert written.dtypes["single_blocks.0.linear_qkv.bias"] == torch.float32
    assert written.dtypes["final_layer.linear.weight"] == torch.float16
    assert "single_blocks.0.linear2.w1.weight" in written.packings
    assert written.metadata["source"] == "in.safetensors"


def test_gguf_is_for_the_transformer_alone(tmp_path, goldens):
    pytest.importorskip("gguf")
    with pytest.raises(ValueError, match=r"dac_tiny_checkpoint.pth is not a Foley transformer"):
        convert.convert_gguf(goldens / "foley" / "dac_tiny_checkpoint.pth", tmp_path / "out.gguf")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("target", "options"), [("out.gguf", ["--dtype", "float16"]), ("out.safetensors", ["--packing", "Q8_0"])]
)
def test_an_option_of_the_other_format_is_refused(tmp_path, monkeypatch, capsys, target, options):
    source = foley_file(tmp_path / "in.safetensors")
    monkeypatch.setattr(sys, "argv", ["convert.py", str(source), str(tmp_path / target), *options])
    assert convert.main() == 1
    assert f"{options[1]} is not for {target}" in capsys.readouterr().err


def test_the_command_writes_gguf(tmp_path, monkeypatch, capsys):
    pytest.importorskip("gguf")
    source = foley_file(tmp_path / "in.safetensors")
    monkeypatch.setattr(
        sys, "argv", ["convert.py", str(source), str(tmp_path / "out.gguf"), "--packing", "Q6_K"]
    )
    assert convert.main() == 0
    assert "out.gguf: a Foley transformer" in capsys.readouterr().out
    assert (tmp_path / "out.gguf").stat().st_size < source.stat().st_size / 2
