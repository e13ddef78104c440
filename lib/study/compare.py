"""What changed between two runs of the study: how they were made, verdicts, and the means of their rows."""

import argparse
from pathlib import Path

import pandas as pd

from lib import cli, study
from lib.study.claim_parts import number

MADE = ("profile_hash", "corpus", "data_hash", "backbone_hash", "shipped", "vocoder", "commit", "device", "python")
GROUP = ["paper", "system", "role", "metric"]


def locate(name: str) -> str:
    """The folder of a run's results, from a profile's name or a path; raises StudyError when there is none."""
    for root in (study.results_root(name), Path(name)):
        if root.is_dir():
            return str(root.resolve())
    raise study.StudyError(
        f"there are no results in {name}; give a profile that has run, or a folder like results/demo"
    )


def provenance(a: str, b: str) -> list[dict]:
    """One entry per fact of the manifests that differs: what, a, b. Package versions are compared one by one."""
    facts = [_facts(study.read_manifests(root)) for root in (a, b)]
    names = sorted(set(facts[0]) | set(facts[1]))
    return [
        {"what": name, "a": facts[0].get(name), "b": facts[1].get(name)}
        for name in names
        if facts[0].get(name) != facts[1].get(name)
    ]


def verdicts(a: str, b: str) -> list[dict]:
    """One entry per claim whose verdict differs, or that only one of the runs judged."""
    read = [_claims(Path(root) / "claims.json") for root in (a, b)]
    entries = []
    for claim in sorted(set(read[0]) | set(read[1])):
        first, second = read[0].get(claim, {}), read[1].get(claim, {})
        entry = {"claim": claim}
        for key in ("verdict", "value"):
            entry |= {f"{key} a": first.get(key), f"{key} b": second.get(key)}
        if first.get("verdict") != second.get("verdict"):
            entries.append(entry)
    return entries


def intervals(a: str, b: str) -> list[dict]:
    """One entry per part of a claim of which the interval of one run does not hold the other's value.

    Where both runs are of one profile, 95 % intervals should exclude about one value in twenty and no more.
    """
    read = [_claims(Path(root) / "claims.json") for root in (a, b)]
    entries = []
    for claim in sorted(set(read[0]) & set(read[1])):
        parts = [{part["name"]: part for part in run[claim]["parts"]} for run in read]
        for name in parts[0]:
            first, second = parts[0][name], parts[1].get(name, {})
            if _outside(first, second) or _outside(second, first):
                entry = {"claim": claim, "part": name}
                for key, part in (("a", first), ("b", second)):
                    low, high = part["ci_low"], part["ci_high"]
                    entry |= {
                        key: part["value"],
                        f"interval {key}": f"[{number(low)}, {number(high)}]" if low is not None else "",
                    }
                entries.append(entry)
    return entries


def _outside(part: dict, other: dict) -> bool:
    """Does the interval of one exclude the value of the other?"""
    if part.get("ci_low") is None or other.get("value") is None:
        return False
    return not part["ci_low"] <= other["value"] <= part["ci_high"]


def means(a: str, b: str) -> list[dict]:
    """One entry per paper, system, role and metric whose mean or number of rows differs; None where one has none."""
    tables = [_means(study.read_rows(root)) for root in (a, b)]
    entries = []
    for key in sorted(set(tables[0]) | set(tables[1])):
        first, second = (table.get(key, (None, 0)) for table in tables)
        if first != second:
            entry = dict(zip(GROUP, key, strict=True)) | {"mean a": first[0], "n a": first[1]}
            entry |= {"mean b": second[0], "n b": second[1]}
            both = first[1] and second[1]
            entries.append(entry | {"difference": second[0] - first[0] if both else None})
    return entries


def _facts(manifests: dict[str, dict]) -> dict[str, str]:
    facts = {key: sorted({str(m[key]) for m in manifests.values() if m.get(key) is not None}) for key in MADE}
    packages = max(manifests.values(), key=lambda m: m.get("started") or "", default={}).get("packages") or {}
    facts |= {f"package {name}": [version] for name, version in packages.items()}
    facts["runs"] = [str(len(manifests))]
    return {name: ", ".join(values) for name, values in facts.items() if values}


def _claims(path: Path) -> dict[str, dict]:
    from lib.study.report.evidence import read_json

    return {record["id"]: record for record in read_json(path, "lib.study claims")} if path.exists() else {}


def _means(rows: pd.DataFrame) -> dict[tuple, tuple[float, int]]:
    """Mean and number of the rows of every paper, system, role and metric; times are left out."""
    kept = rows[rows["metric"] != "seconds_trained"]
    kept = kept.assign(**{column: kept[column].fillna("").astype(str) for column in GROUP})
    return {key: (float(values.mean()), len(values)) for key, values in kept.groupby(GROUP)["value"]}


def _main(options: argparse.Namespace) -> None:
    a, b = locate(options.a), locate(options.b)
    for count, differing in enumerate((provenance, verdicts, intervals, means)):
        print(end="\n" if count else "")
        cli.print_table(differing(a, b), f"{differing.__name__} that differ: {options.a} (a), {options.b} (b)")


VERBS = {
    "compare": cli.Verb(
        _main,
        "python -m lib compare demo other/demo",
        (("a", {"help": "a profile that has run, or a folder of results"}), ("b", {"help": "another one"})),
    )
}
