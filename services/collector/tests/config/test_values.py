"""Values of flags and variables: what each parser takes and refuses."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.collector.config import values
from runmeter.collector.errors import QuantityError, UsageError
from runmeter.collector.model import Limit


@pytest.mark.parametrize("text", ["5", "10", "1000", "007"])
def test_whole_numbers_in_a_range(text: str) -> None:
    """Both ends of the range are allowed."""
    assert values.whole_number(5, 1000)(text) == int(text)


@pytest.mark.parametrize("text", ["1001", "4", "0", "-1", "1.0", "", "x", "²", "1" * 5000])
def test_whole_numbers_out_of_range_are_refused(text: str) -> None:
    """The error says the range."""
    with pytest.raises(QuantityError, match="a whole number from 5 to 1000"):
        values.whole_number(5, 1000)(text)


def test_duration_holds_its_range() -> None:
    """Both ends of a range are allowed; a value outside is refused, and the range is shown."""
    parse = values.duration(100_000_000, 3_600_000_000_000, "100ms to 1h")
    assert parse("100ms") == 100_000_000
    assert parse("1h") == 3_600_000_000_000
    for text in ("99ms", "1h1ns", "0", "soon"):
        with pytest.raises(QuantityError, match="a duration"):
            parse(text)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("1", (1, 2**26)),
        ("64Mi", (100, 2**26)),
        ("1k", (100, 1000)),
        ("5,1Gi", (5, 2**30)),
        ("1Gi,5", (5, 2**30)),
    ],
)
def test_the_spool_holds_runs_or_bytes(text: str, found: tuple[int, int]) -> None:
    """A bare number counts runs, one with a suffix bytes; what is not said is the default."""
    assert values.spool_max(text) == found


@pytest.mark.parametrize("text", ["", "0", ",", "5,", "5,6", "1Mi,2Mi", "-1", "5 runs", "1000000"])
def test_a_spool_of_no_size_is_refused(text: str) -> None:
    """Neither nothing, nor one thing twice, nor what is no number."""
    with pytest.raises(QuantityError):
        values.spool_max(text)


def test_switch_takes_the_usual_words() -> None:
    """Words for on and off are taken in any case, others refused."""
    assert all(values.switch(word) for word in ("1", "true", "YES", "On"))
    assert not any(values.switch(word) for word in ("0", "false", "No", "off"))
    with pytest.raises(QuantityError, match="true or false"):
        values.switch("maybe")


def test_labels_are_pairs_with_commas_between() -> None:
    """A value may hold equals signs and be empty; spaces around a pair do not count."""
    assert values.labels("os=debian, opt=a=b,empty=") == {"os": "debian", "opt": "a=b", "empty": ""}


@pytest.mark.parametrize(
    "text",
    ["x", "=x", "a=b,", ",", f"{'k' * 64}=v", f"k={'v' * 256}", "k=\x07", "k=\udcff",
     f"k={'é' * 128}"],
)  # fmt: skip
def test_labels_out_of_shape_are_refused(text: str) -> None:
    """Keys have 1 to 63 bytes, values up to 255, no control characters, only real text."""
    with pytest.raises(QuantityError, match="keys to 63 bytes, values to 255"):
        values.labels(text)


def test_at_most_32_labels() -> None:
    """The thirty-third label is refused."""
    pairs = [f"k{number}=v" for number in range(33)]
    assert len(values.labels(",".join(pairs[:32]))) == 32
    with pytest.raises(QuantityError, match="at most 32 labels"):
        values.labels(",".join(pairs))


def test_process_map_is_an_object_of_names() -> None:
    """Process names map to container names."""
    assert values.process_map('{"node":"runner","sh":"runner"}') == {
        "node": "runner",
        "sh": "runner",
    }


@pytest.mark.parametrize(
    "text",
    ["{", "[]", "1", '"x"', '{"node":1}', '{"node":null}', '{"node":""}', '{"":"x"}',
     '{"node":"a\\u0000"}', '{"node":"\\ud800"}', '{"n\\u0007":"x"}', "[" * 100_000,
     '{"node":"' + "x" * 256 + '"}'],
)  # fmt: skip
def test_bad_process_maps_are_refused(text: str) -> None:
    """A refusal shows an example of what is allowed, and stays short."""
    with pytest.raises(UsageError) as caught:
        values.process_map(text)
    assert '{"node":"runner"}' in str(caught.value)
    assert len(str(caught.value)) < 500


def test_limits_are_objects_of_quantities() -> None:
    """Quantities may be texts or JSON numbers, and either resource may be missing."""
    text = '{"runner":{"cpu":"2","memory":"1Gi"},"a":{"cpu":0.1},"b":{"memory":129e6},"c":{}}'
    assert values.limits(text) == {
        "runner": Limit(2.0, 2**30),
        "a": Limit(0.1, None),
        "b": Limit(None, 129_000_000),
        "c": Limit(None, None),
    }


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("5368709120.0", 5368709120),
        ("5.36870912e9", 5368709120),
        ("5.36870912E+9", 5368709120),
        ("9007199254740993.0", 9007199254740993),
    ],
)
def test_numbers_of_limits_are_exact(text: str, expected: int) -> None:
    """A JSON number with a point or an exponent is read digit by digit."""
    assert values.limits(f'{{"a":{{"memory":{text}}}}}') == {"a": Limit(None, expected)}


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("nonsense", "not JSON"),
        ("[]", "must be a JSON object"),
        ('{"a":5}', "'a' must have cpu, memory or both"),
        ('{"a":{"disk":"1"}}', "'a' must have cpu, memory or both"),
        ('{"a":{"cpu":true}}', "cpu of 'a' must be a quantity"),
        ('{"a":{"cpu":null}}', "cpu of 'a' must be a quantity"),
        ('{"a":{"cpu":"much"}}', "limit of 'a': 'much' is not a Kubernetes quantity"),
        ('{"a":{"cpu":0}}', "limit of 'a': '0' is not a Kubernetes quantity"),
        ('{"a":{"memory":NaN}}', "limit of 'a': 'nan' is not a Kubernetes quantity"),
        ('{"a":{"memory":1e999}}', "limit of 'a': '1e999' is not a Kubernetes quantity"),
    ],
)
def test_bad_limits_name_container_and_reason(text: str, reason: str) -> None:
    """A refusal says which container, which value and what is allowed."""
    with pytest.raises(UsageError) as caught:
        values.limits(text)
    assert reason in str(caught.value)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(
        st.sampled_from(["cpu", "memory", "x"]), inner, max_size=3
    ),
    max_leaves=8,
)  # fmt: skip


@given(_JSON.map(json.dumps) | st.text())
def test_any_json_is_values_or_refused(text: str) -> None:
    """Any JSON, and any text, gives limits and names in range or a UsageError."""
    with contextlib.suppress(UsageError):
        for limit in values.limits(text).values():
            assert limit.cpu_cores is None or limit.cpu_cores > 0
            assert limit.memory_bytes is None or 0 < limit.memory_bytes < 2**63
    with contextlib.suppress(UsageError):
        assert all(values.is_name(name) and name for name in values.process_map(text).values())


@pytest.mark.parametrize("text", ["hunter2 x", "héhunter2", "hunter2\n\n", "hunter2\0"])
def test_a_bad_token_is_never_shown(text: str) -> None:
    """A token is printable ASCII; the refusal does not hold it."""
    with pytest.raises(UsageError) as caught:
        values.token(text)
    assert "hunter2" not in str(caught.value)
