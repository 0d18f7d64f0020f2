"""A job folder: what a long piece of work has finished, written down so that being killed costs little.

The manifest names the job's inputs by their content, its settings and versions, and every finished part with
its checksum. It is replaced atomically, after the parts it speaks of: whatever it says is true at any moment.
"""

import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from ..media.files import digest
from .lock import lock, unlock

FORMAT = 2  # of the manifest, and of the windows that the parts are of
MANIFEST = "manifest.json"
UNFINISHED = ".part"  # suffix of a file that is being written


class Job:
    """A folder of parts. `state` is what the work remembers besides them; JSON.

    From `open` on until `close` or the end of a `with` block no other process gets in.
    """

    def __init__(self, folder: Path, identity: Mapping[str, Any]) -> None:
        self.folder, self.identity = folder, plain(identity)
        self.parts: dict[str, str] = {}
        self.state: dict[str, Any] = {}
        self.resumed = False

    @classmethod
    def open(cls, folder: Path, identity: Mapping[str, Any], *, restart: bool = False) -> "Job":
        """The job in `folder`, begun now or continued.

        identity: {"inputs": ..., "settings": ..., "versions": ...}, each a mapping of names to JSON values.
        restart:  throw away what another job, with other inputs or settings, has left there.
        Raises:   ValueError if the folder holds another job, naming what is different, or something else, or
                  if another process works in it; as `check_place`.
        """
        check_place(folder)
        job = cls(folder, identity)
        lock(folder)
        try:
            job._begin(restart)
        except BaseException:
            unlock(folder)
            raise
        return job

    def __enter__(self) -> "Job":
        return self

    def __exit__(self, *error: object) -> None:
        unlock(self.folder)

    def _begin(self, restart: bool) -> None:
        manifest = self.folder / MANIFEST
        if restart and manifest.exists():
            delete(self.folder)
        self.folder.mkdir(exist_ok=True)
        if manifest.exists():
            self._read()
        elif any(path.suffix != UNFINISHED for path in self.folder.iterdir()):
            raise ValueError(
                f"{self.folder} holds something that is no job. Choose another folder for the job."
            )
        for path in self.folder.rglob(f"*{UNFINISHED}"):
            path.unlink()
        self.commit()

    def _read(self) -> None:
        path = self.folder / MANIFEST
        try:
            content = json.loads(path.read_text())
            version, identity = content["format"], content["identity"]
            self.parts, self.state = dict(content["parts"]), dict(content["state"])
        except (ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is damaged. Delete the folder {self.folder} and begin anew.") from error
        changes = (
            ["the version of the job folder"] if version != FORMAT else differences(identity, self.identity)
        )
        if changes:
            raise ValueError(
                f"The job in {self.folder} was begun otherwise: {'; '.join(changes)}."
                " Go back to what it was, or begin anew with --restart."
            )
        self.resumed = True

    def commit(self) -> None:
        """Write the manifest; once this returns, a kill or a power cut leaves it standing."""
        content = {"format": FORMAT, "identity": self.identity, "parts": self.parts, "state": self.state}
        with self.writing(MANIFEST) as path:
            path.write_text(json.dumps(content, indent=1))

    @contextmanager
    def writing(self, name: str) -> Iterator[Path]:
        """A temporary file that becomes the job's file `name`, on the disk, if the block ends well."""
        target = self.folder / name
        target.parent.mkdir(exist_ok=True)
        unfinished = target.with_name(target.name + UNFINISHED)
        try:
            yield unfinished
            with unfinished.open("rb+") as file:
                os.fsync(file.fileno())
            unfinished.replace(target)
        finally:
            unfinished.unlink(missing_ok=True)

    def finish(self, name: str) -> None:
        """Write down that a part, a file of the job, is complete."""
        self.parts[name] = digest(self.folder / name)

    def drop(self, name: str) -> None:
        """Forget a part and delete it."""
        self.parts.pop(name, None)
        (self.folder / name).unlink(missing_ok=True)

    def holds(self, name: str) -> bool:
        """Whether a part is there, finished and undamaged."""
        path = self.folder / name
        return name in self.parts and path.is_file() and digest(path) == self.parts[name]

    @property
    def size(self) -> int:
        """Bytes that the folder takes."""
        return sum(path.stat().st_size for path in self.folder.rglob("*") if path.is_file())

    def close(self, *, keep: bool = False) -> None:
        """The work is done and its result stands elsewhere: delete the folder, unless it is to be kept."""
        if not keep:
            delete(self.folder)
        unlock(self.folder)


def check_place(folder: Path) -> None:
    """Raise FileNotFoundError if there is nothing in which the folder could lie, ValueError for a file."""
    if not folder.absolute().parent.is_dir():
        raise FileNotFoundError(
            f"No such folder: {folder.absolute().parent}. Create it, or name another place for the job."
        )
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"{folder} is a file. Name a folder for the job.")


def delete(folder: Path) -> None:
    """Delete a job's folder, its manifest last: one that is killed meanwhile still leaves a job."""
    for path in folder.iterdir():
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != MANIFEST:
            path.unlink()
    shutil.rmtree(folder)


def plain(identity: Mapping[str, Any]) -> Any:
    """The identity as it comes back from JSON: tuples are lists, paths and fractions are text."""
    return json.loads(json.dumps(identity, default=str))


def differences(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """What has changed, a phrase each: `settings: steps was 50 and is 30`."""
    changes = []
    for group in sorted(before.keys() | now.keys()):
        old, new = before.get(group, {}), now.get(group, {})
        for name in sorted(old.keys() | new.keys()):
            if old.get(name) != new.get(name):
                changes.append(f"{group}: {name} was {shown(old.get(name))} and is {shown(new.get(name))}")
    return changes


def shown(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
