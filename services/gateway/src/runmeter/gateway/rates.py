"""How many requests a second one client may send."""

from __future__ import annotations

from typing import Final

from throttled import MemoryStore, RateLimiterType, Throttled, rate_limiter

CLIENTS_MAX: Final = 50_000
"""About 25 MiB. Beyond it those that asked least lately are forgotten, and begin anew."""
BURST: Final = 2
"""So many seconds' worth at once."""


class Rates:
    """Counts requests by client, in memory of bounded size and without a thread."""

    def __init__(self, per_second: int, clients_max: int = CLIENTS_MAX) -> None:
        self.per_second = per_second
        self._store = MemoryStore(options={"MAX_SIZE": clients_max})
        self._limiter = Throttled(
            using=RateLimiterType.GCRA.value,
            quota=rate_limiter.per_sec(per_second, burst=per_second * BURST),
            store=self._store,
        )

    def wait_seconds(self, client: str) -> float:
        """Count a request of this client; return 0 if it may be answered, else how long to wait.

        A request that may not be answered does not make the wait longer.
        """
        found = self._limiter.limit(client)
        return found.state.retry_after if found.limited else 0.0
