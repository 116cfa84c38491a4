"""The contract as the generators need it: messages with fields, comments and rules, and enums."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorSet

PACKAGE = "runmeter.v1"
STATISTICS = ("peak", "p99", "p95", "p75", "p50", "avg")
_WHOLE_BITS = {FieldDescriptorProto.TYPE_INT32: 32, FieldDescriptorProto.TYPE_INT64: 64}
_KINDS = {
    FieldDescriptorProto.TYPE_INT32: "whole",
    FieldDescriptorProto.TYPE_INT64: "whole",
    FieldDescriptorProto.TYPE_DOUBLE: "number",
    FieldDescriptorProto.TYPE_STRING: "text",
    FieldDescriptorProto.TYPE_ENUM: "enum",
}


class Field(NamedTuple):
    """A field of the JSON form."""

    name: str
    kind: str
    """text, whole, number, enum, time, message, list, map or other."""
    optional: bool
    rule: Any
    comment: str
    type: str
    """Name of the message or enum."""
    bits: int
    within: str
    """The field of this message whose message has it (the option ``beside``), or empty."""

    @property
    def always(self) -> bool:
        """Whether the JSON form of a message always has it."""
        if self.kind in ("message", "time"):
            return bool(self.rule.required)
        if self.kind == "text":
            return not self.optional and (self.rule.uuid or not self.rule.may_lack)
        return self.kind == "list" or (self.kind in ("whole", "number") and not self.optional)

    @property
    def needed(self) -> bool:
        """Whether JSON that is read must have it."""
        return self.always and self.kind != "list" and not self.rule.may_lack

    @property
    def whole_bounds(self) -> tuple[int, int]:
        """The least and the most of an integer."""
        has_most = self.rule.HasField("most")
        most = int(self.rule.most) if has_most else 2 ** (self.bits - 1) - 1
        return int(self.rule.least), most

    @property
    def owner(self) -> str:
        """The variable of the message that has it."""
        return self.within or "message"

    @property
    def code(self) -> str:
        """The expression of its value."""
        return f"{self.owner}.{self.name}"

    @property
    def has(self) -> str:
        """The expression for its presence."""
        return f'{self.owner}.HasField("{self.name}")'


class Message(NamedTuple):
    """A message with the fields of its JSON form."""

    name: str
    module: str
    comment: str
    fields: tuple[Field, ...]
    statistics: bool

    @property
    def function(self) -> str:
        """Its name as part of a function's."""
        return snake(self.name)

    @property
    def type(self) -> str:
        """Its class."""
        return f"{self.module}.{self.name}"


class Enum(NamedTuple):
    """An enum: the numbers of its values by their names in JSON, without UNSPECIFIED."""

    name: str
    module: str
    values: Mapping[str, int]
    slacks: Mapping[int, float]
    prefix: str


class Contract:
    """All messages and enums of the package."""

    def __init__(self, descriptor_set: bytes) -> None:
        """Read a FileDescriptorSet with source info and everything that is imported."""
        pool = descriptor_pool.DescriptorPool()
        for file in FileDescriptorSet.FromString(descriptor_set).file:
            pool.AddSerializedFile(file.SerializeToString())
        self._rules = {
            name: pool.FindExtensionByName(f"runmeter.{name}")
            for name in ("rule", "statistics", "slack")
        }
        self.messages: dict[str, Message] = {}
        self.enums: dict[str, Enum] = {}
        # only the classes of this pool have the options
        found = pool.FindMessageTypeByName("google.protobuf.FileDescriptorSet")
        for file in message_factory.GetMessageClass(found).FromString(descriptor_set).file:
            if file.package == PACKAGE:
                self._add_file(file)

    def within(self, roots: tuple[str, ...]) -> list[Message]:
        """Return messages and all messages in their fields, inner ones first.

        Raises:
            ValueError: a field is of a type that is not supported, or has no bound.
        """
        found: dict[str, Message] = {}

        def visit(name: str) -> None:
            if name in found:
                return
            for field in self.messages[name].fields:
                _refuse_incomplete(name, field)
                if field.kind in ("message", "list"):
                    visit(field.type)
            found[name] = self.messages[name]

        for root in roots:
            visit(root)
        return list(found.values())

    def objects(self, roots: tuple[str, ...]) -> list[Message]:
        """Return messages `within` others, without those that are only beside other fields."""
        found = self.within(roots)
        held = {field.type for message in found for field in message.fields}
        return [message for message in found if message.name in held.union(roots)]

    def enums_of(self, messages: list[Message]) -> list[Enum]:
        """Return the enums of some messages."""
        names = {f.type: None for m in messages for f in m.fields if f.kind == "enum"}
        return [self.enums[name] for name in names]

    def _add_file(self, file: Any) -> None:
        module = file.name.rpartition("/")[2].removesuffix(".proto") + "_pb2"
        for enum in file.enum_type:
            self.enums[enum.name] = self._enum(enum, module)
        # paths are those of descriptor.proto, SourceCodeInfo.Location
        comments = {
            tuple(location.path): _paragraphs(location.leading_comments)
            for location in file.source_code_info.location
        }
        for number, message in enumerate(file.message_type):
            fields: list[Field] = []
            for place, field in enumerate(message.field):
                rule = field.options.Extensions[self._rules["rule"]]
                type_name = field.type_name.rpartition(".")[2]
                if rule.beside:
                    for inner in self.messages[type_name].fields:
                        fields.append(inner._replace(within=inner.within or field.name))
                    continue
                kind, bits = _kind(message, field), _WHOLE_BITS.get(field.type, 0)
                comment = comments[4, number, 2, place]
                optional = field.proto3_optional
                fields.append(Field(field.name, kind, optional, rule, comment, type_name, bits, ""))
            fields.sort(key=lambda field: bool(field.rule.last))
            statistics = bool(message.options.Extensions[self._rules["statistics"]])
            if statistics and tuple(field.name for field in fields) != STATISTICS:
                raise ValueError(f"{message.name} must have exactly the fields {STATISTICS}")
            comment = comments[4, number]
            self.messages[message.name] = Message(
                message.name, module, comment, tuple(fields), statistics
            )

    def _enum(self, enum: Any, module: str) -> Enum:
        prefix = f"{snake(enum.name)}_".upper()
        values = {v.name.removeprefix(prefix).lower(): v.number for v in enum.value if v.number}
        slack = self._rules["slack"]
        slacks = {
            v.number: v.options.Extensions[slack]
            for v in enum.value
            if v.options.HasExtension(slack)
        }
        return Enum(enum.name, module, values, slacks, prefix)


def without_rules(descriptor_set: bytes) -> bytes:
    """Return the contract without the rules, which programs do not need."""
    found = FileDescriptorSet.FromString(descriptor_set)
    kept = [file for file in found.file if file.package in (PACKAGE, "google.protobuf")]
    for file in kept:
        if file.package == PACKAGE:
            imports = [name for name in file.dependency if name != "runmeter/options.proto"]
            file.ClearField("dependency")
            file.dependency.extend(imports)
            for message in file.message_type:
                message.ClearField("options")
                entries = [field for entry in message.nested_type for field in entry.field]
                for field in [*message.field, *entries]:
                    field.ClearField("options")
                    field.ClearField("json_name")  # protoc knows it from the name
            for enum in file.enum_type:
                for value in enum.value:
                    value.ClearField("options")
    return FileDescriptorSet(file=kept).SerializeToString()


def _refuse_incomplete(message: str, field: Field) -> None:
    if field.kind == "other":
        raise ValueError(f"{message}.{field.name}: fields of this type are not supported")
    if field.kind == "text" and not (field.rule.most_bytes or field.rule.uuid):
        raise ValueError(f"{message}.{field.name}: a text needs the option most_bytes")
    if field.kind in ("list", "map") and not field.rule.entries:
        raise ValueError(f"{message}.{field.name}: a list or map needs the option entries")


def _paragraphs(comment: str) -> str:
    return "\n\n".join(" ".join(p.split()) for p in re.split(r"\n\s*\n", comment.strip()))


def _kind(message: Any, field: Any) -> str:
    is_list = field.label == FieldDescriptorProto.LABEL_REPEATED
    if field.type == FieldDescriptorProto.TYPE_MESSAGE:
        entries = [inner.name for inner in message.nested_type if inner.options.map_entry]
        if field.type_name.rpartition(".")[2] in entries:
            return "map"
        if field.type_name == ".google.protobuf.Timestamp":
            return "other" if is_list else "time"
        return "list" if is_list else "message"
    return "other" if is_list else _KINDS.get(field.type, "other")


def bind_beside(message: Message) -> Iterator[str]:
    """Bind the messages whose fields become fields of this one in JSON."""
    names = list(dict.fromkeys(field.within for field in message.fields if field.within))
    for name in reversed(names):
        owner = "run" if name == "scope" and "run" in names else "message"
        yield f"    {name} = {owner}.{name}"


def imports(messages: list[Message]) -> str:
    """Return the import of the classes of messages."""
    return f"from {PACKAGE} import {', '.join(sorted({m.module for m in messages}))}"


def snake(name: str) -> str:
    """Return ``RunState`` as ``run_state``."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
