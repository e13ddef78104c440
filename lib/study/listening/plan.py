"""How many listeners and sentences an expected difference between two systems needs."""

from __future__ import annotations

from itertools import combinations

import pandas as pd
from scipy import stats

from lib.study.claim_compare import by_listener
from lib.study.listening.stimuli import ListeningError
from lib.study.power import half_width, single
from lib.study.statistics import interval, paired_difference

ITEMS = (5, 10, 15, 20, 30, 50)
MOST = 500  # listeners
Terms = dict[tuple[str, ...], float]


def published(rating: float, listener: float = 0.0, item: float = 0.0) -> Terms:
    """Variances of a difference from standard deviations: of single ratings of one system, and of the difference
    between listeners and between sentences.
    """
    if min(rating, listener, item) < 0 or not rating:
        raise ListeningError("a standard deviation is above 0, those of listeners and sentences may be 0")
    return {("speaker",): listener**2, ("sentence",): item**2, ("speaker", "sentence"): 2 * rating**2}


def spread(rows: pd.DataFrame, metric: str) -> Terms:
    """Variances of a pilot's differences for one listener and one sentence: the mean over its pairs of systems."""
    table = rows[rows["metric"] == metric]
    tables = {name: by_listener(each) for name, each in table.groupby("system")}
    if metric == "preference":
        found = [single(interval(each, crossed=True)) for each in tables.values()]
    else:
        pairs = combinations(tables.values(), 2)
        found = [single(paired_difference(a, b, crossed=True)) for a, b in pairs]
    found = [terms for terms in found if len(terms) == 3]
    if not found:
        raise ListeningError(f"the pilot has no {metric} of several listeners, sentences and systems: ask more of them")
    return {term: sum(terms[term] for terms in found) / len(found) for term in found[0]}


def listeners(terms: Terms, difference: float, power: float = 0.8, level: float = 0.95) -> list[dict]:
    """For numbers of sentences the fewest listeners whose interval excludes 0 with probability `power`, where the true
    difference is `difference`; None where no 500 are enough.
    """
    if not difference > 0 or not 0.5 <= power < 1:
        raise ListeningError("the difference is above 0, and the power between 0.5 and 1")
    z = stats.norm.ppf((1 + level) / 2)
    target, found = difference * z / (z + stats.norm.ppf(power)), []
    for items in ITEMS:
        sizes = ({"seed": 1, "speaker": count, "sentence": items} for count in range(2, MOST + 1))
        enough = next((s["speaker"] for s in sizes if half_width(terms, s, level) < target), None)
        width = half_width(terms, {"seed": 1, "speaker": enough or MOST, "sentence": items}, level)
        line = {"sentences": items, "listeners": enough, "answers": enough and 2 * enough * items}
        found.append(line | {"half-width": width, "wanted": target})
    return found
