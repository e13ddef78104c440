"""HyperTTS's laboratory as menus and sliders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.papers.ht import lab
from lib.papers.ht.style import label
from lib.papers.ht.systems import Systems
from lib.study.heard import Heard, Note, sentence
from lib.study.widgets import field, follow, menu, panel, sentences, slider, unavailable

if TYPE_CHECKING:
    from ipywidgets import Widget


def widths(study: Systems, system: str) -> list[tuple[str, int | None]]:
    """The d_s that a system can be had with, as a menu's options."""
    return [("its own", None), *((str(d_s), d_s) for d_s in lab.sizes(study, system))]


def laboratory(study: Systems) -> Widget | Note:
    """HyperTTS: system, d_s, seed, voice, a voice to go towards, and a test sentence or any text."""
    if reason := unavailable() or lab.missing(study, "tts_0", 0):
        return Note(reason)
    speakers = study.corpus.speakers()
    systems = [(label(name), name) for name in lab.trained(study)]
    controls = {
        "system": menu("system", systems, value="hypertts_d" if "hypertts_d" in dict(map(reversed, systems)) else None),
        "d_s": menu("d_s", []),
        "seed": menu("seed", study.settings["seeds"]),
        "speaker": menu("voice", speakers, value=study.corpus.speakers("adaptation")[0]),
        "other": menu("towards", speakers),
        "share": slider("by", 0.0, 1.0, 0.0, 0.1),
        "number": menu("sentence", []),
        "said": field("or say", "any English text"),
    }
    follow(controls["system"], controls["d_s"], lambda name: widths(study, name))
    follow(controls["speaker"], controls["number"], lambda speaker: sentences(study.corpus, speaker))

    def speak(system, d_s, seed, speaker, other, share, number, said) -> Heard:
        chosen = system if d_s is None else lab.with_d_s(study, system, d_s)
        return lab.speak_hypertts(study, chosen, seed, sentence(study.corpus, speaker, number, said), other, share)

    return panel(controls, speak)
