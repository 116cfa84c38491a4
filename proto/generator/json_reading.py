"""Generate ``json_reading.py``: the JSON of the REST interface to messages."""

from collections.abc import Iterator

from generator.contract import (
    PACKAGE,
    Contract,
    Field,
    Message,
    bind_beside,
    imports,
    snake,
)

READ = ("Run", "CreatePushTokenRequest")


def generate(contract: Contract) -> str:
    """Return the module that reads the JSON form."""
    read = contract.objects(READ)
    lines = [
        '"""The JSON form of the REST interface: what was read as JSON to messages."""',
        "",
        imports(read),
        f"from {PACKAGE}.checks import Path",
        f"from {PACKAGE}.json_values import ABSENT, Found",
        "",
        "_2_31 = 2**31",
        "_2_63 = 2**63",
    ]
    for enum in contract.enums_of(read):
        lines.append(f"_{enum.prefix}NUMBERS: dict[str, int] = {dict(enum.values)!r}")
    for message in read:
        lines += [f"{_fields_name(message)} = frozenset(", "    ("]
        lines += [f'        "{field.name}",' for field in message.fields]
        lines += ["    )", ")"]
    for message in read:
        if message.name in READ:
            lines += ["", "", _read_root(message)]
    for message in read:
        lines += ["", "", *_reader(message)]
    return "\n".join(lines) + "\n"


def _read_root(message: Message) -> str:
    return f'''def {message.function}_from_json(
    given: object, *, exact: bool = False
) -> {message.type}:
    """Return the ``{message.name}`` of a JSON form.

    Fields that are not known are ignored, or with ``exact`` bad.
    ``null`` is the same as leaving a field out, where it may be left out.

    Raises:
        BadFields: fields are missing, of the wrong type or out of range.
    """
    found = Found(exact)
    message = {message.type}()
    _read_{message.function}(found, "", given, message)
    found.close()
    return message'''


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
    yield from bind_beside(message)
    for field in message.fields:
        yield from _get(field, is_rounded=message.statistics)


def _get(field: Field, *, is_rounded: bool) -> Iterator[str]:
    name, code = field.name, field.code
    if field.kind == "list":
        yield f'    entries = found.entries(path, "{name}", get("{name}", ABSENT))'
        yield "    for index, entry in enumerate(entries):"
        yield f'        place = ((path, "{name}"), index)'
        yield f"        _read_{snake(field.type)}(found, place, entry, {code}.add())"
        return
    yield f'    value = get("{name}", ABSENT)' if field.needed else f'    value = get("{name}")'
    where = f'path, "{name}"'
    plain = None
    match field.kind:
        case "text":
            plain = "type(value) is str"
            read = f'found.wrong({where}, value, "a string")'
        case "whole":
            edge = f"_2_{field.bits - 1}"
            plain = f"type(value) is int and -{edge} <= value < {edge}"
            least, most = field.whole_bounds
            bounds = f"{least}, {most}{', is_rounded=True' if is_rounded else ''}"
            read = f"{code} = found.whole({where}, value, {bounds})"
        case "number":
            plain = "type(value) is float"
            read = f"{code} = found.number({where}, value)"
        case "enum":
            read = f"{code} = found.named({where}, value, _{snake(field.type).upper()}_NUMBERS)"
        case "time":
            read = f"found.time({where}, value, {code})"
        case "map":
            read = f"{code}.update(found.texts({where}, value))"
        case _:
            read = f"_read_{snake(field.type)}(found, ({where}), value, {code})"
    if plain:
        yield f"    if {plain}:"
        yield f"        {code} = value"
        yield "    else:" if field.needed else "    elif value is not None:"
    elif not field.needed:
        yield "    if value is not None:"
    yield f"        {read}" if plain or not field.needed else f"    {read}"
