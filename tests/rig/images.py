"""Rules about Dockerfiles of services: each takes the root of a tree, yields what breaks the rule.

A finding is ``path: what is wrong``, as in ``layout``.
"""

import re
from collections.abc import Iterator
from pathlib import Path

from .dependencies import declared
from .layout import SERVICES
from .repository import PACKAGES


def images_take_the_lock(root: Path) -> Iterator[str]:
    """Find installations past the lock, with tools of developers, or of another package."""
    for folder, text in _dockerfiles(root):
        commands = re.findall(r"uv sync.*", text)
        wanted = ("--locked", "--no-dev", f"--package runmeter-{Path(folder).name}")
        for flag in wanted:
            if not commands or any(flag not in one for one in commands):
                yield f"{folder}/Dockerfile: uv sync without {flag}"
        if not any("--no-editable" in one for one in commands):
            yield f"{folder}/Dockerfile: what we made is not installed"


def images_are_compiled(root: Path) -> Iterator[str]:
    """Find images that compile modules at every start: ours, those of others, the library's."""
    for folder, text in _dockerfiles(root):
        if any("--compile-bytecode" not in one for one in re.findall(r"uv sync.*", text)):
            yield f"{folder}/Dockerfile: packages are not compiled"
        compiling = rf"^RUN \[.*import importlib, pkgutil, runmeter\.{Path(folder).name} "
        if not re.search(compiling, text.rpartition("\nFROM ")[2], re.MULTILINE):
            yield f"{folder}/Dockerfile: the standard library is not compiled"


def images_hold_what_is_needed(root: Path) -> Iterator[str]:
    """Find sources of packages that a service does not need, or needs and does not get."""
    for folder, text in _dockerfiles(root):
        copied = set(re.findall(r"^COPY ([a-z/]+) \1$", text, re.MULTILINE))
        needs = {one for one in PACKAGES if f"runmeter-{Path(one).name}" in declared(root / folder)}
        for name in copied ^ (needs | {folder}):
            yield f"{folder}/Dockerfile: COPY {name}"
        if not text.rpartition("\nFROM ")[2].startswith("python:"):
            yield f"{folder}/Dockerfile: not on the official Python"
        if "COPY --from=build" not in text.rpartition("\nFROM ")[2]:
            yield f"{folder}/Dockerfile: the image is where it was built"


def images_start_apart(root: Path) -> Iterator[str]:
    """Find images that run as root, or modules of another folder in place of ours."""
    for folder, text in _dockerfiles(root):
        if not re.search(r"^USER [1-9]\d*:[1-9]\d*$", text, re.MULTILINE):
            yield f"{folder}/Dockerfile: runs as root"
        start = f'["python", "-I", "-m", "runmeter.{Path(folder).name}"]'
        if f"ENTRYPOINT {start}" not in text:
            yield f"{folder}/Dockerfile: starts otherwise"


def _dockerfiles(root: Path) -> Iterator[tuple[str, str]]:
    for folder in SERVICES:
        yield folder, (root / folder / "Dockerfile").read_text()
