"""Incompatible changes are reported, compatible ones are not."""

from collections.abc import Callable
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    EnumDescriptorProto,
    FieldDescriptorProto,
    FileDescriptorSet,
)

Change = Callable[[FileDescriptorSet], None]


def message(files: FileDescriptorSet, name: str) -> DescriptorProto:
    """Return a message by name."""
    return next(m for f in files.file for m in f.message_type if m.name == name)


def enum(files: FileDescriptorSet, name: str) -> EnumDescriptorProto:
    """Return an enum by name."""
    return next(e for f in files.file for e in f.enum_type if e.name == name)


def field(files: FileDescriptorSet, owner: str, name: str) -> FieldDescriptorProto:
    """Return a field by name."""
    return next(f for f in message(files, owner).field if f.name == name)


def service(files: FileDescriptorSet, name: str) -> Any:
    """Return a service by name."""
    return next(s for f in files.file for s in f.service if s.name == name)


def method(files: FileDescriptorSet, owner: str, name: str) -> Any:
    """Return a method of a service by name."""
    return next(m for m in service(files, owner).method if m.name == name)


def remove(owner: Any, name: str) -> None:
    """Remove a field, value, method, message, enum or service by name."""
    for repeated in (owner,) if not hasattr(owner, "DESCRIPTOR") else lists(owner):
        for index, entry in enumerate(repeated):
            if getattr(entry, "name", None) == name:
                del repeated[index]
                return
    raise AssertionError(f"no {name}")


def lists(owner: Any) -> list[Any]:
    """Return the repeated message fields of a descriptor."""
    return [getattr(owner, f.name) for f in owner.DESCRIPTOR.fields if f.is_repeated]


def reserve(owner: Any, number: int, name: str | None, *, end: int | None = None) -> None:
    """Reserve a number, and a name if given."""
    owner.reserved_range.add(start=number, end=number + 1 if end is None else end)
    if name:
        owner.reserved_name.append(name)


def put(owner: Callable[[FileDescriptorSet], Any], **facts: Any) -> Change:
    """Return a change that sets attributes."""

    def change(files: FileDescriptorSet) -> None:
        target = owner(files)
        for name, value in facts.items():
            assert getattr(target, name) != value
            setattr(target, name, value)

    return change


def file_of(files: FileDescriptorSet, name: str) -> Any:
    """Return a file by its last part."""
    return next(f for f in files.file if f.name.endswith(f"/{name}"))


def renumber_state(files: FileDescriptorSet) -> None:
    """Give an enum value another number."""
    enum(files, "RunState").value[1].number = 9


def rename_state(files: FileDescriptorSet) -> None:
    """Give an enum value another name."""
    enum(files, "RunState").value[1].name = "RUN_STATE_GOING"


def reserve_number_only(files: FileDescriptorSet) -> None:
    """Remove a field, its number reserved."""
    remove(message(files, "Run"), "run_id")
    reserve(message(files, "Run"), 5, None)


def reserve_name_only(files: FileDescriptorSet) -> None:
    """Remove a field, its name reserved."""
    remove(message(files, "Run"), "run_id")
    message(files, "Run").reserved_name.append("run_id")


def into_oneof(files: FileDescriptorSet) -> None:
    """Put a field into a oneof."""
    owner = message(files, "Run")
    owner.oneof_decl.add(name="identity")
    field(files, "Run", "run_id").oneof_index = len(owner.oneof_decl) - 1


def out_of_oneof(files: FileDescriptorSet) -> None:
    """Take a field out of its oneof."""
    field(files, "ListRunsResponse", "page").ClearField("oneof_index")


def without_presence(files: FileDescriptorSet) -> None:
    """Take `optional` from a field."""
    target = field(files, "Run", "exit_code")
    target.proto3_optional = False
    target.ClearField("oneof_index")


FIELD = FieldDescriptorProto
BREAKS: list[tuple[str, Change]] = [
    (
        "field run_id removed without reserving its number",
        lambda s: remove(message(s, "Run"), "run_id"),
    ),
    ("field run_id removed without reserving its name", reserve_number_only),
    ("field run_id removed without reserving its number", reserve_name_only),
    ("field run_id renumbered", put(lambda s: field(s, "Run", "run_id"), number=99)),
    ("field run_id renamed", put(lambda s: field(s, "Run", "run_id"), name="ci_run_id")),
    ("field run_id json_name changed", put(lambda s: field(s, "Run", "run_id"), json_name="x")),
    (
        "field revision type changed",
        put(lambda s: field(s, "Run", "revision"), type=FIELD.TYPE_INT32),
    ),
    (
        "field run_id label changed",
        put(lambda s: field(s, "Run", "run_id"), label=FIELD.LABEL_REPEATED),
    ),
    (
        "field scope type_name changed",
        put(lambda s: field(s, "Run", "scope"), type_name=".runmeter.v1.Host"),
    ),
    ("field exit_code presence changed", without_presence),
    ("field run_id oneof changed", into_oneof),
    ("field page oneof changed", out_of_oneof),
    ("value RUN_STATE_RUNNING removed", lambda s: remove(enum(s, "RunState"), "RUN_STATE_RUNNING")),
    ("value RUN_STATE_RUNNING renumbered", renumber_state),
    ("value RUN_STATE_RUNNING renamed", rename_state),
    (
        "message runmeter.v1.Limits removed",
        lambda s: remove(file_of(s, "run.proto").message_type, "Limits"),
    ),
    (
        "message runmeter.v1.Run.LabelsEntry removed",
        lambda s: remove(message(s, "Run").nested_type, "LabelsEntry"),
    ),
    (
        "enum runmeter.v1.CpuSource removed",
        lambda s: remove(file_of(s, "run.proto").enum_type, "CpuSource"),
    ),
    (
        "service runmeter.v1.RunService removed",
        lambda s: remove(file_of(s, "run_service.proto").service, "RunService"),
    ),
    ("method PushRun removed", lambda s: remove(service(s, "IngestService").method, "PushRun")),
    (
        "method PushRun request changed",
        put(lambda s: method(s, "IngestService", "PushRun"), input_type=".runmeter.v1.Run"),
    ),
    (
        "method PushRun response changed",
        put(lambda s: method(s, "IngestService", "PushRun"), output_type=".runmeter.v1.Run"),
    ),
    (
        "method PushRun client_streaming changed",
        put(lambda s: method(s, "IngestService", "PushRun"), client_streaming=True),
    ),
    (
        "method ListRuns server_streaming changed",
        put(lambda s: method(s, "RunService", "ListRuns"), server_streaming=False),
    ),
    (
        "package runmeter.v1 changed to runmeter.v2",
        put(lambda s: file_of(s, "run.proto"), package="runmeter.v2"),
    ),
    ("syntax changed", put(lambda s: file_of(s, "run.proto"), syntax="proto2")),
    ("file runmeter/v1/run.proto removed", lambda s: remove(s.file, "runmeter/v1/run.proto")),
]


@pytest.mark.parametrize(("report", "change"), BREAKS, ids=[report for report, _ in BREAKS])
def test_break_is_reported(
    compatibility: dict[str, Any], release: dict[str, Any], report: str, change: Change
) -> None:
    """An incompatible change of the current contract is reported."""
    old, new = release["current_contract"](), release["current_contract"]()
    change(new)
    assert any(report in found for found in compatibility["incompatible_changes"](old, new))


def reserved_contract(contract: FileDescriptorSet) -> FileDescriptorSet:
    """Return the contract with a field and a value removed as the rules allow."""
    remove(message(contract, "Run"), "run_id")
    reserve(message(contract, "Run"), 5, "run_id")
    remove(enum(contract, "CpuSource"), "CPU_SOURCE_LEDGER")
    reserve(enum(contract, "CpuSource"), 2, "CPU_SOURCE_LEDGER", end=2)
    return contract


def use_number(files: FileDescriptorSet) -> None:
    """Use a reserved field number."""
    message(files, "Run").ClearField("reserved_range")
    message(files, "Run").field.add(name="other", number=5, type=FIELD.TYPE_STRING)


def use_name(files: FileDescriptorSet) -> None:
    """Use a reserved field name."""
    message(files, "Run").ClearField("reserved_name")
    message(files, "Run").field.add(name="run_id", number=50, type=FIELD.TYPE_STRING)


def use_value(files: FileDescriptorSet) -> None:
    """Use a reserved enum number."""
    enum(files, "CpuSource").ClearField("reserved_range")
    enum(files, "CpuSource").value.add(name="CPU_SOURCE_OTHER", number=2)


REUSES: list[tuple[str, Change]] = [
    ("reserved number 5 used", use_number),
    ("reserved name run_id used", use_name),
    ("reserved number 2 used", use_value),
    ("reserved number 5 released", lambda s: message(s, "Run").ClearField("reserved_range")),
    ("reserved name run_id released", lambda s: message(s, "Run").ClearField("reserved_name")),
    ("reserved number 2 released", lambda s: enum(s, "CpuSource").ClearField("reserved_range")),
]


@pytest.mark.parametrize(("report", "change"), REUSES, ids=[report for report, _ in REUSES])
def test_reservations_hold(
    compatibility: dict[str, Any], release: dict[str, Any], report: str, change: Change
) -> None:
    """Using or releasing a reserved number or name is reported."""
    old = reserved_contract(release["current_contract"]())
    new = reserved_contract(release["current_contract"]())
    assert compatibility["incompatible_changes"](old, new) == []
    change(new)
    assert any(report in found for found in compatibility["incompatible_changes"](old, new))


def test_removal_with_reservation(compatibility: dict[str, Any], release: dict[str, Any]) -> None:
    """A field and a value may be removed if number and name are reserved."""
    old, new = release["current_contract"](), reserved_contract(release["current_contract"]())
    assert compatibility["incompatible_changes"](old, new) == []


def test_additions_are_not_reported(compatibility: dict[str, Any], release: dict[str, Any]) -> None:
    """New fields, values, messages, enums, methods, services, oneofs and files are compatible."""
    old, new = release["current_contract"](), release["current_contract"]()
    run = message(new, "Run")
    run.field.add(name="added", number=90, type=FIELD.TYPE_STRING, label=FIELD.LABEL_OPTIONAL)
    run.oneof_decl.add(name="choice")
    run.field.add(
        name="chosen", number=91, type=FIELD.TYPE_STRING, oneof_index=len(run.oneof_decl) - 1
    )
    reserve(run, 100, "never_was")
    enum(new, "RunState").value.add(name="RUN_STATE_LOST", number=9)
    added = file_of(new, "run.proto").message_type.add(name="Added")
    added.enum_type.add(name="Kind").value.add(name="KIND_UNSPECIFIED", number=0)
    method = service(new, "IngestService").method.add(name="Another")
    method.input_type = method.output_type = ".runmeter.v1.Run"
    file_of(new, "run.proto").service.add(name="AddedService")
    new.file.add(name="runmeter/v1/added.proto", package="runmeter.v1", syntax="proto3")
    field(new, "Run", "run_id").options.deprecated = True
    assert compatibility["incompatible_changes"](old, new) == []
