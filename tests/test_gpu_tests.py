"""Tests that need a GPU run where only torch and its company are installed: no PyAV, no soundfile."""

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).parent
ABSENT = ("av", "soundfile", "soxr", "pyloudnorm", "insightface", "gguf")
COLLECT = f"""
import sys
sys.modules.update(dict.fromkeys({ABSENT!r}))  # importing one now fails
import pytest
sys.exit(pytest.main(["--collect-only", "-q", "-m", "gpu", "-p", "no:cacheprovider", *sys.argv[1:]]))
"""


def test_those_for_a_gpu_need_none_of_the_media_libraries():
    mark = "@pytest.mark." + "gpu"
    files = [str(path) for path in sorted(TESTS.rglob("test_*.py")) if mark in path.read_text()]
    assert len(files) >= 4
    done = subprocess.run(
        [sys.executable, "-c", COLLECT, *files], capture_output=True, text=True, cwd=TESTS.parent
    )
    assert done.returncode == 0, done.stdout + done.stderr
    collected = {line.split("::")[0] for line in done.stdout.splitlines() if "::" in line}
    assert {str(TESTS.parent / name) for name in collected} == set(files)
