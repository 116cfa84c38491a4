"""The output of ``collector push`` and ``collector spool``: text, or one JSON object."""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from runmeter.collector.model import Outcome
from runmeter.collector.spool.listing import Spooled
from runmeter.collector.text import aligned, size

_WHATS = ("pushed", "kept", "rejected", "live")


def pushed_text(folder: str, outcomes: Sequence[Outcome]) -> str:
    """Return one line per run, and a line of counts."""
    if not outcomes:
        return f"no run waits in {folder}"
    lines = []
    for outcome in outcomes:
        said = [f"{outcome.what:8}", outcome.push_id]
        if outcome.run is not None:
            said += [scope_text(outcome.run), _word(outcome.run.get("state"))]
        if outcome.stored is not None:
            already = ", stored already" if outcome.stored.duplicate else ""
            said.append(f"as id {outcome.stored.id}{already}")
        if outcome.reason:
            said.append(f"({_line(outcome.reason)})")
        lines.append("  ".join(said))
    counts = [(what, sum(o.what == what for o in outcomes)) for what in _WHATS]
    lines.append(", ".join(f"{count} {what}" for what, count in counts if count))
    return "\n".join(lines)


def pushed_json(folder: str, outcomes: Iterable[Outcome]) -> str:
    """Return the outcomes as one object with a list for each kind."""
    listed: dict[str, Any] = {"spool_dir": folder, **{what: [] for what in _WHATS}}
    for outcome in outcomes:
        entry: dict[str, Any] = {"push_id": outcome.push_id}
        if outcome.run is not None:
            entry.update(_facts(outcome.run))
        if outcome.stored is not None:
            entry.update(outcome.stored._asdict())
        else:
            entry.update(path=outcome.path, reason=outcome.reason)
        listed[outcome.what].append(entry)
    return json.dumps(listed, separators=(",", ":"))


def spooled_text(folder: str, entries: Sequence[Spooled]) -> str:
    """Return a table of the runs in the spool, and what to do about them."""
    if not entries:
        return f"no run is in {folder}"
    rows: list[tuple[str, ...]] = [
        ("RUN", "IS", "STATE", "REVISION", "START", "DURATION", "SIZE", "SCOPE")
    ]
    for entry in entries:
        payload = entry.run.get("payload")
        payload = payload if isinstance(payload, dict) else {}
        duration = payload.get("duration_seconds")
        rows.append(
            (
                entry.push_id,
                entry.what,
                _word(entry.run.get("state")),
                _word(entry.run.get("revision")),
                _word(payload.get("start_time")),
                f"{duration:.1f} s" if isinstance(duration, (int, float)) else "-",
                size(entry.size_bytes),
                scope_text(entry.run),
            )
        )
    reasons = [f"{e.push_id} {_what(e)}: {_line(e.reason)}" for e in entries if e.reason]
    lines = [*aligned(rows), *(["", *reasons] if reasons else [])]
    return "\n".join([*lines, "", f"{folder}: collector push pushes the waiting runs"])


def _what(entry: Spooled) -> str:
    needed = f", needs a token for {scope_text(entry.run)}" if entry.what == "waiting" else ""
    return f"{entry.what}{needed}"


def spooled_json(folder: str, entries: Iterable[Spooled]) -> str:
    """Return the entries as one object."""
    listed = []
    for entry in entries:
        found: dict[str, Any] = {"push_id": entry.push_id, "is": entry.what}
        found.update(_facts(entry.run))
        payload = entry.run.get("payload")
        if isinstance(payload, dict):
            times = ("start_time", "duration_seconds")
            found.update({name: payload[name] for name in times if name in payload})
        found.update(size_bytes=entry.size_bytes, path=entry.path)
        if entry.reason:
            found["reason"] = entry.reason
        listed.append(found)
    return json.dumps({"spool_dir": folder, "runs": listed}, separators=(",", ":"))


def scope_text(run: Mapping[str, Any]) -> str:
    """Return the scope in one line."""
    names = ("repository", "workflow", "job")
    return " ".join(_word(run.get(name)) for name in names)


def _facts(run: Mapping[str, Any]) -> dict[str, Any]:
    names = ("organization", "repository", "workflow", "job", "run_id", "state", "revision")
    return {name: run[name] for name in names if name in run}


def _word(value: Any) -> str:
    """Return a value of a file as safe text for a terminal: another user may have written it."""
    if value is None or value == "":
        return "-"
    return _line(value if isinstance(value, str) else json.dumps(value), 255)


def _line(text: str, most: int = 2000) -> str:
    return text[:most] if text.isprintable() else ascii(text[:most])
