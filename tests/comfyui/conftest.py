"""A real ComfyUI for the tests: COMFYUI_PATH names its folder, COMFYUI_PYTHON the Python that runs it."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))

from websocket import Messages

ROOT = Path(__file__).parents[2]
PATIENCE = 600  # seconds for one prompt
ENDS = {"execution_success", "execution_error", "execution_interrupted"}
FPS = 25
SECONDS = 1.2


@pytest.fixture(scope="session")
def installation() -> tuple[Path, str]:
    """Where ComfyUI is, and its Python."""
    path, python = os.environ.get("COMFYUI_PATH"), os.environ.get("COMFYUI_PYTHON")
    if not path or not python:
        pytest.skip("COMFYUI_PATH and COMFYUI_PYTHON name no ComfyUI to run in")
    return Path(path), python


@dataclass(frozen=True)
class ComfyUI:
    """A running ComfyUI, over HTTP."""

    base: Path
    url: str
    pid: int

    def get(self, path: str) -> Any:
        with urllib.request.urlopen(self.url + path, timeout=30) as answer:
            return json.load(answer)

    def post(self, path: str, body: dict[str, Any]) -> Any:
        request = urllib.request.Request(
            self.url + path, json.dumps(body).encode(), {"Content-Type": "application/json"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                text = answer.read()
        except urllib.error.HTTPError as error:
            raise ValueError(error.read().decode()) from error
        return json.loads(text) if text else None

    def queue(self, prompt: dict[str, Any], **options: Any) -> str:
        return self.post("/prompt", {"prompt": prompt, **options})["prompt_id"]

    def follow(self, prompt: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
        """Every message about a prompt, from its start to its end."""
        messages = Messages(self.url, "test", PATIENCE)
        prompt_id = self.queue(prompt, client_id="test")
        heard = []
        for kind, data in messages:
            if data.get("prompt_id") == prompt_id:
                heard.append((kind, data))
            if kind in ENDS and data.get("prompt_id") == prompt_id:
                messages.close()
                return heard
        raise ConnectionError("ComfyUI closed the connection")

    def wait(self, prompt_id: str) -> dict[str, Any]:
        """The prompt's entry in the history, once it is there."""
        end = time.monotonic() + PATIENCE
        while time.monotonic() < end:
            if entry := self.get(f"/history/{prompt_id}").get(prompt_id):
                return entry
            time.sleep(0.1)
        raise TimeoutError(f"prompt {prompt_id} did not end within {PATIENCE} s")

    def run(self, prompt: dict[str, Any]) -> dict[str, Any]:
        """The outputs of a prompt that is to succeed."""
        entry = self.wait(self.queue(prompt))
        assert entry["status"]["status_str"] == "success", errors(entry)
        return entry["outputs"]

    @property
    def resident_bytes(self) -> int:
        """Memory that the process holds, as Linux counts it."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGE_SIZE")

    def file(self, output: dict[str, Any]) -> Path:
        """Where a saved result lies."""
        return self.base / output["type"] / output["subfolder"] / output["filename"]

    @property
    def log(self) -> str:
        return (self.base / "log").read_text(errors="replace")


def errors(entry: dict[str, Any]) -> list[Any]:
    return [data for kind, data in entry["status"]["messages"] if kind == "execution_error"]


@pytest.fixture(scope="session")
def comfyui(installation, tmp_path_factory):
    """ComfyUI with this pack, on the CPU, in a folder of its own."""
    path, python = installation
    base = tmp_path_factory.mktemp("comfyui")
    (base / "custom_nodes").mkdir()
    (base / "custom_nodes" / "hunyuan_av").symlink_to(ROOT, target_is_directory=True)
    (base / "input").mkdir()
    write_clip(base / "input" / "clip.mp4")
    with closing(socket.socket()) as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]

    command = [python, "main.py", "--cpu", "--base-directory", str(base), "--port", str(port)]
    with (base / "log").open("w") as log:
        process = subprocess.Popen(command, cwd=path, stdout=log, stderr=subprocess.STDOUT)
    try:
        host = ComfyUI(base, f"http://127.0.0.1:{port}", process.pid)
        wait_until_up(host, process)
        yield host
    finally:
        process.terminate()
        process.wait(30)


def wait_until_up(host: ComfyUI, process: subprocess.Popen[bytes]) -> None:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert process.poll() is None, host.log[-3000:]
        try:
            host.get("/system_stats")
        except OSError:
            time.sleep(0.3)
        else:
            return
    raise TimeoutError(host.log[-3000:])


def write_clip(path: Path) -> None:
    """A white square that jumps up and down on a dark ground."""
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream("mpeg4", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = 96, 64, "yuv420p"
        for i in range(round(FPS * SECONDS)):
            picture = np.full((64, 96, 3), 30, np.uint8)
            top = 24 + round(20 * np.sin(i / 2))
            picture[top : top + 16, 2 * i : 2 * i + 16] = 240
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())


@pytest.fixture(scope="session")
def inside(installation, tmp_path_factory):
    """What `inside.py` measured within ComfyUI's own process: numbers by name, and a folder with tensors."""
    path, python = installation
    folder = tmp_path_factory.mktemp("inside")
    command = [python, str(Path(__file__).with_name("inside.py")), str(path), str(ROOT), str(folder)]
    run = subprocess.run(command, cwd=path, capture_output=True, text=True, check=False, timeout=900)
    assert run.returncode == 0, run.stderr[-4000:]
    return json.loads((folder / "results.json").read_text()), folder
