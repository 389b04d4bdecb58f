"""What Jupyter takes for the kernel: asks the fork server for one and stands in for it.

Run by its path, with the standard library alone, so that it starts in a blink:
``python -S fork_client.py SOCKET CONNECTION_FILE``. It ends with the kernel's exit code; interrupts
are passed on; if it is killed, its connection closes and the server ends the kernel.
"""

from __future__ import annotations

import array
import json
import os
import signal
import socket
import sys
from types import FrameType


def main() -> int:
    """Ask for a kernel and wait for its end."""
    address, connection_file = sys.argv[1:3]
    server = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    server.connect(address)
    asked = {"file": connection_file, "cwd": os.getcwd(), "environment": dict(os.environ)}
    message = json.dumps(asked).encode()
    streams = array.array("i", [1, 2])
    head = len(message).to_bytes(8, "big")
    server.sendmsg([head], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, streams.tobytes())])
    server.sendall(message)

    def interrupt(number: int, frame: FrameType | None) -> None:
        server.sendall(b"i")

    signal.signal(signal.SIGINT, interrupt)
    answer = server.recv(1)
    return answer[0] if answer else 1


if __name__ == "__main__":
    sys.exit(main())
