"""What a design can decide: half-widths of intervals for other numbers of seeds, speakers and sentences.

The variance of a mean is the sum of what seeds, speakers, sentences and their interactions add (`Estimate.terms`);
each shrinks with the number of levels of its factors. So the half-width of any other design follows from one that was
run.
"""

from itertools import product

import numpy as np
from scipy import stats

from lib.study.statistics import Estimate

SEEDS = (3, 4, 5, 8, 10, 15, 20)
SPEAKERS = (1, 3, 6, 8, 12, 18, 24, 36, 48, 96)
SENTENCES = (4, 8, 12, 20, 40, 60, 100)
NEAR = 0.05  # a published value so near the threshold, in shares of it, is a margin that the threshold names
FACTORS = ("seed", "speaker", "sentence")
TRAINING = 200  # what one more seed costs, counted in utterances spoken and scored


def half_width(terms: dict[tuple[str, ...], float], sizes: dict[str, int], level: float = 0.95) -> float:
    """Of a design with `sizes` levels of seed, speaker and sentence; `terms` hold variances for one level of each."""
    parts = {term: variance / np.prod([sizes[name] for name in term]) for term, variance in terms.items()}
    total, below = sum(parts.values()), 0.0
    if total <= 0:
        return 0.0
    for name in FACTORS:
        square = sum(part for term, part in parts.items() if name == term[0] or name in term and sizes[term[0]] == 1)
        if sizes[name] > 1:
            below += square**2 / (sizes[name] - 1)
    df = max(1.0, total**2 / below) if below else 1.0
    return float(stats.t.ppf((1 + level) / 2, df) * np.sqrt(total))


def single(estimate: Estimate) -> dict[tuple[str, ...], float]:
    """The variances that one seed, one speaker and one sentence would add."""
    sizes = sizes_of(estimate)
    return {term: part * float(np.prod([sizes[name] for name in term])) for term, part in estimate.terms.items()}


def sizes_of(estimate: Estimate) -> dict[str, int]:
    return {"seed": estimate.seeds, "speaker": estimate.speakers, "sentence": estimate.sentences}


def wanted(spec: dict) -> float | None:
    """The half-width below which a part of a claim can be decided: its smallest effect or margin; where there is
    none, how far the published value lies from the threshold, and else the threshold itself.
    """
    if spec.get("equivalence") or spec.get("smallest"):
        return float(spec.get("equivalence") or spec["smallest"])
    threshold, published = spec["threshold"], spec.get("published")
    if published is not None and abs(published - threshold) > NEAR * abs(threshold):
        return float(abs(published - threshold))
    return float(abs(threshold)) or None


def needed(
    terms: dict[tuple[str, ...], float],
    target: float,
    least: dict[str, int],
    level: float = 0.95,
    training: bool = True,
) -> dict | None:
    """The cheapest design, of at least as many speakers and sentences as `least`, whose half-width is below `target`.

    Returns seeds, speakers, sentences and half_width; None: no design of up to 20 seeds, 96 speakers and 100 sentences
    is enough.
    """
    seeds = [size for size in SEEDS if size >= least["seed"]] if training else [least["seed"]]
    speakers = [least["speaker"]] + [size for size in SPEAKERS if size > least["speaker"] > 1]
    sentences = [least["sentence"]] + [size for size in SENTENCES if size > least["sentence"]]
    designs = product(seeds or [least["seed"]], speakers, sentences)
    by_cost = sorted(designs, key=lambda sizes: sizes[0] * (TRAINING + sizes[1] * sizes[2]))
    if half_width(terms, dict(zip(FACTORS, by_cost[-1], strict=True)), level) >= target:
        return None
    for sizes in by_cost:
        width = half_width(terms, dict(zip(FACTORS, sizes, strict=True)), level)
        if width < target:
            return dict(zip(("seeds", "speakers", "sentences"), sizes, strict=True)) | {"half_width": width}
    return None


def distance(spec: dict, value: float) -> float:
    """How far a part's value lies from where its verdict turns: the smallest effect, or the nearer end of a margin."""
    beyond = _beyond(spec, value)
    if margin := spec.get("equivalence"):
        return min(abs(beyond - end) for end in (-margin, margin))
    return abs(beyond - spec["smallest"])


def _beyond(spec: dict, value: float) -> float:
    """How far a value lies from the threshold on the claimed side."""
    return (value - spec["threshold"]) * (-1 if spec.get("expect") == "less" else 1)


def design(
    spec: dict, estimate: Estimate, pooled: dict[str, dict], training: bool = True, family: int = 1
) -> dict | None:
    """The design that would decide a part of a claim if its value stays where it is, from the rows of one that was run;
    None where nothing is to be decided. `enough` is None where no design is.

    family: the claim's deciding parts, for which the level is corrected where the value speaks against the part. With
    one seed, what seeds add comes from `pooled` (metric to variances); where that is not known either, it counts
    as nothing and `seeds_known` is False.
    """
    target = distance(spec, estimate.value)
    if not target or not estimate.se or estimate.exact:
        return None
    against = "equivalence" not in spec and _beyond(spec, estimate.value) < spec["smallest"]
    level = 1 - (1 - estimate.level) / family if against else estimate.level
    terms, least = single(estimate), sizes_of(estimate)
    known = not training or estimate.seeds > 1 or spec["metric"] in pooled
    if training and estimate.seeds == 1:
        terms = with_seeds(terms, pooled.get(spec["metric"], {}))
    found = needed(terms, target, least, level, training)
    return {"target": target, "enough": found, "seeds_known": known}


def with_seeds(terms: dict, pooled: dict) -> dict:
    """`terms` of one seed, with what seeds add elsewhere (`pooled`: variances for one level of each)."""
    return terms | {term: variance for term, variance in pooled.items() if "seed" in term and term not in terms}


def told(part: dict) -> str:
    """What would decide a part of a claim, in a sentence, from its record; "" where it is decided or cannot be."""
    design = part.get("design")
    if not design or part.get("half_width") is None or part.get("verdict") in ("reproduced", "not reproduced"):
        return ""
    reached, wanted = part["half_width"], design["target"]
    text = f"{part['name']}: the interval reaches {reached:.3g} to either side, and less than {wanted:.3g} would"
    text += " decide it if the value stays"
    if design["enough"] is None:
        largest = {"seeds": SEEDS[-1], "speakers": SPEAKERS[-1], "sentences": SENTENCES[-1]}
        text += f"; no design of up to {said(largest)} gets there"
    else:
        text += f"; {said(design['enough'])} would reach {design['enough']['half_width']:.3g}"
    return text + ("" if design["seeds_known"] else " (or more: what seeds differ in is not known from one)") + "."


def said(design: dict) -> str:
    """As in: 5 seeds, 24 speakers, 12 sentences each."""
    named = ((design["seeds"], "seed"), (design["speakers"], "speaker"), (design["sentences"], "sentence"))
    return ", ".join(f"{count} {name}{'s' * (count != 1)}" for count, name in named) + " each"
