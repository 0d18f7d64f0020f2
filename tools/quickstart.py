"""From a fresh checkout to a running demo or to the tests, with nothing but Python installed.

    python3 tools/quickstart.py demo [--seed N] [ARGUMENTS OF tools/demo.py]
    python3 tools/quickstart.py demo avatar [ARGUMENTS OF tools/demo_avatar.py]
    python3 tools/quickstart.py test [PYTEST ARGUMENTS]

Makes a virtual environment in `.venv`; nothing is installed outside the checkout.
"""

import hashlib
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ENVIRONMENT = ROOT / ".venv"
OLD_TRANSFORMERS = ROOT / ".venv-transformers4"  # the oldest supported transformers, on top of the first
OLD_REQUIREMENT = "transformers==4.49.0"
OLD_TESTS = [
    "tests/model_loaders",
    "tests/hunyuan/foley/test_text_encoder.py",
    "tests/hunyuan/foley/test_visual_encoder.py",
]
PYTEST = ["-m", "pytest", "--numprocesses=auto", "--dist=worksteal"]
DESCRIBING = ["requirements.txt", "constraints-cpu.txt", "pyproject.toml"]


def main() -> int:
    if sys.version_info < (3, 10):  # noqa: UP036 - whatever Python the user has comes this far
        sys.exit(f"Python 3.10 or newer is needed; this is {sys.version.split()[0]}.")
    command, *arguments = sys.argv[1:] or [""]
    if command == "demo":
        avatar = arguments[:1] == ["avatar"]
        tool = "tools/demo_avatar.py" if avatar else "tools/demo.py"
        return run(install("demo"), tool, *arguments[avatar:])
    if command == "test":
        python = install("test")
        return run(python, *PYTEST, *arguments) or (0 if arguments else test_old_transformers(python))
    print(__doc__)
    return 2


def install(purpose: str) -> Path:
    """The environment's Python, with everything for `purpose` installed once."""
    python = create(ENVIRONMENT)
    stamp = ENVIRONMENT / f"{purpose}.installed"
    state = hashlib.sha256(b"".join((ROOT / name).read_bytes() for name in DESCRIBING)).hexdigest()
    if stamp.exists() and stamp.read_text() == state:
        return python

    print(f"Installing into {ENVIRONMENT} (once; a few minutes)", flush=True)
    constraint = [] if has_gpu() else ["--constraint", "constraints-cpu.txt"]
    pip(python, "--upgrade", "pip>=25.1")
    pip(python, *constraint, "--requirement", "requirements.txt")
    if purpose == "test":
        pip(python, *constraint, "--group", "dev")
    pip(python, "--no-deps", "--editable", ".")
    stamp.write_text(state)
    return python


def test_old_transformers(python: Path) -> int:
    """What depends on transformers, once more with the oldest supported version."""
    old = create(OLD_TRANSFORMERS)
    if not list(OLD_TRANSFORMERS.rglob("transformers-4.*")):
        packages = subprocess.run(
            [python, "-c", "import sysconfig; print(sysconfig.get_path('purelib'))"],
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        site = next(
            OLD_TRANSFORMERS.glob("lib/python*/site-packages"), OLD_TRANSFORMERS / "Lib" / "site-packages"
        )
        (site / "base.pth").write_text(packages + "\n")
        pip(old, OLD_REQUIREMENT)
    print(f"Once more with {OLD_REQUIREMENT}", flush=True)
    return run(old, *PYTEST, *OLD_TESTS)


def create(folder: Path) -> Path:
    """A virtual environment's Python, the environment made if it is not there."""
    python = folder / ("Scripts/python.exe" if sys.platform == "win32" else "bin/python")
    if not python.exists():
        try:
            venv.create(folder, with_pip=True)
        except subprocess.CalledProcessError:
            shutil.rmtree(folder, ignore_errors=True)
            sys.exit(
                "Python's venv module is incomplete here. On Debian and Ubuntu: apt install python3-venv"
            )
    return python


def has_gpu() -> bool:
    """Whether an accelerator's driver is here: without one, CUDA packages would be gigabytes for nothing."""
    return (
        shutil.which("nvidia-smi") is not None or Path("/dev/nvidia0").exists() or Path("/dev/kfd").exists()
    )


def pip(python: Path, *arguments: str) -> None:
    """Install, and say something only if it fails: build tools warn about what users need not know."""
    command = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *arguments]
    done = subprocess.run(command, cwd=ROOT, check=False, capture_output=True, text=True)
    if done.returncode:
        print(done.stdout, done.stderr, sep="\n", file=sys.stderr)
        sys.exit("Installing failed: see pip's message above.")


def run(python: Path, *arguments: str) -> int:
    return subprocess.run([str(python), *arguments], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
