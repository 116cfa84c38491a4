"""runmeter.receiver.model: order of pushes, equal content, state as read."""

from typing import Any

from hypothesis import strategies as st

from runmeter.receiver.model import (
    RunState,
    is_same_run,
    push_rank,
    reads_as,
    silent_after_ms,
)
from runmeter.v1 import run_pb2

PUSHES = st.lists(
    st.tuples(st.sampled_from(RunState), st.integers(1, 4), st.sampled_from([b"a", b"b"])),
    min_size=1,
    max_size=12,
)


def test_order_of_pushes() -> None:
    """COMPLETED beats every revision; then the revision counts, then the state."""
    order = [
        push_rank(RunState.RUNNING, 1),
        push_rank(RunState.INTERRUPTED, 1),
        push_rank(RunState.RUNNING, 2),
        push_rank(RunState.INTERRUPTED, 9),
        push_rank(RunState.COMPLETED, 1),
        push_rank(RunState.COMPLETED, 2),
    ]
    assert sorted(order) == order
    assert len(set(order)) == len(order)


def test_content_does_not_depend_on_encoding(message: run_pb2.Run) -> None:
    """The order of fields and of labels, and fields that are not known, do not count."""
    labels = list(message.labels.items())
    other = run_pb2.Run.FromString(message.SerializeToString())
    other.labels.clear()
    for key, value in reversed(labels):
        other.labels[key] = value
    assert is_same_run(b"\xf8\x07\x01" + other.SerializeToString(), message)  # field 127


def parts(run: run_pb2.Run) -> list[Any]:
    """Return a run and some of the messages in it."""
    return [run, run.payload, run.payload.containers[0], run.payload.host, run.payload.coverage]


def test_every_field_counts(message: run_pb2.Run) -> None:
    """A run without any one of its fields is other content."""
    stored = message.SerializeToString()
    count = 0
    for number, part in enumerate(parts(message)):
        for field, _ in part.ListFields():
            other = run_pb2.Run.FromString(stored)
            parts(other)[number].ClearField(field.name)
            assert not is_same_run(stored, other), field.full_name
            count += 1
    assert is_same_run(stored, message)
    assert count > 40


def test_absent_is_not_zero(message: run_pb2.Run) -> None:
    """An exit code of 0 is other content than none."""
    message.exit_code = 0
    stored = message.SerializeToString()
    message.ClearField("exit_code")
    assert not is_same_run(stored, message)


def test_silence_is_three_times_the_promise(message: run_pb2.Run) -> None:
    """A RUNNING run reads as INTERRUPTED once it is silent for more than three intervals."""
    message.state = run_pb2.RUN_STATE_RUNNING
    message.next_push_within_seconds = 300.5
    until = silent_after_ms(message, 1000)
    assert until == 1000 + 901_500
    assert reads_as(RunState.RUNNING, until, until) is RunState.RUNNING
    assert reads_as(RunState.RUNNING, until, until + 1) is RunState.INTERRUPTED
    message.ClearField("next_push_within_seconds")
    assert silent_after_ms(message, 1000) is None
    assert reads_as(RunState.RUNNING, None, 2**62) is RunState.RUNNING
    message.state = run_pb2.RUN_STATE_COMPLETED
    message.next_push_within_seconds = 1
    assert silent_after_ms(message, 1000) is None
