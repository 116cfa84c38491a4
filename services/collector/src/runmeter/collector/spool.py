"""The file in which a run waits until the receiver has acknowledged it.

One file per run, ``<push_id>.json``, readable by its owner only, written whole or not at all.
Its JSON is versioned and needs no protobuf to be read. The token is never in it.
"""

import json
import os
from typing import Any

from runmeter.collector.errors import SpoolError

FORMAT = 1
MEMORY = "/proc/self/fd/"  # paths of runs that no folder could take


def encode(run: dict[str, Any]) -> bytes:
    """Return the file's content for a run in the JSON form of the REST interface."""
    return json.dumps({"format": FORMAT, "run": run}, separators=(",", ":")).encode("ascii")


def decode(raw: bytes) -> dict[str, Any]:
    """Return the run.

    Raises:
        SpoolError: not a run of this format.
    """
    try:
        document = json.loads(raw)
    except (ValueError, RecursionError) as error:
        raise SpoolError(f"is not a run: {error}") from error
    if not isinstance(document, dict) or not document.keys() & {"format", "run"}:
        raise SpoolError("is not a run")
    found = document.get("format")
    if found is True or found != FORMAT:
        raise SpoolError(f"has format {found!r}, this version reads {FORMAT}")
    run = document.get("run")
    if not isinstance(run, dict):
        raise SpoolError("is not a run")
    return run


def write(folder: str, push_id: str, content: bytes) -> str:
    """Write the run's file so that it survives a crash; return its path.

    Raises:
        SpoolError: the folder cannot be made or written.
    """
    if not folder:
        raise SpoolError("there is no home folder; give --spool-dir")
    path = f"{folder}/{push_id}.json"
    temporary = f"{path}.tmp"
    try:
        os.makedirs(folder, mode=0o700, exist_ok=True)
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            left = memoryview(content)
            while left:
                left = left[os.write(descriptor, left) :]
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(temporary, path)
        _sync_folder(folder)
    except OSError as error:
        _discard(temporary)
        raise SpoolError(f"{folder!r} cannot be written: {error.strerror}") from error
    return path


def _discard(temporary: str) -> None:
    try:
        os.unlink(temporary)
    except OSError:
        pass


def remove(path: str) -> None:
    """Drop an acknowledged run."""
    os.unlink(path)
    _sync_folder(os.path.dirname(path))


def _sync_folder(folder: str) -> None:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
