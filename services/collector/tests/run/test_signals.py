"""Signals that are blocked, and taken while the collector waits."""

import json
import signal
import subprocess
import sys

PROGRAM = """
import json, os, signal, time
from runmeter.collector.run.signals import Signals

signals = Signals()

def send(number):
    os.kill(os.getpid(), number)

def take():
    return signals.wait(time.monotonic_ns() + 60 * 10**9).si_signo

send(signal.SIGTERM)
taken = [take()]
signals.repeats.at_ns += 3600 * 10**9  # the time of a repeat does not pass
send(signal.SIGTERM)
taken.append(take())
counts = [signals.ending_count]
send(signal.SIGTERM)
send(signal.SIGINT)
signals.settle()
pending = sorted(signal.sigpending())
taken.append(take())
counts.append(signals.ending_count)
print(json.dumps([taken, counts, pending]))
"""


def test_a_repeated_signal_counts_once() -> None:
    """The same ending signal again at once is passed on, is not counted, does not stay pending."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, check=True)
    taken, counts, pending = json.loads(done.stdout)
    assert taken == [signal.SIGTERM, signal.SIGTERM, signal.SIGINT]
    assert counts == [1, 2]
    assert pending == [signal.SIGINT]
