"""``sdesam explore`` and ``sdesam render``: the interactive screen, and a state as a figure for a paper."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from .terminal import require_writable, set_threads

if TYPE_CHECKING:
    from .explorer.library import Library
    from .explorer.state import State

__all__ = ["explore", "register", "render"]


def register(app: App) -> None:
    """Add the commands."""
    app.command(explore)
    app.command(render)


def explore(
    *,
    landscape: str | None = None,
    method: str | None = None,
    state: str | None = None,
    port: int | None = None,
    browser: bool = True,
    export: Path | None = None,
) -> None:
    """Open the interactive explorer: the optimizer and its SDE side by side, in the browser.

    Parameters
    ----------
    landscape : saddle, rotated-saddle, embedded-saddle, double-well, quadratic, log-cosh, product-valley, tanh-network,
        or file.py:function of planar points, whose keyword-only numbers become sliders
    method : sgd, sam, usam, dnsam, dnsam-full-numerator, unified-sam, or file.py:function
    state : an address copied from the page, what follows its #, or a .json file that it exported
    port : of the local server; by default the first free one from 8765 on
    browser : open it
    export : instead of a server, write one .html file that runs anywhere without Python; into a folder, one a story
    """
    library, screen = _opened(landscape, method, state)
    if export is None:
        _serve(library, screen, port, browser)
    elif export.is_dir():
        _write_stories(library, export)
    else:
        _write(library, screen, export)


def render(
    state: str,
    *,
    output: Annotated[Path, Parameter(name=["--output", "-o"])],
    landscape: str | None = None,
    method: str | None = None,
    n: int = 10_000,
    threads: int | None = None,
) -> None:
    """Simulate a state of the explorer in the toolkit and draw it in the style of a paper.

    Parameters
    ----------
    state : an address copied from the page, what follows its #, or a .json file that it exported
    output : a .pdf or .png file
    landscape : your file.py:function, where the state was made with it
    method : your file.py:function, where the state was made with it
    n : replicates
    threads : torch threads
    """
    require_writable(output, (".pdf", ".png"))
    set_threads(threads)
    from .explorer.figure import render_state

    library, screen = _opened(landscape, method, state)
    render_state(library, screen, output, n=n)
    print(f"wrote {output}", file=sys.stderr)


def _opened(landscape: str | None, method: str | None, text: str | None) -> tuple[Library, State]:
    """The library with the user's own, and the state that is asked for."""
    from dataclasses import replace

    from .explorer.library import library_of
    from .explorer.presets import PRESETS
    from .explorer.state import State, read_state

    library, family, update = library_of(landscape, method)
    if text is not None:
        state = read_state(text)
    elif family is None and update is None:
        state = PRESETS[0].state
    else:
        chosen = library.families[family or "saddle"]
        (x, y), half = chosen.start, max(0.5, chosen.view / 2)
        box = (x - half, x + half, y - half, y + half)
        state = State(landscape=chosen.name, start=chosen.start, box=box)
    changes = {k: v for k, v in (("landscape", family), ("method", update)) if v is not None}
    return library, library.checked(replace(state, **changes))


def _write(library: Library, state: State, file: Path, title: str = "sdesam explorer") -> None:
    require_writable(file, (".html",))
    from .explorer.page import config_of, page_html

    sciences = [library.everything(state.landscape)]
    config = config_of(state, library.families, library.methods)
    file.write_text(page_html(config, sciences, title), encoding="utf-8")
    print(f"wrote {file} ({file.stat().st_size / 1000:.0f} kB): open it in any browser", file=sys.stderr)


def _write_stories(library: Library, folder: Path) -> None:
    from .explorer.presets import PRESETS

    for preset in PRESETS:
        _write(library, library.checked(preset.state), folder / f"{preset.name}.html", preset.title)


def _serve(library: Library, state: State, port: int | None, browser: bool) -> None:
    import webbrowser

    from .explorer.server import start_server

    server = start_server(library, state, port)
    address = f"http://127.0.0.1:{server.server_port}/{server.application.token}/#{state.fragment()}"
    print(address, flush=True)
    for line in advice(server.server_port, os.environ):
        print(line, file=sys.stderr)
    if browser:
        webbrowser.open(address)
    try:
        server.serve_forever()
    except KeyboardInterrupt:
        print("explorer closed", file=sys.stderr)
    finally:
        server.server_close()


def advice(port: int, environment: Mapping[str, str]) -> list[str]:
    """What a user at the other end of ssh needs; else how to stop.

    >>> advice(8765, {})
    ['Ctrl-C stops the explorer.']
    """
    if not (environment.get("SSH_CONNECTION") or environment.get("SSH_TTY")):
        return ["Ctrl-C stops the explorer."]
    here = environment.get("SSH_CONNECTION", "").split()
    host = here[2] if len(here) == 4 else "this-host"
    return [
        f"over ssh, on your own machine:  ssh -L {port}:127.0.0.1:{port} {environment.get('USER', 'you')}@{host}",
        "or without a tunnel:            sdesam explore --export page.html, and copy that file",
    ]
