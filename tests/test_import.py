"""What importing the pack costs, in processor time and beside torch, and what it brings in."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent
HEAVY = {
    "transformers", "tokenizers", "av", "PIL", "scipy", "soundfile", "soxr", "pyloudnorm",
    "tqdm", "insightface", "gguf",
}  # fmt: skip
SHARE_OF_TORCH = 0.2  # 0.12 measured; so it does not matter how fast or busy the machine is

MEASURE = f"""
import importlib.util, sys, time
start = time.process_time()
import torch
of_torch = time.process_time() - start
import numpy, einops, safetensors
before = set(sys.modules)
start = time.process_time()
spec = importlib.util.spec_from_file_location(
    "pack", {str(ROOT / "__init__.py")!r}, submodule_search_locations=[{str(ROOT)!r}]
)
module = importlib.util.module_from_spec(spec)
sys.modules["pack"] = module
spec.loader.exec_module(module)
import pack.nodes
print((time.process_time() - start) / of_torch)
print(*sorted({{name.split(".")[0] for name in set(sys.modules) - before}}))
"""


def measure() -> tuple[float, set[str]]:
    """Seconds of the pack for each of torch, and the modules that it brought in."""
    settings = {n: v for n, v in os.environ.items() if n != "PYTHONDONTWRITEBYTECODE"}
    command = [sys.executable, "-c", MEASURE]
    out = subprocess.run(command, env=settings, capture_output=True, text=True, check=True).stdout
    share, imported = out.splitlines()[:2]
    return float(share), set(imported.split())


def test_importing_the_pack_and_its_nodes_is_quick_and_brings_nothing_heavy():
    measure()  # compiled files are written once
    runs = [measure() for _ in range(3)]
    print("of what torch takes:", *(share for share, _ in runs))
    imported = runs[0][1]
    print(sorted(imported))
    assert "pack" in imported
    assert not imported & HEAVY
    assert min(share for share, _ in runs) < SHARE_OF_TORCH
