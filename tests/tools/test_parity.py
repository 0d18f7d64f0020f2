"""Every golden at hand, through the runner that users have: `tools/parity.py`."""

import os
import sys
from pathlib import Path

import pytest
import torch

ROOT = Path(__file__).parent.parent.parent
sys.path.insert(0, str(ROOT / "tools"))

import parity  # noqa: E402

import golden as golden_module  # noqa: E402

FULL_SET = "HUNYUAN_AV_GOLDENS" in os.environ
FOLDER = Path(os.environ.get("HUNYUAN_AV_GOLDENS", ROOT / "tests" / "goldens"))
GOLDENS = {
    f"{system}/{golden.name}": golden
    for system in ("foley", "avatar")
    for golden in golden_module.find_goldens([FOLDER / system])
}


@pytest.mark.parametrize("name", GOLDENS)
def test_golden_is_reproduced(name):
    rows = list(parity.run(GOLDENS[name]))
    assert [str(row) for row in rows if row.status == "FAILED"] == []
    assert any(row.status == "ok" for row in rows)


@pytest.mark.parametrize("name", GOLDENS)
def test_a_golden_belongs_to_the_system_of_its_folder(name):
    assert GOLDENS[name].system == name.split("/")[0]


@pytest.mark.parametrize("system", ["foley", "avatar"])
def test_all_kinds_are_here(system):
    kinds = {kind for of, kind in parity.RUNNERS if of == system}
    here = {golden.kind for name, golden in GOLDENS.items() if name.startswith(system)}
    # Avatar's networks have large goldens, which only the full set holds.
    assert here == kinds if FULL_SET or system == "foley" else here < kinds


def test_a_recorded_tensor_that_nobody_compares_is_a_failure():
    golden = GOLDENS["foley/scheduler_a"]
    golden.seen.clear()
    assert {row.status for row in golden.forgotten()} == {"FAILED"}


def test_a_wrong_value_and_a_wrong_shape_are_failures():
    golden = GOLDENS["foley/scheduler_a"]
    recorded = golden["traj.in.x0"]
    off = golden.compare_values("x", recorded + 1e-3, recorded, (1e-4, 0.0))
    assert (off.status, round(off.error, 6)) == ("FAILED", 0.001)
    assert golden.compare_values("x", recorded[:1], recorded, (1e9, 0.0)).status == "FAILED"
    nothing = torch.full_like(recorded, torch.nan)
    assert golden.compare_values("x", nothing, recorded, (1.0, 0.0)).status == "FAILED"
