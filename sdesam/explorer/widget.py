"""The explorer in JupyterLab and marimo, through anywidget (extra ``notebook``)."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

try:
    import anywidget
    import traitlets
except ImportError as missing:
    raise ModuleNotFoundError('the notebook explorer needs anywidget: pip install "sdesam[notebook]"') from missing

from ..user_code.failures import guarded
from .application import sentence_of
from .check import check
from .library import Library, first_state, library_of
from .page import config_of, module_text, style_text
from .state import State

__all__ = ["Explorer"]


class Explorer(anywidget.AnyWidget):
    """The interactive screen of one landscape in a notebook.

    >>> import torch
    >>> screen = Explorer(landscape="saddle", state="eta=0.02&rho=0.4&sigma=0.1")
    >>> screen.state.rho
    0.4

    Parameters
    ----------
    landscape : a name, ``file.py:function``, or a function of planar points ``(..., 2) -> (...)``
    update : a name, ``file.py:function``, or an update field G(g, x, z, *, rho)
    state : a ``State``, or the text after # of a page's address

    Attributes
    ----------
    fragment : the state of the screen as text, both ways

    Raises
    ------
    ValueError
        One sentence for each bad argument.
    """

    fragment = traitlets.Unicode().tag(sync=True)
    config = traitlets.Dict().tag(sync=True)

    def __init__(
        self,
        landscape: str | Callable[..., Any] | None = None,
        update: str | Callable[..., Any] | None = None,
        state: State | str | None = None,
    ) -> None:
        library, family, method = library_of(landscape, update)
        chosen = first_state(library, family, method, State.from_fragment(state) if isinstance(state, str) else state)
        self._library: Library = library
        science = library.everything(chosen.landscape).javascript()
        self._esm = f"{module_text()}\nconst notebookScience = {science};\nexport default {{ render }};\n"
        self._css = style_text()
        super().__init__(config=config_of(chosen, library.families, library.methods), fragment=chosen.fragment())
        self.on_msg(self._asked)

    @property
    def state(self) -> State:
        """What the screen shows; set it to move the screen."""
        return self._library.checked(State.from_fragment(self.fragment))

    @state.setter
    def state(self, value: State) -> None:
        self.fragment = self._library.checked(value).fragment()

    def _asked(self, _: Any, message: Any, buffers: Any) -> None:
        """Answer "Check with the toolkit"."""
        try:
            with guarded():
                self.send({"found": check(self._library, message["check"])})
        except Exception as error:  # whatever happened, the page must not wait for ever
            self.send({"error": sentence_of(error)})
