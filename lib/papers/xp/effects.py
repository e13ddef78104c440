"""Rows of several papers on common scales: what adaptation gains, and the effects of the factorial experiment.

A share of the ceiling is what a method gains over the unadapted model, in percent of what full fine-tuning gains:

    HT    100 (COS - COS of TTS-0) / (COS of TTS-FT - COS of TTS-0)        adaptation speakers
    HA    100 (WER of Whisper - WER) / (WER of Whisper - WER of full)      the trained cohorts, all speakers

Base and ceiling are averaged over their seeds and serve every seed of the method. SP has no
such ceiling, its systems train every weight; its unit, COS points on never-seen speakers, is also HT's. LD's unit, the
share of the way to a target style, is neither.
"""

from dataclasses import dataclass

import pandas as pd

from lib.papers.ha.style import CAP, TRAINED
from lib.papers.sp.style import against
from lib.study.claims import interval_options, select
from lib.study.contrasts import share_of_gain
from lib.study.drawing import PlotError, by_sentence
from lib.study.palette import label, listed
from lib.study.statistics import Estimate, StatisticsError, interval, pair, paired_difference

ON = ("speaker", "utterance")
EXPERIMENT = "factorial"  # the run of the profile
SKIPPED = ("individual", "hyper_without")  # of HA: they hear only some of the utterances


@dataclass(frozen=True)
class Scale:
    """Where a paper's adaptation gain is read: unadapted system, ceiling, rows."""

    paper: str
    base: str
    ceiling: str
    better: int  # 1: higher values are better, -1: lower ones
    where: dict
    told: str


SCALES = (
    Scale(
        "HT",
        "tts_0",
        "tts_ft",
        1,
        {"metric": "cos", "split": "test", "role": "adaptation"},
        "COS over TTS-0 on adaptation speakers, TTS-FT = 100 %",
    ),
    Scale(
        "HA",
        "whisper_0",
        "full",
        -1,
        {"metric": "wer", "split": "test", "cohort": TRAINED},
        "WER (capped at 1) below Whisper's on the trained cohorts, full fine-tuning = 100 %",
    ),
)


@dataclass(frozen=True)
class Gain:
    """A method's gain, with what it trains and what takes part for one utterance, in % of the base model's weights."""

    paper: str
    system: str
    label: str
    method: str
    estimate: Estimate
    trained: float
    generated: float | None = None


def of_paper(rows: pd.DataFrame, paper: str) -> pd.DataFrame:
    return rows[rows["paper"].eq(paper).fillna(False).to_numpy(dtype=bool)]


def experiment(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows of the profile's own factorial experiment, not those of one with other settings (`chosen`)."""
    return rows[rows["run_id"].str.startswith(f"xp-{EXPERIMENT}-s").fillna(False).to_numpy(dtype=bool)]


def chosen(rows: pd.DataFrame, system: str) -> pd.DataFrame:
    """The rows of all papers with one factorial experiment in the place of the profile's own."""
    if system == EXPERIMENT:
        return rows
    run = rows["run_id"].astype(str)
    others = rows[~run.str.startswith(f"xp-{EXPERIMENT}").to_numpy(dtype=bool)]
    mine = rows[run.str.startswith(f"xp-{system}-s").to_numpy(dtype=bool)]
    return pd.concat([others, mine.assign(run_id=mine["run_id"].str.replace(system, EXPERIMENT))], ignore_index=True)


def measured(rows: pd.DataFrame, paper: str, where: dict) -> pd.DataFrame:
    """The rows of a paper's systems that `where` names, of their own runs (not on another corpus); WER at most 1."""
    found = select(of_paper(rows, paper), where)
    own = paper.lower() + "-" + found["system"] + "-s" + found["seed"].astype("string")
    found = by_sentence(found[found["run_id"].eq(own).fillna(False).to_numpy(dtype=bool)])
    return found.assign(value=found["value"].clip(upper=CAP)) if where["metric"] == "wer" else found


def shares(rows: pd.DataFrame, profile: dict, scale: Scale) -> list[Gain]:
    """The share of the ceiling of every method of a paper, smallest first in trained weights; the ceiling is not in it.

    Raises PlotError, one sentence, when the paper has no rows of the unadapted system or of the ceiling, and
    StatisticsError as `lib.study.contrasts.share_of_gain` does.
    """
    mine = of_paper(rows, scale.paper)
    table = measured(rows, scale.paper, scale.where)
    for needed in (scale.base, scale.ceiling):
        if not table["system"].eq(needed).any():
            raise PlotError(f"{scale.paper} has no {scale.where['metric']} rows of {needed} in this profile yet")
    base, ceiling = (table[table["system"].eq(name)] for name in (scale.base, scale.ceiling))
    sizes, found = weights(mine), []
    other_sizes = [name for name, facts in listed(scale.paper).items() if "of" in facts]
    for system, group in table.groupby("system"):
        trained = sizes["trained"].get(system, 0.0)
        if system == scale.ceiling or not trained > 0 or str(system).startswith(SKIPPED) or system in other_sizes:
            continue
        estimate = share_of_gain(group, base, ceiling, ON, scale.better, **interval_options(profile))
        method, less = str(group["method"].iloc[0]), sizes["generated"].get(system)
        found.append(Gain(scale.paper, system, label(scale.paper, system), method, estimate, trained, less))
    return sorted(found, key=lambda gain: (gain.trained, gain.system))


def ceiling_gain(rows: pd.DataFrame, profile: dict, scale: Scale) -> Estimate:
    """What the ceiling itself gains over the unadapted system, in the metric's unit (negative: fewer errors)."""
    table = measured(rows, scale.paper, scale.where)
    a, b = (table[table["system"].eq(name)] for name in (scale.ceiling, scale.base))
    return paired_difference(a, b, on=ON, **interval_options(profile))


def weights(rows: pd.DataFrame) -> dict[str, dict[str, float]]:
    """Trained and generated weights of the systems of one paper, in % of the base model's.

    "generated": of hypernetworks, what takes part for one utterance, where the rows say it.
    """
    means = rows.groupby(["metric", "system"])["value"].mean()

    def of(metric: str) -> pd.Series:
        return means[metric] if metric in means.index else pd.Series(dtype=float)

    hyper = set(rows.loc[rows["method"].isin(["hyper", "hypernetwork"]), "system"])
    trained, generated = of("trainable_share"), of("generated_share")
    if trained.empty:  # of HT: the backbone's size is in the rows
        trained = (100 * of("trainable_parameters") / of("backbone_parameters")).dropna()
        generated = 100 * of("generated_parameters") / of("backbone_parameters").mean()
    return {
        "trained": trained.to_dict(),
        "generated": {name: share for name, share in generated.items() if name in hyper},
    }


def unseen_gains(rows: pd.DataFrame, profile: dict) -> list[Gain]:
    """COS points gained on never-seen speakers: HT's systems over TTS-0, SP's over the dense model trained as long."""
    found = []
    where = {"metric": "cos", "split": "test", "role": "never_seen"}
    table, sizes = measured(rows, "HT", where), weights(of_paper(rows, "HT"))
    base = table[table["system"].eq("tts_0")]
    for system, group in table.groupby("system") if len(base) else ():
        trained = sizes["trained"].get(system, 0.0)
        if trained > 0:
            estimate = paired_difference(group, base, on=ON, **interval_options(profile))
            facts = (str(group["method"].iloc[0]), estimate, trained, sizes["generated"].get(system))
            found.append(Gain("HT", system, label("HT", system), *facts))
    table = measured(rows, "SP", where | {"variant": "zero_shot"})
    for system, dense in against(table):
        group, other = (table[table["system"].eq(name)] for name in (system, dense))
        several = set(group["seed"]) <= set(other["seed"])
        estimate = paired_difference(group, other, on=("seed", *ON) if several else ON, **interval_options(profile))
        found.append(Gain("SP", system, label("SP", system), "pruned", estimate, 100.0))
    return sorted(found, key=lambda gain: (gain.trained, gain.paper, gain.system))


def cells(rows: pd.DataFrame, metric: str) -> dict[tuple[str, str], pd.DataFrame]:
    """Rows of a metric by cell: method ("hypernetwork", "adapter", "none") and attention ("dense", "pruned").

    Raises PlotError when the factorial experiment has not run.
    """
    mine = select(experiment(rows), {"metric": metric, "split": "test", "role": "adaptation"})
    mine = by_sentence(mine[mine["layer"].isna() & mine["variant"].isin(["dense", "pruned"])])
    found = {(str(m), str(v)): group for (m, v), group in mine.groupby(["method", "variant"])}
    if not found:
        raise PlotError(f"the factorial experiment has no {metric} rows: python -m lib run xp factorial")
    return found


def effects(rows: pd.DataFrame, metric: str, profile: dict) -> dict[str, Estimate]:
    """Effects of the 2 x 2 experiment on a metric, paired by seed, speaker and utterance.

    "hypernetwork": minus the static adapter, averaged over both kinds of attention; "pruned, <method>": pruned minus
    dense; "interaction": the hypernetwork's minus the static adapter's. Raises PlotError for a missing cell.
    """
    found = cells(rows, metric)
    names = [(m, v) for m in ("hypernetwork", "adapter") for v in ("dense", "pruned")]
    if lacking := [" ".join(name) for name in names if name not in found]:
        raise PlotError(f"the factorial experiment lacks {', '.join(lacking)}: run it")
    options = interval_options(profile)
    joined = pair({" ".join(name): found[name] for name in names})
    hd, hp, ad, ap = (joined[" ".join(name)] for name in names)
    values = {"hypernetwork": (hd + hp - ad - ap) / 2, "pruned, hypernetwork": hp - hd, "pruned, adapter": ap - ad}
    if ("none", "pruned") in found and ("none", "dense") in found:
        before = paired_difference(found["none", "pruned"], found["none", "dense"], on=ON, **options)
        told = {"pruned, unadapted": before}
    else:
        told = {}
    told |= {name: interval(joined.assign(value=value), **options) for name, value in values.items()}
    return told | {"interaction": interval(joined.assign(value=(hp - hd) - (ap - ad)), **options)}


def gain_table(rows: pd.DataFrame, profile: dict) -> pd.DataFrame:
    """The shares of the ceiling of all papers that have one here, a line for each method."""
    lines = []
    for scale in SCALES:
        try:
            for gain in shares(rows, profile, scale):
                lines.append(_line(gain.estimate, paper=gain.paper, method=gain.label))
                lines[-1] |= {"trained": gain.trained, "generated": gain.generated}
        except (PlotError, StatisticsError) as error:
            lines.append({"paper": scale.paper, "method": str(error)})
    return pd.DataFrame(lines)


def effect_table(rows: pd.DataFrame, profile: dict) -> pd.DataFrame:
    """The effects of the factorial experiment on every measure."""
    lines = []
    for metric in ("cos", "mel_l1"):
        try:
            found = effects(rows, metric, profile)
            lines += [_line(estimate, measure=metric, effect=name) for name, estimate in found.items()]
        except (PlotError, StatisticsError) as error:
            lines.append({"measure": metric, "effect": str(error)})
    return pd.DataFrame(lines)


def _line(estimate: Estimate, **names: str) -> dict:
    return names | {"value": estimate.value, "low": estimate.ci_low, "high": estimate.ci_high, "n": estimate.n}
