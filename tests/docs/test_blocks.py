"""Every block of commands is either run by a test or says why it is not."""

import re

from rig.documents import COMMANDS, NOT_RUN, SHAPE_ONLY, documents, examples, fences
from rig.repository import ROOT

# what begins a line that a reader would type
PROMPT = re.compile(
    r"^\s*(\$ |(collector|receiver|gateway|curl|docker|kubectl|pip|make|git) )", re.M
)


def test_commands_are_marked() -> None:
    """Commands are in fences marked ``sh`` at the margin, so that the tests find and run them."""
    for name in documents():
        for fence in fences((ROOT / name).read_text(encoding="utf-8")):
            where = f"{name}:{fence.line}"
            if fence.language in COMMANDS:
                assert (fence.language, fence.indent) == ("sh", ""), where
            elif fence.language in ("", "text"):
                assert not PROMPT.search(fence.text), where


def test_remarks_belong_to_commands() -> None:
    """Each remark on commands, why they are not run or how they are compared, is above them."""
    for name in documents():
        text = (ROOT / name).read_text(encoding="utf-8")
        commands = [fence for fence in fences(text) if fence.language in COMMANDS]
        assert sum(fence.reason is not None for fence in commands) == text.count("<!-- not run"), (
            name
        )
        assert sum(one.is_shape for one in examples(text)) == text.count(SHAPE_ONLY), name


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
