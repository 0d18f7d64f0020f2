"""Which files of a folder make up Avatar: recognised by what is in them, whatever they are called."""

from dataclasses import dataclass, fields
from pathlib import Path

from .avatar_float8 import is_float8
from .face_detector import is_face_detector
from .inventory import Inventory, fingerprint
from .kinds import AVATAR_TRANSFORMER, CLIP, LLAVA, VIDEO_VAE, WHISPER

POCKET = Path(__file__).parent.parent / "pocket" / "avatar"  # the tiny networks that come with the pack
FORMS = ("full", "fp8")  # of the transformer, where a folder holds both, as the published one does


@dataclass(frozen=True, kw_only=True)
class AvatarFiles:
    """The parts: a file each, or the folder that one was published as. A detector need not be there."""

    transformer: Path
    video_vae: Path
    llava: Path
    clip: Path
    whisper: Path
    face_detector: Path | None

    @property
    def fingerprint(self) -> str:
        """Changes when the files do."""
        parts = (getattr(self, field.name) for field in fields(self))
        return fingerprint(part for part in parts if part is not None)


def find_avatar(folder: Path, form: str | None = None) -> AvatarFiles:
    """The parts in `folder` and below it.

    form: "full" or "fp8", where the folder holds both transformers.
    Raises: FileNotFoundError naming a missing part and its published file; ValueError for a part found twice.
    """
    inventory = Inventory(folder)
    return AvatarFiles(
        transformer=find_transformer(inventory, form),
        video_vae=inventory.only(VIDEO_VAE),
        llava=inventory.only(LLAVA),
        clip=inventory.only(CLIP),
        whisper=inventory.only(WHISPER),
        face_detector=find_detector(folder),
    )


def find_transformer(inventory: Inventory, form: str | None) -> Path:
    """The transformer of a form, or the only one. Raises as `find_avatar`."""
    kind, found = AVATAR_TRANSFORMER, inventory.of_kind(AVATAR_TRANSFORMER)
    if form is None:
        return inventory.single(kind, found, choose="choose with --form, or keep")
    found = [checkpoint for checkpoint in found if is_float8(checkpoint) == (form == "fp8")]
    return inventory.single(kind, found, f" in its {form} form")


def find_detector(folder: Path) -> Path | None:
    """The SCRFD in `folder` or below it, the first by name; None if there is none."""
    return next((path for path in sorted(folder.rglob("*.onnx")) if is_face_detector(path)), None)
