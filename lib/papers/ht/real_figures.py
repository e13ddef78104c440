"""Real voices (HT8): their figure and table, from rows alone, and players."""

import pandas as pd
from matplotlib.figure import Figure

from lib import audio
from lib.papers.common.real_voice import ROLE
from lib.papers.ht.real import folder
from lib.papers.ht.style import colour, difference, label, tested
from lib.papers.ht.systems import OTHER, Systems
from lib.study.claims import select
from lib.study.drawing import Dot, PlotError, canvas, count, describe, estimate, intervals, sample, whiskers
from lib.study.listen import Grid
from lib.study.rows import read_manifests
from lib.study.units import METRICS as UNITS

METRICS = ("cos", "mcd", "ffe")
ANEW = "_anew"


def named(system: str) -> str:
    """A system's label, which says when it was adapted to the real voices themselves."""
    return f"{label(system.removesuffix(ANEW))}, adapted anew" if system.endswith(ANEW) else label(system)


def other_corpus(rows: pd.DataFrame, profile: dict) -> Figure:
    """What every system gains over TTS-0 on held-out sentences of real voices, in COS, MCD and FFE.

    Raises PlotError where there are no rows of them.
    """
    table = tested(rows, "cos", role=ROLE)
    systems = [name for name in dict.fromkeys(table["system"]) if name not in ("tts_0", "reference_vocoded")]
    if not systems or "tts_0" not in set(table["system"]):
        raise PlotError(
            "the real voice needs rows of TTS-0 and of an adapted system: python -m lib run ht other_corpus makes them"
        )
    figure, axes = canvas(len(METRICS), 10.5, 1.4 + 0.34 * len(systems), sharey=True)
    for axis, metric in zip(axes, METRICS, strict=True):
        changes = [difference(rows, system, "tts_0", profile, metric=metric, role=ROLE) for system in systems]
        shapes = ["s" if system.endswith(ANEW) else "o" for system in systems]
        lines = [Dot(c, colour(s), {"fmt": shape}) for c, s, shape in zip(changes, systems, shapes, strict=True)]
        title = f"{UNITS[metric].name} minus TTS-0's"
        intervals(axis, [named(system) for system in systems], lines, title, zero=True)
    caption = f"Differences from TTS-0 on real voices: {sample(table)}; {whiskers(profile)}. "
    caption += "Circles: as adapted on the embedded corpus; squares: adapted to their training sentences. COS is "
    caption += "better to the right of zero, MCD and FFE to the left."
    return describe(figure, caption, "Gains over TTS-0 on real voices in COS, MCD and FFE.", count(table))


def speech_table(rows: pd.DataFrame, profile: dict) -> pd.DataFrame:
    """Means of every TTS system on real voices, with the intervals of COS, as text."""
    lines = []
    for system in dict.fromkeys(select(rows, {"role": ROLE})["system"].dropna()):
        mine = select(rows, {"role": ROLE, "system": system})
        cells = {m: select(mine, {"metric": m}) for m in (*METRICS, "wer", "mos_predicted")}
        told = {m: "–" if c.empty else estimate(c, profile).told() for m, c in cells.items()}
        lines.append({"system": named(system)} | told)
    return pd.DataFrame(lines)


def prompts(study: Systems) -> Grid:
    """A row of players for each prompt whose audio was kept; no rows where the recordings are not there."""
    manifest = read_manifests(study.profile, "HT").get(study.run_id(OTHER, 0), {})
    places = {each.name: each for each in sorted(folder(study).glob("*/"))}
    first = ("recording", "reference_vocoded", "tts_0")
    order = [name for name in first if name in places] + [name for name in places if name not in first]
    rows = {}
    for utterance, sentence in (manifest.get("texts") or {}).items():
        files = {name: places[name] / f"{utterance}.wav" for name in order}
        rows[sentence] = {
            "Recording" if name == "recording" else named(name): audio.read(file)
            for name, file in files.items()
            if file.exists()
        }
    return Grid(rows)
