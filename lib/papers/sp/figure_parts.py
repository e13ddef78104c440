"""What the figures of the zero-shot study share: names, colours, axes, and the rows they are about."""

from functools import lru_cache

import pandas as pd

from lib.study.claims import load_claims, select
from lib.study.drawing import AXES as STUDY_AXES
from lib.study.drawing import PlotError

BASELINE = "baseline"
LAYERS = ("d0", "d1", "d2", "d3")
SWEEP = ("dp_r20", "dp_r30", "dp_r40", "dp_r45", "dp_r50", "dp_r60", "dp_r80")
AXES = STUDY_AXES | {"cer": "CER (ratio)", "secs": "SECS (ECAPA-TDNN cosine)", "mel_l1": "Log-mel error (L1)"}
COLOURS = {  # the sweep over R from dark (prunes most) to light; single systems from Okabe and Ito
    **dict(zip(SWEEP, ("#08306B", "#08519C", "#2171B5", "#0072B2", "#4292C6", "#6BAED6", "#9ECAE1"), strict=True)),
    **{BASELINE: "#7F7F7F", "vp": "#E69F00", "vp_perhead": "#B8860B", "dp_r45_nohard": "#CC79A7"},
    **{"dp_r45_nolsp": "#D55E00", "dp_r45_encoder": "#882255", "attention_cost": "#000000"},
    **{"dp_r45_phase20": "#56B4E9", "dp_r45_phase60": "#003F5C", "entmax": "#CC79A7"},
}
OTHERS = {"threshold": "#AA7942", "baseline_": "#7F7F7F", "dp_": "#0072B2"}


@lru_cache(maxsize=1)
def written() -> dict[str, dict]:
    """Label and published values of every system, from claims.yaml."""
    return load_claims()["papers"].get("SP", {}).get("systems", {})


def published(system: str) -> dict:
    """What the paper published of a system: mos, smos, cer (ratio), secs, theta by block; empty for most."""
    return written().get(system, {})


def label(system: str) -> str:
    return published(system).get("label", system)


def colour(system: str) -> str:
    prefix = next((tone for name, tone in OTHERS.items() if system.startswith(name)), "#009E73")
    return COLOURS.get(system, prefix)


def block(layer: str) -> str:
    """A block's name, counted from 1: "d0" is decoder block 1."""
    return f"{'decoder' if layer[0] == 'd' else 'encoder'} {int(layer[1:]) + 1}"


def measured(rows: pd.DataFrame, role: str = "never_seen") -> pd.DataFrame:
    """The test sentences of a role. Raises PlotError when nothing was measured."""
    found = select(rows, {"variant": "zero_shot", "role": role, "split": "test"})
    if found.empty:
        raise PlotError(f"no system has spoken as the {role.replace('_', '-')} speakers: run one")
    return found


def has(table: pd.DataFrame, metric: str, systems: list[str]) -> bool:
    return not select(table, {"metric": metric, "system": systems}).empty


def learned(table: pd.DataFrame, everything: bool = False) -> list[str]:
    """The systems of the sweep over R that have rows; with `everything` all others with learned thresholds too."""
    there = list(dict.fromkeys(table["system"].dropna()))
    found = [system for system in SWEEP if system in there]
    return found + [s for s in there if s.startswith("dp_") and s not in SWEEP] if everything else found


def against(table: pd.DataFrame) -> list[tuple[str, str]]:
    """Pairs of a system and the dense model of its size, for all systems that have both, in claims.yaml's order."""
    there = list(dict.fromkeys(select(table, {"metric": "cos"})["system"].dropna()))
    order = {name: place for place, name in enumerate(written())}
    pairs = []
    for system in sorted(there, key=lambda name: (order.get(name, len(order)), name)):
        size = system.rpartition("_")[2]
        dense = f"{BASELINE}_{size}" if size.startswith(("layers", "heads")) else BASELINE
        if system != dense and dense in there:
            pairs.append((system, dense))
    return pairs
