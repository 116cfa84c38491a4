"""Golden files: complete, and telling the same."""

import hmac
from collections.abc import Callable, Iterator
from datetime import UTC
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message

from runmeter.v1.run_service_pb2 import StoredRun

Golden = Callable[[str], Any]


def stored_run(golden: Golden) -> StoredRun:
    """Parse the golden record."""
    return json_format.ParseDict(golden("stored_run.wire.json"), StoredRun())


def is_map(field: FieldDescriptor) -> bool:
    """Tell whether a field is a map."""
    return field.message_type is not None and field.message_type.GetOptions().map_entry


def reachable(root: Descriptor) -> Iterator[FieldDescriptor]:
    """Yield every field of every message of ours that a message can hold."""
    seen: set[str] = set()
    waiting = [root]
    while waiting:
        message = waiting.pop()
        if message.full_name in seen or message.file.package != "runmeter.v1":
            continue
        seen.add(message.full_name)
        for field in message.fields:
            yield field
            if field.message_type is not None and not is_map(field):
                waiting.append(field.message_type)


def set_fields(message: Message) -> Iterator[str]:
    """Yield the names of the fields that are set, at any depth."""
    for field, value in message.ListFields():
        yield field.full_name
        if field.message_type is not None and not is_map(field):
            for part in value if field.is_repeated else [value]:
                yield from set_fields(part)


def test_wire_json_sets_every_field(golden: Golden) -> None:
    """The golden record has every field of every message somewhere, none left at its default."""
    wanted = {field.full_name for field in reachable(StoredRun.DESCRIPTOR)}
    assert {"runmeter.v1.Limits.cpu_cores", "runmeter.v1.Coverage.denied"} <= wanted
    assert wanted - set(set_fields(stored_run(golden))) == set()


def test_wire_json_round_trips(golden: Golden) -> None:
    """Through binary and back it is the same JSON."""
    message = StoredRun.FromString(stored_run(golden).SerializeToString())
    assert json_format.MessageToDict(message, preserving_proto_field_name=True) == golden(
        "stored_run.wire.json"
    )


def rest(message: Message) -> dict[str, Any]:
    """Return the REST shape: numbers as numbers, short enum names, times in milliseconds."""
    return {field.name: rest_value(field, value) for field, value in message.ListFields()}


def rest_value(field: FieldDescriptor, value: Any) -> Any:
    """Return one field in the REST shape."""
    if is_map(field):
        return dict(value)
    if field.is_repeated:
        return [rest(part) for part in value]
    if field.enum_type is not None:
        return short_name(field.enum_type, value)
    if field.message_type is None:
        return value
    if field.message_type.full_name == "google.protobuf.Timestamp":
        moment = value.ToDatetime(tzinfo=UTC)
        return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return rest(value)


def short_name(enum: EnumDescriptor, number: int) -> str:
    """Return the name of a value without the name of its enum, in lower case."""
    prefix = enum.values_by_number[0].name.removesuffix("UNSPECIFIED")
    return str(enum.values_by_number[number].name.removeprefix(prefix).lower())


def test_rest_json_says_the_same(golden: Golden) -> None:
    """run.json and stored_run.wire.json hold the same record, field by field."""
    message = rest(stored_run(golden))
    run = message.pop("run")
    scope = run.pop("scope")
    found = {**message, **scope, **run}
    expected = golden("run.json")
    assert found == expected
    assert types_of(found) == types_of(expected)


def types_of(value: Any) -> Any:
    """Return the kinds of JSON value, so that 2 and 2.0 and true are told apart."""
    if isinstance(value, dict):
        return {key: types_of(part) for key, part in value.items()}
    if isinstance(value, list):
        return [types_of(part) for part in value]
    return type(value).__name__


def encoded(text: str) -> bytes:
    """Return the length as 4 bytes big-endian and the UTF-8 bytes."""
    raw = text.encode()
    return len(raw).to_bytes(4, "big") + raw


def test_push_tokens(golden: Golden) -> None:
    """Every vector is what the documented encoding and HMAC-SHA256 give."""
    vectors = golden("push_tokens.json")
    assert len(vectors) >= 8
    for vector in vectors:
        message = b"runmeter-push-v1"
        for name in ("organization", "repository", "workflow", "job"):
            message += encoded(vector[name])
        expiry = vector["expires_at_unix"]
        if expiry is not None:
            message += expiry.to_bytes(8, "big")
        digest = hmac.digest(vector["hmac_key"].encode(), message, "sha256").hex()
        assert message.hex() == vector["message_hex"]
        assert vector["token"] == (digest if expiry is None else f"{digest}.{expiry}")


def test_push_token_vectors_cover_the_encoding(golden: Golden) -> None:
    """With and without expiry, beyond 32 bits, beyond ASCII, and all tokens differ."""
    vectors = golden("push_tokens.json")
    expiries = [vector["expires_at_unix"] for vector in vectors]
    assert None in expiries
    assert max(expiry or 0 for expiry in expiries) >= 2**32
    assert any(not vector["job"].isascii() for vector in vectors)
    assert any(not vector["hmac_key"].isascii() for vector in vectors)
    assert len({vector["token"] for vector in vectors}) == len(vectors)
