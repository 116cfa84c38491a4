"""What commands answer, compared with what a document says that they do."""

import json
import re
from typing import Any

from rig.documents import Example

# what is another one each time
FRESH_FIELDS = {"received_at", "updated_at", "expires_at", "request_id"}
TOKEN_THAT_ENDS = re.compile(r"[0-9a-f]{64}\.\d+")
NUMBER = re.compile(r"\d+(\.\d+)?( [KMG]iB)?")


def check(example: Example, output: str, where: str) -> None:
    """Compare what commands wrote with the answer in the document."""
    answer = example.answer
    if example.kind == "http":
        first, headers, answer = parted(answer)
        real_first, real_headers, output = parted(output)
        assert real_first == first, where
        assert headers - real_headers == set(), where
        assert bool(output) == bool(answer), where
        if not answer:
            return
    if example.kind in ("json", "http"):
        real, said = json.loads(output), json.loads(answer)
        seen = shape if example.is_shape else comparable
        assert seen(real) == seen(said), where
    elif example.kind == "text":
        seen_text = text_shape if example.is_shape else str
        assert seen_text(output) == seen_text(answer), where
    else:
        assert not example.kind, f"{where}: no answer can be {example.kind}"


def comparable(value: Any, name: str = "") -> Any:
    """Replace what is another one each time."""
    if isinstance(value, dict):
        return {key: comparable(item, key) for key, item in value.items()}
    if isinstance(value, list):
        return [comparable(item) for item in value]
    if name in FRESH_FIELDS and value != "build-7":
        assert isinstance(value, str)
        return "…"
    if name == "token" and TOKEN_THAT_ENDS.fullmatch(value):
        return "….…"
    return value


def shape(value: Any) -> Any:
    """Return names and kinds of values: of a list the kinds that occur, of a number that it is."""
    if isinstance(value, dict):
        return {key: shape(item) for key, item in value.items()}
    if isinstance(value, list):
        kinds = [shape(item) for item in value]
        return [kind for number, kind in enumerate(kinds) if kind not in kinds[:number]]
    if isinstance(value, int | float) and not isinstance(value, bool):
        return 0
    return type(value).__name__


def text_shape(text: str) -> list[str]:
    """Return the lines of a text without their figures and how they are aligned."""
    lines = (" ".join(NUMBER.sub("0", line).split()) for line in text.splitlines())
    return [line for line in lines if line]


def parted(message: str) -> tuple[str, set[str], str]:
    """Split an HTTP message into its first line, its headers and its body."""
    head, _, body = message.replace("\r\n", "\n").partition("\n\n")
    first, *headers = head.strip().splitlines()
    return first, {name_lower(header) for header in headers}, body


def name_lower(header: str) -> str:
    """Write the name of a header in lower case."""
    name, _, value = header.partition(":")
    return f"{name.lower()}:{value}"


def missing(shown: Any, real: Any) -> list[str]:
    """Return what of a record is shown and is not, or is of another kind, in a real one."""
    if isinstance(shown, dict) and isinstance(real, dict):
        return [
            f"{name}.{inner}"
            for name, value in shown.items()
            for inner in ([""] if name not in real else missing(value, real[name]))
        ]
    if isinstance(shown, list) and isinstance(real, list):
        return [] if all(any(missing(s, r) == [] for r in real) for s in shown) else ["[]"]
    return [] if shape(shown) == shape(real) else [f": {shown!r} {real!r}"]
