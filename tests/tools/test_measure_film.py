"""The long-film measurement: its marker encoders carry a short film through the whole job."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def test_a_film_is_measured_without_its_encoders():
    command = [sys.executable, "tools/measure_film.py", "0.3", "--steps", "1", "--marker"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    minutes, _, _, disk, bound, pace = map(float, done.stdout.splitlines()[-1].split())
    assert minutes == 0.3
    assert 0 < disk <= bound
    assert pace > 0
