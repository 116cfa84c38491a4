"""Start receiver, gateway and pusher without importing them each time.

Imports are most of a start. A process imports a program once, and forks for each start. The fork
has its own arguments, environment, folder and standard streams, and ends with its own status. Where
a test is about the interpreter, its limits or its command line, it starts the program in the
ordinary way.
"""

import atexit
import contextlib
import fcntl
import gc
import importlib
import json
import os
import pkgutil
import random
import select
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

PROGRAMS = ("receiver", "gateway")
_MAIN = {
    "receiver": "runmeter.receiver.cli",
    "gateway": "runmeter.gateway.cli",
    "pusher": "runmeter.collector.push.__main__",
}
_HIGH = 512  # descriptors on their way to the number they are passed on as
_REQUEST_BYTES = 2**20
_NUMBER = struct.Struct("i")
_lock = threading.Lock()
_servers: dict[str, socket.socket] = {}


class Fork(subprocess.Popen[Any]):
    """A forked program, to be used like any ``Popen``; ``args`` begin with the program's name."""

    def _execute_child(self, args: Any, *given: Any) -> None:
        """Have the program forked, in place of fork and exec: ``given`` is what Popen passes."""
        preexec, pass_fds, shell = given[1], given[3], given[8]
        folder, environment, pipes = given[4], given[5], given[9:15]
        assert not any((preexec, shell)), "start it in the ordinary way"
        request = {
            "argv": [os.fsdecode(one) for one in args],
            "folder": os.fsdecode(folder or os.getcwd()),
            "environment": dict(os.environ if environment is None else environment),
            "descriptors": [0, 1, 2, *pass_fds],
        }
        used = zip((pipes[0], pipes[3], pipes[5]), (0, 1, 2), strict=True)
        streams = [own if own != -1 else inherited for own, inherited in used]
        self._result, theirs = os.pipe()
        try:
            with _lock:
                server = _server(Path(request["argv"][0]).name)
                socket.send_fds(
                    server, [json.dumps(request).encode()], [theirs, *streams, *pass_fds]
                )
        finally:
            os.close(theirs)
            self._close_pipe_fds(*pipes)  # type: ignore[attr-defined]
        self.pid = self._number()
        self._child_created = True

    def _number(self) -> int:
        return int(_NUMBER.unpack(os.read(self._result, _NUMBER.size))[0])

    def _try_wait(self, flags: int) -> tuple[int, int]:
        """Return pid and status as ``waitpid`` does."""
        wait_seconds = 0 if flags & os.WNOHANG else None
        if not select.select([self._result], [], [], wait_seconds)[0]:
            return 0, 0
        status = self._number()
        os.close(self._result)
        return self.pid, status

    def _internal_poll(self, *_: Any, **__: Any) -> int | None:
        if self.returncode is None and self._waitpid_lock.acquire(False):  # type: ignore[attr-defined]
            try:
                if self.returncode is None and (found := self._try_wait(os.WNOHANG))[0]:
                    self._handle_exitstatus(found[1])  # type: ignore[attr-defined]
            finally:
                self._waitpid_lock.release()  # type: ignore[attr-defined]
        return self.returncode


def run(
    argv: list[str], *, input: Any = None, timeout: float = 600, **given: Any
) -> subprocess.CompletedProcess[Any]:
    """Run a program to its end, as ``subprocess.run`` does, and return what it wrote."""
    given.setdefault("stdin", subprocess.DEVNULL if input is None else subprocess.PIPE)
    given.setdefault("stdout", subprocess.PIPE)
    given.setdefault("stderr", subprocess.PIPE)
    with Fork(argv, **given) as process:
        try:
            output, errors = process.communicate(input, timeout)
        except subprocess.TimeoutExpired:
            process.kill()
            raise
    return subprocess.CompletedProcess(argv, process.returncode, output, errors)


def _server(program: str) -> socket.socket:
    """Return the socket of the process that forks a program; started when first needed."""
    if program not in _servers:
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        process = subprocess.Popen(
            [sys.executable, "-I", __file__, program, str(theirs.fileno())],
            env=os.environ | {"GRPC_VERBOSITY": "ERROR", "GRPC_ENABLE_FORK_SUPPORT": "0"},
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
        theirs.close()

        def end() -> None:
            ours.close()
            process.wait()

        atexit.register(end)
        _servers[program] = ours
    return _servers[program]


def serve(program: str, control: socket.socket) -> Callable[[], object]:
    """Import a program and fork it on request; returns in forks only, with what to call."""
    package = importlib.import_module(".".join(_MAIN[program].split(".")[:2]))
    for module in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    main = importlib.import_module(_MAIN[program]).main
    gc.collect()
    gc.freeze()
    running: dict[int, tuple[int, int]] = {}  # pidfd → pid, and where its status goes
    while True:
        ready, _, _ = select.select([control, *running], [], [])
        for descriptor in ready:
            if descriptor in running:
                pid, result = running.pop(descriptor)
                status = os.waitpid(pid, 0)[1]
                with contextlib.suppress(BrokenPipeError):  # the test has forgotten it
                    os.write(result, _NUMBER.pack(status))
                os.close(result)
                os.close(descriptor)
        if control in ready:
            request, descriptors, _, _ = socket.recv_fds(control, _REQUEST_BYTES, 16)
            if not request:
                os._exit(0)
            result, *passed = descriptors
            if pid := os.fork():
                os.write(result, _NUMBER.pack(pid))
                running[os.pidfd_open(pid)] = pid, result
                for descriptor in passed:
                    os.close(descriptor)
                continue
            control.close()
            for descriptor, (_, other) in running.items():
                os.close(descriptor)
                os.close(other)
            os.close(result)
            _become(json.loads(request), passed)
            return main  # type: ignore[no-any-return]


def _become(request: dict[str, Any], passed: list[int]) -> None:
    """Take over arguments, environment, folder and descriptors."""
    high = [fcntl.fcntl(descriptor, fcntl.F_DUPFD, _HIGH) for descriptor in passed]
    for descriptor in passed:
        os.close(descriptor)
    for descriptor, number in zip(high, request["descriptors"], strict=True):
        os.dup2(descriptor, number)
        os.close(descriptor)
    os.chdir(request["folder"])
    os.environ.clear()
    os.environ.update(request["environment"])
    sys.argv = request["argv"]
    random.seed()


if __name__ == "__main__":
    main = serve(sys.argv[1], socket.socket(fileno=int(sys.argv[2])))
    os._exit(main())  # type: ignore[arg-type]  # the pusher: the others end by SystemExit
