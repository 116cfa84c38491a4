"""Write the code and schemas that programs use beside the messages of the contract.

From the descriptors of ``runmeter/v1``, their comments and the rules of ``runmeter/options.proto``:

- ``json_writing.py`` and ``json_reading.py``: messages to the JSON of the REST interface and back;
- ``rules.py``: every violation of the rules, with the path of its field;
- ``schemas.json``: JSON Schemas for the OpenAPI document, with the golden run as example.
"""

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.descriptor_pb2 import FileDescriptorSet

PACKAGE = "runmeter.v1"
WRITTEN = ("StoredRun",)
READ = ("Run", "CreatePushTokenRequest")
CHECKED = ("Scope", "Run")
DESCRIBED = ("Scope", "Run", "StoredRun", "CreatePushTokenRequest")

Json = dict[str, Any]

_WHOLE_BITS = {FieldDescriptor.CPPTYPE_INT32: 32, FieldDescriptor.CPPTYPE_INT64: 64}
_STATISTICS = ("peak", "p99", "p95", "p75", "p50", "avg")
_UNITS = {
    "bytes": "bytes",
    "seconds": "seconds",
    "percent": "percent",
    "cores": "cores",
    "time": "UTC",
    "at": "UTC",
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
    """The message beside which it stands; empty: it is a field of this one."""

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
        return _snake(self.name)

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
        self._comments: dict[str, str] = {}
        # with the classes of this pool the options are read
        for file in (
            _class(pool, "google.protobuf.FileDescriptorSet").FromString(descriptor_set).file
        ):
            if file.package == PACKAGE:
                self._note_comments(file)
                module = file.name.rpartition("/")[2].removesuffix(".proto") + "_pb2"
                found = pool.FindFileByName(file.name)
                for enum in file.enum_type:
                    self.enums[enum.name] = self._enum(enum, module)
                for message, wire in zip(
                    found.message_types_by_name.values(), file.message_type, strict=True
                ):
                    self._add(message, wire, module)
        _refuse_incomplete(self.within(DESCRIBED))

    def within(self, roots: tuple[str, ...]) -> list[Message]:
        """Return messages and all messages in their fields, inner ones first."""
        found: dict[str, Message] = {}

        def visit(name: str) -> None:
            if name in found:
                return
            for field in self.messages[name].fields:
                if field.kind in ("message", "list"):
                    visit(field.type)
            found[name] = self.messages[name]

        for root in roots:
            visit(root)
        return list(found.values())

    def enums_of(self, messages: list[Message]) -> list[Enum]:
        """Return the enums of some messages."""
        names = {f.type: None for m in messages for f in m.fields if f.kind == "enum"}
        return [self.enums[name] for name in names]

    def _note_comments(self, file: Any) -> None:
        for location in file.source_code_info.location:
            path = tuple(location.path)
            name = None
            if len(path) == 2 and path[0] == 4:
                name = file.message_type[path[1]].name
            elif len(path) == 4 and (path[0], path[2]) == (4, 2):
                message = file.message_type[path[1]]
                name = f"{message.name}.{message.field[path[3]].name}"
            if name is not None:
                paragraphs = re.split(r"\n\s*\n", location.leading_comments.strip())
                self._comments[name] = "\n\n".join(" ".join(p.split()) for p in paragraphs)

    def _enum(self, enum: Any, module: str) -> Enum:
        prefix = f"{_snake(enum.name)}_".upper()
        values = {v.name.removeprefix(prefix).lower(): v.number for v in enum.value if v.number}
        slack = self._rules["slack"]
        slacks = {
            v.number: v.options.Extensions[slack]
            for v in enum.value
            if v.options.HasExtension(slack)
        }
        return Enum(enum.name, module, values, slacks, prefix)

    def _add(self, message: Descriptor, wire: Any, module: str) -> None:
        fields: list[Field] = []
        for field, written in zip(message.fields, wire.field, strict=True):
            rule = written.options.Extensions[self._rules["rule"]]
            if rule.beside:
                held = self.messages[_kind(field)[1]]
                for inner in held.fields:
                    within = inner.within or field.name
                    fields.append(inner._replace(within=within))
            else:
                fields.append(self._field(message, field, rule, written.proto3_optional))
        fields.sort(key=lambda field: bool(field.rule.last))
        statistics = bool(wire.options.Extensions[self._rules["statistics"]])
        if statistics and tuple(field.name for field in fields) != _STATISTICS:
            raise ValueError(f"{message.name} has not the fields of statistics")
        self.messages[message.name] = Message(
            message.name, module, self._comments[message.name], tuple(fields), statistics
        )

    def _field(
        self, message: Descriptor, field: FieldDescriptor, rule: Any, optional: bool
    ) -> Field:
        kind, type_name = _kind(field)
        return Field(
            field.name,
            kind,
            optional,
            rule,
            self._comments[f"{message.name}.{field.name}"],
            type_name,
            _WHOLE_BITS.get(field.cpp_type, 0),
            "",
        )


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


def json_writing(contract: Contract) -> str:
    """Return the module that writes the JSON form."""
    written = contract.within(WRITTEN)
    kept = [m for m in written if m.name in WRITTEN or not _only_beside(m, written)]
    lines = [
        '"""The JSON form of the REST interface: messages to what msgspec writes as JSON.',
        "",
        "What is absent is left out. Enums are lower case, times RFC 3339, UTC, milliseconds.",
        '"""',
        "",
        "from msgspec import Struct",
        "",
        *_imports(written),
        f"from {PACKAGE}.json_values import time_ms, time_text",
        "",
    ]
    for enum in contract.enums_of(written):
        names = {number: name for name, number in enum.values.items()}
        lines.append(f"_{enum.prefix}NAMES: dict[int, str] = {names!r}")
    for message in kept:
        lines += ["", "", *_struct(message)]
    for message in kept:
        lines += ["", "", *_writer(message)]
    return "\n".join(lines) + "\n"


def json_reading(contract: Contract) -> str:
    """Return the module that reads the JSON form."""
    read = contract.within(READ)
    lines = [
        '"""The JSON form of the REST interface: what was read as JSON to messages."""',
        "",
        *_imports(read),
        f"from {PACKAGE}.checks import Path",
        f"from {PACKAGE}.json_values import ABSENT, Found",
        "",
        "_2_31 = 2**31",
        "_2_63 = 2**63",
    ]
    for enum in contract.enums_of(read):
        lines.append(f"_{enum.prefix}NUMBERS: dict[str, int] = {dict(enum.values)!r}")
    kept = [m for m in read if m.name in READ or not _only_beside(m, read)]
    for message in kept:
        lines += [f"{_fields_name(message)} = frozenset(", "    ("]
        lines += [f'        "{field.name}",' for field in message.fields]
        lines += ["    )", ")"]
    for message in kept:
        if message.name in READ:
            lines += ["", "", *_read_root(message)]
    for message in kept:
        lines += ["", "", *_reader(message)]
    return "\n".join(lines) + "\n"


def rules(contract: Contract) -> str:
    """Return the module that checks messages."""
    checked = contract.within(CHECKED)
    lines = [
        '"""The rules of the contract: `Checks` gets every violation with the path of its field.',
        "",
        "A message without violations is as it is stored afterwards: ``-0.0`` is ``0.0``, times",
        "are whole milliseconds, unknown numbers of enums that only describe are UNSPECIFIED. The",
        "names of a scope that is part of a run are not checked with it.",
        '"""',
        "",
        *_imports(checked),
        f"from {PACKAGE}.checks import NUMBER_MAX, ROUNDING_SLACK, WHOLE_MAX, Checks, Path",
        "",
    ]
    for enum in contract.enums_of(checked):
        numbers = {0, *enum.values.values()}
        lines.append(f"_{enum.prefix}NUMBERS = frozenset({sorted(numbers)})")
        if enum.slacks:
            lines.append(f"_{enum.prefix}SLACKS: dict[int, float] = {dict(enum.slacks)!r}")
    for message in checked:
        lines += [
            "",
            "",
            *(_statistics(message) if message.statistics else _checker(contract, message)),
        ]
    return "\n".join(lines) + "\n"


def schemas(contract: Contract, golden: Json) -> str:
    """Return the schemas by the name of their message, as JSON."""
    messages = contract.within(DESCRIBED)
    examples: Json = {}
    for name, example in golden.items():
        _collect(contract, name, example, examples)
    found = {m.name: _schema(contract, m, examples) for m in messages}
    return json.dumps(dict(sorted(found.items())), indent=1, ensure_ascii=False) + "\n"


def _refuse_incomplete(messages: list[Message]) -> None:
    """Raise ValueError for a field of a type that is not supported, or without a bound."""
    for message in messages:
        for field in message.fields:
            where, rule = f"{message.name}.{field.name}", field.rule
            if field.kind == "other":
                raise ValueError(f"{where}: fields of this type are not supported")
            if field.kind == "text" and not (rule.most_bytes or rule.uuid):
                raise ValueError(f"{where}: a text needs the option most_bytes")
            if field.kind in ("list", "map") and not rule.entries:
                raise ValueError(f"{where}: a list or map needs the option entries")


# -- messages to JSON ---------------------------------------------------------------------------


def _struct(message: Message) -> Iterator[str]:
    yield f"class {message.name}(Struct, gc=False, omit_defaults=True):"
    yield f'    """The JSON form of a ``{message.name}``."""'
    yield ""
    may_lack = False
    for field in message.fields:
        may_lack = may_lack or not field.always
        yield f"    {field.name}: {_struct_type(field)}{' | None = None' if may_lack else ''}"


def _struct_type(field: Field) -> str:
    kinds = {"whole": "int", "number": "float", "map": "dict[str, str]", "message": field.type}
    return f"list[{field.type}]" if field.kind == "list" else kinds.get(field.kind, "str")


def _writer(message: Message) -> Iterator[str]:
    public = message.name in WRITTEN
    name = f"{message.function}_to_json" if public else f"_{message.function}"
    yield f"def {name}(message: {message.type}) -> {message.name}:"
    if public:
        yield f'    """Return the JSON form of a ``{message.name}``."""'
    yield from _beside(message)
    for owner in dict.fromkeys(f.owner for f in message.fields if _is_bound(message, f.owner)):
        yield f"    {_has(message, owner)} = {owner}.HasField"
    yield f"    return {message.name}("
    for field in message.fields:
        yield f"        {_written(message, field)},"
    yield "    )"


def _is_bound(message: Message, owner: str) -> bool:
    """Return whether writing always checks presence, not only if the value is zero."""
    asked = [f for f in message.fields if f.owner == owner and f.kind in ("message", "time")]
    return not all(field.always for field in asked)


def _has(message: Message, owner: str) -> str:
    if not _is_bound(message, owner):
        return f"{owner}.HasField"
    return "has" if owner == "message" else f"{owner}_has"


def _written(message: Message, field: Field) -> str:
    value = field.code
    if field.kind == "enum":
        return f"_{_snake(field.type).upper()}_NAMES.get({field.code})"
    if field.kind == "map":
        return f"dict({field.code}) or None"
    if field.kind == "time":
        value = f"time_text(time_ms({field.code}))"
    elif field.kind == "message":
        value = f"_{_snake(field.type)}({field.code})"
    elif field.kind == "list":
        return f"[_{_snake(field.type)}(entry) for entry in {field.code}]"
    if field.always:
        return value
    has = f'{_has(message, field.owner)}("{field.name}")'
    if field.kind in ("message", "time"):
        return f"{value} if {has} else None"
    zero = {"whole": "0", "number": "0.0", "text": '""'}[field.kind]
    return f"{value} or ({zero} if {has} else None)" if field.optional else f"{value} or None"


# -- JSON to messages ---------------------------------------------------------------------------


def _read_root(message: Message) -> Iterator[str]:
    yield f"def {message.function}_from_json("
    yield "    given: object, *, exact: bool = False"
    yield f") -> {message.type}:"
    yield f'    """Return the ``{message.name}`` of a JSON form.'
    yield ""
    yield "    Fields that are not known are ignored, or with ``exact`` bad."
    yield "    ``null`` is the same as leaving a field out, where it may be left out."
    yield ""
    yield "    Raises:"
    yield "        BadFields: fields are missing or of the wrong type."
    yield '    """'
    yield "    found = Found(exact)"
    yield f"    message = {message.type}()"
    yield f'    _read_{message.function}(found, "", given, message)'
    yield "    found.close()"
    yield "    return message"


def _fields_name(message: Message) -> str:
    return f"_{message.function.upper()}_FIELDS"


def _reader(message: Message) -> Iterator[str]:
    yield f"def _read_{message.function}("
    yield f"    found: Found, path: Path, given: object, message: {message.type}"
    yield ") -> None:"
    yield "    if not isinstance(given, dict):"
    yield '        found.wrong(path, "", given, "an object")'
    yield "        return"
    yield f"    if found.exact and not given.keys() <= {_fields_name(message)}:"
    yield f"        found.unknown(path, given, {_fields_name(message)})"
    yield "    get = given.get"
    if not any(f.needed and f.kind in ("text", "whole", "number") for f in message.fields):
        yield "    message.SetInParent()"
    yield from _beside(message)
    for field in message.fields:
        yield from _get(field, is_rounded=message.statistics)


def _get(field: Field, *, is_rounded: bool) -> Iterator[str]:
    name, code = field.name, field.code
    if field.kind == "list":
        yield f'    entries = found.entries(path, "{name}", get("{name}", ABSENT))'
        yield "    for index, entry in enumerate(entries):"
        yield f'        place = ((path, "{name}"), index)'
        yield f"        _read_{_snake(field.type)}(found, place, entry, {code}.add())"
        return
    yield f'    value = get("{name}", ABSENT)' if field.needed else f'    value = get("{name}")'
    otherwise = "else" if field.needed else "elif value is not None"
    if field.kind == "text":
        yield "    if type(value) is str:"
        yield f"        {code} = value"
        yield f"    {otherwise}:"
        yield f'        found.wrong(path, "{name}", value, "a string")'
    elif field.kind == "whole":
        edge = f"_2_{field.bits - 1}"
        yield f"    if type(value) is int and -{edge} <= value < {edge}:"
        yield f"        {code} = value"
        yield f"    {otherwise}:"
        least, most = _whole_bounds(field)
        bounds = f"{least}, {most}{', is_rounded=True' if is_rounded else ''}"
        yield f'        {code} = found.whole(path, "{name}", value, {bounds})'
    elif field.kind == "number":
        yield "    if type(value) is float:"
        yield f"        {code} = value"
        yield f"    {otherwise}:"
        yield f'        {code} = found.number(path, "{name}", value)'
    else:
        indent = "    "
        if not field.needed:
            yield "    if value is not None:"
            indent = "        "
        if field.kind == "enum":
            numbers = f"_{_snake(field.type).upper()}_NUMBERS"
            yield f'{indent}{code} = found.named(path, "{name}", value, {numbers})'
        elif field.kind == "time":
            yield f'{indent}found.time(path, "{name}", value, {code})'
        elif field.kind == "map":
            yield f'{indent}{code}.update(found.texts(path, "{name}", value))'
        else:
            yield f'{indent}_read_{_snake(field.type)}(found, (path, "{name}"), value, {code})'


# -- checks -------------------------------------------------------------------------------------


def _checker(contract: Contract, message: Message) -> Iterator[str]:
    name = f"check_{message.function}"
    yield f"def {name}(checks: Checks, path: Path, message: {message.type}) -> None:"
    yield f'    """Check a ``{message.name}``."""'
    for field in message.fields:
        if field.kind == "enum" and contract.enums[field.type].slacks:
            slacks = f"_{contract.enums[field.type].prefix}SLACKS"
            yield f"    checks.slack = {slacks}.get({field.code}, ROUNDING_SLACK)"
    for field in message.fields:
        if not field.within:
            yield from _check(contract, field)


def _check(contract: Contract, field: Field) -> Iterator[str]:
    name, code, rule = field.name, field.code, field.rule
    where = f'path, "{name}"'
    match field.kind:
        case "text" if rule.uuid:
            yield f"    checks.uuid({where}, {code})"
        case "text" if rule.parts:
            bounds = f"{rule.least_bytes}, {rule.most_bytes}"
            yield f"    checks.parts({where}, {code}, {bounds}, {rule.parts == 2})"
        case "text":
            fits = f"len(value) <= {rule.most_bytes}"
            if rule.least_bytes:
                fits = f"{rule.least_bytes} <= {fits}"
            yield f"    value = {code}"
            yield f"    plain = value.isascii() and value.isprintable() and {fits}"
            yield f"    if not plain{_and_has(field)}:"
            yield f"        checks.text({where}, value, {rule.least_bytes}, {rule.most_bytes})"
        case "whole":
            least, most = _whole_bounds(field)
            text = "WHOLE_MAX" if most == 2**63 - 1 else str(most)
            bad = f"count < {least}" if most == 2**63 - 1 else f"not {least} <= count <= {most}"
            guard = _and_has(field) if least > 0 else ""
            yield f"    count = {code}"
            yield f"    if {bad}{guard}:"
            yield f"        checks.whole({where}, count, {least}, {text})"
        case "number":
            most_text = f"{rule.most!r}" if rule.HasField("most") else "NUMBER_MAX"
            check = "positive" if rule.above_zero else "number"
            yield f"    number = {code}"
            yield f"    if not 0.0 < number <= {most_text}{_and_has(field)}:"
            yield f"        {code} = checks.{check}({where}, number, {most_text})"
        case "enum":
            enum = contract.enums[field.type]
            if rule.required:
                names = ", ".join(enum.prefix + value.upper() for value in enum.values)
                yield f"    if not {code} or {code} not in _{enum.prefix}NUMBERS:"
                yield f'        checks.add({where}, "must be one of {names}")'
            else:
                yield f"    if {code} not in _{enum.prefix}NUMBERS:"
                yield f"        {code} = {enum.module}.{enum.prefix}UNSPECIFIED"
        case "time":
            yield f"    {name} = None"
            yield f"    if {field.has}:"
            yield f"        {name} = checks.time({where}, {code})"
            yield from _or_required(field)
            if rule.not_before:
                first = rule.not_before
                yield f"    if {first} is not None and {name} is not None and {name} < {first}:"
                yield f'        checks.add({where}, "is before {first}")'
        case "message":
            held = contract.messages[field.type]
            most_argument = ""
            if held.statistics:
                bound = f"{rule.most!r}" if rule.HasField("most") else _statistics_most(held)
                most_argument = f", {bound}"
            yield f"    if {field.has}:"
            yield f"        check_{held.function}(checks, ({where}), {code}{most_argument})"
            yield from _or_required(field)
        case "list":
            held = contract.messages[field.type]
            yield f"    if checks.count({where}, len({code}), {rule.entries}):"
            if rule.unique:
                yield "        known: set[str] = set()"
            yield f"        for index, {held.function} in enumerate({code}):"
            yield f"            place = (({where}), index)"
            if rule.unique:
                value = f"{held.function}.{rule.unique}"
                reason = f"another {held.function} has the same {rule.unique}"
                yield f"            if {value} in known:"
                yield f'                checks.add(place, "{rule.unique}", "{reason}")'
                yield f"            known.add({value})"
            yield f"            check_{held.function}(checks, place, {held.function})"
        case "map":
            spans = [(r.least_bytes, r.most_bytes) for r in (rule.key, rule.value)]
            yield f"    if checks.count({where}, len({code}), {rule.entries}):"
            yield f"        checks.entries({where}, {code}.items(), {spans[0]}, {spans[1]})"


def _statistics(message: Message) -> Iterator[str]:
    number = message.fields[0].kind == "number"
    most = "float" if number else "int"
    yield f"def check_{message.function}("
    yield f"    checks: Checks, path: Path, message: {message.type}, most: {most}"
    yield ") -> None:"
    yield f'    """Check ``{message.name}``: values of at most ``most``, in order."""'
    names = ", ".join(_STATISTICS)
    yield f"    {names} = values = ("
    for name in _STATISTICS:
        yield f"        message.{name},"
    yield "    )"
    # zeros are looked at again: they may be negative ones
    yield "    if 0 < p50 <= p75 <= p95 <= p99 <= peak <= most and 0 < avg <= peak:"
    yield "        return"
    yield "    before = checks.found_count"
    for name in _STATISTICS:
        if number:
            yield f'    message.{name} = checks.number(path, "{name}", {name}, most)'
        else:
            yield f'    checks.whole(path, "{name}", {name})'
    yield "    if checks.found_count == before:"
    yield "        checks.ordered(path, values)"


def _statistics_most(message: Message) -> str:
    return "NUMBER_MAX" if message.fields[0].kind == "number" else "WHOLE_MAX"


def _or_required(field: Field) -> Iterator[str]:
    if field.rule.required:
        yield "    else:"
        yield f'        checks.add(path, "{field.name}", "is required")'


def _and_has(field: Field) -> str:
    return f" and {field.has}" if field.optional else ""


def _whole_bounds(field: Field) -> tuple[int, int]:
    most = int(field.rule.most) if field.rule.HasField("most") else 2 ** (field.bits - 1) - 1
    return int(field.rule.least), most


# -- schemas ------------------------------------------------------------------------------------

_CONTROL = r"\u0000-\u001f\u007f-\u009f"
_OTHER = rf"[^{_CONTROL}/]"
# what may stand between slashes: anything but "." and ".."
_PART = rf"(?:[^{_CONTROL}/.]{_OTHER}*|\.[^{_CONTROL}/.]{_OTHER}*|\.\.{_OTHER}+)"
_PATTERNS = {
    0: rf"^[^{_CONTROL}]*$",
    1: rf"^(?:{_PART})?(?:/(?:{_PART})?)*$",
    2: rf"^{_PART}(?:/{_PART})*$",
}
_UUID = "^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$"
_NUMBER_MAX = 1.7976931348623157e308


def _schema(contract: Contract, message: Message, examples: Json) -> Json:
    is_answer = message.name in WRITTEN
    required = [f.name for f in message.fields if f.needed or (is_answer and f.always)]
    return {
        "title": message.name,
        "description": message.comment,
        "type": "object",
        "properties": {
            f.name: _property(contract, message, f, examples, f.name in required)
            for f in message.fields
        },
        "required": required,
        "examples": [examples[message.name]],
    }


def _property(
    contract: Contract, message: Message, field: Field, examples: Json, required: bool
) -> Json:
    schema: Json = {"description": field.comment, "x-unit": _unit(message, field)}
    example = examples.get(f"{message.name}.{field.name}")
    if field.kind not in ("message", "list") and example is not None:
        schema["examples"] = [example]
    schema |= _type(contract, field, is_rounded=message.statistics)
    if not required and field.kind != "list":
        if "$ref" in schema:
            schema["anyOf"] = [{"$ref": schema.pop("$ref")}, {"type": "null"}]
        elif "enum" in schema:
            schema["enum"] = [*schema["enum"], None]
        else:
            schema["type"] = [schema["type"], "null"]
    return schema


def _type(contract: Contract, field: Field, *, is_rounded: bool) -> Json:
    rule = field.rule
    match field.kind:
        case "text":
            return _text(rule)
        case "whole":
            least, most = _whole_bounds(field)
            name = "number" if is_rounded else "integer"
            return {"type": name, "minimum": least, "maximum": most}
        case "number":
            least_name = "exclusiveMinimum" if rule.above_zero else "minimum"
            maximum = rule.most if rule.HasField("most") else _NUMBER_MAX
            return {"type": "number", least_name: 0, "maximum": _plain(maximum)}
        case "enum":
            return {"enum": list(contract.enums[field.type].values)}
        case "time":
            return {"type": "string", "format": "date-time"}
        case "message":
            return {"$ref": f"#/components/schemas/{field.type}"}
        case "list":
            items = {"$ref": f"#/components/schemas/{field.type}"}
            return {"type": "array", "items": items, "maxItems": rule.entries}
    return {
        "type": "object",
        "maxProperties": rule.entries,
        "propertyNames": {k: v for k, v in _text(rule.key).items() if k != "type"},
        "additionalProperties": _text(rule.value),
    }


def _text(rule: Any) -> Json:
    if rule.uuid:
        return {"type": "string", "minLength": 36, "maxLength": 36, "pattern": _UUID}
    bounds = {"minLength": rule.least_bytes, "maxLength": rule.most_bytes}
    return {"type": "string", **bounds, "pattern": _PATTERNS[rule.parts]}


def _unit(message: Message, field: Field) -> str:
    if field.rule.unit:
        return str(field.rule.unit)
    if message.statistics:
        whole = field.kind == "whole"
        return "bytes" if whole else "that of the field that holds it"
    return _UNITS.get(field.name.rpartition("_")[2], "none")


def _plain(number: float) -> float:
    return int(number) if number.is_integer() and number < 2**53 else number


def _collect(contract: Contract, name: str, example: Json, examples: Json) -> None:
    """Take the first example of each message and field from a JSON form."""
    message = contract.messages[name]
    examples.setdefault(
        name, {f.name: example[f.name] for f in message.fields if f.name in example}
    )
    for field in message.fields:
        if field.name not in example:
            continue
        value = example[field.name]
        examples.setdefault(f"{name}.{field.name}", value)
        for held in value if field.kind == "list" else [value]:
            if field.kind in ("message", "list"):
                _collect(contract, field.type, held, examples)


# -- descriptors --------------------------------------------------------------------------------


def _class(pool: Any, name: str) -> Any:
    return message_factory.GetMessageClass(pool.FindMessageTypeByName(name))


def _kind(field: FieldDescriptor) -> tuple[str, str]:
    if field.message_type is not None:
        if field.message_type.GetOptions().map_entry:
            return "map", ""
        if field.message_type.full_name == "google.protobuf.Timestamp":
            return "time", ""
        return ("list" if field.is_repeated else "message"), field.message_type.name
    if field.is_repeated:
        return "other", ""
    if field.enum_type is not None:
        return "enum", field.enum_type.name
    if field.cpp_type in _WHOLE_BITS:
        return "whole", ""
    kinds = {FieldDescriptor.TYPE_DOUBLE: "number", FieldDescriptor.TYPE_STRING: "text"}
    return kinds.get(field.type, "other"), ""


def _beside(message: Message) -> Iterator[str]:
    """Bind the messages whose fields become fields of this one in JSON."""
    names = list(dict.fromkeys(field.within for field in message.fields if field.within))
    for name in reversed(names):
        owner = "run" if name == "scope" and "run" in names else "message"
        yield f"    {name} = {owner}.{name}"


def _imports(messages: list[Message]) -> list[str]:
    return [f"from {PACKAGE} import {', '.join(sorted({m.module for m in messages}))}"]


def _only_beside(message: Message, others: list[Message]) -> bool:
    """Return whether no message has this one as an object of its own."""
    return not any(field.type == message.name for other in others for field in other.fields)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name).lower()
