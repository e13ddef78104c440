"""Intervals and paired comparisons over seeds, speakers and sentences.

The seeds of a system all speak the same utterances of the same speakers, so seeds are crossed with speakers; sentences
are nested in speakers, or crossed where the rows say that all speakers speak the same ones. The variance of a mean
and its degrees of freedom are those of `lib.study.variance`; the interval is the value plus or minus a quantile of
Student's t. A factor with one level is named: the interval then says nothing about other seeds, or other speakers.
What the nominal 95 % cover in simulated designs is in results/reference/coverage.json.

Where fewer than five sentences differ between two systems at all, no spread can be told from them: the interval is
then bounded by Clopper and Pearson's exact limits of the share that differs (Biometrika 26, 1934).
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd
from scipy import stats

from lib.study.variance import Design, Spread

FACTORS = ("seed", "speaker", "utterance")
FEW = 5  # units that differ, below which the exact bound holds


class StatisticsError(ValueError):
    """A comparison that the given rows cannot answer."""


@dataclass(frozen=True)
class Estimate:
    """A mean, or another number of the rows, with its standard error and degrees of freedom.

    `value` is in the unit of the rows; `n` counts (speaker, utterance) pairs and `sentences` what is independent among
    them within a speaker; `dz` is Cohen's dz, the mean over the standard deviation of the pairs (None for fewer than
    two pairs or no spread); `fixed` names the factors with one level. `ci_low`, `ci_high`, `se` and `df` are None
    when every factor is fixed. `terms` is what each factor and interaction adds to the squared standard error.
    `exact`, where the interval is exact: in how many sentences the value is below 0 and above 0, of how many, and how
    large it can be; `share`, of a share of events in percent: how many of how many. `means`, of a mean: those of each
    seed and of each speaker, where there are several.
    """

    value: float
    ci_low: float | None
    ci_high: float | None
    level: float
    n: int
    speakers: int
    seeds: int
    dz: float | None
    fixed: tuple[str, ...]
    se: float | None = None
    df: float | None = None
    sentences: int = 1
    terms: dict[tuple[str, ...], float] = field(default_factory=dict, repr=False, compare=False)
    exact: tuple[int, int, int, float] | None = None
    share: tuple[int, int] | None = None
    means: dict[str, np.ndarray] = field(default_factory=dict, repr=False, compare=False)

    def at(self, level: float) -> tuple[float, float]:
        """The interval at another level, such as one corrected for a family of comparisons."""
        if self.share is not None:
            low, high = share(*self.share, level)
            return 100 * low, 100 * high
        if self.exact is not None:
            below, above, count, largest = self.exact
            return -largest * share(below, count, level)[1], largest * share(above, count, level)[1]
        reach = stats.t.ppf((1 + level) / 2, self.df) * self.se if self.se else 0.0
        return float(self.value - reach), float(self.value + reach)

    def p(self, threshold: float = 0.0) -> float | None:
        """Two-sided p value of the true value being `threshold`; None where the interval is exact."""
        if self.exact is not None or self.share is not None or self.se is None:
            return None
        if self.se == 0:
            return float(self.value == threshold)
        return float(2 * stats.t.sf(abs(self.value - threshold) / self.se, self.df))

    @property
    def half_width(self) -> float | None:
        return None if self.ci_low is None else (self.ci_high - self.ci_low) / 2

    def told(self, digits: int = 2) -> str:
        """The value with its interval: "64.00 [63.12, 64.90]"."""
        ends = "" if self.ci_low is None else f" [{self.ci_low:.{digits}f}, {self.ci_high:.{digits}f}]"
        return f"{self.value:.{digits}f}{ends}"


def interval(
    table: pd.DataFrame, *, level: float = 0.95, largest: float | None = None, crossed: bool = False
) -> Estimate:
    """Mean of `table.value` with its interval.

    `table` has the columns seed, speaker, utterance (nulls are one level) and value, one row per combination, and may
    have `sentence`: what several utterances share, such as one text in several styles, or by several speakers.
    Without it every utterance is its own sentence. With `largest`, the largest size that a value can have, values of
    which fewer than five sentences are not zero get the exact interval. `crossed`: sentences are the same for all
    speakers even where some speaker lacks some (listeners who rate). Raises StatisticsError when the table is empty,
    holds a combination twice, or a value is not finite.
    """
    table = levelled(table)
    values = table["value"].to_numpy()
    found = estimate(
        table, values.mean(), (values - values.mean()) / len(values), values, level, largest, crossed=crossed
    )
    codes = {name: pd.factorize(table[name])[0] for name in ("seed", "speaker") if name not in found.fixed}
    means = {name: np.bincount(code, values) / np.bincount(code) for name, code in codes.items()}
    return replace(found, means=means)


def paired_difference(a: pd.DataFrame, b: pd.DataFrame, on: Sequence[str] = FACTORS, **options: float) -> Estimate:
    """Mean of a - b over the pairs that agree in `on`, with `options` of `interval`.

    Without "seed" in `on`, b is averaged over its seeds and serves every seed of a: the comparison with a
    system that has no seeds of its own, such as the unadapted backbone. Raises StatisticsError when nothing
    pairs.
    """
    return interval(pair({"a": a, "b": b}, on).assign(value=lambda t: t["a"] - t["b"]), **options)


def independent(a: Estimate, b: Estimate) -> Estimate:
    """a - b of two estimates over different speakers: their variances add (Welch's test, Biometrika 34, 1947)."""
    value, level = a.value - b.value, a.level
    facts = {"n": min(a.n, b.n), "speakers": min(a.speakers, b.speakers), "seeds": min(a.seeds, b.seeds), "dz": None}
    facts |= {"value": value, "level": level, "fixed": tuple(sorted({*a.fixed, *b.fixed}))}
    if not a.se or not b.se:
        return Estimate(ci_low=None, ci_high=None, **facts)
    total = a.se**2 + b.se**2
    facts |= {"se": float(np.sqrt(total)), "df": total**2 / (a.se**4 / a.df + b.se**4 / b.df)}
    low, high = Estimate(ci_low=None, ci_high=None, **facts).at(level)
    return Estimate(ci_low=low, ci_high=high, **facts)


def share(events: int, count: int, level: float = 0.95) -> tuple[float, float]:
    """Clopper and Pearson's exact interval of a share of which `events` of `count` were seen, both between 0 and 1."""
    found = stats.binomtest(events, count).proportion_ci(level, method="exact")
    return float(found.low), float(found.high)


def pair(tables: dict, on: Sequence[str] = FACTORS) -> pd.DataFrame:
    """Inner join of the values on `on`: columns seed, speaker, utterance, sentence and one per key of `tables`."""
    joined = None
    for name, table in tables.items():
        if joined is None:
            joined = levelled(table).rename(columns={"value": name})
        else:
            joined = joined.merge(reduced(table, name, on), on=list(on))
    if joined is None or joined.empty:
        raise StatisticsError(
            f"nothing pairs on {', '.join(on)} between {' and '.join(map(str, tables))}; "
            "evaluate the systems on the same utterances and seeds"
        )
    return joined


def reduced(table: pd.DataFrame, name: object, on: Sequence[str]) -> pd.DataFrame:
    return levelled(table).groupby(list(on), sort=True)["value"].mean().rename(name).reset_index()


def levelled(table: pd.DataFrame) -> pd.DataFrame:
    """The factor columns, nulls filled with one level, sentence and the values as floats; checked for repeats."""
    if table.empty:
        raise StatisticsError("there are no rows to take a mean of; run the systems that are compared")
    table = table.reset_index(drop=True)
    absent = pd.Series(None, table.index, dtype="string")
    levels = pd.DataFrame({f: table.get(f, absent).astype("string").fillna("") for f in FACTORS}).astype(object)
    levels["sentence"] = table.get("sentence", levels["utterance"]).astype("string").fillna("").astype(object)
    levels["value"] = table["value"].astype(float)
    repeated = levels.duplicated(list(FACTORS))
    if repeated.any():
        row = levels[repeated].iloc[0]
        raise StatisticsError(
            f"seed {row['seed']}, speaker {row['speaker']}, utterance {row['utterance']} has two values "
            "where one is expected; narrow the comparison to one system and metric"
        )
    if not np.isfinite(levels["value"]).all():
        row = levels[~np.isfinite(levels["value"])].iloc[0]
        raise StatisticsError(f"utterance {row['utterance']} of {row['speaker']} has no finite value; score it again")
    return levels


def estimate(
    table: pd.DataFrame,
    value: float,
    influence: np.ndarray,
    values: np.ndarray,
    level: float,
    largest: float | None,
    used: int = 0,
    crossed: bool = False,
) -> Estimate:
    """The estimate of a number whose linearisation is the sum of `influence` over the rows of `table`.

    `values` are what `dz` is about; `used` degrees of freedom went into the number beyond the mean.
    """
    pairs = pd.Series(values).groupby([table["speaker"], table["utterance"]]).mean().to_numpy()
    spread = pairs.std(ddof=1) if len(pairs) > 1 else 0.0
    counts = {name: table[name].nunique() for name in ("seed", "speaker")}
    units = table[["speaker", "sentence"]].drop_duplicates()
    fixed = tuple(name for name, count in (counts | {"utterance": len(units)}).items() if count == 1)
    facts = {
        "value": float(value),
        "level": level,
        "n": len(pairs),
        "speakers": counts["speaker"],
        "seeds": counts["seed"],
        "dz": float(pairs.mean() / spread) if spread > 0 else None,
        "fixed": fixed,
        "sentences": max(1, round(len(units) / counts["speaker"])),
    }
    codes = factors(table, crossed)
    if not codes:
        return Estimate(ci_low=None, ci_high=None, **facts)
    found, exact = Design(codes).spread(influence), None
    if largest is not None and len(units) >= FEW:
        signs = pd.Series(values).groupby([table["speaker"], table["sentence"]]).agg(["min", "max"])
        below, above = int((signs["min"] < 0).sum()), int((signs["max"] > 0).sum())
        exact = (below, above, len(units), largest) if below + above < FEW else None
    facts |= {"se": float(np.sqrt(found.variance[0])), "df": max(float(found.df[0]) - used, 1.0), "exact": exact}
    facts["terms"] = {term: float(part[0]) for term, part in found.terms.items()}
    facts["terms"] |= _sentences(table, codes, found, influence)
    low, high = Estimate(ci_low=None, ci_high=None, **facts).at(level)
    return Estimate(ci_low=low, ci_high=high, **facts)


def _sentences(table: pd.DataFrame, codes: dict, found: Spread, influence: np.ndarray) -> dict:
    """Where sentences are nested in speakers: the terms of `found` with the speakers' split into their own and what
    their sentences add; the sums stay.
    """
    units = pd.factorize(table["speaker"].str.cat(table["sentence"], sep="\n"))[0]
    speakers = len(np.unique(codes.get("speaker", [0])))
    if "sentence" in codes or "speaker" not in codes or units.max() + 1 == speakers:
        return {}
    groups = [table["speaker"], table["seed"]]
    within = influence - pd.Series(influence).groupby(groups).transform("mean").to_numpy()
    seeds = {"seed": codes["seed"]} if "seed" in codes else {}
    inner = Design(seeds | {"sentence": units}).spread(within * np.sqrt(units.max() / (units.max() + 1 - speakers)))
    split = {}
    for term in [("speaker",), ("seed", "speaker")]:
        if term in found.terms:
            whole = float(found.terms[term][0])
            part = min(whole, float(inner.terms[*term[:-1], "sentence"][0]))
            split |= {term: whole - part, (*term, "sentence"): part}
    return split


def factors(table: pd.DataFrame, crossed: bool = False) -> dict[str, np.ndarray]:
    """The crossed factors of the rows that have two or more levels, as codes: seed, speaker, and sentence where there
    is one speaker, every speaker says every sentence, or it is known to be `crossed` (otherwise sentences are nested
    in speakers).
    """
    codes = {name: pd.factorize(table[name], sort=True)[0] for name in ("seed", "speaker", "sentence")}
    several = {name: code for name, code in codes.items() if code.max() > 0}
    if "speaker" in several and "sentence" in several and not crossed:
        cells = table[["speaker", "sentence"]].drop_duplicates()
        if len(cells) < (codes["speaker"].max() + 1) * (codes["sentence"].max() + 1):
            del several["sentence"]
    return several
