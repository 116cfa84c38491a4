"""Signals of a server, sent to processes of their own."""

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, os, signal, sys
from runmeter.service.signals import Signals

async def serve():
    with Signals(lambda number: print("second", number, flush=True)) as signals:
        print("started", flush=True)
        print(await signals.first(), flush=True)
        await signals.hurried.wait()
        await asyncio.sleep(0)
    os.kill(os.getpid(), signal.SIGTERM)  # changes nothing any more
    os.kill(os.getpid(), signal.SIGHUP)
    os.kill(os.getpid(), signal.SIGINT)

{run}(serve())
os.kill(os.getpid(), signal.SIGTERM)
print("ended", flush=True)
"""
HANGUPS = """
import asyncio
from runmeter.service.signals import Signals

async def serve():
    with Signals() as signals:
        for _ in range(2):
            print("waits", flush=True)
            await signals.hung_up.wait()
            signals.hung_up.clear()
        signals.end("orphaned")
        print(await signals.first(), signals.hurried.is_set(), flush=True)

asyncio.run(serve())
"""


def started(code: str) -> subprocess.Popen[str]:
    """Start a program that writes what happens to it."""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.parametrize("first", [signal.SIGTERM, signal.SIGINT])
def test_first_second_late(first: signal.Signals) -> None:
    """The first signal is named, the second reported; later ones change nothing."""
    with started(PROGRAM.format(run="asyncio.run")) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "started\n"
        process.send_signal(first)
        assert process.stdout.readline() == f"{first.name}\n"
        second = signal.SIGINT if first == signal.SIGTERM else signal.SIGTERM
        process.send_signal(second)
        assert process.stdout.read() == f"second {second.value}\nended\n"
    assert process.returncode == 0


TWICE = """
import asyncio, os, signal
from runmeter.service import signals

async def serve():
    with signals.Signals(lambda number: print("second", number, flush=True)) as received:
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGTERM)
        print(await received.first(), received.hurried.is_set(), flush=True)
        await asyncio.sleep(signals.REPEAT_SECONDS)
        os.kill(os.getpid(), signal.SIGTERM)
        await received.hurried.wait()

asyncio.run(serve())
"""


def test_a_repeat_is_no_second_signal() -> None:
    """GNU timeout sends a signal twice at once: it counts as one; sent later it is a second one."""
    with started(TWICE) as process:
        assert process.stdout is not None
        assert process.stdout.read() == f"SIGTERM False\nsecond {signal.SIGTERM.value}\n"


def test_hangups() -> None:
    """SIGHUP does not end the program and may be repeated; a program may end itself."""
    with started(HANGUPS) as process:
        assert process.stdout is not None
        for _ in range(2):
            assert process.stdout.readline() == "waits\n"
            process.send_signal(signal.SIGHUP)
        assert process.stdout.read() == "orphaned False\n"
    assert process.returncode == 0


NO_HANGUP = """
import asyncio
from runmeter.service.signals import Signals

async def work():
    with Signals(hangup=False) as signals:
        print("works", flush=True)
        await signals.first()

asyncio.run(work())
"""


def test_without_hangups() -> None:
    """With ``hangup=False`` SIGHUP ends the program."""
    with started(NO_HANGUP) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "works\n"
        process.send_signal(signal.SIGHUP)
    assert process.returncode == -signal.SIGHUP


THREADS = """
import asyncio, signal, threading, time
from runmeter.service.signals import Signals

threading.Thread(target=time.sleep, args=(5,), daemon=True).start()

async def serve():
    with Signals() as signals:
        print("started", flush=True)
        await signals.first()

asyncio.run(serve())
print("ended", flush=True)
"""


def test_late_signals_with_threads() -> None:
    """Signals during the end of the program change nothing, whichever thread gets them."""
    for _ in range(5):
        with started(THREADS) as process:
            assert process.stdout is not None
            assert process.stdout.readline() == "started\n"
            while process.poll() is None:
                process.send_signal(signal.SIGTERM)
                process.send_signal(signal.SIGHUP)
            assert process.stdout.read() == "ended\n"
        assert process.returncode == 0
