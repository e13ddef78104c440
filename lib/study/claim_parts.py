"""The parts of a claim: a comparison each, its verdict by the rule of claims.yaml, and the claim's from them.

A part is reproduced when its interval lies wholly beyond the smallest effect of interest on the claimed side, and not
reproduced when the interval, at a level corrected for the number of deciding parts (Bonferroni), lies wholly short of
it. A claim is reproduced when every deciding part is: no correction is needed there, since each must pass by itself
(Berger, Technometrics 24, 1982). A part of equivalence is reproduced when two one-sided tests place it within the
margin (Schuirmann, J. Pharmacokinetics and Biopharmaceutics 15, 1987).
"""

import math
from dataclasses import dataclass, field

import numpy as np
from scipy import stats

from lib.study.power import single
from lib.study.statistics import Estimate

HEARD = ("mos_listeners", "smos_listeners", "mushra_listeners", "preference")
LEVELS = {"seed": "one seed", "speaker": "one speaker", "utterance": "one utterance"}


@dataclass
class Part:
    """One comparison of a claim with what came of it; `estimate` is None where a number has no interval."""

    spec: dict
    value: float | None = None
    estimate: Estimate | None = None
    verdict: str = "not tested"
    reason: str = ""
    runs: tuple[str, ...] = ()
    floored: bool = False  # every system lies below what the metric can tell apart
    design: dict | None = None  # seeds, speakers and sentences that would decide it
    by_seed: dict[str, float] = field(default_factory=dict)  # the value in each seed alone, where there are several

    @property
    def heard(self) -> bool:
        """Are its rows answers of listeners?"""
        return self.spec["metric"] in HEARD

    @property
    def goal(self) -> float:
        """Where the smallest effect of interest lies on the claimed side of the threshold."""
        sign = 1 if self.spec.get("expect") == "greater" else -1
        return self.spec["threshold"] + sign * self.spec["smallest"]


def counts(part: Part) -> bool:
    """Does a part decide the verdict: a `primary` one, with `if_there` only where it was measured."""
    return bool(part.spec.get("primary")) and not (part.spec.get("if_there") and part.value is None)


def family_of(parts: list[Part]) -> int:
    """How many deciding parts there are to correct a level for."""
    return sum(counts(part) and part.estimate is not None and not part.floored for part in parts) or 1


def moved(part: Part, earlier: Part) -> str:
    """A part's value with half of the training and with all, and by how much it moved in the seeds, in words."""
    told = f"{earlier.value:.3g} then and {part.value:.3g} now"
    moves = [value - earlier.by_seed[seed] for seed, value in part.by_seed.items() if seed in earlier.by_seed]
    if len(moves) > 1:
        reach = stats.t.ppf(0.975, len(moves) - 1) * np.std(moves, ddof=1) / math.sqrt(len(moves))
        mean = float(np.mean(moves))
        told += f", {mean:+.2g} [{mean - reach:.2g}, {mean + reach:.2g}] over {len(moves)} seeds"
    return f"{told} ({part.spec['name']})"


def judge_part(part: Part, level: float, family: int, training: bool = True) -> None:
    """Give the part its verdict and a reason in words.

    `family` is the number of deciding parts of the claim; `training`: the claim speaks of training, so that one seed
    decides nothing.
    """
    spec = part.spec
    if part.value is None:
        return
    shown = f"{number(part.value)} {spec['unit']}"
    if spec["type"] == "equals":
        holds = abs(part.value - spec["value"]) <= spec["tolerance"]
        part.verdict = "reproduced" if holds else "not reproduced"
        part.reason = f"furthest value {shown}, expected {number(spec['value'])}"
    elif spec["type"] == "share":
        holds = part.value <= spec["at_most"]
        part.verdict = "reproduced" if holds else "inconclusive"
        part.reason = f"{shown}, at most {number(spec['at_most'])} is claimed"
        part.reason += "" if holds else "; a backbone of this size cannot show a smaller share"
    elif part.floored:
        part.verdict = "inconclusive"
        part.reason = f"{shown}, but all compared lie below {number(spec['floor'])}, where {spec['metric']} cannot tell"
        part.reason += " systems apart"
    elif part.estimate.ci_low is None:
        part.verdict = "inconclusive"
        part.reason = f"{shown}, a single value without an interval"
    else:
        _judge_interval(part, shown, level, family, training)


def _judge_interval(part: Part, shown: str, level: float, family: int, training: bool) -> None:
    estimate, spec = part.estimate, part.spec
    training = training and not part.heard  # what was heard is one training of each system, as in the papers
    shown += f" by {estimate.speakers} listeners" if part.heard else ""
    corrected = 1 - (1 - level) / family if spec.get("primary") else level
    part.verdict, ends = (_equivalent if "equivalence" in spec else _one_sided)(part, level, corrected)
    kind = "exact interval" if estimate.exact or estimate.share else "interval"
    part.reason = f"{shown}, {100 * level:g} % {kind} [{number(estimate.ci_low)}, {number(estimate.ci_high)}], {ends}"
    if training and "seed" in estimate.fixed:
        part.verdict = "inconclusive"
        part.reason += "; one seed: what another training would give is not known"
    others = [LEVELS[name] for name in estimate.fixed if not (training and name == "seed")]
    part.reason += f" ({', '.join(others)} only)" if others else ""


def _one_sided(part: Part, level: float, corrected: float) -> tuple[str, str]:
    sign = 1 if part.spec["expect"] == "greater" else -1
    near = part.estimate.at(level)[0 if sign > 0 else 1]
    far = part.estimate.at(corrected)[1 if sign > 0 else 0]
    goal = number(part.goal)
    if sign * (near - part.goal) > 0:
        return "reproduced", f"wholly {'above' if sign > 0 else 'below'} {goal}"
    if sign * (far - part.goal) < 0:
        return "not reproduced", f"wholly short of {goal}"
    return "inconclusive", f"not settled against {goal}"


def _equivalent(part: Part, level: float, corrected: float) -> tuple[str, str]:
    margin, centre = part.spec["equivalence"], part.spec["threshold"]
    low, high = part.estimate.at(1 - 2 * (1 - level))
    bottom, top = part.estimate.at(corrected)
    if centre - margin < low and high < centre + margin:
        return "reproduced", f"within {number(margin)} of {number(centre)} by two one-sided tests"
    if bottom > centre + margin or top < centre - margin:
        return "not reproduced", f"wholly more than {number(margin)} from {number(centre)}"
    return "inconclusive", f"not settled against a margin of {number(margin)}"


def combine(primary: list[Part], absent: list[str]) -> tuple[str, str]:
    """The claim's verdict from its deciding parts, and the reason: the parts in order.

    A part whose systems all lie below the metric's floor decides nothing; where no other is left the claim is
    inconclusive.
    """
    told = "; ".join(f"{part.spec['name']}: {part.verdict}, {part.reason}" for part in primary)
    verdicts = [part.verdict for part in primary if not part.floored]
    if "not reproduced" in verdicts:
        return "not reproduced", told
    if absent:
        return "not tested", f"this profile's rows lack {', '.join(absent)}"
    if "not tested" in verdicts:
        return "not tested", "; ".join(f"{p.spec['name']}: {p.reason}" for p in primary if p.verdict == "not tested")
    return "reproduced" if set(verdicts) == {"reproduced"} else "inconclusive", told


def numbers(part: Part) -> dict:
    estimate = part.estimate
    names = ("ci_low", "ci_high", "n", "speakers", "seeds", "dz", "df", "half_width")
    found = {name: getattr(estimate, name) if estimate else None for name in names}
    p = estimate.p(part.goal) if estimate and "equivalence" not in part.spec else None
    return {"value": part.value} | found | {"p": p, "design": part.design}


def record(part: Part) -> dict:
    spec = {name: part.spec[name] for name in ("name", "type", "metric", "unit")}
    optional = ("a", "b", "base", "ceiling", "systems", "weights", "along", "factor", "unit_of", "equivalence")
    compared = {name: part.spec[name] for name in optional if name in part.spec}
    return (
        spec
        | compared
        | {"published": part.spec.get("published"), "primary": bool(part.spec.get("primary"))}
        | {"threshold": part.spec["threshold"], "smallest": part.spec["smallest"]}
        | numbers(part)
        | {"listeners": part.estimate.speakers if part.heard and part.estimate else None}
        | {"fixed": list(part.estimate.fixed) if part.estimate else []}
        | {"terms": _terms(part.estimate), "by_seed": part.by_seed}
        | {
            "by_speaker": [float(f"{mean:.4g}") for mean in part.estimate.means.get("speaker", [])]
            if part.estimate
            else []
        }
        | {"verdict": part.verdict, "reason": part.reason}
    )


def _terms(estimate: Estimate | None) -> dict[str, float]:
    """The variances of one seed, speaker and sentence, by name, as "seed speaker"."""
    found = single(estimate) if estimate and estimate.se and not estimate.exact else {}
    return {" ".join(term): variance for term, variance in found.items()}


def number(value: float | None) -> str:
    """Three significant digits, without an exponent for ordinary sizes; nothing for None."""
    return "" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
