"""What schemathesis needs beyond the API's document; loaded by its command line.

Tokens: each call gets a good one, a push the one of its own scope, so that cases reach deep. And
the rules that JSON Schema has no words for (lengths in bytes, the order of statistics, of times):
a case that is meant to be good is made to keep them, so that it has to be accepted.
The gateway and the read token come from the environment.
"""

import json
import os
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_URL, uuid5

import httpx
import schemathesis
from schemathesis import AuthContext, Case, GenerationMode, HookContext

READ_TOKEN = os.environ["FUZZING_READ_TOKEN"]
CLIENT = httpx.Client(base_url=os.environ["FUZZING_URL"], trust_env=False, timeout=20)
SCOPE = ("organization", "repository", "workflow", "job")
UNKNOWN_PUSH_TOKEN = "0123456789abcdef" * 4
DESCENDING = ("peak", "p99", "p95", "p75", "p50")
PERCENTS = ("cpu_total_percent", "mem_used_percent")
PERCENT_MAX = 101
NAME_BYTES_MAX = 255
BYTES_MAX = {
    "run": {"run_id": 255, "runner_name": 255, "collector_version": 63},
    "container": {"name": 1024},
    "process": {"name": 255, "container": 1024},
    "host": {"kernel": 255},
}
AFTER = "bXktb3JnAG15LW9yZy9teS1yZXBv"  # my-org and my-org/my-repo, as a Link has them


@schemathesis.auth(refresh_interval=None)
class Tokens:
    """The read token, or the push token of the scope in the body."""

    def get(self, case: Case, context: AuthContext) -> str:
        """Choose the token; a scope that none can be minted for gets one of another."""
        if context.operation.path != "/api/v1/metrics":
            return READ_TOKEN
        mend(case)
        scope = {}
        if isinstance(case.body, dict):
            scope = {name: case.body[name] for name in SCOPE if name in case.body}
        answer = CLIENT.post(
            "/api/v1/token", json=scope, headers={"Authorization": f"Bearer {READ_TOKEN}"}
        )
        return answer.json()["token"] if answer.status_code == 200 else UNKNOWN_PUSH_TOKEN

    def set(self, case: Case, data: str, context: AuthContext) -> None:
        """Send it."""
        case.headers["Authorization"] = f"Bearer {data}"


@schemathesis.hook
def before_call(context: HookContext, case: Case, kwargs: dict[str, Any]) -> None:
    """Mend what is about to be sent."""
    mend(case)


def mend(case: Case) -> None:
    """Make a case that is meant to be good keep the rules that the document has in words only."""
    if case.meta is None or case.meta.generation.mode is not GenerationMode.POSITIVE:
        return
    if case.query and "after" in case.query:
        case.query["after"] = AFTER
    if case.query and "run_id" in case.query:
        cut(case.query, {"run_id": 255})
    if case.path_parameters:
        shorten(case.path_parameters, ("org", "repo", "owner", "name"))
    if isinstance(case.body, dict):
        case.body = whole(case.body)
        shorten(case.body, ("organization", "repository"))
        mend_run(case.body)


def cut(values: dict[str, Any], limits: dict[str, int]) -> dict[str, Any]:
    """Cut texts to their number of bytes, in place."""
    for name, limit_bytes in limits.items():
        if isinstance(values.get(name), str):
            values[name] = values[name].encode()[:limit_bytes].decode(errors="ignore")
    return values


def shorten(names: dict[str, Any], repository: tuple[str, ...]) -> None:
    """Replace names that are too long; organization and repository count together."""
    together = [name for name in repository if isinstance(names.get(name), str)]
    if sum(len(names[name].encode()) + 1 for name in together) > NAME_BYTES_MAX:
        names.update(dict.fromkeys(together, "x" * (NAME_BYTES_MAX // 4)))
    for name in ("workflow", "job"):
        if isinstance(names.get(name), str) and len(names[name].encode()) > NAME_BYTES_MAX:
            names[name] = "x" * NAME_BYTES_MAX


def mend_run(run: dict[str, Any]) -> None:
    """Mend the body of a push, in place."""
    cut(run, BYTES_MAX["run"])
    if isinstance(run.get("push_id"), str):  # or most cases are an example's push, but different
        content = json.dumps(run | {"push_id": ""}, sort_keys=True)
        run["push_id"] = str(uuid5(NAMESPACE_URL, content))
    if isinstance(run.get("labels"), dict):
        short = {key.encode()[:63].decode(errors="ignore"): v for key, v in run["labels"].items()}
        run["labels"] = cut(short, dict.fromkeys(short, 255))
    payload = run.get("payload")
    if not isinstance(payload, dict):
        return
    order_times(payload)
    order_statistics(payload)
    for statistics in filter(None, map(payload.get, PERCENTS)):
        statistics.update({k: min(v, PERCENT_MAX) for k, v in statistics.items() if is_number(v)})
    cut(payload.get("host") or {}, BYTES_MAX["host"])
    for process in (payload.get("top_cpu_processes") or []) + (
        payload.get("top_mem_processes") or []
    ):
        cut(process, BYTES_MAX["process"])
    containers = [cut(one, BYTES_MAX["container"]) for one in payload.get("containers") or []]
    if containers:
        payload["containers"] = list({one["name"]: one for one in containers}.values())


def whole(value: Any) -> Any:
    """Write whole numbers without a decimal point: to JSON Schema 5.0 is one, to the API not."""
    if isinstance(value, list):
        return [whole(item) for item in value]
    if isinstance(value, dict):
        return {name: whole(item) for name, item in value.items()}
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) < 2**63
    return int(value) if is_whole else value


def order_times(payload: dict[str, Any]) -> None:
    """Let a run end no sooner than it starts."""
    start, end = payload["start_time"], payload["end_time"]
    try:
        is_ordered = datetime.fromisoformat(start) <= datetime.fromisoformat(end)
    except ValueError:  # a leap second, or more digits than Python reads
        is_ordered = False
    if not is_ordered:
        payload["end_time"] = start


def order_statistics(value: Any) -> None:
    """Put the statistics of everything below in order."""
    if isinstance(value, list):
        for item in value:
            order_statistics(item)
    elif isinstance(value, dict):
        if all(is_number(value.get(name)) for name in (*DESCENDING, "avg")):
            ordered = sorted((value[name] for name in DESCENDING), reverse=True)
            value.update(zip(DESCENDING, ordered, strict=True))
            value["avg"] = min(value["avg"], value["peak"])
        for item in value.values():
            order_statistics(item)


def is_number(value: object) -> bool:
    """Tell a JSON number from everything else."""
    return isinstance(value, int | float) and not isinstance(value, bool)
