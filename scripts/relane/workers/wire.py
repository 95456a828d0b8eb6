"""Messages over a unix socket: JSON, with open files beside it, between two processes of one user."""

import json
import os
import socket
import struct
from typing import Any

HEADER = struct.Struct("!I")
LARGEST = 16 << 20  # bytes; a request is its arguments and environment
MOST_FILES = 64


def send(connection: socket.socket, message: dict[str, Any], files: list[int] = ()) -> None:
    """Send one message; `files` are descriptors that the receiver gets copies of."""
    data = json.dumps(message).encode()
    socket.send_fds(connection, [HEADER.pack(len(data))], list(files))
    connection.sendall(data)


def receive(connection: socket.socket) -> tuple[dict[str, Any] | None, list[int]]:
    """The next message and its files; (None, []) where the other side closed. Raises OSError on a broken message."""
    head, files, _, _ = socket.recv_fds(connection, HEADER.size, MOST_FILES)
    try:
        if not head:
            return None, []
        head += _exactly(connection, HEADER.size - len(head))
        [length] = HEADER.unpack(head)
        if length > LARGEST:
            raise OSError(f"a message of {length} bytes is longer than {LARGEST}")
        return json.loads(_exactly(connection, length)), files
    except BaseException:
        for file in files:
            os.close(file)
        raise


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise ConnectionResetError("the other side closed in the middle of a message")
        data += more
    return data


def peer_uid(connection: socket.socket) -> int:
    """The user id of the process at the other end, as the kernel saw it when the two were connected."""
    _, uid, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return uid
