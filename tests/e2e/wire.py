# SPDX-License-Identifier: Apache-2.0
"""HTTP by hand, for requests that no client library would send. Standard library only."""

import socket
import struct
import time


class WireReply:
    def __init__(self, status, headers, body):
        self.status = status
        self.headers = headers  # Names in lower case; a repeated header keeps its last value.
        self.body = body

    def __repr__(self):
        return f"<{self.status} {self.headers} {self.body[:200]!r}>"


class Wire:
    """One TCP connection: raw bytes out, parsed replies in."""

    def __init__(self, port, timeout=20.0, receive_buffer=None):
        self.socket = socket.socket()
        if receive_buffer is not None:
            self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        self.socket.settimeout(timeout)
        self.socket.connect(("127.0.0.1", port))
        self.buffer = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def send(self, data):
        """Sends bytes (or text); a peer that already closed is no error here."""
        try:
            self.socket.sendall(data.encode() if isinstance(data, str) else data)
            return True
        except (BrokenPipeError, ConnectionResetError):
            return False

    def receive(self):
        """Returns what has come; b"" at the end, also when the peer reset the connection."""
        try:
            return self.socket.recv(65536)
        except ConnectionResetError:
            return b""

    def _fill(self):
        data = self.receive()
        self.buffer += data
        return bool(data)

    def _take_until(self, mark):
        while mark not in self.buffer:
            if not self._fill():
                return None
        head, self.buffer = self.buffer.split(mark, 1)
        return head

    def _take(self, count):
        while len(self.buffer) < count and self._fill():
            pass
        data, self.buffer = self.buffer[:count], self.buffer[count:]
        return data

    def _take_chunks(self):
        body = b""
        while True:
            size = int(self._take_until(b"\r\n"), 16)
            body += self._take(size)
            self._take_until(b"\r\n")
            if size == 0:
                return body

    def _take_body(self, head_only, headers):
        if head_only:
            return b""
        if headers.get("transfer-encoding") == "chunked":
            return self._take_chunks()
        if "content-length" in headers:
            return self._take(int(headers["content-length"]))
        while self._fill():
            pass
        body, self.buffer = self.buffer, b""
        return body

    def reply(self, head_only=False):
        """Reads one reply, skipping 100 Continue; None when the connection ended instead."""
        while True:
            head = self._take_until(b"\r\n\r\n")
            if head is None:
                return None
            lines = head.decode("latin-1").split("\r\n")
            status = int(lines[0].split(" ", 2)[1])
            headers = {}
            for line in lines[1:]:
                name, value = line.split(":", 1)
                headers[name.strip().lower()] = value.strip()
            if status == 100:
                continue
            without_body = head_only or status in (204, 304)
            return WireReply(status, headers, self._take_body(without_body, headers))

    def closed_within(self, seconds):
        """Reads to the end of the connection; returns the seconds that took, or None. What came
        meanwhile is in `buffer`."""
        started = time.monotonic()
        self.socket.settimeout(0.2)
        while time.monotonic() - started < seconds:
            try:
                if not self._fill():
                    return time.monotonic() - started
            except TimeoutError:
                continue
        return None

    def half_close(self):
        self.socket.shutdown(socket.SHUT_WR)

    def reset(self):
        """Closes with RST instead of FIN."""
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.socket.close()

    def close(self):
        self.socket.close()


def request_bytes(method, path, body=b"", headers=(), version="HTTP/1.1", host="localhost"):
    """A well-formed request; `headers` are whole lines without their end."""
    lines = [f"{method} {path} {version}"]
    if host is not None:
        lines.append(f"Host: {host}")
    if body:
        lines.append(f"Content-Length: {len(body)}")
        lines.append("Content-Type: application/json")
    lines.extend(headers)
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + body
