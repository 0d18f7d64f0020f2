"""What the pack never does, read from the code: run strings or programs, install things, use a network."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
SHIPPED = ("hunyuan", "model_loaders", "host", "nodes", "cli")
FILES = [ROOT / "__init__.py", *sorted(path for layer in SHIPPED for path in (ROOT / layer).rglob("*.py"))]

BUILT_IN = {"eval", "exec", "compile", "__import__", "breakpoint"}
CALLS = {
    "os.system", "os.popen", "os.execv", "os.spawnv", "subprocess.run", "subprocess.call", "subprocess.Popen",
    "subprocess.check_call", "subprocess.check_output", "pickle.load", "pickle.loads", "marshal.loads",
    "torch.hub.load", "sys.path.insert", "sys.path.append",
}  # fmt: skip
MODULES = {
    "pip", "ensurepip", "urllib.request", "http", "ftplib", "socket", "requests", "httpx", "aiohttp",
    "huggingface_hub", "modelscope", "gdown", "wget", "dill", "cloudpickle", "shelve", "marshal", "ctypes",
}  # fmt: skip


def forbidden(path: Path) -> Iterator[tuple[str, int]]:
    """(what, line) of everything in a file that is not allowed."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if name in BUILT_IN | CALLS:
                yield name, node.lineno
            yield from ((problem, node.lineno) for problem in unsafe_arguments(name, node))
        elif isinstance(node, ast.Import):
            yield from ((a.name, node.lineno) for a in node.names if is_forbidden(a.name))
        elif isinstance(node, ast.ImportFrom) and not node.level and node.module:
            names = {node.module, *(f"{node.module}.{a.name}" for a in node.names)}
            yield from ((name, node.lineno) for name in names if is_forbidden(name))


def unsafe_arguments(name: str, call: ast.Call) -> Iterator[str]:
    """Files that could run code, and folders of the network in the place of local ones."""
    given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
    if name == "torch.load" and given.get("weights_only") != "True":
        yield "torch.load without weights_only=True"
    if name == "np.load" and given.get("allow_pickle") == "True":
        yield "np.load of pickles"
    if name.endswith(".from_pretrained") and given.get("local_files_only") != "True":
        yield "from_pretrained without local_files_only=True"
    if given.get("trust_remote_code") == "True":
        yield "trust_remote_code"


def is_forbidden(module: str) -> bool:
    return any(module == name or module.startswith(f"{name}.") for name in MODULES)


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_nothing_forbidden_is_done(path):
    assert list(forbidden(path)) == []


@pytest.mark.parametrize(
    ("code", "what"),
    [
        ("eval('1')", "eval"),
        ("import subprocess\nsubprocess.run(['pip', 'install', 'x'])", "subprocess.run"),
        ("from urllib.request import urlopen", "urllib.request"),
        ("import requests.adapters", "requests.adapters"),
        ("import torch\ntorch.load('a.pth')", "torch.load without weights_only=True"),
        ("AutoModel.from_pretrained('a/b')", "from_pretrained without local_files_only=True"),
    ],
)
def test_what_is_forbidden_is_found(tmp_path, code, what):
    (tmp_path / "a.py").write_text(code)
    assert what in {found for found, _ in forbidden(tmp_path / "a.py")}
