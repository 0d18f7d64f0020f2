"""The face detector: an SCRFD network in an ONNX file, run by insightface. Nothing is downloaded.

Both insightface and the onnxruntime below it are the optional extra `faces`.
"""

import zipfile
from pathlib import Path
from typing import Any

from ..hunyuan.avatar.face_detector import ScrfdDetector
from ..hunyuan.media.source import check_readable
from .onnx_file import count_outputs

OUTPUTS = (6, 9, 10, 15)  # of SCRFD: scores and boxes at 3 or 5 sizes, with landmarks or without
THRESHOLD = 0.5  # score above which something is a face, as insightface's default
INPUT_SIZE = (640, 640)  # pixels that the network looks at, unless its file fixes others
GPU_PROVIDERS = ("CUDAExecutionProvider", "CoreMLExecutionProvider")


def is_face_detector(path: Path) -> bool:
    """Whether an ONNX file has the outputs of an SCRFD."""
    try:
        return count_outputs(path) in OUTPUTS
    except ValueError:
        return False


def load_face_detector(path: Path | str, threshold: float = THRESHOLD) -> ScrfdDetector:
    """SCRFD, on a GPU where the installed onnxruntime has a provider for one.

    Raises: FileNotFoundError, PermissionError; ValueError for what is no SCRFD, and where insightface is not
        installed.
    """
    path = Path(path)
    check_readable(path)
    if zipfile.is_zipfile(path):
        raise ValueError(
            f"{path.name} is a TorchScript program, as the released detector is: it would be run, not read."
            " Choose an SCRFD in an ONNX file, such as det_10g.onnx of insightface's buffalo_l."
        )
    if count_outputs(path) not in OUTPUTS:
        raise ValueError(
            f"{path.name} is an ONNX network, but no SCRFD face detector. Choose one, such as det_10g.onnx."
        )
    model = _open(path)
    model.prepare(ctx_id=0, input_size=INPUT_SIZE, det_thresh=threshold)
    return ScrfdDetector(model)


def _open(path: Path) -> Any:
    try:
        import onnxruntime
        from insightface.model_zoo import model_zoo
    except ImportError as error:
        raise ValueError(
            f"{path.name} is run by insightface, which cannot be imported ({error}). Install it with: pip"
            " install insightface. Or give a mask of the face: then no detector is needed."
        ) from error
    there = onnxruntime.get_available_providers()
    providers = [name for name in GPU_PROVIDERS if name in there] + ["CPUExecutionProvider"]
    try:
        model = model_zoo.get_model(str(path.absolute()), providers=providers)
    except Exception as error:  # onnxruntime's errors have no common class but this
        reason = str(error).partition("\n")[0]
        raise ValueError(f"{path.name} cannot be opened by onnxruntime: {reason:.200}") from error
    if model is None:  # how insightface answers for a name with another ending
        raise ValueError(f"{path.name} is not known to insightface as a model. Let its name end in .onnx.")
    return model
