"""Widgets of a laboratory: choose with menus and sliders, hear and see at once.

`lib.papers.<paper>.widget` builds a paper's own from them, or returns a `Note` where nobody could move it
(`unavailable`): without ipywidgets, or in a notebook that is executed without a reader (papermill, nbconvert).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from lib.corpora.corpus import Corpus
from lib.study.heard import Heard, attempt

if TYPE_CHECKING:
    from ipywidgets import Widget

NO_PACKAGE = "Menus and sliders need the package ipywidgets: pip install ipywidgets. The next cell does the same."
NO_READER = "Menus and sliders appear when this notebook is open in JupyterLab. The next cell does the same."


def unavailable() -> str:
    """Why there are no widgets, in one sentence, or ""."""
    if find_spec("ipywidgets") is None:
        return NO_PACKAGE
    return "" if _has_reader() else NO_READER


def _has_reader() -> bool:
    """A frontend says with each request whether its reader can be asked for input; executors say no."""
    try:
        from IPython import get_ipython

        return bool(get_ipython().get_parent()["content"]["allow_stdin"])
    except (ImportError, AttributeError, KeyError, TypeError):  # no kernel, or none that says
        return False


def panel(controls: dict[str, Widget], speak: Callable[..., Heard]) -> Widget:
    """Controls above what `speak(**their values)` returns, which is shown anew whenever one of them changes.

    A menu that follows another changes with it, so the same choice can come twice: it is computed once.
    """
    import ipywidgets
    from IPython.display import display

    last: dict = {}

    def show(**chosen) -> None:
        if last.get("chosen") != chosen:
            last.update(chosen=chosen, shown=attempt(speak, **chosen))
        display(last["shown"])

    shown = ipywidgets.interactive_output(show, controls)
    layout = ipywidgets.Layout(grid_template_columns="repeat(auto-fit, minmax(20em, 1fr))")
    return ipywidgets.VBox([ipywidgets.GridBox(list(controls.values()), layout=layout), shown])


def menu(name: str, options, **more) -> Widget:
    import ipywidgets

    return ipywidgets.Dropdown(options=options, description=name, **more)


def slider(name: str, low: float, high: float, value: float, step: float) -> Widget:
    """A slider that counts when it is let go."""
    import ipywidgets

    return ipywidgets.FloatSlider(value, min=low, max=high, step=step, description=name, continuous_update=False)


def whole(name: str, low: int, high: int) -> Widget:
    """A slider of whole numbers that counts when it is let go."""
    import ipywidgets

    return ipywidgets.IntSlider(low, min=low, max=high, description=name, continuous_update=False)


def field(name: str, hint: str) -> Widget:
    """A line of text that counts when it is finished."""
    import ipywidgets

    return ipywidgets.Text(description=name, placeholder=hint, continuous_update=False)


def sentences(corpus: Corpus, speaker: str) -> list[tuple[str, int]]:
    """A speaker's test sentences as a menu's options."""
    return [(u.text, i) for i, u in enumerate(corpus.select(split="test", speaker=speaker))]


def follow(leader: Widget, menu: Widget, options: Callable[[object], list]) -> None:
    """Give a menu the options that belong to the leader's value, now and whenever that changes; the first is chosen."""

    def change(*_) -> None:
        menu.options = options(leader.value)
        menu.index = 0 if menu.options else None

    leader.observe(change, names="value")
    change()
