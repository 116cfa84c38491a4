"""Bearers and what they permit. Tokens are not stored; push tokens are HMACs of their scope."""

import hashlib
import hmac
import re
from collections.abc import Sequence
from typing import NamedTuple

from runmeter.receiver.errors import BearerMissing, BearerUnknown, TokenExpired, WrongScope
from runmeter.receiver.model import Scope

_DOMAIN = b"runmeter-push-v1"
_BEARER = re.compile(r"bearer +([!-~]+) *", re.IGNORECASE | re.ASCII)
_PUSH_TOKEN = re.compile(r"([0-9a-f]{64})(?:\.(0|[1-9][0-9]{0,18}))?", re.ASCII)
_EXPIRY_MAX = 2**63 - 1


class PushToken(NamedTuple):
    """A bearer of a push token's form, not verified yet."""

    mac_hex: str
    expires_at_unix: int | None


def parse_bearer(authorizations: Sequence[str | bytes]) -> str:
    """Return the token of the one ``authorization: Bearer <token>``.

    Raises:
        BearerMissing: there is none, more than one, or another scheme.
    """
    if len(authorizations) != 1 or not isinstance(authorizations[0], str):
        raise BearerMissing
    found = _BEARER.fullmatch(authorizations[0])
    if not found:
        raise BearerMissing
    return found[1]


def parse_push_token(text: str) -> PushToken:
    """Parse 64 lower-case hex digits, followed by ``.<unix seconds>`` if it expires.

    Raises:
        BearerUnknown: it has another form.
    """
    found = _PUSH_TOKEN.fullmatch(text)
    expiry = int(found[2]) if found and found[2] is not None else None
    if not found or (expiry is not None and expiry > _EXPIRY_MAX):
        raise BearerUnknown("a push token")
    return PushToken(found[1], expiry)


class ReadToken:
    """The token that may read runs and mint push tokens."""

    def __init__(self, token: str) -> None:
        self.replace(token)

    def replace(self, token: str) -> None:
        """Accept this token instead of the previous one."""
        self._digest = hashlib.sha256(token.encode()).digest()

    def check(self, bearer: str) -> None:
        """Raise BearerUnknown unless the bearer is the read token, in constant time."""
        if not hmac.compare_digest(hashlib.sha256(bearer.encode()).digest(), self._digest):
            raise BearerUnknown("the read token")


class Keyring:
    """HMAC keys: the first one mints, all of them verify."""

    def __init__(self, keys: Sequence[str]) -> None:
        self.replace(keys)

    def replace(self, keys: Sequence[str]) -> None:
        """Use these keys from now on."""
        self._keys = tuple(key.encode() for key in keys)

    def mint(self, scope: Scope, expires_at_unix: int | None = None) -> str:
        """Return the push token of a scope in canonical names."""
        mac = _mac(self._keys[0], push_message(scope, expires_at_unix))
        return mac if expires_at_unix is None else f"{mac}.{expires_at_unix}"

    def verify(self, token: PushToken, scope: Scope, now_unix: float) -> None:
        """Check that the token is for this scope and has not expired.

        Raises:
            WrongScope: no key verifies it.
            TokenExpired: a key verifies it, but it has expired.
        """
        message = push_message(scope, token.expires_at_unix)
        verified = False
        for key in self._keys:  # all of them: the time does not show which
            verified |= hmac.compare_digest(_mac(key, message), token.mac_hex)
        if not verified:
            raise WrongScope
        if token.expires_at_unix is not None and now_unix >= token.expires_at_unix:
            raise TokenExpired


def push_message(scope: Scope, expires_at_unix: int | None) -> bytes:
    """Return the bytes to sign; each name follows its length, so no two scopes are equal."""
    parts = [_DOMAIN]
    for name in scope:
        raw = name.encode()
        parts += (len(raw).to_bytes(4, "big"), raw)
    if expires_at_unix is not None:
        parts.append(expires_at_unix.to_bytes(8, "big"))
    return b"".join(parts)


def _mac(key: bytes, message: bytes) -> str:
    return hmac.new(key, message, hashlib.sha256).hexdigest()
