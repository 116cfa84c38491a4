"""runmeter.receiver.model: order of pushes, content digest, state as read."""

from collections.abc import Callable

from hypothesis import given
from hypothesis import strategies as st

from runmeter.receiver.model import (
    PushRank,
    RunState,
    Verdict,
    content_digest,
    push_rank,
    reads_as,
    silent_after_ms,
    weigh,
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


@given(PUSHES, st.randoms(use_true_random=False))
def test_any_interleaving_ends_with_the_greatest(
    pushes: list[tuple[RunState, int, bytes]], random: st.randoms
) -> None:
    """Whatever comes in whatever order, repeated or not: the greatest is stored, acks are true."""
    pushes = pushes + pushes[: random.randrange(len(pushes)) + 1]
    random.shuffle(pushes)
    state, revision, digest = pushes[0]
    rank = push_rank(state, revision)
    for state, revision, pushed_digest in pushes[1:]:
        pushed = push_rank(state, revision)
        verdict = weigh(rank, digest, pushed, pushed_digest)
        assert (verdict is Verdict.REPLACES) == (pushed > rank)
        assert (verdict is Verdict.CONFLICTS) == (pushed == rank and digest != pushed_digest)
        if verdict is Verdict.REPLACES:
            rank, digest = pushed, pushed_digest
    assert rank == max(push_rank(state, revision) for state, revision, _ in pushes)
    assert isinstance(rank, PushRank)


def test_digest_of_the_golden_run_never_changes(
    message: run_pb2.Run, read: Callable[..., object]
) -> None:
    """A digest stored by one version means the same content to the next."""
    assert content_digest(read(message)).hex() == (
        "3a2eea42be6b0ae6f8db7852d5fd98b855f231e15670b15c1aa228db56fdb3e8"
    )


def test_digest_does_not_depend_on_encoding(
    message: run_pb2.Run, read: Callable[..., object]
) -> None:
    """Order of labels, nanoseconds, unknown fields and the short repository name do not count."""
    digest = content_digest(read(message))
    labels = list(message.labels.items())
    message.labels.clear()
    for key, value in reversed(labels):
        message.labels[key] = value
    message.payload.start_time.nanos += 999_999
    message.scope.repository = "my-repo"
    message.MergeFromString(b"\xf8\x07\x01")  # field 127, a varint
    assert content_digest(read(message)) == digest


def test_every_field_counts(message: run_pb2.Run, read: Callable[..., object]) -> None:
    """Clearing any one field that may be absent is other content."""
    digests = {content_digest(read(message))}
    count = 1
    for holder, names in (
        ("", ("run_id", "run_attempt", "runner_name", "labels", "exit_code", "collector_version")),
        ("payload", ("cpu_total_percent", "mem_used_bytes", "top_cpu_processes", "host")),
        ("payload", ("duration_seconds", "sample_count", "percentile_method", "coverage")),
    ):
        for name in names:
            changed = run_pb2.Run()
            changed.CopyFrom(message)
            (getattr(changed, holder) if holder else changed).ClearField(name)
            digests.add(content_digest(read(changed)))
            count += 1
    assert len(digests) == count


def test_absent_is_not_zero(message: run_pb2.Run, read: Callable[..., object]) -> None:
    """An exit code of 0 is other content than none."""
    message.exit_code = 0
    zero = content_digest(read(message))
    message.ClearField("exit_code")
    assert content_digest(read(message)) != zero


def test_silence_is_three_times_the_promise(
    message: run_pb2.Run, read: Callable[..., object]
) -> None:
    """A RUNNING run reads as INTERRUPTED once it is silent for more than three intervals."""
    message.state = run_pb2.RUN_STATE_RUNNING
    message.next_push_within_seconds = 300.5
    until = silent_after_ms(read(message), 1000)
    assert until == 1000 + 901_500
    assert reads_as(RunState.RUNNING, until, until) is RunState.RUNNING
    assert reads_as(RunState.RUNNING, until, until + 1) is RunState.INTERRUPTED
    message.ClearField("next_push_within_seconds")
    assert silent_after_ms(read(message), 1000) is None
    assert reads_as(RunState.RUNNING, None, 2**62) is RunState.RUNNING
    message.state = run_pb2.RUN_STATE_COMPLETED
    message.next_push_within_seconds = 1
    assert silent_after_ms(read(message), 1000) is None
