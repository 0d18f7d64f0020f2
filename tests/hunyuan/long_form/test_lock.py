"""Two processes in one job folder would write over each other: the second one is told to wait."""

import subprocess
import sys

import pytest
from pack.hunyuan.long_form import lock
from pack.hunyuan.long_form.job import Job

# The module alone, so that the other process starts in no time.
OTHER = """
import importlib.util, sys
from pathlib import Path
spec = importlib.util.spec_from_file_location("lock", sys.argv[1])
lock = importlib.util.module_from_spec(spec)
spec.loader.exec_module(lock)
lock.lock(Path(sys.argv[2]))
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def other(tmp_path):
    """Another process that works in the folder `job`."""
    command = [sys.executable, "-c", OTHER, lock.__file__, str(tmp_path / "job")]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout.readline() == "locked\n"
        yield process
        process.kill()


@pytest.mark.parametrize("restart", [False, True])
def test_a_job_that_another_process_works_on_is_left_alone(tmp_path, other, restart):
    with pytest.raises(ValueError, match=r"Another process is at work on the job in .*job\. Wait"):
        Job.open(tmp_path / "job", {}, restart=restart)
    assert not (tmp_path / "job").exists()


def test_a_job_whose_process_was_killed_goes_on(tmp_path, other):
    other.kill()
    other.wait()
    with Job.open(tmp_path / "job", {}):
        assert lock.lock_file(tmp_path / "job").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["job"]


def test_a_refused_job_is_not_locked(tmp_path):
    with Job.open(tmp_path / "job", {"settings": {"steps": 1}}) as job:
        pass
    with pytest.raises(ValueError, match="begun otherwise"):
        Job.open(job.folder, {"settings": {"steps": 2}})
    assert not lock.lock_file(job.folder).exists()


def test_a_lock_that_was_deleted_while_it_was_waited_for_is_none(tmp_path, monkeypatch):
    """The one who had it deletes it between our opening and our locking it."""
    locked = []

    def late(file, try_lock=lock.try_lock):
        if not locked:
            lock.lock_file(tmp_path / "job").unlink()
        locked.append(file)
        try_lock(file)

    monkeypatch.setattr(lock, "try_lock", late)
    with Job.open(tmp_path / "job", {}):
        assert len(locked) == 2
        assert lock.lock_file(tmp_path / "job").exists()
