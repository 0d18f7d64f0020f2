"""Who imports whom, read from the code: each layer is ignorant of the ones above it."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
MAY_IMPORT = {
    "hunyuan/layers": {"hunyuan/layers"},
    "hunyuan/sampling": {"hunyuan/sampling"},
    "hunyuan/media": {"hunyuan/media"},
    "hunyuan/long_form": {"hunyuan/long_form", "hunyuan/foley", "hunyuan/sampling", "hunyuan/media"},
    "hunyuan/foley": {"hunyuan/foley", "hunyuan/layers", "hunyuan/sampling", "hunyuan/media"},
    "hunyuan/avatar": {"hunyuan/avatar", "hunyuan/layers", "hunyuan/sampling", "hunyuan/media"},
    "model_loaders": {"model_loaders", "hunyuan"},
    "host": {"host", "model_loaders", "hunyuan"},
    "nodes": {"nodes", "host", "model_loaders", "hunyuan"},
    "training": {"training", "model_loaders", "hunyuan"},
    "cli": {"cli", "host", "model_loaders", "hunyuan"},
}
FILES = sorted(
    path for layer in MAY_IMPORT if (ROOT / layer).is_dir() for path in (ROOT / layer).rglob("*.py")
)


def imported_places(path: Path) -> set[str]:
    """Every place in the pack that a file imports from. Absolute imports of the pack are wrong."""
    places = set()
    folder = path.relative_to(ROOT).parent.parts
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.level:
            base = folder[: len(folder) - node.level + 1]
            module = (node.module or "").split(".") if node.module else []
            places |= {"/".join((*base, *module, alias.name)) for alias in node.names}
        elif isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else [a.name for a in node.names]
            assert not any(name.split(".")[0] in ("hunyuan_av", "pack") for name in names), path
    return places


def layer_of(path: Path) -> str:
    place = path.relative_to(ROOT).as_posix()
    return next(layer for layer in MAY_IMPORT if place.startswith(f"{layer}/"))


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_layer_imports_nothing_above_it(path):
    allowed = MAY_IMPORT[layer_of(path)]
    for place in imported_places(path):
        assert any(f"{place}/".startswith(f"{layer}/") for layer in allowed), place


def test_there_is_something_to_read():
    assert len(FILES) > 30
    assert imported_places(ROOT / "hunyuan" / "foley" / "blocks.py") >= {"hunyuan/layers/mlp/MLP"}
