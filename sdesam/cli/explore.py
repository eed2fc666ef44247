"""``sdesam explore`` and ``sdesam render``: the interactive screen, and a state as a figure for a paper."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

from cyclopts import App, Parameter

from ..engine.progress import speaking
from ..names import EXPLORED
from .options import METHOD, Output
from .terminal import Count, Usage, computing, deliver, require_writable, set_threads

if TYPE_CHECKING:
    from ..explorer.library import Library
    from ..explorer.state import State

__all__ = ["explore", "register", "render"]

LARGE = 100  # kB of an exported page


PLANAR = (
    f"{', '.join(EXPLORED)}, or file.py:function of planar points (..., 2), whose keyword-only numbers become sliders"
)


def register(app: App) -> None:
    """Add the commands."""
    app.command(computing(explore))
    app.command(computing(render))


def explore(
    *,
    landscape: Annotated[str | None, Parameter(help=PLANAR)] = None,
    method: Annotated[str | None, Parameter(help=f"{METHOD}, called as G(g, x, z, rho=rho)")] = None,
    state: str | None = None,
    port: Count | None = None,
    browser: bool = True,
    export: str | None = None,
) -> None:
    """Open the interactive explorer: the optimizer and its SDE side by side, in the browser.

    Parameters
    ----------
    state
        an address copied from the page, what follows its #, or a .json file that it exported
    port
        of the local server; by default the first free one from 8765 on
    browser
        open it; not over ssh
    export
        instead of a server, write one .html file that runs anywhere without Python; into a folder/, one a story
    """
    library, screen = _opened(landscape, method, state)
    if export is None:
        _serve(library, screen, port, browser)
    elif export.endswith("/") or Path(export).is_dir():
        if (landscape, method, state) != (None, None, None):
            file = Path(export, "page.html")
            raise Usage(f"--export into a folder writes the stories: name a file there for this, {file}.")
        _write_stories(library, Path(export))
    else:
        _write(library, screen, Path(export))


def render(
    state: str,
    *,
    output: Output[Path],
    landscape: str | None = None,
    method: str | None = None,
    n: Count = 10_000,
    threads: Count | None = None,
) -> None:
    """Simulate a state of the explorer in the toolkit and draw it in the style of a paper.

    Parameters
    ----------
    state
        an address copied from the page, what follows its #, or a .json file that it exported
    output
        a .pdf or .png file
    landscape
        your file.py:function, where the state was made with it
    method
        your file.py:function, where the state was made with it
    n
        replicates
    threads
        torch threads
    """
    require_writable(output, (".pdf", ".png"))
    set_threads(threads)
    from ..explorer.figure import render_state

    library, screen = _opened(landscape, method, state)
    render_state(library, screen, output, n=n)
    print(f"wrote {output}", file=sys.stderr)


def _opened(landscape: str | None, method: str | None, text: str | None) -> tuple[Library, State]:
    """The library with the user's own, and the state that is asked for."""
    from ..explorer.library import first_state, library_of
    from ..explorer.state import read_state

    library, family, update = library_of(landscape, method)
    return library, first_state(library, family, update, None if text is None else read_state(text))


def _write(library: Library, state: State, file: Path, title: str = "sdesam explorer") -> None:
    try:
        require_writable(file, (".html",))
    except Usage as usage:
        raise Usage(str(usage).replace("--output", "--export")) from None
    from ..explorer.page import config_of, page_html

    sciences = [library.everything(state.landscape)]
    config = config_of(state, library.families, library.methods)
    file.write_text(page_html(config, sciences, title), encoding="utf-8", newline="\n")
    size = file.stat().st_size / 1000
    print(f"wrote {file} ({size:.0f} kB): open it in any browser", file=sys.stderr)
    if size > LARGE:
        print(f"more than {LARGE} kB: this landscape takes many operations", file=sys.stderr)


def _write_stories(library: Library, folder: Path) -> None:
    from ..explorer.presets import PRESETS

    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Usage(f"--export must be a folder that can be made, got {folder}: {error.strerror}.") from None
    for preset in PRESETS:
        _write(library, library.checked(preset.state), folder / f"{preset.name}.html", preset.title)


def _serve(library: Library, state: State, port: int | None, browser: bool) -> None:
    import webbrowser

    from ..explorer.server import start_server

    library.science(state.landscape, state.method)  # what does not trace is refused here, not on an empty page
    server = start_server(library, state, port)
    address = f"http://127.0.0.1:{server.server_port}/{server.application.token}/#{state.fragment()}"
    deliver(address)
    for line in advice(server.server_port, os.environ):
        print(line, file=sys.stderr)
    if browser and not over_ssh(os.environ):  # there it would be a text browser on the wrong machine
        webbrowser.open(address)
    try:
        with speaking(None):
            server.serve_forever()
    except KeyboardInterrupt:
        print("explorer closed", file=sys.stderr)
    finally:
        server.server_close()


def over_ssh(environment: Mapping[str, str]) -> bool:
    """Whether the user sits at another machine."""
    return bool(environment.get("SSH_CONNECTION") or environment.get("SSH_TTY"))


def advice(port: int, environment: Mapping[str, str]) -> list[str]:
    """What a user at the other end of ssh needs; else how to stop.

    >>> advice(8765, {})
    ['Ctrl-C stops the explorer.']
    """
    if not over_ssh(environment):
        return ["Ctrl-C stops the explorer."]
    here = environment.get("SSH_CONNECTION", "").split()
    host = here[2] if len(here) == 4 else "this-host"
    return [
        f"over ssh, on your own machine:  ssh -L {port}:127.0.0.1:{port} {environment.get('USER', 'you')}@{host}",
        "or without a tunnel:            sdesam explore --export page.html, and copy that file",
    ]
