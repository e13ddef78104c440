"""What the figures of HyperTTS share: its systems' names and colours, and the rows they compare."""

from functools import partial

import pandas as pd

from lib.study import drawing, palette
from lib.study.drawing import Dot
from lib.study.palette import BLACK, BLUE, GREEN, GREY, ORANGE, PINK
from lib.study.statistics import Estimate

FAMILIES = {"Recordings": BLACK, "TTS-0": GREY, "AdapterTTS": ORANGE, "HyperTTS": BLUE, "TTS-FT": GREEN}
FAMILIES |= {"Other conditioning": PINK}
MAIN = (
    *("reference_vocoded", "tts_0", "adaptertts_e", "adaptertts_v", "adaptertts_d", "adaptertts_evd"),
    *("hypertts_e", "hypertts_v", "hypertts_d", "hypertts_ed", "hypertts_evd", "tts_ft"),
)
LOSSES = {  # of the backbone and of adaptation
    **{"mel_postnet": "Mel (L1, nat)", "duration": "Duration (MSE, log frames)"},
    **{"pitch": "Pitch (MSE, z-score)", "energy": "Energy (MSE, z-score)"},
}
SWEEP = ("hypertts_d_ds2", "hypertts_d", "hypertts_d_ds32", "hypertts_d_ds128")

label, colour, published = (partial(each, "HT") for each in (palette.label, palette.colour, palette.published))
dots = partial(drawing.dots, "HT")


def tested(rows: pd.DataFrame, metric: str, systems=None, role: str | None = "adaptation") -> pd.DataFrame:
    """Rows of a metric on test utterances. Raises PlotError when there are none."""
    where = ({"role": role} if role else {}) | ({"system": list(systems)} if systems else {})
    return drawing.found(rows, metric, split="test", **where)


def added(table: pd.DataFrame) -> list[str]:
    """The systems that claims.yaml does not list."""
    return sorted(set(table["system"].dropna()) - set(palette.listed("HT")))


def difference(rows: pd.DataFrame, a: str, b: str, profile: dict, metric="cos", role="adaptation") -> Estimate:
    """Mean of a - b over the utterances both spoke, and over seeds unless they share none."""
    first, second = tested(rows, metric, [a], role), tested(rows, metric, [b], role)
    seedless = {a, b} & {"tts_0", "reference", "reference_vocoded"} or not set(first["seed"]) & set(second["seed"])
    on = ("speaker", "utterance") if seedless else ("seed", "speaker", "utterance")
    return drawing.gain(first, second, profile, on=on)


def gains(rows: pd.DataFrame, pairs: list[tuple[str, str]], profile: dict, tones: list[str], **options) -> list[Dot]:
    """The difference of each pair of systems, in the colours of `tones`, which are systems."""
    return [Dot(difference(rows, a, b, profile, **options), colour(s)) for (a, b), s in zip(pairs, tones, strict=True)]


def families(systems) -> dict[str, str]:
    """Name and colour of each family of the systems, for a legend."""
    there = {colour(system) for system in systems}
    return {name: tone for name, tone in FAMILIES.items() if tone in there}
