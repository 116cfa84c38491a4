"""Programs of two versions of the contract read each other's messages."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from google.protobuf import (
    descriptor_pool,
    duration_pb2,
    json_format,
    message_factory,
    timestamp_pb2,
)
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_database import DescriptorDatabase
from google.protobuf.descriptor_pb2 import FileDescriptorProto, FileDescriptorSet
from google.protobuf.message import Message

CONTRACTS = sorted((Path(__file__).parents[1] / "released").glob("*.binpb"))
TEXT, NUMBER, DEPTH = "text", 7, 12


def classes(contract: FileDescriptorSet) -> dict[str, type[Message]]:
    """Return a class for every message of a contract, by full name."""
    # a database finds what a file imports, in any order
    database = DescriptorDatabase()
    for module in (timestamp_pb2, duration_pb2):
        known = FileDescriptorProto()
        module.DESCRIPTOR.CopyToProto(known)
        database.Add(known)
    for file in contract.file:
        database.Add(file)
    pool = descriptor_pool.DescriptorPool(database)
    found = {}
    for file in contract.file:
        for kind in pool.FindFileByName(file.name).message_types_by_name.values():
            for one in with_nested(kind):
                found[one.full_name] = message_factory.GetMessageClass(one)
    return found


def with_nested(kind: Descriptor) -> Iterator[Descriptor]:
    """Yield a message and the messages inside it, without the entries of maps."""
    if not kind.GetOptions().map_entry:
        yield kind
        for inner in kind.nested_types:
            yield from with_nested(inner)


def filled(message: Message, depth: int = DEPTH) -> Message:
    """Set every field; of a oneof only the last one stays set."""
    for field in message.DESCRIPTOR.fields:
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            getattr(message, field.name)[TEXT] = TEXT
        elif field.is_repeated:
            target = getattr(message, field.name)
            if field.message_type is None:
                target.append(value(field))
            elif depth:
                filled(target.add(), depth - 1)
        elif field.message_type is None:
            setattr(message, field.name, value(field))
        elif depth:
            part = getattr(message, field.name)
            part.SetInParent()
            filled(part, depth - 1)
    return message


def value(field: FieldDescriptor) -> Any:
    """Return a value of a field that is not its default."""
    if field.enum_type is not None:
        return field.enum_type.values[-1].number
    kinds = {
        FieldDescriptor.CPPTYPE_STRING: TEXT.encode() if field.type == field.TYPE_BYTES else TEXT,
        FieldDescriptor.CPPTYPE_BOOL: True,
    }
    return kinds.get(field.cpp_type, NUMBER)


MESSAGES = [
    pytest.param(path, name, id=f"{path.stem}-{name}")
    for path in CONTRACTS
    for name in sorted(classes(FileDescriptorSet.FromString(path.read_bytes())))
]
"""Each message of each released contract."""


@pytest.fixture(scope="module")
def current(release: dict[str, Any]) -> dict[str, type[Message]]:
    """Return the classes of the current contract."""
    return classes(release["current_contract"]())


@pytest.mark.parametrize(("path", "name"), MESSAGES)
def test_what_an_older_program_sends(
    path: Path, name: str, current: dict[str, type[Message]]
) -> None:
    """The current contract reads every field of a full message of a released contract."""
    old = filled(classes(FileDescriptorSet.FromString(path.read_bytes()))[name]())
    read = current[name].FromString(old.SerializeToString())
    assert as_json(read) == as_json(old)
    assert type(old).FromString(read.SerializeToString()) == old


@pytest.mark.parametrize(("path", "name"), MESSAGES)
def test_what_a_newer_program_sends(
    path: Path, name: str, current: dict[str, type[Message]]
) -> None:
    """An older program reads the fields that it knows of a full message, and keeps the others."""
    new = filled(current[name]())
    old = classes(FileDescriptorSet.FromString(path.read_bytes()))[name]
    read = old.FromString(new.SerializeToString())
    known = json_format.ParseDict(as_json(new), old(), ignore_unknown_fields=True)
    assert as_json(read) == as_json(known)
    assert current[name].FromString(read.SerializeToString()) == new


def as_json(message: Message) -> dict[str, Any]:
    """Return a message as JSON with the names of the contract."""
    return json_format.MessageToDict(message, preserving_proto_field_name=True)
