"""What the local server answers: the page, sciences on request, and checks by the toolkit."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from ..user_code.failures import guarded
from .check import check
from .library import Library
from .page import config_of, entry_text, science_module, style_text
from .state import State

__all__ = ["Application", "Refused", "sentence_of"]

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
            with guarded():
                return self.check(self.library, document)
        except (ValueError, TypeError, OverflowError) as error:
            raise Refused(400, sentence_of(error)) from error
        finally:
            self.busy.release()

    def _page(self) -> str:
        library, state = self.library, self.state
        config = config_of(state, library.families, library.methods)
        with guarded():
            return entry_text(config, [library.science(state.landscape, state.method)], server=True)

    def _science(self, landscape: str, method: str) -> str:
        try:
            with guarded():
                return science_module(self.library.science(landscape, method))
        except ValueError as error:
            raise Refused(404, sentence_of(error)) from error


def sentence_of(error: Exception) -> str:
    """The first line of an error, for a reader."""
    return str(error).splitlines()[0][:400] if str(error) else type(error).__name__
