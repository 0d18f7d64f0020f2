"""The places where one fact is written twice stay equal."""

import sys
from pathlib import Path

import pytest

if sys.version_info < (3, 11):
    pytest.skip("tomllib came with Python 3.11", allow_module_level=True)
import tomllib

ROOT = Path(__file__).parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def test_requirements_are_the_dependencies():
    lines = (ROOT / "requirements.txt").read_text().split()
    assert lines == PROJECT["project"]["dependencies"]


def test_requirements_are_lower_bounds_alone():
    for line in PROJECT["project"]["dependencies"]:
        assert ">=" in line
        assert not {"<", "==", "~=", "@"} & set(line.replace(">=", ""))


def test_every_package_of_the_tree_is_installed():
    folders = {"cli", "host", "hunyuan", "model_loaders", "nodes", "training"}
    packages = {
        "hunyuan_av." + path.parent.relative_to(ROOT).as_posix().replace("/", ".")
        for folder in folders
        for path in (ROOT / folder).rglob("__init__.py")
    }
    assert packages | {"hunyuan_av"} == set(PROJECT["tool"]["setuptools"]["packages"])


def test_pocket_weights_are_small():
    size = sum(path.stat().st_size for path in (ROOT / "pocket").rglob("*") if path.is_file())
    assert 0 < size < 24e6


def test_goldens_in_the_repository_are_small():
    size = sum(path.stat().st_size for path in (ROOT / "tests" / "goldens").rglob("*") if path.is_file())
    assert 0 < size <= 12e6
