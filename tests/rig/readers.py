"""Clients that read over a gateway at once, and what they were answered."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
from rig.programs import Gateway
from rig.pushers import BY_DATABASE
from rig.stack import Scope, bearer

READER_COUNT = 8
PATIENCE_SECONDS = 60.0


class Readers:
    """Clients that read over a gateway, one after the other; what they were answered."""

    def __init__(self, gateway: Gateway, scope: Scope, read_token: str) -> None:
        self.answers: Counter[tuple[int, str]] = Counter()
        self._url = f"{gateway.url}{scope.path}?state=all&limit=20"
        self._headers = bearer(read_token)
        self._ended = threading.Event()
        self._changed = threading.Condition()
        self._pool = ThreadPoolExecutor(READER_COUNT)
        self._going = [self._pool.submit(self._work) for _ in range(READER_COUNT)]

    def _work(self) -> None:
        with httpx.Client(trust_env=False, timeout=30) as client:
            while not self._ended.is_set():
                answer = client.get(self._url, headers=self._headers)
                detail = "" if answer.status_code == 200 else answer.json()["detail"]
                with self._changed:
                    self.answers[answer.status_code, detail] += 1
                    self._changed.notify_all()
                self._ended.wait(0.02)

    def count(self, status: int) -> int:
        """Return how many answers had this status so far."""
        return sum(count for (found, _), count in self.answers.items() if found == status)

    def wait_for_more(self, status: int, count: int = 1) -> None:
        """Wait until so many more answers than now had this status."""
        with self._changed:
            wanted = self.count(status) + count
            assert self._changed.wait_for(lambda: self.count(status) >= wanted, PATIENCE_SECONDS), (
                self.answers
            )

    def finish(self) -> None:
        """Stop reading; every answer was 200, or 503 with a reason."""
        self._ended.set()
        for one in self._going:
            one.result()
        self._pool.shutdown()
        for status, detail in self.answers:
            assert status in (200, 503), self.answers
            assert status == 200 or BY_DATABASE in detail
            assert "a statement failed" not in detail
