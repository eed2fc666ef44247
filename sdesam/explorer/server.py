"""The local server: the page, sciences on request, and checks by the toolkit; for this machine and this token only."""

from __future__ import annotations

import errno
import hmac
import json
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import unquote

from .check import check
from .library import Library
from .page import config_of, entry_text, science_module, style_text
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
_HTML = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>sdesam</title>
<link rel="stylesheet" href="./page.css">
<link rel="icon" href="data:,">
<body>
<main id="sdesam" class="sdesam">This page simulates in the browser and needs JavaScript.</main>
<script type="module" src="./page.js"></script>
</body>
</html>
"""


class Refused(Exception):
    """A request that is answered with a status and one sentence."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(sentence)
        self.status = status


@dataclass(frozen=True)
class Application:
    """What is behind the token.

    Attributes
    ----------
    library : landscapes and methods that may be asked for
    state : the first screen
    token : the first part of every path
    check : (library, document) -> answer, one at a time
    """

    library: Library
    state: State
    token: str
    check: Callable[[Library, Mapping[str, Any]], dict[str, Any]] = check
    busy: Any = field(default_factory=threading.Lock, repr=False, compare=False)

    def get(self, path: str) -> tuple[str, str]:
        """Content type and text of a path below the token."""
        parts = [unquote(p) for p in path.split("/")]
        if path == "":
            return "text/html", _HTML
        if path == "page.css":
            return "text/css", style_text()
        if path == "page.js":
            return "text/javascript", self._page()
        if path == "alive":
            return "application/json", "{}"
        if len(parts) == 3 and parts[0] == "science" and parts[2].endswith(".js"):
            return "text/javascript", self._science(parts[1], parts[2].removesuffix(".js"))
        raise Refused(404, "There is nothing at this path.")

    def post(self, path: str, body: bytes) -> dict[str, Any]:
        """The answer to a check."""
        if path != "check":
            raise Refused(404, "Only check takes a state.")
        try:
            document = json.loads(body)
        except (ValueError, RecursionError) as error:
            raise Refused(400, "The body must be a JSON object with the entries of a state.") from error
        if not self.busy.acquire(blocking=False):
            raise Refused(429, "The toolkit is busy with another check: try again in a moment.")
        try:
            return self.check(self.library, document)
        except (ValueError, TypeError, OverflowError) as error:
            raise Refused(400, _sentence(error)) from error
        finally:
            self.busy.release()

    def _page(self) -> str:
        library, state = self.library, self.state
        config = config_of(state, library.families, library.methods)
        return entry_text(config, [library.science(state.landscape, state.method)], server=True)

    def _science(self, landscape: str, method: str) -> str:
        try:
            return science_module(self.library.science(landscape, method))
        except ValueError as error:
            raise Refused(404, _sentence(error)) from error


def _sentence(error: Exception) -> str:
    return str(error).splitlines()[0][:400] if str(error) else type(error).__name__


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
            self._send(500, "application/json", json.dumps({"error": f"{type(error).__name__}: {_sentence(error)}"}))

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
    allow_reuse_address = False
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
        When the given port, or every port tried, is taken.
    """
    application = Application(library, state, secrets.token_urlsafe(18))
    ports = range(FIRST_PORT, FIRST_PORT + _PORTS) if port is None else (port,)
    for candidate in ports:
        try:
            return _Server(candidate, application)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or candidate == ports[-1]:
                what = f"port {port} is taken: leave --port out and the next free one is used" if port else str(error)
                raise OSError(what) from error
    raise OSError("no port")
