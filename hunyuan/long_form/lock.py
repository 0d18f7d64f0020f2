"""One process at a time works in a job's folder: a locked file beside it says so.

The system opens the lock when its process ends, however that happens: a job that was killed is free at once.
"""

import errno
import logging
import os
import sys
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

SUFFIX = ".lock"  # after the folder's name
UNSUPPORTED = {errno.ENOLCK, errno.ENOTSUP, errno.ENOSYS}  # what file systems answer that know no locks

logger = logging.getLogger(__name__)
_held: dict[Path, BinaryIO] = {}  # the files that this process has locked

if sys.platform == "win32":
    import msvcrt

    def try_lock(file: BinaryIO) -> None:
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)

else:
    import fcntl

    def try_lock(file: BinaryIO) -> None:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)


def lock_file(folder: Path) -> Path:
    return folder.resolve().with_name(f"{folder.resolve().name}{SUFFIX}")


def lock(folder: Path) -> None:
    """Keep other processes out of a job's folder; this one may ask again.

    Raises: ValueError if another process works there.
    """
    path = lock_file(folder)
    while path not in _held:
        file = path.open("ab")
        if not is_free(file, folder):
            file.close()
            raise ValueError(
                f"Another process is at work on the job in {folder}. Wait until it is done or end it, or name"
                " another output."
            )
        if is_still_there(file, path):
            _held[path] = file
        else:
            file.close()  # the one who had it was about to delete it: begin again with a new one


def unlock(folder: Path) -> None:
    """Let others in again; nothing of the lock is left."""
    path = lock_file(folder)
    file = _held.pop(path, None)
    if file is None:
        return
    if sys.platform == "win32":  # where an open file cannot be deleted, not even by its owner
        file.close()
        with suppress(PermissionError):  # another process has it by now
            path.unlink(missing_ok=True)
    else:
        path.unlink(missing_ok=True)
        file.close()


def is_free(file: BinaryIO, folder: Path) -> bool:
    """Whether nobody else held the lock; now we do."""
    try:
        try_lock(file)
    except (BlockingIOError, PermissionError):
        return False
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        logger.warning("%s lies on a disk without locks: run no two jobs there at once.", folder)
    return True


def is_still_there(file: BinaryIO, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(file.fileno()), path.stat())
    except FileNotFoundError:
        return False
