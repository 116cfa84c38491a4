"""Generate ``schemas.json``: JSON Schemas for the OpenAPI document, with examples."""

import json
from typing import Any

from generator.contract import Contract, Field, Message
from generator.json_writing import WRITTEN

DESCRIBED = ("Scope", "Run", "StoredRun", "CreatePushTokenRequest")

Json = dict[str, Any]

_UNITS = {
    "bytes": "bytes",
    "seconds": "seconds",
    "percent": "percent",
    "cores": "cores",
    "time": "UTC",
    "at": "UTC",
}
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


def generate(contract: Contract, golden: Json) -> str:
    """Return the schemas by the name of their message, as JSON."""
    messages = contract.within(DESCRIBED)
    examples: Json = {}
    for name, example in golden.items():
        _collect(contract, name, example, examples)
    found = {m.name: _schema(contract, m, examples) for m in messages}
    return json.dumps(dict(sorted(found.items())), indent=1, ensure_ascii=False) + "\n"


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
            least, most = field.whole_bounds
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
