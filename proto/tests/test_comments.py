"""The .proto files have a comment on everything."""

from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from grpc_tools import protoc

PROTO = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def contract(tmp_path_factory: pytest.TempPathFactory) -> FileDescriptorSet:
    """Return the contract with its comments."""
    out = tmp_path_factory.mktemp("comments") / "contract.binpb"
    protos = sorted(p.relative_to(PROTO).as_posix() for p in PROTO.glob("runmeter/**/*.proto"))
    google = str(files("grpc_tools") / "_proto")
    flags = [f"-I{PROTO}", f"-I{google}", "--include_source_info", f"--descriptor_set_out={out}"]
    assert protoc.main(["protoc", *flags, *protos]) == 0
    return FileDescriptorSet.FromString(out.read_bytes())


def parts(file: FileDescriptorProto) -> Iterator[tuple[tuple[int, ...], str, Any]]:
    """Yield path, name and descriptor of everything in a file (descriptor.proto, Location)."""

    def entries(owner: Any, kinds: dict[str, int], path: tuple[int, ...], name: str) -> Any:
        for kind, number in kinds.items():
            for index, entry in enumerate(getattr(owner, kind)):
                yield (*path, number, index), f"{name}.{entry.name}", entry

    def message(path: tuple[int, ...], name: str, entry: Any) -> Any:
        yield path, name, entry
        yield from entries(entry, {"field": 2}, path, name)
        for enum_path, enum_name, enum in entries(entry, {"enum_type": 4}, path, name):
            yield enum_path, enum_name, enum
            yield from entries(enum, {"value": 2}, enum_path, enum_name)
        for inner in entries(entry, {"nested_type": 3}, path, name):
            if not inner[2].options.map_entry:
                yield from message(*inner)

    for found in entries(file, {"message_type": 4}, (), file.package):
        yield from message(*found)
    for path, name, entry in entries(file, {"enum_type": 5, "service": 6}, (), file.package):
        yield path, name, entry
        kinds = {"value": 2} if path[0] == 5 else {"method": 2}
        yield from entries(entry, kinds, path, name)


def test_every_part_has_a_comment(contract: FileDescriptorSet) -> None:
    """A comment stands before every message, field, enum, value, service and method."""
    bare, count = [], 0
    for file in contract.file:
        comments = {
            tuple(location.path): location.leading_comments.strip()
            for location in file.source_code_info.location
        }
        for path, name, _ in parts(file):
            count += 1
            if not comments.get(path):
                bare.append(name)
    assert count > 100
    assert bare == []
