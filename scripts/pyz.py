"""Write ``dist/collector.pyz``: the collector in one file that needs nothing but Python.

Two builds of the same sources are the same, byte for byte. gRPC and protobuf are compiled, so they
are left out; the file pushes over HTTP. What it needs beside the project is pure Python, in the
versions of the lock, with its licences. Nothing in it is compressed: to read what is, Python looks
for ``zlib`` on its path, where the job may have a module of that name.
"""

import argparse
import zipfile
from collections.abc import Iterator
from importlib.metadata import distribution
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
COLLECTOR = ROOT / "services" / "collector"
SOURCES = (COLLECTOR / "src", ROOT / "libs" / "procfs" / "src")
DISTRIBUTIONS = ("tenacity",)
COMPILED = {"runmeter/collector/push/transport_grpc.py"}
SHEBANG = b"#!/usr/bin/env python3\n"
_EARLIEST = (1980, 1, 1, 0, 0, 0)


def write(target: Path) -> None:
    """Write the archive, which can be executed."""
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("wb") as file:
        file.write(SHEBANG)
        with zipfile.ZipFile(file, "w") as archive:
            for name, content in sorted(_entries()):
                entry = zipfile.ZipInfo(name, _EARLIEST)
                entry.external_attr = 0o100644 << 16
                archive.writestr(entry, content)
    target.chmod(0o755)


def _entries() -> Iterator[tuple[str, bytes]]:
    yield "__main__.py", (COLLECTOR / "pyz" / "__main__.py").read_bytes()
    yield "LICENSE", (ROOT / "LICENSE").read_bytes()
    # two distributions have a part of it; an archive is one place, and needs no more
    yield "runmeter/__init__.py", b""
    for source in SOURCES:
        for path in source.glob("runmeter/**/*.py"):
            name = path.relative_to(source).as_posix()
            if name not in COMPILED:
                yield name, path.read_bytes()
    for name in DISTRIBUTIONS:
        found = distribution(name)
        for file in found.files or ():
            is_code = file.parts[0] == name and file.suffix == ".py"
            if is_code or "licenses" in file.parts:
                yield file.as_posix(), file.read_binary()


def main() -> None:
    """Write it where it is wanted."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("target", nargs="?", type=Path, default=ROOT / "dist" / "collector.pyz")
    target = parser.parse_args().target
    write(target)
    print(target)


if __name__ == "__main__":
    main()
