"""Widgets over `lib.papers.ht.lab` and its like: choose with menus and sliders, hear and see at once. What happens is there.

Each function returns a widget, or a `Note` where nobody could move it: without ipywidgets, or in a notebook that is
executed without a reader (papermill, nbconvert).
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import TYPE_CHECKING

from lib.papers.common.heard import Heard, Note, attempt
from lib.papers.ht import lab as explore
from lib.papers.ht.study import Bench
from lib.study.drawing import label

if TYPE_CHECKING:
    from ipywidgets import Widget

    from lib.papers.ha.data import Bench as AsrBench
    from lib.papers.ld.data import Lab
    from lib.papers.sp.systems import Systems as Pruned

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


def sentences(bench: Bench, speaker: str) -> list[tuple[str, int]]:
    """A speaker's test sentences as a menu's options."""
    return [(u.text, i) for i, u in enumerate(bench.corpus.select(split="test", speaker=speaker))]


def widths(profile: dict, system: str) -> list[tuple[str, int | None]]:
    """The d_s that a system can be had with, as a menu's options."""
    return [("its own", None), *((str(d_s), d_s) for d_s in explore.sizes(profile, system))]


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
    follow(controls["system"], controls["d_s"], lambda name: widths(profile, name))
    follow(controls["speaker"], controls["number"], lambda speaker: sentences(bench, speaker))

    def speak(system, d_s, seed, speaker, other, share, number, said) -> Heard:
        chosen = system if d_s is None else explore.with_d_s(profile, system, d_s)
        return explore.speak_hypertts(bench, chosen, seed, explore.sentence(bench, speaker, number, said), other, share)

    return panel(controls, speak)


def pruned(bench: Pruned) -> Widget | Note:
    """Pruned self-attention: system, R of its learned pruning, sentence or any text, reference speaker and seconds."""
    from lib.papers.sp import lab as explore_pruned

    systems = explore_pruned.trained(bench, bench.settings["seeds"][0])
    if reason := unavailable() or (not systems and explore_pruned.missing(bench, "baseline", 0)):
        return Note(reason)
    ratios = {f"R = {ratio:g}": name for ratio, name in explore_pruned.ratios(bench).items() if name in systems}
    others = {name: name for name in systems if name not in ratios.values()}
    speakers = bench.corpus.speakers("never_seen") + bench.corpus.speakers("adaptation")
    controls = {
        "system": menu("system", list((others | ratios).items())),
        "seed": menu("seed", bench.settings["seeds"]),
        "speaker": menu("sentence of", speakers),
        "number": menu("sentence", []),
        "said": field("or say", "any English text"),
        "reference": menu("voice", speakers),
        "seconds": slider("seconds of it", 0.0, 6.0, 0.0, 0.5),
    }
    follow(controls["speaker"], controls["number"], lambda speaker: sentences(bench, speaker))

    def speak(system, seed, speaker, number, said, reference, seconds) -> Heard:
        utterance = explore.sentence(bench, speaker, number, said)
        return explore_pruned.speak_pruned(bench, system, seed, utterance, reference, seconds or None)

    return panel(controls, speak)


def atypical(bench: AsrBench) -> Widget | Note:
    """Atypical speech: system with its rank or budget, voice, sentence, condition, severity, and a draw of it."""
    from lib.papers.ha import lab as explore_asr
    from lib.papers.ht.study import Bench as Source

    if reason := unavailable():
        return Note(reason)
    source, sizes = Source(bench.profile, bench.device, bench.cores), explore_asr.ranks(bench)
    systems = [(f"{name} ({sizes[name]})", name) for name in explore_asr.trained(bench, bench.settings["seeds"][0])]
    controls = {
        "system": menu("system", systems),
        "seed": menu("seed", bench.settings["seeds"]),
        "speaker": menu("voice", source.corpus.speakers("never_seen")),
        "number": menu("sentence", []),
        "condition": menu("condition", explore_asr.CONDITIONS),
        "severity": menu("severity", explore_asr.SEVERITIES),
        "draw": whole("draw", 0, 20),
    }
    follow(controls["speaker"], controls["number"], lambda speaker: sentences(source, speaker))

    def hear(system, seed, speaker, number, condition, severity, draw) -> Heard:
        utterance = explore.sentence(source, speaker, number)
        return explore_asr.hear_atypical(bench, system, seed, utterance, condition, severity, draw)

    return panel(controls, hear)


def latents(lab: Lab) -> Widget | Note:
    """Latent diffusion: system, sentence, a level of each factor of style or a prompt in own words, guidance."""
    from lib.corpora.styled.styles import DEFAULTS, PHRASES
    from lib.papers.ld import lab as explore_latents

    systems = explore_latents.trained(lab, lab.settings["seeds"][0])
    if reason := unavailable() or (not systems and explore_latents.missing(lab, "palette", 0)):
        return Note(reason)
    texts = [(sentence.text, place) for place, sentence in enumerate(lab.sentences("test"))]
    controls = {
        "system": menu("system", systems),
        "seed": menu("seed", lab.settings["seeds"]),
        "number": menu("sentence", texts),
        "guidance": slider("guidance", 0.0, 6.0, float(lab.settings["evaluate"]["nominal"]), 0.5),
        **{factor: menu(factor, list(levels), value=DEFAULTS[factor]) for factor, levels in PHRASES.items()},
        "words": field("or prompt", "a style in your own words"),
    }

    def speak(system, seed, number, guidance, words, **levels) -> Heard:
        prompt = words.strip() or explore_latents.prompt(**levels)
        return explore_latents.speak_latents(lab, system, seed, number, prompt, guidance)

    return panel(controls, speak)


def follow(leader: Widget, menu: Widget, options: Callable[[object], list]) -> None:
    """Give a menu the options that belong to the leader's value, now and whenever that changes; the first is chosen."""

    def change(*_) -> None:
        menu.options = options(leader.value)
        menu.index = 0 if menu.options else None

    leader.observe(change, names="value")
    change()
