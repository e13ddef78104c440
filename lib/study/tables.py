"""The report's tables, from rows and manifests alone: results beside the paper's, costs, corpus check."""

import pandas as pd

from lib.study.claims import select
from lib.study.drawing import estimate, gain
from lib.study.statistics import Estimate, StatisticsError, independent


def results(rows: pd.DataFrame, paper: dict, profile: dict) -> list[dict]:
    """One entry per system of the paper or of the rows: label, share of weights, and each metric's mean,
    interval, n and published value.

    `paper` is the paper's section of claims.yaml, whose `table` says which rows count and which metrics are columns.
    WER is the mean over utterances, as a ratio.
    """
    metrics = paper["table"]["columns"]
    heard = _where(rows, paper["table"]["where"])
    heard = heard[heard["metric"].isin(metrics)]
    measured = [name for name in heard["system"].dropna().unique() if name not in paper["systems"]]
    full = _trainable(rows, paper["table"].get("whole", "tts_ft"))
    table = []
    for system in [*paper["systems"], *measured]:
        published = paper["systems"].get(system, {})
        trainable = _trainable(rows, system)
        cells = {
            metric: _cell(select(heard, {"system": system, "metric": metric}), published.get(metric), profile)
            for metric in metrics
        }
        heads = [cell for cell in cells.values() if cell["value"] is not None]
        if heads or any(cell["published"] is not None for cell in cells.values()):
            table.append(
                {
                    "system": system,
                    "label": published.get("label", system),
                    "trainable": trainable,
                    "share": 100 * trainable / full if trainable is not None and full else None,
                    "published_trainable": published.get("trainable"),
                    "published_share": published.get("share"),
                    "cells": cells,
                    "n": heads[0]["n"] if heads else None,
                    "seeds": heads[0]["seeds"] if heads else None,
                }
            )
    return table


def costs(rows: pd.DataFrame, manifests: dict[str, dict], paper: dict) -> list[dict]:
    """One entry per trained system, smallest first: parameters, generated parameters, seconds of training,
    speed of synthesis (seconds of speech in a second), peak memory in MiB. Means over seeds.
    """
    table = []
    for system in rows["system"].dropna().unique():
        mine = select(rows, {"system": system})
        seconds = _mean(select(mine, {"metric": "seconds_trained"}))
        trainable = _trainable(mine, system)
        if seconds is None and not trainable:
            continue
        trained = select(mine, {"metric": ["seconds_trained", "trainable_parameters"]})
        made = (trained if len(trained) else mine)["run_id"].dropna().unique()
        runs = [manifests[run] for run in made if run in manifests]
        table.append(
            {
                "label": paper["systems"].get(system, {}).get("label", system),
                "trainable": trainable,
                "generated": _mean(select(mine, {"metric": "generated_parameters"})),
                "seconds": seconds,
                "memory": max((run.get("peak_memory_mib") or 0 for run in runs), default=0) or None,
                "device_memory": max((run.get("peak_device_memory_mib") or 0 for run in runs), default=0) or None,
                "speed": _speed(runs),
                "runs": len(made),
            }
        )
    return sorted(table, key=lambda entry: entry["trainable"] or 0)


def corpus_check(rows: pd.DataFrame, profile: dict, metric: str = "cos") -> dict | None:
    """Is there anything to adapt to? The gap of TTS-0 between pre-training and adaptation speakers, and the
    share of it that full fine-tuning closes, with intervals; None when rows are missing.

    The two groups of speakers are independent; TTS-0 and TTS-FT on adaptation speakers are paired.
    """
    tested = select(rows, {"metric": metric, "split": "test"})
    known = select(tested, {"system": "tts_0", "role": "pretraining"})
    new = {name: select(tested, {"system": name, "role": "adaptation"}) for name in ("tts_0", "tts_ft")}
    if known.empty or new["tts_0"].empty or new["tts_ft"].empty:
        return None
    before, after = estimate(new["tts_0"], profile), estimate(known, profile)
    try:
        gained = gain(new["tts_ft"], new["tts_0"], profile, on=["speaker", "utterance"])
    except StatisticsError:
        return None
    gap = independent(after, before)
    closed = 100 * gained.value / gap.value if gap.value > 0 else None
    return {
        "pretraining": after.value,
        "adaptation": before.value,
        "fine_tuned": before.value + gained.value,
        "gap": _bounds(gap),
        "gain": _bounds(gained),
        "closed": closed,
        "holds": bool(gap.ci_low is not None and gap.ci_low > 0 and closed is not None and closed > 50),
        "n": {"pretraining": after.n, "adaptation": gained.n},
    }


def _where(rows: pd.DataFrame, where: dict) -> pd.DataFrame:
    """As `lib.study.claims.select`, and None among the values means the rows that have none."""
    for column, wanted in where.items():
        wanted = wanted if isinstance(wanted, list) else [wanted]
        known = rows[column].isin([value for value in wanted if value is not None]).fillna(False).astype(bool)
        rows = rows[known | (rows[column].isna() & (None in wanted))]
    return rows


def _cell(table: pd.DataFrame, published: float | None, profile: dict) -> dict:
    cell = {"value": None, "ci_low": None, "ci_high": None, "n": 0, "seeds": 0, "published": published}
    if table.empty:
        return cell
    found = estimate(table, profile)
    return cell | {name: getattr(found, name) for name in ("value", "ci_low", "ci_high", "n", "seeds")}


def _speed(runs: list[dict]) -> float | None:
    told = [run for run in runs if run.get("synthesis_seconds") and run.get("audio_seconds")]
    spent = sum(run["synthesis_seconds"] for run in told)
    return sum(run["audio_seconds"] for run in told) / spent if spent else None


def _trainable(rows: pd.DataFrame, system: str) -> float | None:
    """How many weights a system trains, as its training told or, of runs that are not committed whole, its rows."""
    told = select(rows, {"metric": "trainable_parameters", "system": system})["value"]
    told = told if len(told) else select(rows, {"system": system})["trainable"].dropna()
    return float(told.mean()) or None if len(told) else None


def _mean(table: pd.DataFrame) -> float | None:
    return float(table["value"].mean()) if len(table) else None


def _bounds(found: Estimate) -> dict:
    return {name: getattr(found, name) for name in ("value", "ci_low", "ci_high")}
