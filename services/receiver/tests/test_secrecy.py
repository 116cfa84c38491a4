"""No secret is in the log or on a page, however the database fails."""

import contextlib
import subprocess
from collections.abc import Callable
from typing import Any

import grpc
import pytest
from rig.postgres import USER, serving

from runmeter.v1 import run_pb2

PASSWORD = "a-password/that?no#log@shows"
QUOTED = "a-password%2Fthat%3Fno%23log%40shows"
WRONG = "another-that-no-log-shows"
CUT = (
    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'guarded' "
    "AND pid <> pg_backend_pid()"
)


def test_no_password_of_the_database(
    start_receiver: Callable[..., Any],
    command: Callable[..., subprocess.CompletedProcess[bytes]],
    message: run_pb2.Run,
) -> None:
    """Neither --db's password nor a token: while it serves, when the password is wrong from the
    start or becomes so, and when the server is stopped."""
    with serving() as server:
        server.create_user("guarded", PASSWORD)
        url = server.create_database().replace(f"{USER}@", f"guarded:{QUOTED}@", 1)
        refused = command("migrate", f"--db={url.replace(QUOTED, WRONG)}")
        assert refused.returncode == 1
        assert b"refuses the receiver's login" in refused.stderr
        receiver = start_receiver("--migrate", "--log-level=debug", RECEIVER_DB=url)
        token = receiver.push_token(message.scope)
        assert receiver.push(message, token).id == 1
        seen = [refused.stderr.decode(), receiver.page("/readyz").text]
        message.push_id = "00000000-0000-4000-8000-000000000001"

        def look(reason: str) -> None:
            with pytest.raises(grpc.RpcError, match=reason) as caught:
                receiver.push(message, token)
            seen.append(str(caught.value))
            seen.append(receiver.await_page("/readyz", 503).text)
            seen.append(receiver.page("/metrics").text)

        server.execute(f"ALTER ROLE guarded PASSWORD '{WRONG}'")
        server.execute(CUT)
        with contextlib.suppress(grpc.RpcError):  # that of the connection that was cut
            receiver.push(message, token)
        look("refuses the receiver's login")
        server.stop()
        look("it cannot be reached")
        assert receiver.end() == 0
    seen += receiver.output
    for secret in (PASSWORD, QUOTED, WRONG, token):
        assert [text for text in seen if secret in text] == []
