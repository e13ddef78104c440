"""Listening in the chapters on latent diffusion: what the runs kept, beside each other."""

from lib import audio
from lib.papers.ld.style import label
from lib.papers.ld.measure import player
from lib.papers.ld.systems import Systems
from lib.study.listen import Grid


def systems(study: Systems, names: list[str], guidance: float | None = None, seed: int = 0) -> Grid:
    """The kept test sentences by several systems, a row per sentence and style; `guidance` picks the scale."""
    settings, rows = study.settings["evaluate"], {}
    scale = settings["nominal"] if guidance is None else guidance
    for sentence in study.corpus.sentences("test")[: settings["players"]]:
        for style in settings["styles"]:
            waves = {}
            for name in names:
                folder = study.root / "audio" / study.run_id(name, seed)
                files = [folder / f"{player(sentence, style, x)}.wav" for x in (None, scale)]
                waves |= {label(name): audio.read(file) for file in files if file.is_file()}
            rows[f"{style.replace('_', ' ')}: {sentence.text}"] = waves
    return Grid(rows)


def styles(study: Systems) -> Grid:
    """One test sentence in every style and other speaker's voice: the recordings that z_audio is made of."""
    sentence = study.corpus.sentences("test")[0]
    names = ["recorded", *study.corpus.styles, *study.corpus.voices]
    return Grid({sentence.text: {name.replace("_", " "): study.heard(sentence, name) for name in names}})
