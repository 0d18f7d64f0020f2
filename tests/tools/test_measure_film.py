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


def test_clips_of_mixed_lengths_are_measured_round_by_round(monkeypatch):
    monkeypatch.syspath_prepend(ROOT / "tools")
    import measure_film

    monkeypatch.setattr(measure_film, "MIXED", (1, 2))
    rounds = list(measure_film.measure_mixed(0.1, steps=1))
    assert [round(made, 2) for made, _, _ in rounds] == [0.05, 0.1]
    assert all(pace > 0 and memory > 0 for _, pace, memory in rounds)
