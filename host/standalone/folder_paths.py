"""ComfyUI's `folder_paths` without ComfyUI: the same calls, results and containment rules.

Models lie in the folder that HUNYUAN_AV_MODELS names, else in `./models`; `input`, `output`, `temp`, `user`
lie in the working folder. Both are read once, when this module is imported. Nothing is created.
"""

# Paths are text and stay as they were given, as in the original; pathlib would tidy them.
# ruff: noqa: PTH100, PTH103, PTH110, PTH111, PTH112, PTH113, PTH114, PTH118, PTH119, PTH122, PTH204, PTH208

import logging
import os
import time
from collections.abc import Collection, Iterable

logger = logging.getLogger(__name__)

base_path = os.path.abspath(os.curdir)
models_dir = os.path.abspath(os.path.expanduser(os.environ.get("HUNYUAN_AV_MODELS") or "models"))

input_directory = os.path.join(base_path, "input")
output_directory = os.path.join(base_path, "output")
temp_directory = os.path.join(base_path, "temp")
user_directory = os.path.join(base_path, "user")

supported_pt_extensions = {".ckpt", ".pt", ".pt2", ".bin", ".pth", ".safetensors", ".pkl", ".sft"}

LEGACY = {"unet": "diffusion_models", "clip": "text_encoders"}

# Kinds of model -> the subfolders of the models folder where they lie.
SUBFOLDERS = {
    "checkpoints": ("checkpoints",),
    "loras": ("loras",),
    "vae": ("vae",),
    "text_encoders": ("text_encoders", "clip"),
    "diffusion_models": ("unet", "diffusion_models"),
    "clip_vision": ("clip_vision",),
    "style_models": ("style_models",),
    "embeddings": ("embeddings",),
    "vae_approx": ("vae_approx",),
    "controlnet": ("controlnet", "t2i_adapter"),
    "gligen": ("gligen",),
    "upscale_models": ("upscale_models",),
    "latent_upscale_models": ("latent_upscale_models",),
    "hypernetworks": ("hypernetworks",),
    "photomaker": ("photomaker",),
    "model_patches": ("model_patches",),
    "audio_encoders": ("audio_encoders",),
}

# Kind of model -> (its folders, the first to be asked first; its file extensions, none meaning all).
folder_names_and_paths: dict[str, tuple[list[str], Collection[str]]] = {
    kind: ([os.path.join(models_dir, name) for name in names], supported_pt_extensions)
    for kind, names in SUBFOLDERS.items()
}
folder_names_and_paths["configs"] = ([os.path.join(models_dir, "configs")], [".yaml"])
folder_names_and_paths["diffusers"] = ([os.path.join(models_dir, "diffusers")], ["folder"])
folder_names_and_paths["classifiers"] = ([os.path.join(models_dir, "classifiers")], {""})
folder_names_and_paths["custom_nodes"] = ([os.path.join(base_path, "custom_nodes")], set())

# Kind of model -> (its files, every folder seen with its time of change).
filename_list_cache: dict[str, tuple[list[str], dict[str, float]]] = {}


def map_legacy(folder_name: str) -> str:
    """Today's name for a kind of model."""
    return LEGACY.get(folder_name, folder_name)


def add_model_folder_path(folder_name: str, full_folder_path: str, is_default: bool = False) -> None:
    """One more folder for a kind of model: last, or first if it is the default.

    A kind that was not known lists every file, whatever its extension.
    """
    folders, _ = folder_names_and_paths.setdefault(map_legacy(folder_name), ([], set()))
    if full_folder_path not in folders:
        folders.insert(0 if is_default else len(folders), full_folder_path)
    elif is_default:
        folders.remove(full_folder_path)
        folders.insert(0, full_folder_path)


def get_folder_paths(folder_name: str) -> list[str]:
    """A copy of a kind's folders. Raises KeyError for an unknown kind."""
    return list(folder_names_and_paths[map_legacy(folder_name)][0])


def get_filename_list(folder_name: str) -> list[str]:
    """A kind's files, sorted, as paths relative to their folders. Raises KeyError for an unknown kind."""
    folder_name = map_legacy(folder_name)
    folders, extensions = folder_names_and_paths[folder_name]
    cached = filename_list_cache.get(folder_name)
    if cached is None or not _is_current(cached[1], folders):
        cached = filename_list_cache[folder_name] = _list_files(folders, extensions)
    return list(cached[0])


def _is_current(times: dict[str, float], folders: Iterable[str]) -> bool:
    known = all(folder in times for folder in folders if os.path.isdir(folder))
    return known and all(
        os.path.isdir(folder) and os.path.getmtime(folder) == times[folder] for folder in times
    )


def _list_files(folders: Iterable[str], extensions: Collection[str]) -> tuple[list[str], dict[str, float]]:
    found: set[str] = set()
    times: dict[str, float] = {}
    for folder in folders:
        files, folder_times = recursive_search(folder, excluded_dir_names=[".git"])
        found.update(filter_files_extensions(files, extensions))
        times.update(folder_times)
    return sorted(found), times


def recursive_search(
    directory: str, excluded_dir_names: Collection[str] = ()
) -> tuple[list[str], dict[str, float]]:
    """All files below a folder, relative to it, and all its folders' times of change. Links are followed."""
    files: list[str] = []
    times: dict[str, float] = {}
    for folder, subfolders, names in os.walk(directory, followlinks=True):
        times[folder] = os.path.getmtime(folder)
        subfolders[:] = [name for name in subfolders if name not in excluded_dir_names]
        files += [os.path.relpath(os.path.join(folder, name), directory) for name in names]
    return files, times


def filter_files_extensions(files: Iterable[str], extensions: Collection[str]) -> list[str]:
    """The files that end in one of the extensions, sorted; all of them if there are none."""
    return sorted(
        name for name in files if not extensions or os.path.splitext(name)[-1].lower() in extensions
    )


def get_full_path(folder_name: str, filename: str) -> str | None:
    """The first regular file of that relative name in a kind's folders. `..` leads nowhere."""
    folder_name = map_legacy(folder_name)
    if folder_name not in folder_names_and_paths:
        return None
    filename = os.path.relpath(os.path.join("/", filename), "/")
    for folder in folder_names_and_paths[folder_name][0]:
        path = os.path.join(folder, filename)
        if os.path.isfile(path):
            return path
        if os.path.islink(path):
            logger.warning("%s is a link to nothing.", path)
    return None


def get_full_path_or_raise(folder_name: str, filename: str) -> str:
    """`get_full_path`, or FileNotFoundError naming the kind and the file."""
    path = get_full_path(folder_name, filename)
    if path is None:
        raise FileNotFoundError(f"Model in folder '{folder_name}' with filename '{filename}' not found.")
    return path


def get_input_directory() -> str:
    return input_directory


def get_output_directory() -> str:
    return output_directory


def get_temp_directory() -> str:
    return temp_directory


def get_user_directory() -> str:
    return user_directory


def set_input_directory(input_dir: str) -> None:
    global input_directory
    input_directory = input_dir


def set_output_directory(output_dir: str) -> None:
    global output_directory
    output_directory = output_dir


def set_temp_directory(temp_dir: str) -> None:
    global temp_directory
    temp_directory = temp_dir


def set_user_directory(user_dir: str) -> None:
    global user_directory
    user_directory = user_dir


def get_directory_by_type(type_name: str) -> str | None:
    """The folder called output, temp or input."""
    folders = {"output": output_directory, "temp": temp_directory, "input": input_directory}
    return folders.get(type_name)


def annotated_filepath(name: str) -> tuple[str, str | None]:
    """A name without its ` [output]`, ` [input]` or ` [temp]`, and the folder that this meant, if any."""
    for kind in ("output", "input", "temp"):
        if name.endswith(f"[{kind}]"):
            # One character more: the blank before the bracket.
            return name[: -len(kind) - 3], get_directory_by_type(kind)
    return name, None


def is_within_directory(directory: str, target: str) -> bool:
    """Whether a path, all links followed, lies in a folder."""
    try:
        directory, target = os.path.realpath(directory), os.path.realpath(target)
        return os.path.commonpath((directory, target)) == directory
    except ValueError:  # a null byte, or another drive
        return False


def get_annotated_filepath(name: str, default_dir: str | None = None) -> str:
    """Where `name [folder]` lies; without annotation in `default_dir`, else in the input folder.

    Raises ValueError if that leads out of the folder.
    """
    path, contained = _annotated_path(name, default_dir)
    if not contained:
        raise ValueError(f"Invalid file path: {annotated_filepath(name)[0]!r}")
    return path


def exists_annotated_filepath(name: str) -> bool:
    """Whether there is such a file or folder; one outside the folder does not exist."""
    path, contained = _annotated_path(name, None)
    return contained and os.path.exists(path)


def _annotated_path(name: str, default_dir: str | None) -> tuple[str, bool]:
    name, folder = annotated_filepath(name)
    if folder is None:
        folder = input_directory if default_dir is None else default_dir
    path = os.path.abspath(os.path.join(folder, name))
    return path, is_within_directory(folder, path)


def get_save_image_path(
    filename_prefix: str, output_dir: str, image_width: int = 0, image_height: int = 0
) -> tuple[str, str, int, str, str]:
    """Where to save the next file of a series, called `filename_counter_...`.

    Returns (folder, filename, counter, subfolder, prefix with its tokens filled in), and makes the folder.
    Raises ValueError if the prefix leads out of `output_dir`.
    """
    filename_prefix = _fill_tokens(filename_prefix, image_width, image_height)
    subfolder, filename = os.path.split(os.path.normpath(filename_prefix))
    folder = os.path.join(output_dir, subfolder)
    if not is_within_directory(output_dir, folder):
        raise ValueError(f"The prefix {filename_prefix!r} leads out of the output folder {output_dir}.")

    # The original measures the prefix as it was given: one that ends in a slash finds no earlier file.
    length = len(os.path.basename(filename_prefix))
    os.makedirs(folder, exist_ok=True)
    numbers = [
        _leading_number(name[length + 1 :])
        for name in os.listdir(folder)
        if name[length : length + 1] == "_" and os.path.normcase(name[:length]) == os.path.normcase(filename)
    ]
    return folder, filename, max(numbers, default=0) + 1, subfolder, filename_prefix


def _fill_tokens(text: str, width: int, height: int) -> str:
    now = time.localtime()
    tokens = {"width": str(width), "height": str(height), "year": str(now.tm_year)}
    tokens |= {"month": f"{now.tm_mon:02}", "day": f"{now.tm_mday:02}"}
    tokens |= {"hour": f"{now.tm_hour:02}", "minute": f"{now.tm_min:02}", "second": f"{now.tm_sec:02}"}
    for token, value in tokens.items():
        text = text.replace(f"%{token}%", value)
    return text


def _leading_number(text: str) -> int:
    number = text.split(".")[0].split("_")[0]
    try:
        return int(number)
    except ValueError:
        return 0
