"""As much of a websocket client as following ComfyUI needs: texts are read, previews passed over."""

import base64
import json
import os
import socket
import struct
from collections.abc import Iterator
from typing import Any
from urllib.parse import urlsplit

TEXT, CLOSE, PING, PONG = 1, 8, 9, 10


class Messages:
    """What ComfyUI sends to one client."""

    def __init__(self, url: str, client_id: str, patience: float) -> None:
        place = urlsplit(url)
        self.socket = socket.create_connection((place.hostname, place.port), timeout=patience)
        self.stream = self.socket.makefile("rb")
        key = base64.b64encode(os.urandom(16)).decode()
        self.socket.sendall(
            f"GET /ws?clientId={client_id} HTTP/1.1\r\nHost: {place.netloc}\r\nUpgrade: websocket\r\n"
            f"Connection: Upgrade\r\nSec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\n\r\n".encode()
        )
        assert b"101" in self.stream.readline()
        while self.stream.readline().strip():
            pass

    def __iter__(self) -> Iterator[tuple[str, dict[str, Any]]]:
        """(type, data) of each text message, until the connection ends."""
        while True:
            kind, payload = self._frame()
            if kind == CLOSE:
                return
            if kind == PING:
                self.socket.sendall(bytes([0x80 | PONG, 0x80]) + bytes(4))
            if kind == TEXT:
                message = json.loads(payload)
                yield message["type"], message["data"]

    def _frame(self) -> tuple[int, bytes]:
        first, second = self.stream.read(2)
        length = second & 0x7F
        if length > 125:
            length = struct.unpack(
                ">H" if length == 126 else ">Q", self.stream.read(2 if length == 126 else 8)
            )[0]
        return first & 0x0F, self.stream.read(length)

    def close(self) -> None:
        self.stream.close()
        self.socket.close()
