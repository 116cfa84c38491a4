"""Runs of any content are read as they were written, and checked."""

import json
from typing import Any

import msgspec
from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message import Message
from hypothesis import given
from hypothesis import strategies as st

from runmeter.v1 import json_reading, json_writing, rules
from runmeter.v1.checks import Checks
from runmeter.v1.run_pb2 import Run
from runmeter.v1.run_service_pb2 import StoredRun

_TEXTS = st.text(st.characters(exclude_categories=("Cs",)), max_size=4)
# -0.0 is read as 0.0
_NUMBERS = st.floats(allow_nan=False, allow_infinity=False).map(lambda n: n or 0.0)
_WHOLE = {FieldDescriptor.CPPTYPE_INT32: 31, FieldDescriptor.CPPTYPE_INT64: 63}


@st.composite
def runs(draw: st.DrawFn) -> Run:
    """Return a run with the parts that the JSON form always has."""
    run = Run()
    _fill(draw, run)
    return run


def _fill(draw: st.DrawFn, message: Message) -> None:
    for field in message.DESCRIPTOR.fields:
        target = getattr(message, field.name)
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            target.update(draw(st.dictionaries(_TEXTS, _TEXTS, max_size=2)))
        elif field.message_type is not None and field.is_repeated:
            for _ in range(draw(st.integers(0, 2))):
                _fill(draw, target.add())
        elif field.name in ("scope", "payload") or field.name.endswith("_time"):
            _fill_part(draw, target)
        elif field.message_type is not None:
            if draw(st.booleans()):
                _fill_part(draw, target)
        elif not field.has_presence or draw(st.booleans()):
            setattr(message, field.name, draw(_value(field)))


def _fill_part(draw: st.DrawFn, part: Any) -> None:
    part.SetInParent()
    if part.DESCRIPTOR.name == "Timestamp":
        part.FromMilliseconds(draw(st.integers(-62135596800000, 253402300799999)))
    else:
        _fill(draw, part)


def _value(field: FieldDescriptor) -> st.SearchStrategy[Any]:
    if field.enum_type is not None:
        return st.sampled_from([value.number for value in field.enum_type.values])
    bits = _WHOLE.get(field.cpp_type)
    if bits:
        return st.integers(-(2**bits), 2**bits - 1)
    return _NUMBERS if field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE else _TEXTS


@given(runs())
def test_round_trip(run: Run) -> None:
    """A run of any content is read as it was written; absent fields stay absent."""
    written = msgspec.json.encode(json_writing.stored_run_to_json(StoredRun(run=run)))
    assert json_reading.run_from_json(json.loads(written)) == run


@given(runs())
def test_checked(run: Run) -> None:
    """Violations of any run have paths below it; a good run is the same after a second check."""
    checks = Checks()
    rules.check_run(checks, "run", run)
    assert all(field.startswith("run.") for field, _ in checks.violations)
    if not checks.found_count:
        stored = run.SerializeToString(deterministic=True)
        rules.check_run(checks, "run", run)
        assert not checks.found_count
        assert run.SerializeToString(deterministic=True) == stored
