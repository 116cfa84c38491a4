"""Record the contract of a release: ``record_release.py VERSION``.

``--check`` records nothing and lists what the contract breaks of those that are recorded;
``--same VERSION`` says whether it is the one recorded as VERSION.

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


def broken(folder: Path) -> list[str]:
    """Return one sentence for each change that breaks a recorded contract."""
    from compatibility import incompatible_changes  # type: ignore[import-not-found]

    current = current_contract()
    return [
        f"{path.stem}: {change}"
        for path in sorted(folder.glob("*.binpb"))
        for change in incompatible_changes(FileDescriptorSet.FromString(path.read_bytes()), current)
    ]


def is_recorded_as(version: str, folder: Path) -> bool:
    """Tell whether the contract is the one that is recorded as ``version``."""
    content = current_contract().SerializeToString(deterministic=True)
    return (folder / f"{version}.binpb").read_bytes() == content


def main(arguments: list[str]) -> str | None:
    """Do what the command line says; the text is that of a failure, None if there is none."""
    match arguments:
        case ["--check"]:
            return "\n".join(broken(RELEASED)) or None
        case ["--same", version]:
            print("same" if is_recorded_as(version, RELEASED) else "different")
            return None
        case [version]:
            try:
                print(record(version, RELEASED).relative_to(PROTO))
            except (ValueError, FileExistsError) as error:
                return f"record_release.py: {error}"
            return None
    return "usage: record_release.py VERSION | --check | --same VERSION"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
