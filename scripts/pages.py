"""Hooks of mkdocs: the site has the folders of the repository, so that links work in both.

Pages are README.md and the other documents at the root, docs/, deploy/, and README and CHANGELOG
of each package. Other files that a page links to (a compose file, openapi.json) are copied.
"""

import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).resolve().parents[1]
PAGES = ("*.md", "docs/**/*.md", "deploy/**/*.md", "proto/*.md", "libs/*/*.md", "services/*/*.md")
LINK = re.compile(r"\]\(([^)\s#]+)")
ITEM = re.compile(r"(?:[-*+]|\d+\.) ")


def pages() -> list[Path]:
    """Return every document of the site, sorted."""
    return sorted({path for pattern in PAGES for path in ROOT.glob(pattern)})


def linked(page: Path) -> set[Path]:
    """Return the files of the repository that a page links to."""
    targets = (unquote(target) for target in LINK.findall(page.read_text(encoding="utf-8")))
    found = {(page.parent / target).resolve() for target in targets if "://" not in target}
    return {path for path in found if path.is_file() and path.is_relative_to(ROOT)}


def on_files(files: Files, *, config: Any) -> Files:
    """Replace the files of docs_dir by those of the repository; keep those of the theme."""
    kept = [file for file in files if file.src_dir != config.docs_dir]
    wanted = pages()
    wanted += sorted(set().union(*map(linked, wanted)) - set(wanted))
    ours = [
        File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path))
        for path in wanted
    ]
    return Files([*kept, *ours])


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Insert an empty line above lists: mkdocs needs it to see them."""
    lines: list[str] = []
    is_code = False
    for line in markdown.splitlines():
        is_code ^= line.startswith("```")
        above = lines[-1] if lines else ""
        if (
            not is_code
            and ITEM.match(line)
            and above[:1] not in ("", " ")
            and not ITEM.match(above)
        ):
            lines.append("")
        lines.append(line)
    return "\n".join(lines)
