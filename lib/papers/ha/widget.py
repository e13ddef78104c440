"""The laboratory of atypical speech recognition as menus and sliders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.papers.ha import lab
from lib.papers.ha.systems import Systems
from lib.study.heard import Heard, Note, sentence
from lib.study.widgets import follow, menu, panel, sentences, unavailable, whole

if TYPE_CHECKING:
    from ipywidgets import Widget


def laboratory(study: Systems) -> Widget | Note:
    """Atypical speech: system with its rank or budget, voice, sentence, condition, severity, and a draw of it."""
    if reason := unavailable():
        return Note(reason)
    source, sizes = study.typical, lab.ranks(study)
    systems = [(f"{name} ({sizes[name]})", name) for name in lab.trained(study, study.settings["seeds"][0])]
    controls = {
        "system": menu("system", systems),
        "seed": menu("seed", study.settings["seeds"]),
        "speaker": menu("voice", source.speakers("never_seen")),
        "number": menu("sentence", []),
        "condition": menu("condition", lab.CONDITIONS),
        "severity": menu("severity", lab.SEVERITIES),
        "draw": whole("draw", 0, 20),
    }
    follow(controls["speaker"], controls["number"], lambda speaker: sentences(source, speaker))

    def hear(system, seed, speaker, number, condition, severity, draw) -> Heard:
        utterance = sentence(source, speaker, number)
        return lab.hear_atypical(study, system, seed, utterance, condition, severity, draw)

    return panel(controls, hear)
