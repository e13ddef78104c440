"""The parts of a claim: a comparison each, its verdict by the rule of claims.yaml, and the claim's from them."""

from __future__ import annotations

from dataclasses import dataclass

from lib.study.statistics import Estimate, holm


@dataclass
class Part:
    """One comparison of a claim with what came of it; `estimate` is None where a number has no interval."""

    spec: dict
    value: float | None = None
    estimate: Estimate | None = None
    verdict: str = "not tested"
    reason: str = ""
    p: float | None = None
    p_holm: float | None = None
    runs: tuple[str, ...] = ()
    floored: bool = False  # every system lies below what the metric can tell apart


def counts(part: Part) -> bool:
    """Does a part decide the verdict: a `primary` one, and with `if_there` only where it was measured."""
    return bool(part.spec.get("primary")) and not (part.spec.get("if_there") and part.value is None)


def correct(parts: list[Part]) -> None:
    """Bootstrap p values against each part's threshold, Holm-corrected over the parts with an interval."""
    tested = [part for part in parts if part.estimate is not None and part.estimate.ci_low is not None]
    p_values = [part.estimate.p(part.spec["threshold"]) for part in tested]
    for part, p, corrected in zip(tested, p_values, holm(p_values), strict=True):
        part.p, part.p_holm = p, corrected


def judge_part(part: Part, level: float, family: int) -> None:
    """Give the part its verdict and a reason in words; the rule is the one that claims.yaml states."""
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
    elif part.estimate.ci_low is None:
        part.verdict = "inconclusive"
        part.reason = f"{shown}, a single value without an interval"
    elif part.floored:
        part.verdict = "inconclusive"
        part.reason = f"{shown}, but all compared lie below {number(spec['floor'])}, where {spec['metric']} cannot tell"
        part.reason += " systems apart"
    else:
        _judge_interval(part, shown, level, family)


def _judge_interval(part: Part, shown: str, level: float, family: int) -> None:
    estimate, spec = part.estimate, part.spec
    sign = 1 if spec["expect"] == "greater" else -1
    threshold, smallest = spec["threshold"], spec["smallest"]
    part.p = estimate.p(threshold) if part.p is None else part.p
    side = "above" if sign > 0 else "below"
    near = estimate.ci_low if sign > 0 else estimate.ci_high
    corrected = estimate.at(1 - (1 - level) / family if spec.get("primary") else level)
    far = corrected[1] if sign > 0 else corrected[0]
    p = part.p if part.p_holm is None else part.p_holm
    if sign * (near - threshold) > 0 and p < 1 - level:
        part.verdict, ends = "reproduced", f"wholly {side} {number(threshold)}"
        if sign * (estimate.value - threshold) < smallest:
            ends += f", though smaller than the {number(smallest)} that would matter"
    elif sign * (far - threshold) < smallest:
        part.verdict = "not reproduced"
        ends = f"wholly short of {number(threshold + sign * smallest)}"
    elif sign * (near - threshold) > 0:
        part.verdict, ends = "inconclusive", f"{side} {number(threshold)} but with a corrected p of {p:.3f}"
    else:
        part.verdict, ends = "inconclusive", f"not settled against {number(threshold)}"
    bounds = f"[{number(estimate.ci_low)}, {number(estimate.ci_high)}]"
    part.reason = f"{shown}, {100 * level:g} % interval {bounds}, {ends}"
    if estimate.fixed:
        part.reason += f" (one {', one '.join(estimate.fixed)} only)"


def combine(primary: list[Part], absent: list[str]) -> tuple[str, str]:
    """The claim's verdict from its primary parts, and the reason: the parts in order."""
    verdicts = [part.verdict for part in primary]
    told = "; ".join(f"{part.spec['name']}: {part.verdict}, {part.reason}" for part in primary)
    if "not reproduced" in verdicts:
        return "not reproduced", told
    if absent:
        return "not tested", f"this profile's rows lack {', '.join(absent)}"
    if "not tested" in verdicts:
        return "not tested", told
    return "reproduced" if set(verdicts) == {"reproduced"} else "inconclusive", told


def numbers(part: Part) -> dict:
    estimate = part.estimate
    return {
        "value": part.value,
        "ci_low": estimate.ci_low if estimate else None,
        "ci_high": estimate.ci_high if estimate else None,
        "n": estimate.n if estimate else None,
        "speakers": estimate.speakers if estimate else None,
        "seeds": estimate.seeds if estimate else None,
        "dz": estimate.dz if estimate else None,
        "p": part.p,
        "p_holm": part.p_holm,
    }


def record(part: Part) -> dict:
    spec = {name: part.spec[name] for name in ("name", "type", "metric", "unit")}
    compared = {name: part.spec[name] for name in ("a", "b", "systems", "factor", "unit_of") if name in part.spec}
    return (
        spec
        | compared
        | {"published": part.spec.get("published"), "primary": bool(part.spec.get("primary"))}
        | {"threshold": part.spec["threshold"]}
        | numbers(part)
        | {"fixed": list(part.estimate.fixed) if part.estimate else []}
        | {"verdict": part.verdict, "reason": part.reason}
    )


def number(value: float | None) -> str:
    """Three significant digits, without an exponent for ordinary sizes; nothing for None."""
    return "" if value is None else f"{value:.3g}" if abs(value) < 1000 else f"{value:.0f}"
