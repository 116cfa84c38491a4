"""What a process loads, and what it does, when it imports our modules."""

import subprocess
import sys

from rig.repository import modules

# each of them costs the sampling process memory, or starts what only the pusher needs
HEAVY = (
    "asyncio",
    "bz2",
    "dataclasses",
    "google",
    "grpc",
    "logging",
    "lzma",
    "shutil",
    "structlog",
    "subprocess",
)

# prints the events that reach outside, while the modules named as arguments are imported
AUDIT = """
import importlib, sys
names = sys.argv[1:]
list(map(importlib.import_module, {preloaded!r}))
seen = []
def audit(event, arguments):
    if event == "open" and isinstance(arguments[1], str) and set(arguments[1]) & set("wax+"):
        seen.append(f"open {{arguments[0]}}")
    elif event.startswith(("socket.", "subprocess.", "os.exec", "os.posix_spawn", "os.fork",
                           "os.putenv", "os.mkdir", "sqlite3.", "signal.")):
        seen.append(event)
sys.addaudithook(audit)
for name in names:
    importlib.import_module(name)
print(*seen, sep="\\n", end="")
"""
# libraries whose own import does such things; what they do is not ours
LIBRARIES = ("grpc", "grpc.aio", "sanic", "tortoise", "asyncpg", "structlog", "click", "asyncio")


def run(code: str, *arguments: str) -> str:
    """Run code in a fresh interpreter, without writing bytecode; return what it prints."""
    done = subprocess.run(
        [sys.executable, "-I", "-B", "-c", code, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def loaded_by(imports: str) -> set[str]:
    """Return which heavy modules are loaded after these imports."""
    code = f"import sys, {imports}; print(*sorted(set({HEAVY!r}) & set(sys.modules)))"
    return set(run(code).split())


def test_sampling_process_loads_nothing_heavy() -> None:
    """The sampling process loads neither gRPC nor protobuf nor any other heavy module."""
    assert loaded_by("runmeter.collector.cli") == set()


def test_collector_that_has_measured_has_loaded_nothing_heavy() -> None:
    """A whole measured run, up to its printed summary, loads nothing heavy either."""
    code = (
        "import sys; from runmeter.collector.cli import main; "
        "status = main(['--interval=100ms', '--log-level=error', '--', sys.executable, '-c', '']); "
        f"print(status, *sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    assert run(code).splitlines()[-1] == "0"


def test_heavy_modules_are_seen() -> None:
    """Heavy modules that are loaded are found."""
    assert loaded_by(f"runmeter.collector.cli, {', '.join(HEAVY)}") == set(HEAVY)


def test_importing_does_nothing() -> None:
    """Importing every module of ours writes no file, opens no socket, starts no process."""
    names = [name for name in modules() if not name.endswith(".__main__")]
    assert len(names) > 80
    assert run(AUDIT.format(preloaded=LIBRARIES), *names) == ""


def test_doing_something_at_import_is_seen() -> None:
    """What a module might do when it is imported is found by the same means."""
    importing = "for name in names:\n    importlib.import_module(name)"
    effects = "import os, socket, subprocess; socket.socket().close()\nsubprocess.run(['true'])"
    code = AUDIT.format(preloaded=()).replace(
        importing, f"{effects}\nopen(os.devnull, 'w').close()"
    )
    assert {"socket.__new__", "subprocess.Popen", "open /dev/null"} <= set(run(code).splitlines())
