"""Listening in the chapters on latent diffusion: what the runs kept, beside each other."""

from lib import audio
from lib.papers.ld.data import Lab, heard
from lib.papers.ld.style import label
from lib.study.listen import Grid


def systems(lab: Lab, names: list[str], guidance: float | None = None, seed: int = 0) -> Grid:
    """The kept test sentences by several systems, a row per sentence and style; `guidance` picks the scale."""
    scale = lab.settings["evaluate"]["nominal"] if guidance is None else guidance
    rows = {}
    for sentence in lab.sentences("test")[: lab.settings["evaluate"]["players"]]:
        for style in lab.settings["evaluate"]["styles"]:
            waves = {}
            for name in names:
                folder = lab.root / "audio" / f"ld-{name}-s{seed}"
                files = [folder / f"{sentence.name}-{style}{end}.wav" for end in ("", f"-x{scale:g}")]
                waves |= {label(name): audio.read(file) for file in files if file.is_file()}
            rows[f"{style.replace('_', ' ')}: {sentence.text}"] = waves
    return Grid(rows)


def styles(lab: Lab) -> Grid:
    """One test sentence in every style and other speaker's voice: the recordings that z_audio is made of."""
    sentence = lab.sentences("test")[0]
    names = ["recorded", *lab.styles, *lab.settings["data"]["speakers"]]
    rate = lab.vits.dims.rate
    return Grid({sentence.text: {name.replace("_", " "): heard(lab.wave(sentence, name), rate) for name in names}})
