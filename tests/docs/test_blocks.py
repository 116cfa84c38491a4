"""A block of commands is either run by a test or says why it is not; there is no third way."""

import re

import pytest
from rig.documents import COMMANDS, NOT_RUN, SHAPE_ONLY, documents, examples, fences
from rig.repository import ROOT

# what begins a line that a reader would type
PROMPT = re.compile(
    r"^\s*(\$ |(collector|receiver|gateway|curl|docker|kubectl|pip|make|git) )", re.M
)


def text_of(name: str) -> str:
    """Return a document's text."""
    return (ROOT / name).read_text(encoding="utf-8")


@pytest.mark.parametrize("name", documents())
def test_commands_stand_in_their_fences(name: str) -> None:
    """Commands are marked sh, not indented and not in another kind of fence."""
    text = text_of(name)
    for fence in fences(text):
        where = f"{name}:{fence.line}"
        assert fence.indent == "", f"{where}: a fence in a list is not rendered everywhere"
        assert fence.language, f"{where}: say what it is: sh, json, text, …"
        if fence.language in COMMANDS:
            assert fence.language == "sh", f"{where}: commands are marked sh"
        elif fence.language == "text" and name != "docs/configuration.md":
            assert not PROMPT.search(fence.text), f"{where}: commands are marked sh"
    for fence in fences(text):
        text = text.replace(fence.text, "")
    indented = re.search(r"^\n {4,}\S.*", text, re.MULTILINE)
    assert indented is None, f"{name}: {indented and indented[0].strip()}: put it into a fence"


@pytest.mark.parametrize("name", documents())
def test_reasons_belong_to_commands(name: str) -> None:
    """Every reason why something is not run stands directly above commands, and is one."""
    text = text_of(name)
    reasons = [fence.reason for fence in fences(text) if fence.language in COMMANDS]
    given = [reason for reason in reasons if reason is not None]
    assert len(given) == len(re.findall("<!-- not run", text)), "a reason in the wrong place"
    assert [reason for reason in given if len(reason) < 12] == []
    shapes = [example for example in examples(text) if example.is_shape]
    assert len(shapes) == text.count(SHAPE_ONLY), "no answer follows"


def test_blocks_are_found() -> None:
    """What is run, what is not, and which answer belongs to which commands."""
    text = """\
```sh
one
```
```json
1
```

<!-- not run: needs a machine -->
```sh
two
```
```text
what two would say
```

```sh
three
```

Words in between.

```json
2
```

```sh
four
```

<!-- shape only -->
```text
4
```
"""
    assert [fence.reason for fence in fences(text)][2] == "needs a machine"
    found = [(one.commands, one.kind, one.answer, one.is_shape) for one in examples(text)]
    assert found == [
        ("one\n", "json", "1\n", False),
        ("three\n", "", "", False),
        ("four\n", "text", "4\n", True),
    ]
    assert NOT_RUN.fullmatch("<!-- not run: -->") is None
