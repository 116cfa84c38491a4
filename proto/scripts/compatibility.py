"""List what a change of the contract would break for programs built with an older one.

Compares two FileDescriptorSets. Reported is whatever breaks the wire format, the JSON names or
the generated code; additions are not. A field or enum value may go only if its number *and* its
name are reserved, and stay reserved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorSet,
    ServiceDescriptorProto,
)

_FIELD_FACTS = ("name", "type", "type_name", "label", "json_name", "default_value")


def incompatible_changes(old: FileDescriptorSet, new: FileDescriptorSet) -> list[str]:
    """Return one sentence per breaking change, in the order of the old contract."""
    return [
        *_files(old, new),
        *_all(_messages(old), _messages(new), "message", _message),
        *_all(_enums(old), _enums(new), "enum", _enum),
        *_all(_services(old), _services(new), "service", _service),
    ]


def _files(old: FileDescriptorSet, new: FileDescriptorSet) -> Iterator[str]:
    files = {file.name: file for file in new.file}
    for before in old.file:
        after = files.get(before.name)
        if after is None:
            yield f"file {before.name} removed"
            continue
        if after.package != before.package:
            yield f"file {before.name}: package {before.package} changed to {after.package}"
        if after.syntax != before.syntax:
            yield f"file {before.name}: syntax changed"


def _all(old: dict[str, Any], new: dict[str, Any], kind: str, compare: Any) -> Iterator[str]:
    for name, before in old.items():
        if name not in new:
            yield f"{kind} {name} removed"
        else:
            yield from (f"{kind} {name}: {text}" for text in compare(before, new[name]))


def _message(old: DescriptorProto, new: DescriptorProto) -> Iterator[str]:
    numbers = {field.number: field for field in new.field}
    by_name = {field.name: field for field in new.field}
    for before in old.field:
        after = numbers.get(before.number)
        if before.name in by_name and by_name[before.name].number != before.number:
            yield f"field {before.name} renumbered"
        elif after is not None:
            yield from _field(old, before, new, after)
        elif not _reserved(new, before.number, end_included=False):
            yield f"field {before.name} removed without reserving its number"
        elif before.name not in new.reserved_name:
            yield f"field {before.name} removed without reserving its name"
    yield from _reservations(old, new, numbers, by_name, end_included=False)


def _field(
    old_message: DescriptorProto,
    old: FieldDescriptorProto,
    new_message: DescriptorProto,
    new: FieldDescriptorProto,
) -> Iterator[str]:
    for fact in _FIELD_FACTS:
        before, after = getattr(old, fact), getattr(new, fact)
        if before != after:
            what = "renamed" if fact == "name" else f"{fact} changed"
            yield f"field {old.name} {what}: {before} to {after}"
    if old.proto3_optional != new.proto3_optional:
        yield f"field {old.name} presence changed"
    before_oneof, after_oneof = _oneof(old_message, old), _oneof(new_message, new)
    if before_oneof != after_oneof:
        yield f"field {old.name} oneof changed: {before_oneof} to {after_oneof}"


def _oneof(message: DescriptorProto, field: FieldDescriptorProto) -> str | None:
    """Return the oneof a field stands in; the one made up for `optional` does not count."""
    if not field.HasField("oneof_index") or field.proto3_optional:
        return None
    return message.oneof_decl[field.oneof_index].name


def _enum(old: EnumDescriptorProto, new: EnumDescriptorProto) -> Iterator[str]:
    by_name = {value.name: value for value in new.value}
    numbers = {value.number: value for value in new.value}
    for before in old.value:
        after = by_name.get(before.name)
        if after is not None:
            if after.number != before.number:
                yield f"value {before.name} renumbered"
        elif before.number in numbers:
            yield f"value {before.name} renamed: to {numbers[before.number].name}"
        elif not _reserved(new, before.number, end_included=True):
            yield f"value {before.name} removed without reserving its number"
        elif before.name not in new.reserved_name:
            yield f"value {before.name} removed without reserving its name"
    yield from _reservations(old, new, numbers, by_name, end_included=True)


def _reservations(
    old: Any, new: Any, numbers: Iterable[int], names: Iterable[str], *, end_included: bool
) -> Iterator[str]:
    """Reserved numbers and names stay reserved, and are not used again."""
    for number in sorted(numbers):
        if _reserved(old, number, end_included=end_included):
            yield f"reserved number {number} used"
    used = set(numbers)
    for span in old.reserved_range:
        end = span.end + 1 if end_included else span.end
        for number in range(span.start, end):
            if number not in used and not _reserved(new, number, end_included=end_included):
                yield f"reserved number {number} released"
    for name in old.reserved_name:
        if name in names:
            yield f"reserved name {name} used"
        elif name not in new.reserved_name:
            yield f"reserved name {name} released"


def _reserved(owner: Any, number: int, *, end_included: bool) -> bool:
    """Ranges of messages end before their end, those of enums with it."""
    return any(
        span.start <= number < span.end or (end_included and number == span.end)
        for span in owner.reserved_range
    )


def _service(old: ServiceDescriptorProto, new: ServiceDescriptorProto) -> Iterator[str]:
    methods = {method.name: method for method in new.method}
    for before in old.method:
        after = methods.get(before.name)
        if after is None:
            yield f"method {before.name} removed"
            continue
        if after.input_type != before.input_type:
            yield f"method {before.name} request changed"
        if after.output_type != before.output_type:
            yield f"method {before.name} response changed"
        for side in ("client_streaming", "server_streaming"):
            if getattr(after, side) != getattr(before, side):
                yield f"method {before.name} {side} changed"


def _messages(files: FileDescriptorSet) -> dict[str, DescriptorProto]:
    found: dict[str, DescriptorProto] = {}

    def add(prefix: str, messages: Iterable[DescriptorProto]) -> None:
        for message in messages:
            name = f"{prefix}.{message.name}"
            found[name] = message
            add(name, message.nested_type)

    for file in files.file:
        add(file.package, file.message_type)
    return found


def _enums(files: FileDescriptorSet) -> dict[str, EnumDescriptorProto]:
    found = {f"{file.package}.{enum.name}": enum for file in files.file for enum in file.enum_type}
    for name, message in _messages(files).items():
        found |= {f"{name}.{enum.name}": enum for enum in message.enum_type}
    return found


def _services(files: FileDescriptorSet) -> dict[str, ServiceDescriptorProto]:
    return {
        f"{file.package}.{service.name}": service for file in files.file for service in file.service
    }
