"""Tables of the HA study from rows: errors by cohort and method, and what each method costs in weights."""

from __future__ import annotations

import pandas as pd

from lib.papers.ha.style import COHORTS, METHODS, errors, label, usable
from lib.study.claims import select
from lib.study.drawing import PlotError, estimate
from lib.study.statistics import Estimate


def by_cohort(rows: pd.DataFrame, profile: dict, role: str = "never_seen") -> pd.DataFrame:
    """WER of every method (rows) on every cohort (columns) as text: mean, interval, median; a dash where it has none.

    Means are of utterances capped at 1, as in the claims; where capping changes a mean, the one without it is told. The
    median over utterances (each averaged over its seeds) tells what most are like.
    """
    table = []
    for system in usable(rows, [name for name in METHODS if name != "individual"]):
        line = {"method": label(system)}
        for cohort, name in COHORTS.items():
            mine = errors(rows, [system], role=role, cohort=cohort, empty=True)
            line[name] = _cell(estimate(mine, profile), mine) if len(mine) else "–"
        table.append(line)
    return pd.DataFrame(table)


def _cell(estimate: Estimate, table: pd.DataFrame) -> str:
    ends = "" if estimate.ci_low is None else f" [{estimate.ci_low:.2f}, {estimate.ci_high:.2f}]"
    raw, median = table["uncapped"].mean(), table.groupby(["speaker", "utterance"])["value"].mean().median()
    uncapped = f", uncapped {raw:.2f}" if f"{raw:.2f}" != f"{table['value'].mean():.2f}" else ""
    return f"{estimate.value:.2f}{ends}, median {median:.2f}{uncapped}"


def weights(rows: pd.DataFrame) -> pd.DataFrame:
    """Weights of every adapted system: adapted and trained, in numbers and in % of Whisper's, and seconds of training;
    means over seeds, the fewest adapted first. Raises PlotError when there are none."""
    names = ("generated_parameters", "generated_share", "trainable_parameters", "trainable_share", "seconds_trained")
    found = select(rows, {"metric": list(names)})
    if found.empty:
        raise PlotError("there are no parameter counts: run an adapted system first")
    wide = found.pivot_table(index="system", columns="metric", values="value", aggfunc="mean")
    wide = wide.reindex(columns=list(names)).sort_values("generated_parameters")
    return wide.rename(index=label).reset_index()
