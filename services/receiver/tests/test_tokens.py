"""runmeter.receiver.tokens."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runmeter.receiver.errors import BearerMissing, BearerUnknown, TokenExpired, WrongScope
from runmeter.receiver.model import Scope
from runmeter.receiver.tokens import (
    Keyring,
    PushToken,
    ReadToken,
    parse_bearer,
    parse_push_token,
    push_message,
)

SCOPE = Scope("o", "o/r", "w", "j")
NAMES = st.text(st.characters(codec="utf-8"), max_size=20)


def test_vectors_of_the_contract(golden: Path) -> None:
    """Every token vector of the contract is minted and verified, its message bit for bit."""
    vectors = json.loads((golden / "push_tokens.json").read_text())
    assert len(vectors) >= 8
    for vector in vectors:
        scope = Scope(*(vector[name] for name in Scope._fields))
        expiry = vector["expires_at_unix"]
        keyring = Keyring([vector["hmac_key"]])
        assert push_message(scope, expiry).hex() == vector["message_hex"]
        assert keyring.mint(scope, expiry) == vector["token"]
        keyring.verify(parse_push_token(vector["token"]), scope, 0.0)


def test_first_key_mints_and_all_verify() -> None:
    """After a rotation old tokens are good and new ones are made with the new key."""
    old, new = Keyring(["old"]), Keyring(["new"])
    rotating = Keyring(["new", "old"])
    assert rotating.mint(SCOPE) == new.mint(SCOPE) != old.mint(SCOPE)
    for keyring in (old, new):
        rotating.verify(parse_push_token(keyring.mint(SCOPE)), SCOPE, 0.0)
    with pytest.raises(WrongScope):
        new.verify(parse_push_token(old.mint(SCOPE)), SCOPE, 0.0)


def test_expiry_is_signed_and_ends_the_token() -> None:
    """An expiring token is good before its second and expired from it on, and cannot be moved."""
    keyring = Keyring(["key"])
    token = parse_push_token(keyring.mint(SCOPE, 1000))
    keyring.verify(token, SCOPE, 999.9)
    with pytest.raises(TokenExpired):
        keyring.verify(token, SCOPE, 1000.0)
    for moved in (PushToken(token.mac_hex, 2000), PushToken(token.mac_hex, None)):
        with pytest.raises(WrongScope):
            keyring.verify(moved, SCOPE, 0.0)


@given(st.tuples(NAMES, NAMES, NAMES, NAMES), st.tuples(NAMES, NAMES, NAMES, NAMES))
def test_no_two_scopes_share_a_message(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    """Different names are different messages, wherever the borders between names lie."""
    same = push_message(Scope(*one), None) == push_message(Scope(*other), None)
    assert same == (one == other)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0" * 63,
        "0" * 65,
        "A" * 64,
        "g" * 64,
        "0" * 64 + ".",
        "0" * 64 + ".-1",
        "0" * 64 + ".01",
        "0" * 64 + ".9223372036854775808",
        "0" * 64 + ".1.2",
        "0" * 64 + "\n",
        "\u0660" * 64,
        "0" * 64 + ".\u0663",
    ],
)
def test_other_forms_are_no_push_token(text: str) -> None:
    """What is not 64 lower-case hex digits, with or without an expiry, is BearerUnknown."""
    with pytest.raises(BearerUnknown) as caught:
        parse_push_token(text)
    assert caught.value.wanted == "a push token"


def test_forms_of_a_push_token() -> None:
    """Both forms are taken, up to the last second that 64 bits hold."""
    assert parse_push_token("0a" * 32) == PushToken("0a" * 32, None)
    assert parse_push_token("0a" * 32 + ".0").expires_at_unix == 0
    assert parse_push_token("0a" * 32 + ".9223372036854775807").expires_at_unix == 2**63 - 1


@pytest.mark.parametrize("value", ["Bearer t", "bearer t", "BEARER   t", "bEaReR t  "])
def test_scheme_in_any_case(value: str) -> None:
    """The scheme is not case-sensitive."""
    assert parse_bearer([value]) == "t"


@pytest.mark.parametrize(
    "values", [[], ["t"], ["Basic t"], ["Bearer"], ["Bearer "], ["Bearer a b"], ["Bearer a"] * 2,
               ["Bearerx"], [b"Bearer t"], ["Bearer ä"]]
)  # fmt: skip
def test_no_single_bearer(values: list[str | bytes]) -> None:
    """None, several or malformed ones are a missing bearer."""
    with pytest.raises(BearerMissing):
        parse_bearer(values)


def test_read_token_is_compared_whole() -> None:
    """Only the exact read token is accepted."""
    token = ReadToken("secret")
    token.check("secret")
    for other in ("", "secre", "secret ", "Secret", "secret2"):
        with pytest.raises(BearerUnknown) as caught:
            token.check(other)
        assert caught.value.wanted == "the read token"
