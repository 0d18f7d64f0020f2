"""Pickles that want to run something when they are opened. None may succeed."""

import contextlib
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import pytest
import torch
from pack.model_loaders.checkpoint import open_checkpoint

MAGIC = pickle.dumps(0x1950A86A20F9469CFC6C, protocol=2)
CANARY = "canary"


class Reduce:
    """Pickles as a call of `function(*arguments)`."""

    def __init__(self, function, *arguments):
        self.parts = (function, arguments)

    def __reduce__(self):
        return self.parts


def touch() -> Reduce:
    return Reduce(io.open, CANARY, "w")


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value)) + value.encode()


CALL = text(CANARY) + text("w") + b"\x86"  # the tuple (CANARY, "w")


def plain(value: object, protocol: int = 2) -> bytes:
    return pickle.dumps(value, protocol=protocol)


PICKLES = {
    "reduce": plain(touch()),
    "reduce in a value": plain({"a": touch()}),
    "reduce in a key": b"\x80\x02}(cio\nopen\n" + CALL + b"RK\x01u.",
    "reduce deep inside": plain({"state_dict": {"a": [[[({"b": touch()},)]]]}}),
    "reduce in the metadata": plain({"state_dict": {}, "metadata": {"kwargs": {"rates": touch()}}}),
    "reduce of os.system": plain(Reduce(os.system, f"touch {CANARY}")),
    "reduce of eval": plain(Reduce(eval, f"open({CANARY!r}, 'w')")),
    "reduce of exec": plain(Reduce(exec, f"open({CANARY!r}, 'w')")),
    "reduce of getattr": plain(Reduce(getattr, "a", "upper")),
    "reduce of a torch function": b"\x80\x02ctorch\nload\n" + text("other.pth") + b"\x85R.",
    "reduce of torch.hub": b"\x80\x02ctorch.hub\nload\n" + text("owner/repo") + text("model") + b"\x86R.",
    "reduce of a memory bomb": b"\x80\x02c__builtin__\nbytearray\n\x8a\x05\x00\x00\x00\x00\x01\x85R.",
    "reduce without protocol": b"cio\nopen\n" + CALL + b"R.",
    "build that sets attributes": b"\x80\x02ccollections\nOrderedDict\n)R}"
    + text("clear")
    + b"cio\nopen\nsb.",
    "inst": b"(" + text(CANARY) + text("w") + b"iio\nopen\n.",
    "obj": b"\x80\x02(cio\nopen\n" + text(CANARY) + text("w") + b"o.",
    "newobj": b"\x80\x02cio\nFileIO\n" + CALL + b"\x81.",
    "newobj with keywords": b"\x80\x04cio\nFileIO\n" + CALL + b"}\x92.",
    "stack global": b"\x80\x04" + text("io") + text("open") + b"\x93" + CALL + b"R.",
    "stack global, framed": plain(touch(), protocol=4),
    "protocol 5": plain(touch(), protocol=5),
    "extension registry": b"\x80\x02\x82\x01" + CALL + b"R.",
    "extension registry, wide": b"\x80\x02\x84\x01\x00\x00\x00" + CALL + b"R.",
    "persistent id in text": b"Pcio open\n.",
    "persistent id of a call": b"\x80\x02cio\nopen\n" + CALL + b"RQ.",
    "nested pickle": plain(Reduce(pickle.loads, plain(touch()))),
    "global under another name": b"\x80\x02cposix\nsystem\n" + text(f"touch {CANARY}") + b"\x85R.",
    "dotted global": b"\x80\x02cio\nopen.__call__\n" + CALL + b"R.",
    "subclass of a tensor": b"\x80\x02ctorch._tensor\n_rebuild_from_type_v2\n(cio\nopen\n" + CALL + b"tR.",
}


def archive(path: Path, pickled: bytes) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as file:
        file.writestr("archive/data.pkl", pickled)
        file.writestr("archive/version", "3\n")
        file.writestr("archive/data/0", bytes(16))


def old_file(path: Path, pickled: bytes) -> None:
    path.write_bytes(MAGIC + plain(1001) + plain({"little_endian": True}) + pickled + plain([]))


def bare(path: Path, pickled: bytes) -> None:
    path.write_bytes(pickled)


@pytest.mark.parametrize("layout", [archive, old_file, bare])
@pytest.mark.parametrize("name", PICKLES)
def test_nothing_in_a_pickle_is_executed(tmp_path, monkeypatch, layout, name):
    monkeypatch.chdir(tmp_path)
    layout(tmp_path / "evil.pth", PICKLES[name])

    with pytest.raises(ValueError, match=r"^evil\.pth ") as caught:
        open_checkpoint(tmp_path / "evil.pth")

    assert "\n" not in str(caught.value)
    assert not (tmp_path / CANARY).exists()


def test_most_of_these_pickles_would_run_if_they_were_loaded(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    ran = set()
    for name in PICKLES:
        if "torch" in name or "bomb" in name:
            continue
        (tmp_path / CANARY).unlink(missing_ok=True)
        with contextlib.suppress(Exception):  # some end in an error after having done the harm
            pickle.loads(PICKLES[name])
        if (tmp_path / CANARY).exists():
            ran.add(name)
    assert len(ran) >= 15


def test_the_callable_is_named(tmp_path):
    archive(tmp_path / "evil.pth", PICKLES["reduce of os.system"])
    with pytest.raises(ValueError, match=r"opening it would call posix\.system|nt\.system"):
        open_checkpoint(tmp_path / "evil.pth")


@pytest.mark.skipif(not hasattr(torch.serialization, "safe_globals"), reason="needs PyTorch 2.5")
def test_what_others_allow_torch_to_call_stays_refused(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    archive(tmp_path / "evil.pth", PICKLES["reduce"])
    allowed = torch.serialization.safe_globals([(io.open, "_io.open"), (io.open, "io.open")])
    with allowed, pytest.raises(ValueError, match="opening it would call"):
        open_checkpoint(tmp_path / "evil.pth")
    assert not (tmp_path / CANARY).exists()


def test_a_storage_larger_than_the_file_is_refused(tmp_path):
    torch.save({"a": torch.zeros(4)}, tmp_path / "good.pth")
    with zipfile.ZipFile(tmp_path / "good.pth") as file:
        entries = {name: file.read(name) for name in file.namelist()}
    with zipfile.ZipFile(tmp_path / "lie.pth", "w", zipfile.ZIP_STORED) as file:
        for name, content in entries.items():
            # BININT1 4, numel and shape alike, becomes BININT 2**30
            lie = (
                content.replace(b"K\x04", b"J" + struct.pack("<i", 2**30))
                if name.endswith("pkl")
                else content
            )
            file.writestr(name, lie)
    with pytest.raises(ValueError, match=r"lie\.pth"):
        open_checkpoint(tmp_path / "lie.pth")
