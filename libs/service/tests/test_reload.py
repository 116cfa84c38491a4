"""Settings that are read again."""

import asyncio

import structlog

from runmeter.service.errors import ConfigurationError
from runmeter.service.reload import Reload


def test_reload() -> None:
    """New values are used and named in the log; settings that cannot be used change nothing."""
    found: list[int | None] = [2, None, 2]
    replaced = []

    def read() -> int:
        if (value := found.pop(0)) is None:
            raise ConfigurationError("--tls-key 'x' cannot be read")
        return value

    def replace(old: int, fresh: int) -> list[str]:
        replaced.append((old, fresh))
        return ["tls"] if old != fresh else []

    async def run() -> None:
        reload = Reload(1, read, replace, "files.reread", "files.kept")
        asked = asyncio.Event()
        following = asyncio.create_task(reload.follow(asked))
        while found:
            asked.set()
            before = len(found)
            while len(found) == before:
                await asyncio.sleep(0)
        while len(logged) < 3:
            await asyncio.sleep(0)
        following.cancel()

    with structlog.testing.capture_logs() as logged:
        asyncio.run(run())
    assert replaced == [(1, 2), (2, 2)]
    assert logged == [
        {"event": "files.reread", "log_level": "info", "changed": ["tls"]},
        {"event": "files.kept", "log_level": "error", "reason": "--tls-key 'x' cannot be read"},
        {"event": "files.reread", "log_level": "info", "changed": []},
    ]
