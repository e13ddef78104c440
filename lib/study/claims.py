"""Claims (notebooks/claims.yaml) judged by result rows: values, intervals, verdicts."""

import math
from dataclasses import replace
from pathlib import Path

import pandas as pd
import yaml

from lib import study
from lib.files import ROOT, write_json
from lib.study import columns, gates, power
from lib.study.claim_compare import measure, scale
from lib.study.claim_compare import select as select
from lib.study.claim_parts import Part, combine, counts, family_of, judge_part, moved, number, numbers, record

CLAIMS = ROOT / "notebooks" / "claims.yaml"
VERDICTS = ("reproduced", "not reproduced", "inconclusive", "not tested")
FIELDS = ("id", "paper", "statement", "published", "scale", "figure", "notebook", "anchor", "needs", "parts")
TYPES = {
    "difference": {"a", "b"},
    "reduction": {"a", "b"},
    "gain_share": {"a", "base", "ceiling"},
    "value": set(),
    "slope": {"systems", "x"},
    "contrast": {"weights"},
    "trend": {"a", "b", "along"},
    "worse_share": {"a", "b"},
    "equals": {"value", "tolerance"},
    "share": {"a", "b", "at_most"},
}
SAID = ["metric", "utterance", "speaker", "variant", "target", "layer", "role", "split", "x", "value"]
PLAIN = ("equals", "share")  # without an interval, and so without a side of it


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
    ranges, seen = content.get("ranges", {}), set()
    for claim in claims:
        missing = [name for name in FIELDS if name not in claim]
        if missing or claim["id"] in seen:
            raise ClaimError(f"claim {claim.get('id')} lacks [{', '.join(missing)}] or appears twice; mend it")
        seen.add(claim["id"])
    told = [(claim["id"], claim) for claim in claims]
    for column in (content.get("columns") or {}).values():
        told += [(f"{name} ({column['name']})", own) for name, own in column["claims"].items() if "parts" in own]
    for name, claim in told:
        for i, part in enumerate(claim["parts"]):
            named = {"floor": floors.get(part.get("metric")), "largest": ranges.get(part.get("metric"))}
            claim["parts"][i] = defaults | named | part
            _check_part(name, claim["parts"][i])
        if not claim["parts"] or not claim["parts"][0].get("primary") or claim["parts"][0].get("if_there"):
            raise ClaimError(f"claim {name} has no primary first part; it gives the claim its number")
    content["amendments"] = _amendments(content)
    return content


def judge(
    content: dict, rows: pd.DataFrame, manifests: dict[str, dict], profile: dict, curves: dict | None = None
) -> list[dict]:
    """One record per claim, as written to claims.json: value, interval, verdict, reason, scale and parts.

    `curves` are the learning curves that the gates read; None: those that the profile's runs left.
    """
    bench = Bench(content, rows, manifests, profile, gates.read_curves(profile) if curves is None else curves)
    return [bench.judge(claim) for claim in bench.content["claims"]]


def write_claims(profile: dict) -> list[dict]:
    """Judge all claims on the rows of a profile, write R/claims.json and R/gates.json, return the claims' records."""
    rows, manifests = study.read_rows(profile), study.read_manifests(profile)
    bench = Bench(load_claims(), rows, manifests, profile, gates.read_curves(profile))
    records = [bench.judge(claim) for claim in bench.asked]
    root = study.results_root(profile)
    write_json(root / "claims.json", records)
    write_json(root / "gates.json", bench.gate_records())
    return records


def summary(records: list[dict]) -> list[dict]:
    """The records shortened to a line each, for the terminal."""
    lines = []
    for each in records:
        low, high = each["ci_low"], each["ci_high"]
        lines.append({"id": each["id"], "verdict": each["verdict"], "value": number(each["value"])})
        lines[-1]["interval"] = "" if low is None else f"[{number(low)}, {number(high)}]"
        lines[-1] |= {key: each[key] for key in ("unit", "n", "reason")}
    return lines


def interval_options(profile: dict) -> dict:
    """The profile's section `statistics` as options of `lib.study.statistics.interval`."""
    return {"level": (profile.get("statistics") or {}).get("level", 0.95)}


def once(rows: pd.DataFrame) -> pd.DataFrame:
    """The rows without seeds whose every value is that of another seed of the same system: they are one training, or
    none, measured again, and must not count as several.
    """
    key, measured = ["paper", "system", "seed"], rows[rows["utterance"].notna()]
    said = measured[key].assign(mark=pd.util.hash_pandas_object(measured[SAID], index=False))
    marks = said.groupby(key)["mark"].sum().reset_index().sort_values("seed")
    repeated = marks[marks.duplicated(["paper", "system", "mark"])]
    return rows[~rows.set_index(key).index.isin(list(repeated[key].itertuples(index=False, name=None)))]


class Bench:
    """Rows, gates and curves of a profile, and the judge of its claims; `gate_rows`, where given, are what gates
    read.
    """

    def __init__(
        self,
        content: dict,
        rows: pd.DataFrame,
        manifests: dict[str, dict],
        profile: dict,
        curves: dict[str, list],
        gate_rows: pd.DataFrame | None = None,
    ) -> None:
        self.content = content = columns.of(content, profile)
        self.manifests, self.profile, self.curves = manifests, profile, curves
        self.papers, self.options = content.get("papers", {}), interval_options(profile)
        rows = once(rows)
        self.rows = {
            name: rows[(rows["paper"] == name).fillna(False)] for name in {c["paper"] for c in content["claims"]}
        }
        self.texts = {key: text for each in manifests.values() for key, text in (each.get("texts") or {}).items()}
        self.quality = {
            name: gates.quality(
                name,
                self.papers.get(name, {}).get("gates") or [],
                self._with_others(name, rows if gate_rows is None else gate_rows),
            )
            for name in self.rows
        }
        self.convergence: dict[str, gates.Gate] = {}

    def _with_others(self, paper: str, rows: pd.DataFrame) -> pd.DataFrame:
        """The rows, with those of the profile's other papers that this one's gates read, where a chapter has only its
        own.
        """
        operands = [each for gate in self.papers.get(paper, {}).get("gates") or [] for each in gate.values()]
        named = {each["paper"] for each in operands if isinstance(each, dict) and "paper" in each}
        lacking = [name for name in named if not (rows["paper"] == name).any()]
        return pd.concat([rows, *(study.read_rows(self.profile, name) for name in lacking)]) if lacking else rows

    def judge(self, claim: dict) -> dict:
        """The record of one claim."""
        parts, verdict, reason = self.verdict(claim, self.rows[claim["paper"]])
        shut = self.shut(claim)
        if "unasked" in claim:
            verdict, reason = "not tested", f"not asked of this speech: {claim['unasked']}"
        elif not self.judges:
            verdict, reason = "not tested", f"the {self.profile['name']} profile tests no claim"
        elif verdict != "not tested" and shut:
            verdict, reason = "not tested", "; ".join(f"{gate.told}: {gate.reason}" for gate in shut)
        elif verdict == "not tested" and "missing" in claim:
            reason = f"{reason}; {claim['missing']}"
        if shut or not self.judges or "unasked" in claim:
            for part in parts:
                part.verdict = "not tested"
        return self._record(claim, parts, verdict, reason, shut)

    def verdict(self, claim: dict, rows: pd.DataFrame) -> tuple[list[Part], str, str]:
        """A claim's parts, its verdict on the rows of its paper and the reason, whatever the gates say."""
        parts, absent = self.measured(claim, rows), _absent(claim["needs"], rows)
        primary = [part for part in parts if counts(part)]
        for part in parts:
            judge_part(part, self.options["level"], family_of(parts), claim.get("training", True))
        return parts, *combine(primary, absent)

    @property
    def asked(self) -> list[dict]:
        """The claims of the profile: all, or of a column those of its paper."""
        only = self.content.get("column")
        return [claim for claim in self.content["claims"] if only in (None, claim["paper"])]

    @property
    def judges(self) -> bool:
        """Does the profile test claims at all (`statistics.judges`)?"""
        return (self.profile.get("statistics") or {}).get("judges", True)

    def measured(self, claim: dict, rows: pd.DataFrame) -> list[Part]:
        """The parts of a claim with what was measured of them, and the design that would decide each."""
        paper = self.papers.get(claim["paper"], {})
        parts = [Part(spec) for spec in claim["parts"]]
        for part in parts:
            measure(part, rows, self.texts, paper.get("sentence"), **self.options)
        pooled, family = self._pooled(claim["paper"]), family_of(parts)
        for part in parts:
            if part.estimate is not None and part.estimate.terms and not part.heard:
                part.design = power.design(part.spec, part.estimate, pooled, claim.get("training", True), family)
        return parts

    def shut(self, claim: dict) -> list[gates.Gate]:
        """The gates of a claim that do not stand open: its paper's, unless the claim names its own, and the plateau."""
        wanted = claim.get("gates")
        found = [gate for gate in self.quality[claim["paper"]] if wanted is None or gate.name in wanted]
        trained = self._trained(claim)
        if trained:
            if claim["id"] not in self.convergence:
                self.convergence[claim["id"]] = self._plateau(claim, trained)
            found.append(self.convergence[claim["id"]])
        unequal = gates.unequal(claim.get("trained_alike") or [], self.profile, claim["paper"])
        if unequal:
            told = "compared systems are trained on as many utterances"
            found.append(gates.Gate(claim["paper"], "equal training", told, None, False, unequal))
        return sorted((gate for gate in found if not gate.open), key=lambda gate: gate.value is None)

    def gate_records(self) -> list[dict]:
        """Every gate of every paper with its number, and the plateau of every claim judged."""
        every = [gate for name in self.papers for gate in self.quality.get(name, [])]
        plateaus = [gates.as_records([gate])[0] | {"claim": claim} for claim, gate in self.convergence.items()]
        return gates.as_records(every) + plateaus

    def _plateau(self, claim: dict, trained: list[str]) -> gates.Gate:
        """The gate of a claim's plateau; where its own systems still improve, by its verdict with half of the training.

        Shared trainings have to be at their plateau all the same, and every curve has to be there.
        """
        paper, own = claim["paper"], [name for name in trained if name in claim["needs"].get("systems", [])]
        gate = gates.plateau(paper, trained, self.curves)
        half = gates.halves(self.profile, paper)
        flat = gates.plateau(paper, [name for name in trained if name not in own], self.curves)
        read = gates.plateau(paper, trained, self.curves, limit=math.inf)
        if gate.open or not own or not set(own) <= set(half) or not (flat.open and read.open):
            return gate
        rows = self.rows[paper]
        seeds = rows.groupby("system")["seed"].nunique()
        if any(seeds.get(half[name], 0) < seeds.get(name, 0) for name in own):
            return replace(gate, reason=f"{gate.reason}; with half of the training fewer seeds were run")
        parts, now, _ = self.verdict(claim, rows)
        before, then, _ = self.verdict(claim, gates.with_half(rows, half))
        pairs = [(p, b) for p, b in zip(parts, before, strict=True) if counts(p) and None not in (p.value, b.value)]
        return gates.held(gate, now, then, [moved(part, earlier) for part, earlier in pairs])

    def _trained(self, claim: dict) -> list[str]:
        """The trainings whose plateau a claim rests on: those it names, or else its paper's shared ones, and its
        systems'.

        A shared training that left no curve where others did has no place in this profile.
        """
        paper = self.papers.get(claim["paper"], {})
        if not paper.get("gates") or not claim.get("training", True):
            return []
        key, untrained = claim["paper"].lower(), set(paper.get("untrained") or [])
        own = [system for system in claim["needs"].get("systems", []) if system not in untrained]
        shared = claim.get("trainings") or paper.get("shared_trainings") or []
        left = any(run.startswith(f"{key}-") for run in self.curves)
        there = [name for name in shared if not left or any(run.startswith(f"{key}-{name}-s") for run in self.curves)]
        return [*there, *own]

    def _pooled(self, paper: str) -> dict[str, dict]:
        """What one more seed adds, by metric: declared in claims.yaml for parts that ran with one seed."""
        return {
            metric: {tuple(name.split()): sd**2 for name, sd in found.items()}
            for metric, found in (self.papers.get(paper, {}).get("seed_spread") or {}).items()
        }

    def _record(self, claim: dict, parts: list[Part], verdict: str, reason: str, shut: list[gates.Gate]) -> dict:
        head, paper = parts[0], claim["paper"]
        return {
            "id": claim["id"],
            "paper": paper,
            "statement": claim["statement"],
            "published": claim["published"],
            "threshold": head.spec["threshold"],
            **numbers(head),
            "unit": head.spec["unit"],
            "verdict": verdict,
            "reason": reason,
            "shut": gates.as_records(shut),
            "amended": claim.get("amended"),
            "profile": self.profile["name"],
            "speech": self.papers.get(paper, {}).get("speech"),
            "scale": f"{scale(self.rows[paper], self.manifests, self.profile, paper)}. {claim['scale']}",
            "note": claim["scale"],
            "rule": self.content["rules"].get(paper) or self.content["rules"]["all"],
            "figure": claim["figure"],
            "notebook": claim["notebook"],
            "anchor": claim["anchor"],
            "rows": sorted({f"rows/{run}.parquet" for part in parts for run in part.runs}),
            "parts": [record(part) for part in parts],
        }


def _check_part(claim: str, part: dict) -> None:
    needed = TYPES.get(part.get("type"))
    if needed is None:
        raise ClaimError(f"claim {claim}: {part.get('type')!r} is no comparison; use {', '.join(TYPES)}")
    sided = part["type"] in PLAIN or "equivalence" in part or part.get("expect") in ("greater", "less")
    missing = sorted((needed | {"name", "metric", "unit"}) - set(part))
    if missing or not sided:
        raise ClaimError(
            f"claim {claim}, part {part.get('name')!r} lacks [{', '.join(missing)}] or expects neither "
            "greater nor less; mend it"
        )


def _amendments(content: dict) -> list[dict]:
    """The changes of rules: those that concern many claims, then each claim's own, with the rule before it."""
    every = [claim["id"] for claim in content["claims"]]
    shared = [
        change | {"claims": every if change["claims"] == "all" else change["claims"]}
        for change in content.get("amendments") or []
    ]
    own = [(claim["id"], claim["amended"]) for claim in content["claims"] if "amended" in claim]
    return shared + [
        {"date": change["date"], "claims": [name], "text": f"{change['why']} Before: {change['was']}"}
        for name, change in own
    ]


def _absent(needs: dict, rows: pd.DataFrame) -> list[str]:
    """What the claim needs and the rows do not hold, such as 'system lora_d'."""
    columns = {"systems": "system", "metrics": "metric", "roles": "role"}
    return [
        f"{columns[key]} {name}"
        for key, names in needs.items()
        for name in names
        if not (rows[columns[key]] == name).any()
    ]
