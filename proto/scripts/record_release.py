"""Record the contract of a release: ``record_release.py VERSION``.

Writes released/VERSION.binpb, the FileDescriptorSet of runmeter/v1 in the order of the file
names, without comments and without imported files, and its line in released/SHA256SUMS. What is
recorded never changes: a version that is there already is refused.
"""

from __future__ import annotations

import sys
from hashlib import sha256
from importlib import import_module
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

PROTO = Path(__file__).resolve().parents[1]
RELEASED = PROTO / "released"
SUMS = "SHA256SUMS"


def current_contract() -> FileDescriptorSet:
    """Return the contract of the generated modules that are installed."""
    contract = FileDescriptorSet()
    for path in sorted((PROTO / "runmeter" / "v1").glob("*.proto")):
        module = import_module(f"runmeter.v1.{path.stem}_pb2")
        module.DESCRIPTOR.CopyToProto(contract.file.add())
    return contract


def record(version: str, folder: Path) -> Path:
    """Write one release.

    Raises:
        ValueError: ``version`` is not three numbers.
        FileExistsError: it is recorded already.
    """
    parts = version.split(".")
    if len(parts) != 3 or not all(part.isascii() and part.isdigit() for part in parts):
        raise ValueError(f"not a version of three numbers: {version!r}")
    path = folder / f"{version}.binpb"
    content = current_contract().SerializeToString(deterministic=True)
    folder.mkdir(exist_ok=True)
    with path.open("xb") as file:
        file.write(content)
    with (folder / SUMS).open("a") as sums:
        sums.write(f"{sha256(content).hexdigest()}  {path.name}\n")
    return path


def faults(folder: Path) -> list[str]:
    """Return where the files of a folder are not what SHA256SUMS says."""
    listed = dict(
        reversed(line.split("  ", 1)) for line in (folder / SUMS).read_text().splitlines()
    )
    found = {path.name: path for path in folder.iterdir() if path.name != SUMS}
    changed = [
        f"{name} changed"
        for name, digest in listed.items()
        if name in found and sha256(found[name].read_bytes()).hexdigest() != digest
    ]
    missing = [f"{name} missing" for name in listed if name not in found]
    return changed + missing + [f"{name} not listed" for name in found if name not in listed]


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: record_release.py VERSION")
    try:
        print(record(sys.argv[1], RELEASED).relative_to(PROTO))
    except (ValueError, FileExistsError) as error:
        sys.exit(f"record_release.py: {error}")
