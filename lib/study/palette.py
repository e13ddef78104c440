"""What every system is called, what was published of it, and its colour: for all papers, from one place.

Labels and published values are those of notebooks/claims.yaml. A system that is not listed there is a listed one with
something changed, which its name tells: "dp_r45_ratio_0p35" is "DP R=0.45, ratio 0.35".
"""

import re
from functools import lru_cache
from zlib import crc32

from lib.study.claims import load_claims

# Okabe and Ito's colours, which are told apart with any colour vision.
BLACK, GREY, ORANGE, SKY, GREEN = "#000000", "#7F7F7F", "#E69F00", "#56B4E9", "#009E73"
BLUE, RED, PINK, WINE, OCHRE = "#0072B2", "#D55E00", "#CC79A7", "#882255", "#B8860B"
# By the beginning of a system's name: the longest that fits counts.
COLOURS = {
    "HT": {"reference": BLACK, "tts_0": GREY, "adaptertts": ORANGE, "hypertts": BLUE, "tts_ft": GREEN, "": PINK},
    "HA": {"whisper_0": GREY, "full": GREEN, "cohort": PINK, "individual": SKY, "bias": "#F0B400", "lora": ORANGE}
    | {"hyper_without": RED, "hyper": BLUE, "": BLACK},
    "SP": {"dp_r20": "#08306B", "dp_r30": "#08519C", "dp_r40": "#2171B5", "dp_r45": BLUE, "dp_r50": "#4292C6"}
    | {"dp_r60": "#6BAED6", "dp_r80": "#9ECAE1", "dp_r45_nohard": PINK, "dp_r45_nolsp": RED, "dp_r45_encoder": WINE}
    | {"dp_r45_phase20": SKY, "dp_r45_phase60": "#003F5C", "baseline": GREY, "vp": ORANGE, "vp_perhead": OCHRE}
    | {"attention_cost": BLACK, "entmax": PINK, "threshold": "#AA7942", "": GREEN},
    "LD": {"reference": BLACK, "text": GREY, "reconstruction": SKY, "reconstruction_trainable_decoder": WINE}
    | {"palette": BLUE, "i2sb": ORANGE, "palette_aligned": GREEN, "i2sb_aligned": OCHRE}
    | {"palette_trainable_decoder": PINK, "palette_content_removed": RED, "": BLACK}
    | {"reconstruction_voices_decoder": "#332288", "reconstruction_speaker_decoder": "#117733"}
    | {"reconstruction_other_speaker": "#999933", "two_space": "#44AA99", "two_space_neutral": "#AA4499"},
}
SPARE = ("#44AA99", "#AA4499", "#117733", "#999933", "#332288", "#DDCC77", "#661100", "#6699CC")  # changed systems
ROLES = {
    "pretraining": ("Pre-training speakers", "#332288", "o"),
    "adaptation": ("Adaptation speakers", "#CC6677", "s"),
    "never_seen": ("Never-seen speakers", "#999933", "^"),
}


@lru_cache(maxsize=1)
def sections() -> dict[str, dict]:
    """The papers' sections of claims.yaml, read once."""
    return load_claims()["papers"]


def listed(paper: str) -> dict[str, dict]:
    """The systems of a paper in claims.yaml, in its order: label and published values."""
    return sections().get(paper, {}).get("systems", {})


def published(paper: str, system: str) -> dict:
    """What a paper published of a system, by metric; empty for most."""
    return listed(paper).get(system, {})


def label(paper: str, system: str) -> str:
    """A system's name for people; for a changed one, that of the system it was made from and what was changed."""
    if system in listed(paper):
        return listed(paper)[system]["label"]
    base = origin(paper, system)
    if base is None:
        return system.replace("_", " ")
    told = re.sub(r"(\d)p(\d)", r"\1.\2", system.removeprefix(f"{base}_")).replace("_", " ")
    told = re.sub(r"\bd s\b", "d_s", told)
    told = re.sub(r"( [0-9.]+) ", r"\1, ", re.sub(r"(\d)e (\d)", r"\1e-\2", told))
    return f"{listed(paper)[base]['label']}, {told}"


def colour(paper: str, system: str) -> str:
    """A system's colour: its own or its family's; a changed one has a colour apart from that of its origin."""
    tones = COLOURS[paper]
    if origin(paper, system):
        return SPARE[crc32(system.encode()) % len(SPARE)]
    return tones[max((start for start in tones if system.startswith(start)), key=len)]


def origin(paper: str, system: str) -> str | None:
    """The listed system that a changed one was made of; None for a listed one."""
    starts = [name for name in listed(paper) if system.startswith(f"{name}_")]
    return None if system in listed(paper) else max(starts, key=len, default=None)
