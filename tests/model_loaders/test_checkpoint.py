"""Checkpoint files that are what they claim to be, and every way in which they may not be."""

import json
import os
import struct
import sys
import zipfile
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pack.model_loaders.checkpoint import open_checkpoint
from safetensors.torch import save_file

TENSORS = {
    "half": torch.arange(6, dtype=torch.float16).reshape(2, 3),
    "brain": torch.arange(4, dtype=torch.bfloat16),
    "single": torch.linspace(-1, 1, 5),
    "e4": torch.tensor([0.5, -448.0]).to(torch.float8_e4m3fn),
    "e5": torch.tensor([1.0, 2.0, 57344.0]).to(torch.float8_e5m2),
    "count": torch.arange(3),
}


def refusal(path: Path, error: type[Exception] = ValueError) -> str:
    with pytest.raises(error) as caught:
        open_checkpoint(path)
    message = str(caught.value)
    assert path.name in message
    assert "\n" not in message
    assert len(message) < 300
    return message


def write_safetensors(path: Path, header: object, data: bytes = b"") -> Path:
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    path.write_bytes(struct.pack("<Q", len(text)) + text + data)
    return path


def assert_same(checkpoint, tensors: dict[str, torch.Tensor]) -> None:
    assert set(checkpoint) == set(tensors)
    for name, tensor in tensors.items():
        assert checkpoint.shapes[name] == tuple(tensor.shape)
        assert checkpoint.dtypes[name] == checkpoint[name].dtype == tensor.dtype
        assert torch.equal(checkpoint[name].float(), tensor.float())


# --- what is accepted


@pytest.mark.parametrize("layout", ["safetensors", "zip", "legacy", "state_dict", "module"])
def test_every_layout_gives_the_same_tensors(tmp_path, layout):
    path, tensors = tmp_path / "weights", TENSORS
    if layout == "safetensors":
        save_file(tensors, path)
    elif layout == "legacy":
        tensors = {name: tensor for name, tensor in TENSORS.items() if tensor.dtype.itemsize > 1}
        torch.save(tensors, path, _use_new_zipfile_serialization=False)
    elif layout == "zip":
        torch.save(tensors, path)
    else:
        torch.save({layout: tensors, "epoch": 3}, path)

    checkpoint = open_checkpoint(path)

    assert_same(checkpoint, tensors)
    assert len(checkpoint) == len(tensors)
    assert checkpoint.path == path
    with pytest.raises(KeyError):
        checkpoint["absent"]


def test_a_network_saved_with_its_parameters_and_versions_is_read(tmp_path):
    network = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    torch.save(network.state_dict(keep_vars=True), tmp_path / "network.pth")

    checkpoint = open_checkpoint(tmp_path / "network.pth")

    assert_same(checkpoint, {name: value.detach() for name, value in network.state_dict().items()})
    assert not checkpoint["0.weight"].requires_grad


def test_the_published_vae_layout_gives_its_arguments(goldens):
    checkpoint = open_checkpoint(goldens / "foley" / "dac_tiny_checkpoint.pth")
    assert len(checkpoint) == 186
    assert checkpoint.config["decoder_rates"] == [4, 3, 2]


def test_metadata_of_safetensors_holds_a_config(tmp_path):
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", metadata={"config": '{"num_heads": 3}'})
    checkpoint = open_checkpoint(tmp_path / "a.safetensors")
    assert checkpoint.config == {"num_heads": 3}


@pytest.mark.parametrize("stated", ["[1]", "{", "[" * 100_000])
def test_a_config_that_is_no_table_is_refused(tmp_path, stated):
    save_file({"a": torch.zeros(1)}, tmp_path / "a.safetensors", metadata={"config": stated})
    with pytest.raises(ValueError, match=r"a\.safetensors: its metadata entry config"):
        _ = open_checkpoint(tmp_path / "a.safetensors").config


def test_tensors_nobody_asks_for_are_not_read(tmp_path):
    size = 2 << 30  # a hole of 2 GiB: reading it would take seconds and memory
    path = tmp_path / "large.safetensors"
    header = {
        "wanted": {"dtype": "F32", "shape": [2], "data_offsets": [0, 8]},
        "unwanted": {"dtype": "U8", "shape": [size], "data_offsets": [8, 8 + size]},
    }
    write_safetensors(path, header, struct.pack("<ff", 1.0, 2.0))
    before = resident_bytes()
    os.truncate(path, path.stat().st_size + size)

    checkpoint = open_checkpoint(path)

    assert checkpoint["wanted"].tolist() == [1.0, 2.0]
    assert checkpoint["unwanted"].shape == (size,)
    assert resident_bytes() - before < 200e6


def resident_bytes() -> int:
    statm = Path("/proc/self/statm")
    if not statm.exists():
        pytest.skip("needs /proc to measure memory")
    return int(statm.read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


# --- what is no checkpoint at all


def test_a_missing_file_is_named(tmp_path):
    assert "There is no checkpoint file" in refusal(tmp_path / "absent.pth", FileNotFoundError)


def test_a_path_through_a_file_is_a_missing_file(tmp_path):
    (tmp_path / "file").write_bytes(b"x")
    refusal(tmp_path / "file" / "weights.pth", FileNotFoundError)


def test_a_folder_is_not_a_file(tmp_path):
    assert "is a folder" in refusal(tmp_path)


@pytest.mark.skipif(sys.platform == "win32", reason="permissions are set otherwise there")
def test_an_unreadable_file_is_named(tmp_path):
    path = tmp_path / "weights.pth"
    torch.save(TENSORS, path)
    path.chmod(0)
    root = os.geteuid() == 0
    if root:
        os.seteuid(65534)  # permissions do not stop root
    try:
        assert "may not be read" in refusal(path, PermissionError)
    finally:
        if root:
            os.seteuid(0)


@pytest.mark.skipif(sys.platform == "win32", reason="has no named pipes in folders")
def test_a_pipe_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.pth")
    assert "is not a regular file" in refusal(tmp_path / "pipe.pth")


@pytest.mark.parametrize(
    ("start", "problem"),
    [
        (b"", "is empty"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", "is a Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "is a web page"),
        (b"GGUF\x03\x00\x00\x00", "is no whole GGUF file"),
        (b"\x80\x02}q\x00.", "is not a checkpoint"),
        (b"random bytes of no format", "is not a checkpoint"),
    ],
)
def test_other_files_are_told_apart(tmp_path, start, problem):
    path = tmp_path / "weights.pth"
    path.write_bytes(start)
    assert problem in refusal(path)


def test_a_torch_file_named_safetensors_is_told_to_be_renamed(tmp_path):
    torch.save(TENSORS, tmp_path / "weights.safetensors")
    assert "Rename it to .pth" in refusal(tmp_path / "weights.safetensors")


# --- safetensors that lie


def entry(shape: list, begin: object, end: object, dtype: object = "F32") -> dict:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


@pytest.mark.parametrize(
    ("header", "problem"),
    [
        ({"a": entry([4], 0, 16), "b": entry([4], 8, 24)}, "tensor b overlaps"),
        ({"a": entry([4], 0, 16), "b": entry([4], 0, 16)}, "tensor b overlaps"),
        ({"a": entry([4], 0, 16), "b": entry([1], 20, 24)}, "tensor b leaves a gap"),
        ({"a": entry([4], 0, 16)}, "8 bytes at its end belong to no tensor"),
        ({"a": entry([8], 0, 32)}, "is truncated: tensor a ends at byte 32"),
        ({"a": entry([2**62], 0, 2**64)}, "is truncated: tensor a"),
        ({"a": entry([5], 0, 24)}, "needs 20 bytes"),
        ({"a": entry([6], 24, 0)}, "needs 24 bytes, its header gives it -24"),
        ({"a": entry([-6], 0, 24)}, "describes tensor a wrongly"),
        ({"a": entry([6.0], 0, 24)}, "describes tensor a wrongly"),
        ({"a": entry([True], 0, 4)}, "describes tensor a wrongly"),
        ({"a": entry([6], 0, "24")}, "describes tensor a wrongly"),
        ({"a": entry([6], 0, 24, dtype=32)}, "describes tensor a wrongly"),
        ({"a": {"dtype": "F32", "shape": [6]}}, "describes tensor a wrongly"),
        ({"a": [0, 24]}, "describes tensor a wrongly"),
        ({"a": entry([48], 0, 24, dtype="F4")}, "dtype F4"),
        ({"a": entry([6], 0, 24), "__metadata__": {"count": 3}}, "metadata is not text"),
        ({"a": entry([6], 0, 24), "__metadata__": "text"}, "metadata is not text"),
        ({"a\nb": entry([6], 0, 24)}, "is no name of a tensor"),
        ({"a" * 5000: entry([6], 0, 24)}, "is no name of a tensor"),
        ([], "is not a table"),
        (b'{"a": 1', "header cannot be read"),
        (b'{"a": ' + b"9" * 10_000 + b"}", "header cannot be read"),
        (b"\xff\xfe\x00", "header cannot be read"),
        (b"[" * 100_000, "header cannot be read"),
        (b'{"a": 1, "a": 2}', "a name appears twice"),
    ],
)
def test_a_header_that_lies_is_refused(tmp_path, header, problem):
    path = write_safetensors(tmp_path / "lie.safetensors", header, bytes(24))
    assert problem in refusal(path)


def test_a_file_without_tensors_is_refused(tmp_path):
    assert "holds no tensors" in refusal(write_safetensors(tmp_path / "none.safetensors", {}))


def test_a_header_longer_than_the_file_is_refused(tmp_path):
    path = tmp_path / "short.safetensors"
    path.write_bytes(struct.pack("<Q", 2**63) + b"{}")
    assert "is truncated or not a safetensors file" in refusal(path)


def test_a_flood_of_tensors_is_refused(tmp_path):
    header = {f"t{i}": entry([0], 0, 0) for i in range(30_000)}
    assert "30000 tensors" in refusal(write_safetensors(tmp_path / "many.safetensors", header))


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_no_cut_or_flipped_header_byte_escapes_notice(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("cut") / "weights.safetensors"
    save_file(TENSORS, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    refusal(path)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_damaged_header_gives_plain_errors_or_readable_tensors(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("flip") / "weights.safetensors"
    save_file(TENSORS, path)
    content = bytearray(path.read_bytes())
    header = struct.unpack("<Q", content[:8])[0]
    content[data.draw(st.integers(0, 7 + header))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        checkpoint = open_checkpoint(path)
    except ValueError:
        refusal(path)
    else:
        assert all(checkpoint[name].shape == checkpoint.shapes[name] for name in checkpoint)


# --- archives that lie


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_a_truncated_archive_is_refused(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("cut") / "weights.pth"
    torch.save(TENSORS, path)
    whole = path.read_bytes()
    path.write_bytes(whole[: data.draw(st.integers(0, len(whole) - 1))])
    refusal(path)


@settings(max_examples=40, deadline=None)
@given(cut=st.floats(0, 0.999))
def test_a_truncated_old_file_is_refused(tmp_path_factory, cut):
    path = tmp_path_factory.mktemp("cut") / "weights.pth"
    torch.save(TENSORS, path, _use_new_zipfile_serialization=False)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(cut * len(whole))])
    refusal(path)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_damaged_archive_gives_plain_errors_or_readable_tensors(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("flip") / "weights.pth"
    torch.save(TENSORS, path)
    content = bytearray(path.read_bytes())
    content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    path.write_bytes(content)
    try:
        checkpoint = open_checkpoint(path)
    except ValueError:
        refusal(path)
    else:
        assert all(checkpoint[name].shape == checkpoint.shapes[name] for name in checkpoint)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_damaged_pickle_in_a_sound_archive_does_so_too(tmp_path_factory, data):
    folder = tmp_path_factory.mktemp("flip")
    torch.save(TENSORS, folder / "good.pth")
    with zipfile.ZipFile(folder / "good.pth") as archive:
        pickled = bytearray(archive.read("good/data.pkl"))
    pickled[data.draw(st.integers(0, len(pickled) - 1))] ^= data.draw(st.integers(1, 255))
    path = rezip(
        folder / "weights.pth", folder / "good.pth", zipfile.ZIP_STORED, **{"data.pkl": bytes(pickled)}
    )
    try:
        open_checkpoint(path)
    except ValueError:
        refusal(path)


def test_an_archive_whose_entry_has_no_readable_name_is_refused(tmp_path):
    path = tmp_path / "broken.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("é/data.pkl", bytes(22))
    path.write_bytes(path.read_bytes().replace("é".encode(), b"\xec\xff"))
    refusal(path)


def test_an_archive_that_points_before_its_start_is_refused(tmp_path):
    path = tmp_path / "broken.pth"
    torch.save(TENSORS, tmp_path / "good.pth")
    content = bytearray(rezip(path, tmp_path / "good.pth", zipfile.ZIP_STORED).read_bytes())
    at = len(content) - 6  # the directory's offset, in the last record
    content[at : at + 4] = struct.pack("<I", struct.unpack("<I", content[at : at + 4])[0] + 50)
    path.write_bytes(content)
    refusal(path)


def rezip(path: Path, source: Path, compression: int, **added: bytes) -> Path:
    """The archive `source` packed anew, with entries (by the ends of their names) replaced or added."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(path, "w", compression) as new:
        contents = {name.partition("/")[2]: old.read(name) for name in old.namelist()} | added
        for name, content in contents.items():
            new.writestr(f"archive/{name}", content)
    return path


def test_a_zip_bomb_is_refused_unread(tmp_path):
    torch.save(TENSORS, tmp_path / "good.pth")
    bomb = rezip(tmp_path / "bomb.pth", tmp_path / "good.pth", zipfile.ZIP_DEFLATED, bomb=bytes(50_000_000))
    assert bomb.stat().st_size < 100_000
    assert "torch.save compresses nothing" in refusal(bomb)


def test_entries_that_share_their_bytes_are_refused(tmp_path):
    path = tmp_path / "shared.pth"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("shared/data.pkl", bytes(1000))
        first = archive.infolist()[0]
        for i in range(10):
            twin = zipfile.ZipInfo(f"shared/data/{i}")
            twin.file_size = twin.compress_size = first.file_size
            twin.header_offset, twin.CRC = first.header_offset, first.CRC
            archive.filelist.append(twin)
    assert "entries claim" in refusal(path)


def test_a_flood_of_entries_is_refused(tmp_path):
    path = tmp_path / "many.pth"
    with zipfile.ZipFile(path, "w") as archive:
        for i in range(41_000):
            archive.writestr(zipfile.ZipInfo(f"a/{i}"), b"")
    assert "41000 entries" in refusal(path)


def test_another_archive_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "other.pth", "w") as archive:
        archive.writestr("readme.txt", "hello")
    assert "none that torch.save wrote" in refusal(tmp_path / "other.pth")


def test_a_torchscript_program_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "program.pt", "w", zipfile.ZIP_DEFLATED) as archive:
        for name in ("data.pkl", "constants.pkl", "code/__torch__.py"):
            archive.writestr(f"program/{name}", bytes(100))
    assert "TorchScript" in refusal(tmp_path / "program.pt")


@pytest.mark.parametrize(
    "saved",
    [
        [torch.zeros(2)],
        torch.zeros(2),
        {"a": 3},
        {7: torch.zeros(2)},
        {"a\nb": torch.zeros(2)},
        {"a": {"b": torch.zeros(2)}},
        {"state_dict": {"a": "text"}},
        {"a": torch.zeros(2, 2).to_sparse()},
        {"a": torch.zeros(2, device="meta")},
        {"a": torch.zeros(1).expand(1000)},
        {},
    ],
)
def test_what_is_not_a_table_of_plain_tensors_is_refused(tmp_path, saved):
    torch.save(saved, tmp_path / "odd.pth")
    refusal(tmp_path / "odd.pth")
