"""The shim against what is known of ComfyUI's folder_paths; tests/comfyui holds it to the real one."""

import importlib.util
import os
import re
import sys
import time
from pathlib import Path

import pytest
from pack.host.standalone import folder_paths as shim_module


@pytest.fixture
def shim(tmp_path, monkeypatch):
    """A fresh copy of the shim, as it is when a program starts in an empty folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HUNYUAN_AV_MODELS", raising=False)
    return fresh_shim()


def fresh_shim():
    spec = importlib.util.spec_from_file_location("fresh_folder_paths", shim_module.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def put(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")
    return path


def test_folders_lie_in_the_working_folder_and_nothing_is_created(shim, tmp_path):
    assert shim.base_path == str(tmp_path)
    assert shim.models_dir == str(tmp_path / "models")
    assert shim.get_input_directory() == str(tmp_path / "input")
    assert shim.get_output_directory() == str(tmp_path / "output")
    assert shim.get_temp_directory() == str(tmp_path / "temp")
    assert shim.get_user_directory() == str(tmp_path / "user")
    assert list(tmp_path.iterdir()) == []


def test_the_environment_names_the_models_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HUNYUAN_AV_MODELS", str(tmp_path / "elsewhere"))
    shim = fresh_shim()
    assert shim.models_dir == str(tmp_path / "elsewhere")
    assert shim.get_folder_paths("vae") == [str(tmp_path / "elsewhere" / "vae")]


@pytest.mark.parametrize(("old", "new"), [("unet", "diffusion_models"), ("clip", "text_encoders")])
def test_old_names_mean_the_new_kinds(shim, old, new):
    assert shim.get_folder_paths(old) == shim.get_folder_paths(new)
    shim.add_model_folder_path(old, "/more")
    assert shim.get_folder_paths(new)[-1] == "/more"
    assert old not in shim.folder_names_and_paths


def test_an_added_folder_is_the_last_and_a_default_one_the_first(shim):
    before = shim.get_folder_paths("vae")
    shim.add_model_folder_path("vae", "/late")
    shim.add_model_folder_path("vae", "/early", is_default=True)
    assert shim.get_folder_paths("vae") == ["/early", *before, "/late"]
    shim.add_model_folder_path("vae", "/late")
    shim.add_model_folder_path("vae", "/late", is_default=True)
    assert shim.get_folder_paths("vae") == ["/late", "/early", *before]


def test_the_list_of_folders_is_a_copy(shim):
    before = shim.get_folder_paths("vae")
    shim.get_folder_paths("vae").append("/mine")
    assert shim.get_folder_paths("vae") == before


def test_a_new_kind_lists_every_file(shim, tmp_path):
    put(tmp_path / "things" / "a.part")
    shim.add_model_folder_path("things", str(tmp_path / "things"))
    assert shim.folder_names_and_paths["things"] == ([str(tmp_path / "things")], set())
    assert shim.get_filename_list("things") == ["a.part"]


def test_files_are_listed_recursively_through_links_without_git_and_sorted(shim, tmp_path):
    vae = tmp_path / "models" / "vae"
    for name in (
        "z.pth",
        "A.SAFETENSORS",
        "sub/deep/m.ckpt",
        ".git/hidden.pth",
        "sub/.git/x.pth",
        "readme.md",
    ):
        put(vae / name)
    put(tmp_path / "disk" / "far.pt")
    (vae / "link").symlink_to(tmp_path / "disk", target_is_directory=True)
    expected = [
        "A.SAFETENSORS",
        str(Path("link/far.pt")),
        str(Path("sub/deep/m.ckpt")),
        "z.pth",
    ]
    assert shim.get_filename_list("vae") == expected


def test_a_file_in_two_folders_is_listed_once(shim, tmp_path):
    put(tmp_path / "models" / "vae" / "a.pth")
    put(tmp_path / "more" / "a.pth")
    shim.add_model_folder_path("vae", str(tmp_path / "more"))
    assert shim.get_filename_list("vae") == ["a.pth"]
    assert shim.get_full_path("vae", "a.pth") == str(tmp_path / "models" / "vae" / "a.pth")


def test_an_unknown_kind_is_a_key_error_for_lists_and_none_for_a_path(shim):
    with pytest.raises(KeyError):
        shim.get_filename_list("nonsense")
    with pytest.raises(KeyError):
        shim.get_folder_paths("nonsense")
    assert shim.get_full_path("nonsense", "a.pth") is None


def test_the_list_is_kept_until_a_folder_changes(shim, tmp_path):
    folder = tmp_path / "models" / "vae"
    put(folder / "sub" / "a.pth")
    assert shim.get_filename_list("vae") == [str(Path("sub/a.pth"))]
    shim.get_filename_list("vae").clear()
    assert shim.get_filename_list("vae") == [str(Path("sub/a.pth"))]

    remembered = (folder / "sub").stat().st_mtime_ns
    put(folder / "sub" / "b.pth")
    os.utime(folder / "sub", ns=(remembered, remembered))
    assert shim.get_filename_list("vae") == [str(Path("sub/a.pth"))]
    os.utime(folder / "sub", ns=(remembered + 10**9, remembered + 10**9))
    assert len(shim.get_filename_list("vae")) == 2


def test_a_folder_that_appears_or_goes_is_noticed(shim, tmp_path):
    assert shim.get_filename_list("vae") == []
    file = put(tmp_path / "models" / "vae" / "a.pth")
    assert shim.get_filename_list("vae") == ["a.pth"]
    file.unlink()
    file.parent.rmdir()
    assert shim.get_filename_list("vae") == []


@pytest.mark.parametrize("name", ["../secret.pth", "/../../secret.pth", "sub/../../secret.pth"])
def test_dots_lead_out_of_no_folder(shim, tmp_path, name):
    put(tmp_path / "models" / "secret.pth")
    put(tmp_path / "models" / "vae" / "sub" / "a.pth")
    assert shim.get_full_path("vae", name) is None
    assert shim.get_full_path("vae", "../sub/a.pth") == str(tmp_path / "models" / "vae" / "sub" / "a.pth")


def test_a_path_is_only_of_a_regular_file(shim, tmp_path, caplog):
    vae = tmp_path / "models" / "vae"
    (vae / "folder.pth").mkdir(parents=True)
    (vae / "dangling.pth").symlink_to(tmp_path / "nowhere")
    assert shim.get_full_path("vae", "folder.pth") is None
    assert shim.get_full_path("vae", "dangling.pth") is None
    assert "dangling.pth" in caplog.text


def test_a_missing_file_is_named_with_its_kind(shim):
    with pytest.raises(FileNotFoundError, match=r"'vae'.*'a\.pth'"):
        shim.get_full_path_or_raise("vae", "a.pth")


@pytest.mark.parametrize("kind", ["input", "output", "temp"])
def test_an_annotation_chooses_the_folder(shim, tmp_path, kind):
    put(tmp_path / kind / "sub" / "clip.mp4")
    assert shim.get_annotated_filepath(f"sub/clip.mp4 [{kind}]") == str(tmp_path / kind / "sub" / "clip.mp4")
    assert shim.exists_annotated_filepath(f"sub/clip.mp4 [{kind}]")
    assert not shim.exists_annotated_filepath(f"other.mp4 [{kind}]")


def test_without_annotation_a_file_is_an_input_or_in_the_default_folder(shim, tmp_path):
    assert shim.get_annotated_filepath("clip.mp4") == str(tmp_path / "input" / "clip.mp4")
    assert shim.get_annotated_filepath("clip.mp4", "/other") == "/other/clip.mp4"
    assert shim.get_annotated_filepath("clip.mp4 [temp]", "/other") == str(tmp_path / "temp" / "clip.mp4")


@pytest.mark.parametrize("name", ["../secret", "../secret [output]", "/etc/hostname", "link/secret", "a\0b"])
def test_an_annotated_path_that_escapes_is_refused_and_does_not_exist(shim, tmp_path, name):
    put(tmp_path / "secret")
    (tmp_path / "input").mkdir()
    (tmp_path / "input" / "link").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(ValueError, match="Invalid file path"):
        shim.get_annotated_filepath(name)
    assert not shim.exists_annotated_filepath(name)


def test_saved_files_are_counted_on(shim, tmp_path):
    out = tmp_path / "output"
    assert shim.get_save_image_path("sub/foley", str(out)) == (
        str(out / "sub"),
        "foley",
        1,
        "sub",
        "sub/foley",
    )
    assert (out / "sub").is_dir()
    for name in (
        "foley_00007_.wav",
        "foley_00003.wav",
        "foley_x.wav",
        "foleys_00050_.wav",
        "other_00099_.wav",
    ):
        put(out / "sub" / name)
    assert shim.get_save_image_path("sub/foley", str(out))[2] == 8


def test_tokens_of_a_prefix_are_filled_in(shim, tmp_path):
    prefix = "%year%-%month%-%day%/%width%x%height%_%hour%%minute%%second%_%date%"
    before = time.localtime()
    folder, filename, _, subfolder, filled = shim.get_save_image_path(prefix, str(tmp_path), 640, 360)
    assert subfolder in {time.strftime("%Y-%m-%d", moment) for moment in (before, time.localtime())}
    assert re.fullmatch(r"640x360_\d{6}_%date%", filename)
    assert folder == str(tmp_path / subfolder)
    assert filled == f"{subfolder}/{filename}"


@pytest.mark.parametrize("prefix", ["../foley", "/tmp/foley", "sub/../../foley", "link/foley"])
def test_nothing_is_saved_outside_the_output_folder(shim, tmp_path, prefix):
    (tmp_path / "output").mkdir()
    (tmp_path / "output" / "link").symlink_to(tmp_path, target_is_directory=True)
    with pytest.raises(ValueError, match="leads out of the output folder"):
        shim.get_save_image_path(prefix, str(tmp_path / "output"))


def test_the_shim_needs_no_comfyui():
    assert "comfy" not in sys.modules
