"""Load the pack the way ComfyUI does: from its folder, under a name that has nothing to do with it."""

import gc
import importlib.util
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

os.environ.setdefault("OMP_NUM_THREADS", "1")  # tiny networks: more threads only wait for each other
ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

if TYPE_CHECKING:
    from media_clips import ClipMaker


def load_pack() -> None:
    spec = importlib.util.spec_from_file_location(
        "pack", ROOT / "__init__.py", submodule_search_locations=[str(ROOT)]
    )
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["pack"] = module
    spec.loader.exec_module(module)


load_pack()


def pytest_collection_finish() -> None:
    """Searching for garbage then passes over torch and all tests: a fifth of a second each time."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def goldens() -> Path:
    """The folder of recorded tensors: the set that HUNYUAN_AV_GOLDENS names, else the copies kept here."""
    return Path(os.environ.get("HUNYUAN_AV_GOLDENS", ROOT / "tests" / "goldens"))


@pytest.fixture
def clip(tmp_path) -> "ClipMaker":
    """Makes small real videos in the test's folder."""
    from media_clips import ClipMaker  # not above: tests for a GPU run where PyAV is not installed

    return ClipMaker(tmp_path)
