"""Asks a server of `tests/warm.py` to run a command; gives its exit code. `NAME WORDS…`."""

import array
import json
import os
import signal
import socket
import sys


def main() -> int:
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    connection = socket.socket(socket.AF_UNIX)
    connection.connect(f"\0{sys.argv[1]}")
    asked = {"words": sys.argv[2:], "folder": os.getcwd(), "environment": dict(os.environ)}
    message = json.dumps(asked, ensure_ascii=False).encode("utf-8", "surrogateescape") + b"\0"
    streams = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [0, 1, 2]))
    sent = connection.sendmsg([message], [streams])
    connection.sendall(message[sent:])
    code = int(connection.recv(64) or 70)
    if code < 0:
        os.kill(os.getpid(), -code)
    return code


if __name__ == "__main__":
    os._exit(main())
