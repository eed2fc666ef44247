"""The local server: for this machine and this token only; every refusal is short JSON."""

from __future__ import annotations

import errno
import hmac
import json
import os
import secrets
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from .application import Application, Refused, sentence_of
from .library import Library
from .state import State

__all__ = ["Application", "Refused", "start_server"]

FIRST_PORT = 8765
_LARGEST = 16_384  # bytes of a request's body
_PATIENCE = 20.0  # seconds a connection may keep silent
_PORTS = 50
_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src blob: data:; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


class _Handler(BaseHTTPRequestHandler):
    """One request; every refusal is a short JSON document."""

    server: _Server  # pyright: ignore[reportIncompatibleVariableOverride]
    protocol_version = "HTTP/1.1"
    timeout = _PATIENCE
    server_version, sys_version = "sdesam", ""

    def do_GET(self) -> None:
        self._answer(lambda application, path: application.get(path))

    def do_POST(self) -> None:
        def act(application: Application, path: str) -> tuple[str, str]:
            return "application/json", json.dumps(application.post(path, self._body()))

        self._answer(act)

    def _answer(self, act: Callable[[Application, str], tuple[str, str]]) -> None:
        try:
            application = self.server.application
            kind, text = act(application, self._inside(application.token))
            self._send(200, kind, text)
        except Refused as refused:
            self.close_connection = True  # an unread body must not be taken for the next request
            self._send(refused.status, "application/json", json.dumps({"error": str(refused)}))
        except (ConnectionError, TimeoutError):
            self.close_connection = True
        except Exception as error:  # the server goes on whatever a request does
            self.close_connection = True
            self._send(500, "application/json", json.dumps({"error": f"{type(error).__name__}: {sentence_of(error)}"}))

    def _inside(self, token: str) -> str:
        """The path below the token, for a request of this machine's own page."""
        hosts = {f"{name}:{self.server.server_port}" for name in ("127.0.0.1", "localhost")}
        if self.headers.get("Host", "") not in hosts:
            raise Refused(403, "The Host of a request must be 127.0.0.1 or localhost with this port.")
        origin = self.headers.get("Origin")
        if origin is not None and origin.removeprefix("http://") not in hosts:
            raise Refused(403, "Requests from other pages are refused.")
        given, _, path = self.path.split("?")[0].removeprefix("/").partition("/")
        if not hmac.compare_digest(given.encode("utf-8", "replace"), token.encode()):
            raise Refused(403, "The token in the address is not the one that sdesam explore printed.")
        return path

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not length.isascii() or not length.isdigit():
            raise Refused(411, "A request with a body must say its Content-Length.")
        if len(length) > 9 or int(length) > _LARGEST:
            raise Refused(413, f"A request may have {_LARGEST} bytes at most.")
        return self.rfile.read(int(length))

    def _send(self, status: int, kind: str, text: str) -> None:
        content = text.encode()
        self.send_response(status)
        self.send_header("Content-Type", f"{kind}; charset=utf-8")
        self.send_header("Content-Length", str(len(content)))
        self.send_header("Content-Security-Policy", _POLICY)
        self.send_header("Cache-Control", "no-store")
        self.send_header("X-Content-Type-Options", "nosniff")
        self.send_header("Referrer-Policy", "no-referrer")
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(content)

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """Malformed requests: JSON like all other refusals."""
        self.close_connection = True
        self._send(int(code), "application/json", json.dumps({"error": message or "The request is malformed."}))

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing: the terminal belongs to the user."""


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    allow_reuse_address = os.name == "posix"  # a port that was just left; on Windows it would share a taken one
    request_queue_size = 64

    def __init__(self, port: int, application: Application) -> None:
        self.application = application
        super().__init__(("127.0.0.1", port), _Handler)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A connection that broke is no news."""


def start_server(library: Library, state: State, port: int | None = None) -> _Server:
    """A bound server, not yet serving; without a port the first free one from 8765 on.

    Raises
    ------
    OSError
        When the given port, or every port tried, is taken or forbidden.
    ValueError
        For a port that does not exist.
    """
    if port is not None and not 0 <= port <= 65535:
        raise ValueError(f"port must be from 0 (any free one) to 65535, got {port}.")
    application = Application(library, state, secrets.token_urlsafe(18))
    ports = range(FIRST_PORT, FIRST_PORT + _PORTS) if port is None else (port,)
    for candidate in ports:
        try:
            return _Server(candidate, application)
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise OSError(f"port {candidate} cannot be used: {error.strerror}.") from error
    if port is None:
        raise OSError(f"every port from {ports[0]} to {ports[-1]} is taken: choose one with --port.")
    raise OSError(f"port {port} is taken: leave --port out and the next free one is used.")
