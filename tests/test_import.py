"""What importing the pack costs, in seconds of processor time, and what it brings in."""

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
HEAVY = {
    "transformers", "tokenizers", "av", "PIL", "scipy", "soundfile", "soxr", "pyloudnorm",
    "tqdm", "insightface", "gguf",
}  # fmt: skip
SECONDS = 0.2

MEASURE = f"""
import importlib.util, sys, time
import torch, numpy, einops, safetensors
before = set(sys.modules)
start = time.process_time()
spec = importlib.util.spec_from_file_location(
    "pack", {str(ROOT / "__init__.py")!r}, submodule_search_locations=[{str(ROOT)!r}]
)
module = importlib.util.module_from_spec(spec)
sys.modules["pack"] = module
spec.loader.exec_module(module)
import pack.nodes
print(time.process_time() - start)
print(*sorted({{name.split(".")[0] for name in set(sys.modules) - before}}))
"""


def measure() -> tuple[float, set[str]]:
    out = subprocess.run([sys.executable, "-c", MEASURE], capture_output=True, text=True, check=True).stdout
    seconds, imported = out.splitlines()[:2]
    return float(seconds), set(imported.split())


def test_importing_the_pack_and_its_nodes_is_quick_and_brings_nothing_heavy():
    measure()  # compiled files are written once
    runs = [measure() for _ in range(3)]
    imported = runs[0][1]
    print(sorted(imported))
    assert "pack" in imported
    assert not imported & HEAVY
    assert min(seconds for seconds, _ in runs) < SECONDS
