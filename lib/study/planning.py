"""Which claims a profile's design cannot decide, before anybody trains anything."""

import argparse
from pathlib import Path

from lib import study
from lib.cli import PROFILE, Verb, print_table
from lib.files import ROOT, load_json
from lib.study import columns
from lib.study.claim_compare import names
from lib.study.claims import load_claims
from lib.study.power import half_width, needed, said, wanted, with_seeds
from lib.study.statistics import share

REFERENCE = ROOT / "results" / "reference"


def power(profile: dict, path: Path | None = None) -> list[dict]:
    """The deciding parts of claims that a profile's design cannot settle, by the variances in `path`, else in the
    profile's own claims.json, else in the committed run. Raises StudyError for a file that cannot be read.
    """
    known = (study.results_root(profile) / "claims.json", REFERENCE / "claims.json")
    path = path or next((each for each in known if each.exists()), known[-1])
    damaged = "{} cannot be read ({}): judge the claims first"
    records = load_json(path, lambda kind: study.StudyError(damaged.format(path.name, kind)))
    return undecided(records, columns.of(load_claims(), profile), profile)


def undecided(records: list[dict], content: dict, profile: dict) -> list[dict]:
    """The deciding parts that a profile's design cannot settle, judged by the variances of `records` (of claims.json):
    claim, part, the half-width to expect there, the one wanted, and the design that would reach it.

    Parts that were never measured, whose variance nobody knows, are named with the reason.
    """
    measured = {record["id"]: {part["name"]: part for part in record["parts"]} for record in records}
    papers, found = content["papers"], []
    for claim in content["claims"]:
        if content.get("column") not in (None, claim["paper"]) or "unasked" in claim:
            continue
        training = claim.get("training", True)
        for spec in claim["parts"]:
            if not spec.get("primary") or spec["type"] in ("equals", "share"):
                continue
            part = measured.get(claim["id"], {}).get(spec["name"], {})
            line = {"claim": claim["id"], "part": spec["name"], "unit": spec["unit"]}
            target, sizes = wanted(spec), profile_sizes(spec, claim["paper"], profile)
            if sizes["speaker"] == sizes["sentence"] == 1 and part.get("n"):  # the settings do not say: as it was run
                sizes |= {"speaker": part["speakers"], "sentence": round(part["n"] / part["speakers"])}
            if spec.get("if_there") and not part.get("n"):
                continue
            if training and sizes["seed"] == 1:
                found.append(line | _line(None, target, None, "one seed decides nothing about training"))
                continue
            if spec["type"] == "worse_share":
                found += [line | each for each in _events(target, sizes)]
                continue
            terms = {tuple(name.split()): value for name, value in (part.get("terms") or {}).items()}
            if not terms or target is None:
                reason = "no smallest effect is named" if terms else "its spread was never measured"
                found.append(line | _line(None, target, None, reason))
                continue
            pooled = (papers.get(claim["paper"], {}).get("seed_spread") or {}).get(spec["metric"], {})
            terms = (
                with_seeds(terms, {tuple(name.split()): sd**2 for name, sd in pooled.items()}) if training else terms
            )
            width = half_width(terms, sizes)
            if width >= target:
                enough = needed(terms, target, sizes, training=training)
                known = (
                    "" if not training or any("seed" in term for term in terms) else "what seeds differ in is not known"
                )
                found.append(line | _line(width, target, enough, known))
    return found


def _events(target: float, sizes: dict[str, int]) -> list[dict]:
    """Is the exact limit of a share, in percent, above the target even where nothing of the kind happens?"""
    count = sizes["speaker"] * sizes["sentence"]
    limit = 100 * share(0, count)[1]
    if limit < target:
        return []
    enough = next(many for many in range(count, 100_000) if 100 * share(0, many)[1] < target)
    return [_line(limit, target, None, "") | {"design": f"{enough} utterances of which none is worse"}]


def _line(width: float | None, target: float | None, enough: dict | None, reason: str) -> dict:
    design = said(enough) if enough else "" if width is None else "none that is affordable"
    return {"half-width": width, "wanted": target, "design": design, "reason": reason}


def profile_sizes(spec: dict, paper: str, profile: dict) -> dict[str, int]:
    """Seeds, speakers and sentences that a profile gives to a part of a claim, as far as its settings say."""
    section = profile.get(paper.lower()) or {}
    named = names(spec) if "factor" not in spec else []
    named = named or [spec["where"].get("system", "")]
    flat = [name for each in named for name in (each if isinstance(each, list) else [each])]
    runs = study.expected_runs(profile, paper)
    trained = [
        sum(run.startswith(f"{paper.lower()}-{name}-s") for run in runs)
        for name in flat
        if (section.get("systems", {}).get(name) or {"method": "none"})["method"] != "none"
    ]
    speakers, sentences = _corpus_sizes(spec, paper, profile, section)
    return {"seed": min(trained, default=1), "speaker": speakers, "sentence": sentences}


def _corpus_sizes(spec: dict, paper: str, profile: dict, section: dict) -> tuple[int, int]:
    role = spec["where"].get("role", "never_seen" if paper == "SP" else "adaptation")
    roles = role if isinstance(role, list) else [role]
    if paper == "LD":
        return 1, section.get("data", {}).get("sentences", {}).get("test", 1)
    if paper == "HA" and section.get("corpus", {}).get("source"):  # recordings: what they hold is not in the settings
        return 1, 1
    if paper == "HA":
        every = "cohort" in spec["where"] and "role" not in spec["where"]
        cohorts = spec["where"].get("cohort", [])
        cohorts = cohorts if isinstance(cohorts, list) else [cohorts]
        if not cohorts:
            cohorts, roles = ["stuttering", "dysarthria", "parkinsons"], ["never_seen"]
        found = [
            (group["speakers"] * len(set(group["conditions"]) & set(cohorts)), group["test"])
            for group in section.get("corpus", {}).get("groups", {}).values()
            if set(group["conditions"]) & set(cohorts) and (every or group["role"] in roles)
        ]
        return sum(count for count, _ in found) or 1, max((test for _, test in found), default=1)
    cast = profile.get("corpus", {}).get("cast") or []
    known = profile.get("corpus", {}).get("speakers") or {}
    speakers = sum(known.get(name, {}).get("role") in roles for name in cast)
    counts = section.get("evaluate", {}).get("sentences", {}) if paper == "HT" else section.get("sentences", {})
    return speakers or 1, max((counts.get(each, 1) for each in roles), default=1)


def _main(options: argparse.Namespace) -> None:
    told = f"Parts of claims that the design of profile {options.profile} cannot decide"
    print_table(power(study.load_profile(options.profile), options.claims), told)


CLAIMS = ("--claims", {"type": Path, "help": "a claims.json whose variances count"})
VERBS = {"power": Verb(_main, "python -m lib power --profile full", (PROFILE, CLAIMS))}
