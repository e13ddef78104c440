"""Pre-registered claims (notebooks/claims.yaml) judged by result rows: values, intervals, verdicts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from lib import study
from lib.files import ROOT, write_json
from lib.study.claim_parts import Part, combine, correct, counts, judge_part, number, numbers, record
from lib.study.statistics import StatisticsError, interval, paired_difference, reduction, slope

CLAIMS = ROOT / "notebooks" / "claims.yaml"
VERDICTS = ("reproduced", "not reproduced", "inconclusive", "not tested")
FIELDS = ("id", "paper", "statement", "published", "scale", "figure", "notebook", "anchor", "needs", "parts")
OTHER = "other_corpus"  # role and run of recordings that are no part of the study's corpus
TYPES = {
    "difference": {"a", "b", "expect"},
    "reduction": {"a", "b", "expect"},
    "value": {"expect"},
    "slope": {"systems", "x", "expect"},
    "equals": {"value", "tolerance"},
    "share": {"a", "b", "at_most"},
}


class ClaimError(ValueError):
    """A claim that is not written as it must be, or a claims file that cannot be read."""


def load_claims(path: Path = CLAIMS) -> dict:
    """The claims file: papers, rules and claims, every part completed with the defaults.

    Raises ClaimError naming the claim and the field that is missing, misspelled or repeated.
    """
    try:
        content = yaml.safe_load(path.read_text())
        defaults, claims, floors = content["defaults"], content["claims"], content.get("floors", {})
    except (OSError, yaml.YAMLError, KeyError, TypeError) as error:
        raise ClaimError(
            f"{path.name} cannot be read as claims ({type(error).__name__}); restore it from git"
        ) from error
    content["papers"] = {k: v for k, v in content.get("papers", {}).items() if not v.get("across")}
    seen = set()
    for claim in claims:
        missing = [name for name in FIELDS if name not in claim]
        if missing or claim["id"] in seen:
            raise ClaimError(f"claim {claim.get('id')} lacks [{', '.join(missing)}] or appears twice; mend it")
        seen.add(claim["id"])
        claim["parts"] = [defaults | {"floor": floors.get(part.get("metric"))} | part for part in claim["parts"]]
        for part in claim["parts"]:
            _check_part(claim["id"], part)
        if not claim["parts"] or not claim["parts"][0].get("primary") or claim["parts"][0].get("if_there"):
            raise ClaimError(f"claim {claim['id']} has no primary first part; it gives the claim its number")
    return content


def judge(content: dict, rows: pd.DataFrame, manifests: dict[str, dict], profile: dict) -> list[dict]:
    """One record per claim, as written to claims.json: value, interval, verdict, reason, scale and parts."""
    requires = {name: paper.get("requires") for name, paper in content.get("papers", {}).items()}
    return [
        _judge_claim(claim, content["rules"], requires.get(claim["paper"]), rows, manifests, profile)
        for claim in content["claims"]
    ]


def write_claims(profile: dict) -> list[dict]:
    """Judge all claims on the rows of a profile, write R/claims.json, return its records."""
    rows, manifests = study.read_rows(profile), study.read_manifests(profile)
    records = judge(load_claims(), rows, manifests, profile)
    write_json(study.results_root(profile) / "claims.json", records)
    return records


def summary(records: list[dict]) -> list[dict]:
    """The records shortened to a line each, for the terminal."""
    return [
        {
            "id": record["id"],
            "verdict": record["verdict"],
            "value": number(record["value"]),
            "interval": f"[{number(record['ci_low'])}, {number(record['ci_high'])}]"
            if record["ci_low"] is not None
            else "",
            "unit": record["unit"],
            "n": record["n"],
            "reason": record["reason"],
        }
        for record in records
    ]


def select(rows: pd.DataFrame, where: dict, **more: object) -> pd.DataFrame:
    """The rows whose columns equal the given values; a list of values means any of them."""
    keep = np.ones(len(rows), dtype=bool)
    for column, wanted in (where | more).items():
        allowed = wanted if isinstance(wanted, list) else [wanted]
        keep &= rows[column].isin(allowed).fillna(False).to_numpy(dtype=bool)
    return rows[keep]


def interval_options(profile: dict) -> dict:
    """The profile's section `statistics` as options of `lib.study.statistics.interval`."""
    return {"level": (profile.get("statistics") or {}).get("level", 0.95)}


def scale(rows: pd.DataFrame, manifests: dict[str, dict], profile: dict, paper: str) -> str:
    """What was measured on, in words: profile, corpus, speakers, utterances, seeds, size of the backbone.

    The corpus checks of a paper, rows of no method, do not count, nor do recordings of another corpus.
    """
    rows = rows[(rows["paper"] == paper).fillna(False) & (rows["role"] != OTHER).fillna(True)]
    manifests = {run: m for run, m in manifests.items() if OTHER not in run}
    if rows.empty:
        return f"{profile['name']} profile, nothing measured"
    heard = rows[rows["utterance"].notna() & rows["method"].notna()]
    seeds, speakers = heard["seed"].nunique(), heard["speaker"].nunique()
    corpora = sorted({str(m["corpus"]) for m in manifests.values() if m.get("corpus") and m["paper"] == paper})
    size = select(rows, {"metric": "trainable_parameters", "system": "tts_ft"})["value"]
    parts = [
        f"{profile['name']} profile",
        f"corpus {' and '.join(corpora) or 'unknown'}",
        f"{speakers} speaker{'s' * (speakers != 1)}",
        f"{len(heard[['speaker', 'utterance']].drop_duplicates())} test utterances",
        f"{seeds} seed{'s' * (seeds != 1)}",
    ]
    return ", ".join(parts + ([f"a backbone of {size.mean() / 1e6:.1f} M parameters"] if len(size) else []))


def _check_part(claim: str, part: dict) -> None:
    needed = TYPES.get(part.get("type"))
    if needed is None:
        raise ClaimError(f"claim {claim}: {part.get('type')!r} is no comparison; use {', '.join(TYPES)}")
    missing = sorted((needed | {"name", "metric", "unit"}) - set(part))
    if missing or part.get("expect", "less") not in ("greater", "less"):
        raise ClaimError(
            f"claim {claim}, part {part.get('name')!r} lacks [{', '.join(missing)}] or expects neither "
            "greater nor less; mend it"
        )


def _judge_claim(
    claim: dict, rules: dict, requires: list | None, rows: pd.DataFrame, manifests: dict, profile: dict
) -> dict:
    options = interval_options(profile)
    level = options["level"]
    paper_rows = rows[(rows["paper"] == claim["paper"]).fillna(False)]
    absent = _absent(claim["needs"], paper_rows)
    unmet = _unmet(requires or [], paper_rows)
    parts = [Part(spec) for spec in claim["parts"]]
    for part in parts:
        _measure(part, paper_rows, **options)
    primary = [part for part in parts if counts(part)]
    correct(primary)
    for part in parts:
        judge_part(part, level, sum(each.estimate is not None for each in primary) or 1)
    verdict, reason = ("not tested", unmet) if unmet else combine(primary, absent)
    if verdict == "not tested" and "missing" in claim:
        reason = f"{reason}; {claim['missing']}"
    head = parts[0]
    return {
        "id": claim["id"],
        "paper": claim["paper"],
        "statement": claim["statement"],
        "published": claim["published"],
        "threshold": head.spec["threshold"],
        **numbers(head),
        "unit": head.spec["unit"],
        "verdict": verdict,
        "reason": reason,
        "profile": profile["name"],
        "scale": f"{scale(rows, manifests, profile, claim['paper'])}. {claim['scale']}",
        "note": claim["scale"],
        "rule": rules[claim["paper"]],
        "figure": claim["figure"],
        "notebook": claim["notebook"],
        "anchor": claim["anchor"],
        "rows": sorted({f"rows/{run}.parquet" for part in parts for run in part.runs}),
        "parts": [record(part) for part in parts],
    }


def _absent(needs: dict, rows: pd.DataFrame) -> list[str]:
    """What the claim needs and the rows do not hold, such as 'system lora_d'."""
    columns = {"systems": "system", "metrics": "metric", "roles": "role"}
    return [
        f"{columns[key]} {name}"
        for key, names in needs.items()
        for name in names
        if not (rows[columns[key]] == name).any()
    ]


def _unmet(requires: list[dict], rows: pd.DataFrame) -> str:
    """What a paper's runs must reach before a comparison between them says anything and did not; "" if nothing."""
    for each in requires:
        found = select(rows, each["where"], metric=each["metric"])["value"]
        if len(found) and found.mean() > each["at_most"]:
            return f"{each['told']}: {each['metric']} {found.mean():.2f}, at most {each['at_most']:g} is asked for"
    return ""


def _measure(part: Part, rows: pd.DataFrame, **options: float) -> None:
    """Fill the part's value, estimate and runs; when rows are missing, only the reason."""
    spec = part.spec
    rows = select(rows, spec["where"], metric=spec["metric"])
    names = spec.get("systems") or [spec[key] for key in ("a", "b") if key in spec]
    tables = {_shown(name): select(rows, {spec.get("factor", "system"): name}) for name in names} or {"": rows}
    missing = [name for name, table in tables.items() if table.empty]
    if missing:
        where = ", ".join(f"{key} {_shown(value)}" for key, value in spec["where"].items())
        part.reason = f"no {spec['metric']} rows{' of ' if names else ''}{', '.join(missing)}"
        part.reason += f" for {where}" if where else ""
        return
    part.runs = tuple(sorted({run for table in tables.values() for run in table["run_id"]}))
    floor = spec.get("floor")
    part.floored = floor is not None and all(table["value"].mean() < floor for table in tables.values())
    try:
        if spec["type"] not in ("share", "equals"):
            several = [isinstance(name, list) for name in names] or [False]
            tables = [_units(t, spec.get("unit_of"), s) for t, s in zip(tables.values(), several, strict=True)]
        else:
            tables = list(tables.values())
        _compare(part, tables, options)
    except (StatisticsError, TypeError) as error:
        part.reason = str(error)
        return
    if part.estimate is not None:
        part.value = part.estimate.value


def _compare(part: Part, chosen: list[pd.DataFrame], options: dict) -> None:
    """Set the part's estimate, or its value where the comparison has no interval."""
    spec = part.spec
    if spec["type"] == "difference":
        part.estimate = paired_difference(*chosen, on=spec["pair_on"], **options)
    elif spec["type"] == "reduction":
        part.estimate = reduction(*chosen, on=spec["pair_on"], **options)
    elif spec["type"] == "slope":
        sizes = {float(table[spec["x"]].iloc[0]): table for table in chosen}
        part.estimate = slope(sizes, on=spec["pair_on"], log=spec.get("log", True), **options)
    elif spec["type"] == "value":
        part.estimate = interval(chosen[0], **options)
    elif spec["type"] == "share":
        part.value = float(100 * chosen[0]["value"].mean() / chosen[1]["value"].mean())
    else:
        values = pd.concat(chosen)["value"].to_numpy(dtype=float)
        part.value = float(values[np.abs(values - spec["value"]).argmax()])


def _units(table: pd.DataFrame, column: str | None, several: bool) -> pd.DataFrame:
    """The rows with `column` (a layer, for example) in the place of the utterance, where a part names one.

    Where a part compares the mean of several systems, or a unit has several rows, one mean per seed, speaker and unit.
    """
    table = table if column is None else table.assign(utterance=table[column].astype("string"))
    if column is None and not several:
        return table
    unit = ["seed", "speaker", "utterance"]
    means = table.groupby(unit, dropna=False)["value"].transform("mean")
    return table.assign(value=means).drop_duplicates(unit)


def _shown(name: object) -> str:
    return " and ".join(map(str, name)) if isinstance(name, list) else str(name)
