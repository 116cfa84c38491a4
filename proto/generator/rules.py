"""Generate ``rules.py``: every violation of the rules, with the path of its field."""

from collections.abc import Iterator

from generator.contract import PACKAGE, STATISTICS, Contract, Field, Message, imports

CHECKED = ("Scope", "Run")


def generate(contract: Contract) -> str:
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
        imports(checked),
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
            least, most = field.whole_bounds
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
    names = ", ".join(STATISTICS)
    yield f"    {names} = values = ("
    for name in STATISTICS:
        yield f"        message.{name},"
    yield "    )"
    # zeros are looked at again: they may be negative ones
    yield "    if 0 < p50 <= p75 <= p95 <= p99 <= peak <= most and 0 < avg <= peak:"
    yield "        return"
    yield "    before = checks.found_count"
    for name in STATISTICS:
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
