"""Widgets over `lib.explore`: choose with menus and sliders, hear and see at once. Thin: what happens is decided there.

Each function returns a widget, or a `Note` where nobody could move it: without ipywidgets, or in a notebook that is
executed without a reader (papermill, nbconvert).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from lib import explore
from lib.drawing import label
from lib.heard import Heard, Note, attempt
from lib.tts import Bench

if TYPE_CHECKING:
    from ipywidgets import Widget

NO_PACKAGE = "Menus and sliders need the package ipywidgets: pip install ipywidgets. The next cell does the same."
NO_READER = "Menus and sliders appear when this notebook is open in JupyterLab. The next cell does the same."


def unavailable() -> str:
    """Why there are no widgets, in one sentence, or ""."""
    if find_spec("ipywidgets") is None:
        return NO_PACKAGE
    return "" if _has_reader() else NO_READER


def available() -> bool:
    """Whether ipywidgets is there and a reader's frontend is connected to this kernel."""
    return not unavailable()


def _has_reader() -> bool:
    """A frontend says with each request whether its reader can be asked for input; executors say no."""
    try:
        from IPython import get_ipython

        return bool(get_ipython().get_parent()["content"]["allow_stdin"])
    except (ImportError, AttributeError, KeyError, TypeError):  # no kernel, or none that says
        return False


def panel(controls: dict[str, Widget], speak: Callable[..., Heard]) -> Widget:
    """Controls above what `speak(**their values)` returns, which is shown anew whenever one of them changes."""
    import ipywidgets
    from IPython.display import display

    shown = ipywidgets.interactive_output(lambda **chosen: display(attempt(speak, **chosen)), controls)
    layout = ipywidgets.Layout(grid_template_columns="repeat(auto-fit, minmax(20em, 1fr))")
    return ipywidgets.VBox([ipywidgets.GridBox(list(controls.values()), layout=layout), shown])


def menu(name: str, options, **more) -> Widget:
    import ipywidgets

    return ipywidgets.Dropdown(options=options, description=name, **more)


def slider(name: str, low: float, high: float, value: float, step: float) -> Widget:
    """A slider that counts when it is let go."""
    import ipywidgets

    return ipywidgets.FloatSlider(value, min=low, max=high, step=step, description=name, continuous_update=False)


def field(name: str, hint: str) -> Widget:
    """A line of text that counts when it is finished."""
    import ipywidgets

    return ipywidgets.Text(description=name, placeholder=hint, continuous_update=False)


def sentences(bench: Bench, speaker: str) -> list[tuple[str, int]]:
    """A speaker's test sentences as a menu's options."""
    return [(u.text, i) for i, u in enumerate(bench.corpus.select(split="test", speaker=speaker))]


def hypertts(bench: Bench) -> Widget | Note:
    """HyperTTS: system, d_s, seed, voice, a voice to go towards, and a test sentence or any text."""
    if reason := unavailable() or explore.missing(bench, "tts_0", 0):
        return Note(reason)
    profile, speakers = bench.profile, bench.corpus.speakers()
    systems = [(label(name), name) for name in explore.trained(bench)]
    controls = {
        "system": menu("system", systems, value="hypertts_d" if "hypertts_d" in dict(map(reversed, systems)) else None),
        "d_s": menu("d_s", []),
        "seed": menu("seed", profile["seeds"]),
        "speaker": menu("voice", speakers, value=bench.corpus.speakers("adaptation")[0]),
        "other": menu("towards", speakers),
        "share": slider("by", 0.0, 1.0, 0.0, 0.1),
        "number": menu("sentence", []),
        "said": field("or say", "any English text"),
    }
    follow(controls["system"], controls["d_s"], lambda name: explore.sizes(profile, name) or [("none", None)])
    follow(controls["speaker"], controls["number"], lambda speaker: sentences(bench, speaker))

    def speak(system, d_s, seed, speaker, other, share, number, said) -> Heard:
        chosen = system if d_s is None else explore.with_d_s(profile, system, d_s)
        return explore.speak_hypertts(bench, chosen, seed, explore.sentence(bench, speaker, number, said), other, share)

    return panel(controls, speak)


def follow(leader: Widget, menu: Widget, options: Callable[[object], list]) -> None:
    """Give a menu the options that belong to the leader's value, now and whenever that changes."""

    def change(*_) -> None:
        menu.options = options(leader.value)

    leader.observe(change, names="value")
    change()
