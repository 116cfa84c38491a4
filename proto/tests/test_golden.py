"""The golden files: every field is set, and the push tokens follow the documented encoding."""

import hmac
from collections.abc import Callable, Iterator
from typing import Any

from google.protobuf import json_format
from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message

from runmeter.v1.run_service_pb2 import StoredRun

Golden = Callable[[str], Any]


def stored_run(golden: Golden) -> StoredRun:
    """Parse the golden record."""
    return json_format.ParseDict(golden("stored_run.wire.json"), StoredRun())


def is_map(field: FieldDescriptor) -> bool:
    """Return whether a field is a map."""
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
    """The golden record sets every field of every message at least once."""
    wanted = {field.full_name for field in reachable(StoredRun.DESCRIPTOR)}
    assert {"runmeter.v1.Limits.cpu_cores", "runmeter.v1.Coverage.denied"} <= wanted
    assert wanted - set(set_fields(stored_run(golden))) == set()


def test_wire_json_round_trips(golden: Golden) -> None:
    """The golden record is the same JSON after it was written as protobuf and read back."""
    message = StoredRun.FromString(stored_run(golden).SerializeToString())
    assert json_format.MessageToDict(message, preserving_proto_field_name=True) == golden(
        "stored_run.wire.json"
    )


def encoded(text: str) -> bytes:
    """Return the length as 4 bytes big-endian and the UTF-8 bytes."""
    raw = text.encode()
    return len(raw).to_bytes(4, "big") + raw


def test_push_tokens(golden: Golden) -> None:
    """Every vector is the HMAC-SHA256 of the documented encoding."""
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
    """The vectors cover no expiry, large ones, and text beyond ASCII; all tokens differ."""
    vectors = golden("push_tokens.json")
    expiries = [vector["expires_at_unix"] for vector in vectors]
    assert None in expiries
    assert max(expiry or 0 for expiry in expiries) >= 2**32
    assert any(not vector["job"].isascii() for vector in vectors)
    assert any(not vector["hmac_key"].isascii() for vector in vectors)
    assert len({vector["token"] for vector in vectors}) == len(vectors)
