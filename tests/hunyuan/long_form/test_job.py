import json
from fractions import Fraction
from pathlib import Path

import pytest
from pack.hunyuan.long_form.job import MANIFEST, Job, differences

IDENTITY = {"inputs": {"video": "abc"}, "settings": {"steps": 50, "prompt": "rain"}, "versions": {}}


def changed(group: str, name: str, value) -> dict:
    return {**IDENTITY, group: {**IDENTITY[group], name: value}}


def test_a_job_is_found_again_with_its_parts_and_its_state(tmp_path):
    job = Job.open(tmp_path / "job", IDENTITY)
    with job.writing("folder/part") as path:
        path.write_bytes(b"content")
    job.finish("folder/part")
    job.state["reached"] = 3
    job.commit()
    again = Job.open(tmp_path / "job", IDENTITY)
    assert (job.resumed, again.resumed) == (False, True)
    assert again.holds("folder/part")
    assert again.state == {"reached": 3}


@pytest.mark.parametrize(
    ("group", "name", "value", "phrase"),
    [
        ("inputs", "video", "def", 'inputs: video was "abc" and is "def"'),
        ("settings", "steps", 30, "settings: steps was 50 and is 30"),
        ("settings", "shift", 2.0, "settings: shift was null and is 2.0"),
        ("versions", "torch", "9", 'versions: torch was null and is "9"'),
    ],
)
def test_what_has_changed_is_named_and_nothing_is_touched(tmp_path, group, name, value, phrase):
    Job.open(tmp_path / "job", IDENTITY)
    before = (tmp_path / "job" / MANIFEST).read_bytes()
    with pytest.raises(ValueError, match=phrase) as error:
        Job.open(tmp_path / "job", changed(group, name, value))
    assert "--restart" in str(error.value)
    assert (tmp_path / "job" / MANIFEST).read_bytes() == before


def test_restarting_throws_away_what_another_job_left(tmp_path):
    job = Job.open(tmp_path / "job", IDENTITY)
    (job.folder / "old").write_bytes(b"old")
    new = Job.open(tmp_path / "job", changed("settings", "steps", 3), restart=True)
    assert not new.resumed
    assert [path.name for path in new.folder.iterdir()] == [MANIFEST]


@pytest.mark.parametrize("restart", [False, True])
def test_a_folder_of_something_else_is_left_alone(tmp_path, restart):
    (tmp_path / "precious.txt").write_text("mine")
    with pytest.raises(ValueError, match="something that is no job"):
        Job.open(tmp_path, IDENTITY, restart=restart)
    assert (tmp_path / "precious.txt").read_text() == "mine"


def test_what_was_being_written_when_it_was_killed_is_gone(tmp_path):
    job = Job.open(tmp_path / "job", IDENTITY)
    (job.folder / "sub").mkdir()
    for name in ("sound.part", "sub/features.part", f"{MANIFEST}.part"):
        (job.folder / name).write_bytes(b"half")
    Job.open(tmp_path / "job", IDENTITY)
    assert [path.name for path in job.folder.rglob("*") if path.is_file()] == [MANIFEST]


def test_a_damaged_part_is_not_held(tmp_path):
    job = Job.open(tmp_path / "job", IDENTITY)
    part = job.folder / "part"
    part.write_bytes(b"content")
    job.finish("part")
    assert job.holds("part")
    part.write_bytes(b"Content")
    assert not job.holds("part")
    part.unlink()
    assert not job.holds("part")


@pytest.mark.parametrize("content", ["", "{", "[]", '{"format": 1}'])
def test_a_damaged_manifest_is_named(tmp_path, content):
    job = Job.open(tmp_path / "job", IDENTITY)
    (job.folder / MANIFEST).write_text(content)
    with pytest.raises(ValueError, match="is damaged"):
        Job.open(tmp_path / "job", IDENTITY)


def test_a_failed_write_leaves_the_old_file(tmp_path):
    job = Job.open(tmp_path / "job", IDENTITY)
    with job.writing("part") as path:
        path.write_text("old")
    with pytest.raises(OSError, match="full"), job.writing("part") as path:  # noqa: PT012
        path.write_text("ne")
        raise OSError("full")
    assert (job.folder / "part").read_text() == "old"
    assert not list(job.folder.glob("*.part"))


def test_identities_are_compared_as_they_are_written():
    settings = {"interval": (0.0, 1.0), "start": Fraction(1, 3), "path": Path("a")}
    written = json.loads(json.dumps({"settings": settings}, default=str))
    assert differences(written, {"settings": {"interval": [0.0, 1.0], "start": "1/3", "path": "a"}}) == []


def test_killed_while_it_is_deleted_it_is_still_a_job(tmp_path, monkeypatch):
    job = Job.open(tmp_path / "job", IDENTITY)
    for name in ("a", "b", "c"):
        (job.folder / name).write_bytes(b"part")

    def killed(path):
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            job.close()
    Job.open(tmp_path / "job", IDENTITY).close()
    assert not list(tmp_path.iterdir())


def test_a_place_without_a_folder_and_a_file_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"No such folder: .*missing"):
        Job.open(tmp_path / "missing" / "job", IDENTITY)
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="file is a file"):
        Job.open(tmp_path / "file", IDENTITY)
