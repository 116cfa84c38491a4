"""Field paths of the contract to those of the JSON API."""

import re

_NAMES = {"before_id": "before", "states": "state"}
_FIRST = re.compile(r"[^.\[]*")
_INDEX = re.compile(r"\[\d+\]")


def json_field(path: str) -> str:
    """Translate a field path of a request: ``run.payload.sample_count`` → ``payload.sample_count``,
    ``run.scope.job`` → ``job``, ``before_id`` → ``before``, ``states[1]`` → ``state``.
    """
    inner = path.removeprefix("run.").removeprefix("scope.")
    match = _FIRST.match(inner)
    first = match.group() if match else ""
    if first not in _NAMES:
        return inner
    return _NAMES[first] + _INDEX.sub("", inner.removeprefix(first))
