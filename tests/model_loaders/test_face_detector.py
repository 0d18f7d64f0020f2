"""The detector's file, and what it finds through insightface and onnxruntime: the pocket one, calculated."""

import shutil
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from pack.hunyuan.avatar.face_pick import faces_by_size
from pack.model_loaders.avatar_folder import POCKET
from pack.model_loaders.face_detector import is_face_detector, load_face_detector
from pack.model_loaders.onnx_file import count_outputs
from PIL import Image, ImageDraw

FILE = POCKET / "face_detector.onnx"
pytestmark = pytest.mark.skipif(find_spec("insightface") is None, reason="needs the extra `faces`")
SKIN = (220, 170, 140)
FACES = [(60, 80, 120, 150), (300, 60, 80, 90), (420, 300, 60, 70)]  # x, y, width, height


def picture(boxes, width=640, height=512) -> np.ndarray:
    image = Image.new("RGB", (width, height), (40, 60, 90))
    for x, y, w, h in boxes:
        ImageDraw.Draw(image).ellipse((x, y, x + w, y + h), fill=SKIN)
    return np.asarray(image)


@pytest.fixture(scope="module")
def detector():
    return load_face_detector(FILE)


def check(detector, boxes, width=640, height=512) -> None:
    """Each face is found once, to the cells that the detector sees, with the point of its nose inside."""
    found = faces_by_size(detector(picture(boxes, width, height)))
    assert len(found) == len(boxes)
    areas = found.boxes[:, 2] * found.boxes[:, 3]
    assert areas.tolist() == sorted(areas.tolist(), reverse=True)
    for box in torch.tensor(boxes, dtype=torch.float64):
        assert (found.boxes - box).abs().amax(1).min() <= 12 * max(width, height) / 640
    nose = found.landmarks[:, 2]
    assert (nose > found.boxes[:, :2]).all()
    assert (nose < found.boxes[:, :2] + found.boxes[:, 2:]).all()


def test_the_pocket_detector_finds_faces_where_they_are(detector):
    check(detector, FACES)


def test_twelve_faces_are_all_found(detector):
    check(
        detector, [(40 + 150 * i, 30 + 160 * j, 70 + 5 * i, 90 + 5 * j) for i in range(4) for j in range(3)]
    )


def test_a_panorama_and_a_small_picture(detector):
    check(detector, [(400, 40, 220, 260), (1200, 100, 120, 150)], 1600, 400)
    check(detector, [(30, 20, 50, 60)], 128, 96)


def test_a_face_cut_by_the_border_is_found_as_far_as_it_shows(detector):
    found = detector(picture([(-60, 100, 160, 180)]))
    assert len(found) == 1
    assert found.boxes[0].tolist() == pytest.approx([0, 100, 100, 180], abs=12)


def test_a_picture_without_faces_has_none(detector):
    assert len(detector(picture([]))) == 0


# --- the file


def test_an_scrfd_is_told_by_its_outputs(tmp_path):
    assert count_outputs(FILE) == 9
    assert is_face_detector(FILE)
    shutil.copy(POCKET / "whisper" / "config.json", tmp_path / "a.onnx")
    assert not is_face_detector(tmp_path / "a.onnx")


def onnx_like(path: Path, outputs: int) -> Path:
    """A model of nothing but a graph's outputs: field 12 in field 7."""
    graph = b"".join(bytes([12 << 3 | 2, 3]) + b"\x0a\x01o" for _ in range(outputs))
    path.write_bytes(b"\x08\x08" + bytes([7 << 3 | 2, len(graph)]) + graph)
    return path


def test_another_onnx_network_is_refused(tmp_path):
    with pytest.raises(ValueError, match=r"w600k\.onnx is an ONNX network, but no SCRFD face detector"):
        load_face_detector(onnx_like(tmp_path / "w600k.onnx", 1))


def test_an_scrfd_that_onnxruntime_cannot_open_is_named(tmp_path):
    with pytest.raises(ValueError, match=r"det\.onnx cannot be opened by onnxruntime"):
        load_face_detector(onnx_like(tmp_path / "det.onnx", 9))


def test_a_detector_whose_name_has_another_ending_is_told_so(tmp_path):
    shutil.copy(FILE, tmp_path / "det.model")
    with pytest.raises(ValueError, match=r"det\.model is not known.*end in \.onnx"):
        load_face_detector(tmp_path / "det.model")


def test_the_released_torchscript_detector_is_refused_with_a_sentence(tmp_path):
    with zipfile.ZipFile(tmp_path / "detface.pt", "w") as archive:
        archive.writestr("detface/constants.pkl", b"")
    with pytest.raises(ValueError, match=r"detface\.pt is a TorchScript program") as caught:
        load_face_detector(tmp_path / "detface.pt")
    assert "Choose an SCRFD in an ONNX file" in str(caught.value)


@pytest.mark.parametrize(
    "content", [b"x", b"\x3a\xff\xff\xff\xff\x0f", b"not an onnx file at all", bytes(64)]
)
def test_damaged_files_are_named(tmp_path, content):
    (tmp_path / "det.onnx").write_bytes(content)
    with pytest.raises(ValueError, match=r"det\.onnx is no ONNX file"):
        load_face_detector(tmp_path / "det.onnx")


def test_a_truncated_detector_is_named(tmp_path):
    (tmp_path / "det.onnx").write_bytes(FILE.read_bytes()[:3000])
    with pytest.raises(ValueError, match=r"det\.onnx"):
        load_face_detector(tmp_path / "det.onnx")


def test_a_missing_or_empty_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No such file: .*det\.onnx"):
        load_face_detector(tmp_path / "det.onnx")
    (tmp_path / "det.onnx").touch()
    with pytest.raises(ValueError, match=r"det\.onnx is empty"):
        load_face_detector(tmp_path / "det.onnx")


def test_without_insightface_it_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "insightface.model_zoo", None)
    with pytest.raises(ValueError, match=r"cannot be imported \(.*pip install insightface\. Or give a mask"):
        load_face_detector(FILE)
