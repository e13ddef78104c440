"""The laboratory of latent diffusion as menus and sliders."""

from __future__ import annotations

from typing import TYPE_CHECKING

from lib.corpora.styled.styles import DEFAULTS, PHRASES
from lib.papers.ld import lab
from lib.papers.ld.systems import Systems
from lib.study.heard import Heard, Note
from lib.study.widgets import field, menu, panel, slider, unavailable

if TYPE_CHECKING:
    from ipywidgets import Widget


def laboratory(study: Systems) -> Widget | Note:
    """Latent diffusion: system, sentence, a level of each factor of style or a prompt in own words, guidance."""
    systems = lab.trained(study, study.settings["seeds"][0])
    if reason := unavailable() or (not systems and lab.missing(study, "palette", 0)):
        return Note(reason)
    texts = [(sentence.text, place) for place, sentence in enumerate(study.tested)]
    controls = {
        "system": menu("system", systems),
        "seed": menu("seed", study.settings["seeds"]),
        "number": menu("sentence", texts),
        "guidance": slider("guidance", 0.0, 6.0, float(study.settings["evaluate"]["nominal"]), 0.5),
        **{factor: menu(factor, list(levels), value=DEFAULTS[factor]) for factor, levels in PHRASES.items()},
        "words": field("or prompt", "a style in your own words"),
    }

    def speak(system, seed, number, guidance, words, **levels) -> Heard:
        prompt = words.strip() or lab.prompt(**levels)
        return lab.speak_latents(study, system, seed, number, prompt, guidance)

    return panel(controls, speak)
