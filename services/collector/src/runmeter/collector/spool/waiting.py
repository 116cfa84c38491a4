"""Waiting runs of the spool: lock one, check it, move it if it is rejected or not a run."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

from runmeter.collector.errors import ForeignError, SpoolError, WriteError
from runmeter.collector.spool.folder import (
    REJECTED_FOLDER,
    below_of,
    path_of,
    read_file,
    write_file,
)
from runmeter.collector.spool.format import decode_document, encode
from runmeter.collector.spool.locks import lock, release

ASIDE = "aside"
_ASIDE_TRIES = 1000


class Claim(NamedTuple):
    """A run of the spool that this process owns; ``reason``: of its last refusal."""

    push_id: str
    path: str
    run: dict[str, Any]
    reason: str = ""


@contextmanager
def claim(folder: str, push_id: str, below: str = "") -> Iterator[Claim]:
    """Lock a run of the spool, and read it.

    ``below``: the folder in the spool that has it. A run whose state is running becomes
    *interrupted*: no process owned it, so its collector has died.

    Raises:
        HeldError: another process measures or pushes it.
        GoneError: another process has pushed it.
        LaterError: a later version has written it.
        ForeignError: it is not a run.
        SpoolError: it cannot be locked or read now.
    """
    descriptor = lock(folder, push_id)
    try:
        path = path_of(below_of(folder, below), push_id)
        document = read_document(path, push_id)
        run = interrupted(document["run"])
        yield Claim(push_id, path, run, str(document.get("reason", "")))
    finally:
        release(folder, push_id, descriptor)


def read_document(path: str, push_id: str) -> dict[str, Any]:
    """Return the document in a file, its ``run`` checked; the errors are those of `claim`."""
    document = decode_document(read_file(path))
    run = document["run"]
    if run.get("push_id") != push_id:
        raise ForeignError("has another push_id than its name")
    scope_of(run)
    return document


def interrupted(run: dict[str, Any]) -> dict[str, Any]:
    """Return a checkpoint as an interrupted run, with the same revision; other runs unchanged."""
    if run.get("state") != "running":
        return run
    kept = {name: value for name, value in run.items() if name != "next_push_within_seconds"}
    return {**kept, "state": "interrupted"}


def scope_of(run: dict[str, Any]) -> tuple[str, str, str, str]:
    """Return the scope of a run in canonical names.

    Raises:
        ForeignError: it has none.
    """
    names = [run.get(name) for name in ("organization", "repository", "workflow", "job")]
    organization, repository, workflow, job = (n if isinstance(n, str) else "" for n in names)
    if not all(isinstance(name, str) for name in names):
        raise ForeignError("is a run without a scope")
    if organization and repository and not repository.startswith(f"{organization}/"):
        repository = f"{organization}/{repository}"
    return organization, repository, workflow, job


def reject(folder: str, found: Claim, reason: str) -> str:
    """Move a run to the rejected ones, with the receiver's reason; return its new path.

    Raises:
        SpoolError: it cannot be written there; the run stays where it is.
    """
    content = encode(found.run, reason)
    path = write_file(f"{folder}/{REJECTED_FOLDER}", found.push_id, content)
    if path != found.path:
        try:
            os.unlink(found.path)
        except OSError as error:
            raise SpoolError(f"{found.path!r} cannot be removed: {error.strerror}") from error
    return path


def note_refusal(found: Claim, reason: str) -> None:
    """Write into the file of a waiting run why its token was refused; its age stays the same.

    Raises:
        SpoolError: it cannot be written; the file is not changed.
    """
    if found.reason == reason:
        return
    content = encode(found.run, reason)
    try:
        age = os.stat(found.path)
        write_file(os.path.dirname(found.path), found.push_id, content)
        os.utime(found.path, ns=(age.st_atime_ns, age.st_mtime_ns))
    except OSError as error:
        raise WriteError(found.path, error.errno) from error


def set_aside(folder: str, path: str) -> str:
    """Move a file that is not a run to another folder; return its new path.

    Raises:
        SpoolError: it cannot be moved.
    """
    target = f"{folder}/{ASIDE}/{os.path.basename(path)}"
    try:
        os.makedirs(f"{folder}/{ASIDE}", mode=0o700, exist_ok=True)
        free = target
        for number in range(1, _ASIDE_TRIES):
            if not os.path.lexists(free):
                break
            free = f"{target}.{number}"
        os.rename(path, free)
    except OSError as error:
        raise SpoolError(f"{path!r} cannot be set aside: {error.strerror}") from error
    return free
