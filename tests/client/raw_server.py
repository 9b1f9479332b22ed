"""A server below gRPC: it speaks just enough HTTP/2 to know that a whole request has come, then does what it likes.

For what no well-behaved server does: break the connection with the request on it, reset the stream for reasons of
HTTP/2's own, answer as a proxy would, or in bytes that are no HTTP/2 at all.
"""

import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

__all__ = [
    "RawServer",
    "close",
    "garbage",
    "go_away",
    "go_away_with_error",
    "http_status",
    "raw_server",
    "reset",
    "reset_stream",
    "trailers",
]

PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
DATA, HEADERS, RST_STREAM, SETTINGS, PING, GOAWAY = 0, 1, 3, 4, 6, 7
END_STREAM, ACK, END_HEADERS = 0x1, 0x1, 0x4

Act = Callable[[socket.socket, int], None]


def frame(kind: int, flags: int, stream: int, payload: bytes = b"") -> bytes:
    return struct.pack(">I", len(payload))[1:] + bytes([kind, flags]) + struct.pack(">I", stream) + payload


def header_block(*headers: tuple[str, str]) -> bytes:
    """Literals that are never indexed: HPACK without its table."""
    block = b""
    for name, value in headers:
        assert len(name) < 127, name
        assert len(value) < 127, value
        block += b"\x00" + bytes([len(name)]) + name.encode() + bytes([len(value)]) + value.encode()
    return block


# --- what may be done with a request that has come -------------------------------------------------------------------


def reset(connection: socket.socket, stream: int) -> None:
    """TCP RST."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    raise EOFError  # which closes it


def close(connection: socket.socket, stream: int) -> None:
    """TCP FIN."""
    connection.shutdown(socket.SHUT_RDWR)


def garbage(connection: socket.socket, stream: int) -> None:
    connection.sendall(b"\xde\xad\xbe\xef" * 64)


def reset_stream(error: int) -> Act:
    """RST_STREAM with HTTP/2's number for the reason."""

    def act(connection: socket.socket, stream: int) -> None:
        connection.sendall(frame(RST_STREAM, 0, stream, struct.pack(">I", error)))

    return act


def go_away(last_stream: int) -> Act:
    """GOAWAY, gracefully, then the end: streams above ``last_stream`` were not looked at, it says."""

    def act(connection: socket.socket, stream: int) -> None:
        connection.sendall(frame(GOAWAY, 0, 0, struct.pack(">II", last_stream, 0)))
        close(connection, stream)

    return act


def go_away_with_error(connection: socket.socket, stream: int) -> None:
    connection.sendall(frame(GOAWAY, 0, 0, struct.pack(">II", 2**31 - 1, 0x2) + b"debug text"))
    close(connection, stream)


def http_status(status: int) -> Act:
    """What a proxy says that speaks no gRPC."""

    def act(connection: socket.socket, stream: int) -> None:
        block = header_block((":status", str(status)), ("content-type", "text/html"))
        connection.sendall(frame(HEADERS, END_HEADERS | END_STREAM, stream, block))

    return act


def trailers(*headers: tuple[str, str], body: bytes = b"") -> Act:
    """A gRPC answer whose body and trailers are as given."""

    def act(connection: socket.socket, stream: int) -> None:
        head = header_block((":status", "200"), ("content-type", "application/grpc"))
        connection.sendall(
            frame(HEADERS, END_HEADERS, stream, head)
            + frame(DATA, 0, stream, body)
            + frame(HEADERS, END_HEADERS | END_STREAM, stream, header_block(*headers))
        )

    return act


# --- the server ------------------------------------------------------------------------------------------------------


class RawServer:
    """``requests`` counts those that have come whole, over all connections."""

    def __init__(self, act: Act) -> None:
        self._act = act
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.endpoint = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.requests = 0
        self._lock = threading.Lock()
        self._connections: list[socket.socket] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def stop(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._threads[0].join()
        for connection in self._connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
        for thread in self._threads[1:]:
            thread.join()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with connection, suppress(OSError, EOFError):
            read = connection.makefile("rb")
            with read:
                assert _exactly(read, len(PREFACE)) == PREFACE
                connection.sendall(frame(SETTINGS, 0, 0))
                while True:
                    head = _exactly(read, 9)
                    payload = _exactly(read, int.from_bytes(head[:3], "big"))
                    kind, flags, stream = head[3], head[4], int.from_bytes(head[5:], "big")
                    if kind == SETTINGS and not flags & ACK:
                        connection.sendall(frame(SETTINGS, ACK, 0))
                    elif kind == PING and not flags & ACK:
                        connection.sendall(frame(PING, ACK, 0, payload))
                    elif kind in (DATA, HEADERS) and flags & END_STREAM:
                        with self._lock:
                            self.requests += 1
                        self._act(connection, stream)


def _exactly(read, size: int) -> bytes:
    data = read.read(size)
    if len(data) < size:
        raise EOFError
    return data


@contextmanager
def raw_server(act: Act) -> Iterator[RawServer]:
    server = RawServer(act)
    try:
        yield server
    finally:
        server.stop()
