"""What the parts of claims compare: rows chosen, brought to one value per seed, speaker and utterance, and
estimated.
"""

import numpy as np
import pandas as pd

from lib.study.claim_parts import Part, number
from lib.study.contrasts import contrast, reduction, share_of_gain, slope, trend
from lib.study.profile import OTHER
from lib.study.statistics import Estimate, StatisticsError, interval, pair, paired_difference, share

UNIT = ["seed", "speaker", "utterance"]
BESIDE = (OTHER, "acted")  # roles of recordings that are no part of the study's corpus


def select(rows: pd.DataFrame, where: dict, **more: object) -> pd.DataFrame:
    """The rows whose columns equal the given values; a list of values means any of them."""
    keep = np.ones(len(rows), dtype=bool)
    for column, wanted in (where | more).items():
        allowed = wanted if isinstance(wanted, list) else [wanted]
        keep &= rows[column].isin(allowed).fillna(False).to_numpy(dtype=bool)
    return rows[keep]


def scale(rows: pd.DataFrame, manifests: dict[str, dict], profile: dict, paper: str) -> str:
    """What was measured on, in words: profile, corpus, speakers, utterances, seeds, size of the backbone.

    The corpus checks of a paper, rows of no method, do not count, nor do recordings of another corpus.
    """
    rows = rows[(rows["paper"] == paper).fillna(False) & ~rows["role"].isin(BESIDE).fillna(False)]
    if rows.empty:
        return f"{profile['name']} profile, nothing measured"
    heard = rows[rows["utterance"].notna() & rows["method"].notna()]
    fewest, seeds = _seeds(heard, profile, paper)
    speakers = heard["speaker"].nunique()
    named = corpora(manifests, paper)
    size = select(rows, {"metric": "trainable_parameters", "system": "tts_ft"})["value"]
    parts = [
        f"{profile['name']} profile",
        f"corpus {' and '.join(named) or 'not named'}",
        f"{speakers} speaker{'s' * (speakers != 1)}",
        f"{len(heard[['speaker', 'utterance']].drop_duplicates())} test utterances",
        f"{f'{fewest} to ' if fewest < seeds else ''}{seeds} seed{'s' * (seeds != 1)}",
    ]
    return ", ".join(parts + ([f"a backbone of {size.mean() / 1e6:.1f} M parameters"] if len(size) else []))


def _seeds(rows: pd.DataFrame, profile: dict, paper: str) -> tuple[int, int]:
    """The fewest and the most seeds of the systems that are to run with every seed; of all where none of them did."""
    each = rows.groupby("system")["seed"].nunique()
    mine = each[each.index.isin((profile.get(paper.lower()) or {}).get("headline") or [])]
    chosen = mine if len(mine) else each
    return (int(chosen.min()), int(chosen.max())) if len(chosen) else (0, 0)


def corpora(manifests: dict[str, dict], paper: str) -> list[str]:
    """The corpora of a paper's runs, without recordings of another corpus."""
    mine = [m for run, m in manifests.items() if m["paper"] == paper and m.get("corpus") and OTHER not in run]
    return sorted({str(m["corpus"]) for m in mine})


def by_listener(rows: pd.DataFrame) -> pd.DataFrame:
    """Answers of listeners with the listener in the speaker's place: listeners and sentences are what is random."""
    return rows.assign(speaker=rows["listener"])


def measure(part: Part, rows: pd.DataFrame, texts: dict[str, str], sentence: str | None, **options: float) -> None:
    """Fill the part's value, estimate and runs; when rows are missing, only the reason.

    `texts` gives what an utterance says; `sentence`, a pattern, is the part of an utterance's name that its sentence
    is.
    """
    spec = part.spec
    chosen = select(rows, spec["where"], metric=spec["metric"])
    named = names(spec)
    tables = {_shown(name): select(chosen, {spec.get("factor", "system"): name}) for name in named} or {"": chosen}
    missing = [name for name, table in tables.items() if table.empty]
    if missing:
        where = ", ".join(f"{key} {_shown(value)}" for key, value in spec["where"].items())
        part.reason = f"no {spec['metric']} rows{' of ' if named else ''}{', '.join(missing)}"
        part.reason += f" for {where}" if where else ""
        return
    if part.heard:
        tables = {name: by_listener(table) for name, table in tables.items()}
        options = options | {"crossed": True}
    part.runs = tuple(sorted({run for table in tables.values() for run in table["run_id"]}))
    floor = spec.get("floor")
    part.floored = floor is not None and all(abs(table["value"].mean()) < floor for table in tables.values())
    try:
        _check_before(spec, rows)
        tables = [_restricted(table, spec, rows) for table in tables.values()]
        if spec["type"] not in ("share", "equals"):
            several = [isinstance(name, list) for name in named] or [False]
            tables = [_units(table, spec, s, texts, sentence) for table, s in zip(tables, several, strict=True)]
        _compare(part, tables, rows, options)
        part.by_seed = _by_seed(spec, tables, rows, options) if part.estimate is not None else {}
    except (StatisticsError, TypeError) as error:
        part.reason, part.estimate, part.value = str(error), None, None


def names(spec: dict) -> list:
    """The systems that a part compares, or values of its `factor`; a list means the mean of several."""
    return (
        spec.get("systems")
        or list(spec.get("weights") or ())
        or [spec[key] for key in ("a", "b", "base", "ceiling") if key in spec]
    )


def _compare(part: Part, tables: list[pd.DataFrame], rows: pd.DataFrame, options: dict) -> None:
    """Set the part's estimate, or its value where the comparison has no interval."""
    spec, kind = part.spec, part.spec["type"]
    if kind == "share":
        part.value = float(100 * tables[0]["value"].mean() / tables[1]["value"].mean())
    elif kind == "equals":
        values = pd.concat(tables)["value"].to_numpy(dtype=float)
        part.value = float(values[np.abs(values - spec["value"]).argmax()])
    else:
        part.estimate = _estimate(spec, tables, rows, options)
        part.value = part.estimate.value
        least = spec.get("least_sentences")
        if least and part.estimate.sentences < least:
            raise StatisticsError(f"{part.estimate.sentences} sentences, at least {least} are asked for")


def _estimate(spec: dict, tables: list[pd.DataFrame], rows: pd.DataFrame, options: dict) -> Estimate:
    kind, on, largest = spec["type"], spec["pair_on"], {"largest": spec.get("largest")}
    if kind == "difference":
        return paired_difference(*tables, on=on, **options, **largest)
    if kind == "reduction":
        return reduction(*tables, on=on, **options)
    if kind == "gain_share":
        return share_of_gain(*tables, on=on, better=spec.get("better", 1), **options)
    if kind == "slope":
        sizes = {float(table[spec["x"]].iloc[0]): table for table in tables}
        return slope(sizes, on=on, log=spec.get("log", True), **options)
    if kind == "contrast":
        return contrast(dict(zip(spec["weights"], tables, strict=True)), list(spec["weights"].values()), on, **options)
    if kind == "trend":
        along = select(rows, {"metric": spec["along"]}).groupby("speaker")["value"].mean()
        joined = pair({"a": tables[0], "b": tables[1]}, on)
        return trend(joined.assign(value=joined["a"] - joined["b"]), along, **options)
    if kind == "worse_share":
        return _worse(*tables, on, **options)
    return interval(tables[0], **options)


def _by_seed(spec: dict, tables: list[pd.DataFrame], rows: pd.DataFrame, options: dict) -> dict[str, float]:
    """A part's value in each seed alone; systems that were not trained have one seed, and serve all. Empty for one."""
    several = [table["seed"].nunique() > 1 for table in tables]
    found, seeds = {}, sorted(set().union(*(set(table["seed"].dropna()) for table in tables)))
    for seed in seeds if any(several) else ():
        mine = [table[table["seed"].eq(seed)] if many else table for table, many in zip(tables, several, strict=True)]
        try:
            found[str(seed)] = _estimate(spec, mine, rows, options).value
        except StatisticsError:  # a system that lacks this seed, or nothing gained in it
            continue
    return found


def _worse(a: pd.DataFrame, b: pd.DataFrame, on: list[str], level: float) -> Estimate:
    """The share of utterances, in percent, whose value is higher under a than under b, mean over seeds, with the exact
    interval of as many among that many utterances.
    """
    joined = pair({"a": a, "b": b}, on)
    worse = joined.assign(value=(joined["a"] > joined["b"]).astype(float)).groupby(UNIT[1:])["value"].mean()
    found = round(worse.sum())
    low, high = share(found, len(worse), level)
    plain = interval(joined.assign(value=0.0), level=level)
    return Estimate(
        value=100 * float(worse.mean()),
        ci_low=100 * low,
        ci_high=100 * high,
        level=level,
        n=len(worse),
        speakers=plain.speakers,
        seeds=plain.seeds,
        dz=None,
        fixed=plain.fixed,
        sentences=plain.sentences,
        share=(found, len(worse)),
    )


def _check_before(spec: dict, rows: pd.DataFrame) -> None:
    """Raise StatisticsError where what a part asks for before it compares (`requires`) does not hold, or cannot be
    read.
    """
    for each in spec.get("requires") or []:
        found = select(rows, each["where"], metric=each["metric"])["value"]
        if found.empty or found.mean() > each["at_most"]:
            had = "is not measured" if found.empty else f"is {number(float(found.mean()))}"
            raise StatisticsError(f"{each['told']}: {each['metric']} {had}, at most {each['at_most']:g} is asked for")


def _restricted(table: pd.DataFrame, spec: dict, rows: pd.DataFrame) -> pd.DataFrame:
    """The rows capped, of the levels of a column that `levels_where` admits, and of utterances that `only_where`
    admits.
    """
    if "cap" in spec:
        table = table.assign(value=table["value"].clip(upper=spec["cap"]))
    if "levels_where" in spec:
        rule = spec["levels_where"]
        means = select(rows, rule["where"], metric=rule["metric"]).groupby(rule["by"])["value"].mean()
        table = table[table[rule["by"]].isin(means[means >= rule["at_least"]].index).fillna(False)]
    if "only_where" in spec:
        rule, key = spec["only_where"], ["run_id", "speaker", "utterance", "x"]
        kept = select(rows, {"metric": rule["metric"]})
        kept = kept[kept["value"] == rule["equals"]][key].drop_duplicates()
        table = table.merge(kept, on=key)
    if table.empty:
        raise StatisticsError("no utterance fulfils what the part is restricted to")
    return table


def _units(table: pd.DataFrame, spec: dict, several: bool, texts: dict[str, str], sentence: str | None) -> pd.DataFrame:
    """One row per seed, speaker and utterance, with its sentence.

    Where a part names another unit (`unit_of`, a layer for example), that takes the utterance's place; the mean of
    several rows (`mean_over`, or several systems) the place of each.
    """
    column = spec.get("unit_of")
    if column is not None:
        table = table.assign(utterance=table[column].astype("string"))
    elif sentence is not None:
        table = table.assign(sentence=table["utterance"].str.extract(f"({sentence})", expand=False))
    elif texts:
        table = table.assign(sentence=table["utterance"].map(texts).fillna(table["utterance"]))
    if column is None and not several and "mean_over" not in spec:
        return table
    if "mean_over" in spec:
        table = table.assign(utterance=pd.Series(None, table.index, dtype="string")).drop(
            columns="sentence", errors="ignore"
        )
    means = table.groupby(UNIT, dropna=False)["value"].transform("mean")
    return table.assign(value=means).drop_duplicates(UNIT)


def _shown(name: object) -> str:
    return " and ".join(map(str, name)) if isinstance(name, list) else str(name)
