"""Which model files a loader node offers, over either host's `folder_paths`."""

import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Protocol

PACK = Path(__file__).parent.parent
SUFFIXES = frozenset({".safetensors", ".sft", ".pth", ".pt", ".ckpt", ".bin"})
PACKED_SUFFIXES = SUFFIXES | {".gguf"}
FOLDER_WEIGHTS = {"model.safetensors", "pytorch_model.bin"}  # of networks published as transformers folders
FIRST_PART = re.compile(r"-0*1-of-\d+\.")  # in the name of the first of several such files
LATER_PART = re.compile(r"-0*([2-9]|[1-9]\d+)-of-\d+\.")


@dataclass(frozen=True)
class Places:
    """Where one network's files lie: folders of `folder_paths`, and the pocket file inside the pack.

    hint: what the published file's name contains; the first such file is the one proposed.
    """

    folders: tuple[str, ...]
    pocket: str
    hint: str
    suffixes: Collection[str] = SUFFIXES


PLACES: Mapping[str, Places] = MappingProxyType(
    {
        "foley_model": Places(
            ("diffusion_models", "foley"), "pocket/foley/transformer.safetensors", "foley", PACKED_SUFFIXES
        ),
        "foley_vae": Places(("vae", "foley"), "pocket/foley/audio_vae.safetensors", "vae_128d"),
        "clap": Places(("text_encoders", "foley"), "pocket/foley/clap/model.safetensors", "clap"),
        "siglip": Places(("clip_vision", "foley"), "pocket/foley/siglip2/model.safetensors", "siglip"),
        "synchformer": Places(
            ("foley", "clip_vision"), "pocket/foley/synchformer.safetensors", "synchformer"
        ),
        "avatar_model": Places(
            ("diffusion_models",), "pocket/avatar/transformer.safetensors", "mp_rank_00_model_states"
        ),
        "avatar_vae": Places(("vae",), "pocket/avatar/video_vae.safetensors", "avatar"),
        "llava": Places(("text_encoders",), "pocket/avatar/llava/model.safetensors", "llava"),
        "avatar_clip": Places(("text_encoders",), "pocket/avatar/clip/model.safetensors", "text_encoder_2"),
        "whisper": Places(("audio_encoders",), "pocket/avatar/whisper/model.safetensors", "whisper"),
        "face_detector": Places(
            ("insightface",), "pocket/avatar/face_detector.onnx", "det_10g", suffixes=frozenset({".onnx"})
        ),
    }
)


class FolderPaths(Protocol):
    """What is used of ComfyUI's `folder_paths`."""

    models_dir: str

    def add_model_folder_path(self, folder_name: str, full_folder_path: str) -> None: ...
    def get_filename_list(self, folder_name: str) -> list[str]: ...
    def get_full_path(self, folder_name: str, filename: str) -> str | None: ...


class ModelFiles:
    """The files of a kind (a key of `PLACES`) by the names that loader nodes show."""

    def __init__(self, folder_paths: FolderPaths) -> None:
        self.folder_paths = folder_paths
        for name in ("foley", "insightface"):
            folder_paths.add_model_folder_path(name, str(Path(folder_paths.models_dir) / name))

    def names(self, kind: str) -> list[str]:
        """The proposed file, then the others in order; this pack's pocket file is always among them."""
        places = PLACES[kind]
        found = {name for folder in places.folders for name in self.folder_paths.get_filename_list(folder)}
        known = (name for name in found if Path(name).suffix.lower() in places.suffixes)
        names = sorted(name for name in known if not LATER_PART.search(name))
        proposed = next((name for name in names if places.hint in name.lower()), places.pocket)
        return [proposed, *(name for name in [*names, places.pocket] if name != proposed)]

    def path(self, kind: str, name: str) -> Path:
        """Where the file of that name lies; its folder, if a config.json there says more than the weights do.

        Any name may come: only the kind's own folders are looked into.
        Raises FileNotFoundError naming the file and the folders.
        """
        path = self._find(PLACES[kind], name)
        named = path.name in FOLDER_WEIGHTS or FIRST_PART.search(path.name)
        whole = named and (path.parent / "config.json").is_file()
        return path.parent if whole else path

    def _find(self, places: Places, name: str) -> Path:
        for folder in places.folders:
            if path := self.folder_paths.get_full_path(folder, name):
                return Path(path)
        if name == places.pocket:
            return PACK / name
        folders = " or ".join(f"models/{folder}" for folder in places.folders)
        raise FileNotFoundError(
            f"There is no {name} in {folders}. Put the file there, or choose another one."
        )
