"""The laboratory of pruned self-attention as menus and sliders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.papers.sp import lab
from lib.papers.sp.systems import Systems
from lib.study.heard import Heard, Note, sentence
from lib.study.widgets import field, follow, menu, panel, sentences, slider, unavailable

if TYPE_CHECKING:
    from ipywidgets import Widget


def laboratory(study: Systems) -> Widget | Note:
    """Pruned self-attention: system, R of its learned pruning, sentence or any text, reference speaker and seconds."""
    systems = lab.trained(study, study.settings["seeds"][0])
    if reason := unavailable() or (not systems and lab.missing(study, "baseline", 0)):
        return Note(reason)
    ratios = {f"R = {ratio:g}": name for ratio, name in lab.ratios(study).items() if name in systems}
    others = {name: name for name in systems if name not in ratios.values()}
    speakers = study.corpus.speakers("never_seen") + study.corpus.speakers("adaptation")
    controls = {
        "system": menu("system", list((others | ratios).items())),
        "seed": menu("seed", study.settings["seeds"]),
        "speaker": menu("sentence of", speakers),
        "number": menu("sentence", []),
        "said": field("or say", "any English text"),
        "reference": menu("voice", speakers),
        "seconds": slider("seconds of it", 0.0, 6.0, 0.0, 0.5),
    }
    follow(controls["speaker"], controls["number"], lambda speaker: sentences(study.corpus, speaker))

    def speak(system, seed, speaker, number, said, reference, seconds) -> Heard:
        utterance = sentence(study.corpus, speaker, number, said)
        return lab.speak_pruned(study, system, seed, utterance, reference, seconds or None)

    return panel(controls, speak)
