"""A process that has everything imported and forks a fresh kernel from itself on request.

Each stage gets a kernel of its own, as isolated as a new process, without paying for the imports
again. The server is single-threaded and only imports: no library's threads exist when it forks.

1. `main` imports what the stages need, then answers on a unix socket;
2. `fork_client` (the process that Jupyter sees) connects, passing environment, folder and streams;
3. the server forks; the child becomes an ipykernel, the server passes interrupts and exit codes;
4. when a client's connection closes, its kernel is ended; when our parent ends, so do all.
"""

from __future__ import annotations

import array
import contextlib
import gc
import json
import os
import selectors
import signal
import socket
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

CLIENT = Path(__file__).with_name("fork_client.py")
POLL_SECONDS = 0.02
READY = "ready"


@dataclass
class Child:
    """A kernel and the connection of the client that stands in for it."""

    pid: int
    client: socket.socket


def preload() -> None:
    """Import what stages use, and build what every stage would build again."""
    import ipykernel.kernelapp  # noqa: F401
    import matplotlib_inline.backend_inline  # noqa: F401

    import quant50lib.pipeline.context  # noqa: F401
    from quant50lib.contracts import TABLES
    from quant50lib.utils import dates

    dates.is_session("2024-01-02")
    for table in TABLES:
        table.check(table.empty())


def preload_later() -> None:
    """Load what the second stage needs, while the first one runs: it costs a second.

    Kernels that were never compiled here are left to the stage: that takes too long to keep others
    waiting.
    """
    from quant50lib.services import features_kernel

    source = Path(features_kernel.__file__)
    built = source.parent.glob("__pycache__/features_kernel.*.nbi")
    if any(index.stat().st_mtime >= source.stat().st_mtime for index in built):
        features_kernel.compiled(False)


def received(client: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """What a client asks for, and its two output streams."""
    streams = array.array("i")
    head, passed, _, _ = client.recvmsg(8, socket.CMSG_SPACE(2 * streams.itemsize))
    for _, _, data in passed:
        streams.frombytes(data)
    left = int.from_bytes(head, "big")
    parts = []
    while left:
        part = client.recv(min(left, 65536))
        if not part:
            raise ConnectionError("the client went away while it was asking")
        parts.append(part)
        left -= len(part)
    return json.loads(b"".join(parts)), list(streams)


def become_kernel(asked: dict[str, Any], streams: list[int]) -> None:
    """Turn this freshly forked child into the kernel; returns when the kernel has ended."""
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    os.chdir(asked["cwd"])
    os.environ.clear()
    os.environ.update(asked["environment"])
    os.environ["JPY_PARENT_PID"] = str(os.getppid())
    for number, stream in zip((1, 2), streams, strict=True):
        os.dup2(stream, number)
        os.close(stream)
    from ipykernel import kernelapp

    kernelapp.launch_new_instance(argv=["-f", asked["file"]])


class Server:
    """The loop: accept, fork, pass on."""

    def __init__(self, address: str) -> None:
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._listener.bind(address)
        self._listener.listen()
        self._children: list[Child] = []
        self._complete = False
        self._watched = selectors.DefaultSelector()
        self._watched.register(self._listener, selectors.EVENT_READ)
        self._watched.register(sys.stdin, selectors.EVENT_READ)

    def serve(self) -> None:
        """Answer until standard input closes: whoever started us has ended."""
        while True:
            for key, _ in self._watched.select(POLL_SECONDS):
                if key.fileobj is self._listener:
                    self._fork()
                elif key.fileobj is sys.stdin:
                    return self._end_all()
                else:
                    self._hear(key.data)
            self._reap()
            if self._children and not self._complete:
                self._complete = True
                preload_later()

    def _fork(self) -> None:
        client, _ = self._listener.accept()
        asked, streams = received(client)
        pid = os.fork()
        if pid == 0:
            code = 1
            try:
                self._forget(client)
                become_kernel(asked, streams)
                code = 0
            except SystemExit as ended:
                code = ended.code if isinstance(ended.code, int) else 0
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        for stream in streams:
            os.close(stream)
        child = Child(pid, client)
        self._children.append(child)
        self._watched.register(client, selectors.EVENT_READ, child)

    def _forget(self, client: socket.socket) -> None:
        """In the child: close what belongs to the server."""
        self._watched.close()
        for owned in (self._listener, client, *(c.client for c in self._children)):
            owned.close()

    def _hear(self, child: Child) -> None:
        said = child.client.recv(64)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child.pid, signal.SIGINT if said else signal.SIGKILL)
        if not said:
            self._watched.unregister(child.client)
            child.client.close()

    def _reap(self) -> None:
        for child in list(self._children):
            pid, status = os.waitpid(child.pid, os.WNOHANG)
            if not pid:
                continue
            self._children.remove(child)
            if child.client.fileno() >= 0:
                self._watched.unregister(child.client)
                with contextlib.suppress(OSError):
                    child.client.sendall(bytes([abs(os.waitstatus_to_exitcode(status)) & 255]))
                child.client.close()

    def _end_all(self) -> None:
        for child in self._children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(child.pid, signal.SIGKILL)


def main() -> None:
    """Import, say that it is ready, and serve."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    preload()
    gc.collect()
    gc.freeze()
    server = Server(sys.argv[1])
    print(READY, flush=True)
    server.serve()


if __name__ == "__main__":
    main()
