"""Intervals and paired comparisons over seeds, speakers and utterances.

The seeds of a system all speak the same utterances of the same speakers, so seeds are crossed with speakers
and utterances are nested in speakers. One bootstrap draw takes seeds, then speakers, then utterances within
each drawn speaker; the drawn speakers and utterances serve every drawn seed. Factors with few levels
understate their variance by (k - 1)/k when k of k levels are drawn, so k - 1 seeds and k - 1 speakers are
drawn (Rao and Wu, Resampling inference with complex survey data, JASA 1988). A factor with one level is
kept fixed, and the result says so: its interval then says nothing about other seeds, or other speakers.

Coverage of the 95 % interval on simulated data (3 seeds, 8 utterances a speaker): 0.92 to 0.97 with six or
more speakers, 0.87 with four speakers that differ as much as their utterances do. Fewer than six speakers
deserve caution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import pandas as pd

FACTORS = ("seed", "speaker", "utterance")
CELLS = 4_000_000  # bootstrap cells held in memory at a time


class StatisticsError(ValueError):
    """A comparison that the given rows cannot answer."""


@dataclass(frozen=True)
class Estimate:
    """A mean with its bootstrap distribution.

    `value` is in the unit of the rows; `n` counts (speaker, utterance) pairs; `dz` is Cohen's dz, the mean
    over the standard deviation of the pairs (None for fewer than two pairs or no spread); `fixed` names the
    factors with one level; `draws` has shape (draws,). `ci_low` and `ci_high` are None when every factor is
    fixed.
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
    draws: np.ndarray = field(repr=False, compare=False)

    def at(self, level: float) -> tuple[float, float]:
        """The percentile interval at another level, such as a family-corrected one."""
        return _percentiles(self.draws, level)

    def p(self, threshold: float = 0.0) -> float:
        """Two-sided bootstrap p value of the mean being `threshold`; never below 2 / (draws + 1)."""
        below = 1 + np.count_nonzero(self.draws <= threshold)
        above = 1 + np.count_nonzero(self.draws >= threshold)
        return float(min(1.0, 2 * min(below, above) / (len(self.draws) + 1)))


def interval(table: pd.DataFrame, *, level: float = 0.95, draws: int = 2000, seed: int = 0) -> Estimate:
    """Mean of `table.value` with its hierarchical bootstrap interval.

    `table` has the columns seed, speaker, utterance (nulls are one level) and value, one row per combination.
    Raises StatisticsError when it is empty or holds a combination twice.
    """
    table = _levels(table)
    sampled, fixed = resample(table, ["value"], draws=draws, seed=seed)
    low, high = _percentiles(sampled[:, 0], level) if len(fixed) < len(FACTORS) else (None, None)
    pairs = table.groupby(["speaker", "utterance"], sort=True)["value"].mean().to_numpy()
    spread = pairs.std(ddof=1) if len(pairs) > 1 else 0.0
    return Estimate(
        value=float(table["value"].mean()),
        ci_low=low,
        ci_high=high,
        level=level,
        n=len(pairs),
        speakers=table["speaker"].nunique(),
        seeds=table["seed"].nunique(),
        dz=float(pairs.mean() / spread) if spread > 0 else None,
        fixed=fixed,
        draws=sampled[:, 0],
    )


def paired_difference(a: pd.DataFrame, b: pd.DataFrame, on: Sequence[str] = FACTORS, **options: float) -> Estimate:
    """Mean of a - b over the pairs that agree in `on`, with `options` of `interval`.

    Without "seed" in `on`, b is averaged over its seeds and serves every seed of a: the comparison with a
    system that has no seeds of its own, such as the unadapted backbone. Raises StatisticsError when nothing
    pairs.
    """
    return interval(pair({"a": a, "b": b}, on).assign(value=lambda t: t["a"] - t["b"]), **options)


def reduction(a: pd.DataFrame, b: pd.DataFrame, on: Sequence[str] = FACTORS, **options: float) -> Estimate:
    """By how many percent the mean of a is below the mean of b, 100 (1 - mean a / mean b), over the pairs that agree
    in `on`, with `options` of `interval`.

    A ratio of means: both are taken over the same draw. `dz` is that of the differences b - a. Raises StatisticsError
    when nothing pairs or the mean of b is not above zero.
    """
    joined = pair({"a": a, "b": b}, on)
    means = joined[["a", "b"]].mean()
    if not means["b"] > 0:
        raise StatisticsError(f"a share of a mean of {means['b']:g} says nothing; compare a positive quantity")
    level, draws, seed = options.get("level", 0.95), options.get("draws", 2000), options.get("seed", 0)
    plain = interval(joined.assign(value=joined["b"] - joined["a"]), level=level, draws=draws, seed=seed)
    sampled, _ = resample(joined, ["a", "b"], draws=draws, seed=seed)
    sampled = sampled[sampled[:, 1] > 0]
    shares = 100 * (1 - sampled[:, 0] / sampled[:, 1])
    low, high = _percentiles(shares, level) if plain.ci_low is not None else (None, None)
    value = float(100 * (1 - means["a"] / means["b"]))
    return replace(plain, value=value, ci_low=low, ci_high=high, draws=shares)


def slope(
    tables: dict[float, pd.DataFrame], on: Sequence[str] = FACTORS, log: bool = True, **options: float
) -> Estimate:
    """Mean least-squares slope of the value on log2 of the keys, one slope per pair, with `options` of
    `interval`; without `log`, on the keys themselves.

    In the unit of the values per doubling of the key, or per unit of it. Raises StatisticsError for fewer than two
    keys.
    """
    if len(tables) < 2:
        raise StatisticsError(f"a slope needs two or more sizes, not {sorted(tables)}; run the missing systems")
    x = np.array(sorted(tables), dtype=float)
    x = np.log2(x) if log else x
    weights = (x - x.mean()) / np.square(x - x.mean()).sum()
    joined = pair({key: tables[key] for key in sorted(tables)}, on)
    return interval(joined.assign(value=joined[sorted(tables)].to_numpy() @ weights), **options)


def pair(tables: dict, on: Sequence[str] = FACTORS) -> pd.DataFrame:
    """Inner join of the values on `on`: columns seed, speaker, utterance and one per key of `tables`."""
    joined = None
    for name, table in tables.items():
        table = _levels(table).rename(columns={"value": name})
        if joined is None:
            joined = table
            continue
        reduced = table.groupby(list(on), sort=True)[name].mean().reset_index()
        joined = joined.merge(reduced, on=list(on))
    if joined is None or joined.empty:
        raise StatisticsError(
            f"nothing pairs on {', '.join(on)} between {' and '.join(map(str, tables))}; "
            "evaluate the systems on the same utterances and seeds"
        )
    return joined


def resample(
    table: pd.DataFrame, columns: Sequence, *, draws: int = 2000, seed: int = 0
) -> tuple[np.ndarray, tuple[str, ...]]:
    """Bootstrap means of `columns` under the same draws, (draws, columns), and the factors kept fixed."""
    cube, present = _cube(_levels(table, columns), columns)
    seeds, speakers, utterances = present.shape
    per_speaker = present.any(axis=0).sum(axis=1)
    sizes = {"seed": seeds, "speaker": speakers, "utterance": int(per_speaker.max())}
    generator = np.random.default_rng(seed)
    chunk = max(1, CELLS // (speakers * utterances * len(columns)))
    parts = [
        _draw(cube, present, per_speaker, min(chunk, draws - start), generator) for start in range(0, draws, chunk)
    ]
    sampled = np.concatenate(parts)
    return sampled[np.isfinite(sampled).all(axis=1)], tuple(name for name in FACTORS if sizes[name] == 1)


def holm(p_values: Sequence[float]) -> list[float]:
    """Holm's step-down adjusted p values, in the order given (Holm 1979)."""
    p = np.asarray(p_values, dtype=float)
    order = np.argsort(p, kind="stable")
    steps = (len(p) - np.arange(len(p))) * p[order]
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(1.0, np.maximum.accumulate(steps))
    return adjusted.tolist()


def _levels(table: pd.DataFrame, columns: Sequence = ("value",)) -> pd.DataFrame:
    """The factor columns, nulls filled with one level, and `columns` as floats; checked for repeats."""
    if table.empty:
        raise StatisticsError("there are no rows to take a mean of; run the systems that are compared")
    table = table.reset_index(drop=True)
    absent = pd.Series(None, table.index, dtype="string")
    levels = pd.DataFrame({f: table.get(f, absent).astype("string").fillna("") for f in FACTORS}).astype(object)
    levels = levels.join(table[list(columns)].astype(float))
    repeated = levels.duplicated(list(FACTORS))
    if repeated.any():
        row = levels[repeated].iloc[0]
        raise StatisticsError(
            f"seed {row['seed']}, speaker {row['speaker']}, utterance {row['utterance']} has two values "
            "where one is expected; narrow the comparison to one system and metric"
        )
    return levels


def _cube(table: pd.DataFrame, columns: Sequence) -> tuple[np.ndarray, np.ndarray]:
    """Values (seeds, speakers, utterances, columns), zero where absent, and the presence mask without
    columns.

    Utterances are numbered within their speaker.
    """
    seed, seeds = pd.factorize(table["seed"], sort=True)
    speaker, speakers = pd.factorize(table["speaker"], sort=True)
    keys = table[["speaker", "utterance"]].drop_duplicates().sort_values(["speaker", "utterance"])
    keys["index"] = keys.groupby("speaker").cumcount()
    index = table.merge(keys, on=["speaker", "utterance"], how="left")["index"].to_numpy()
    shape = (len(seeds), len(speakers), int(index.max()) + 1)
    cube, present = np.zeros((*shape, len(columns))), np.zeros(shape, dtype=bool)
    cube[seed, speaker, index] = table[list(columns)].to_numpy()
    present[seed, speaker, index] = True
    return cube, present


def _draw(
    cube: np.ndarray, present: np.ndarray, per_speaker: np.ndarray, draws: int, generator: np.random.Generator
) -> np.ndarray:
    """Means (draws, columns) of as many resampled data sets; NaN where a draw met no observation."""
    seeds, speakers, utterances = present.shape
    times = generator.multinomial(max(1, seeds - 1), np.full(seeds, 1 / seeds), size=draws)
    speaker = generator.integers(speakers, size=(draws, max(1, speakers - 1), 1))
    count = per_speaker[speaker]
    utterance = (generator.random((draws, speaker.shape[1], utterances)) * count).astype(int)
    taken = np.arange(utterances) < count
    total, weight = np.zeros((draws, cube.shape[-1])), np.zeros((draws, 1))
    for index in range(seeds):
        kept = taken & present[index, speaker, utterance]
        picked = cube[index, speaker, utterance]
        total += times[:, index, None] * np.einsum("dpuc,dpu->dc", picked, kept.astype(float))
        weight += times[:, index, None] * kept.sum(axis=(1, 2))[:, None]
    return np.divide(total, weight, out=np.full_like(total, np.nan), where=weight > 0)


def _percentiles(draws: np.ndarray, level: float) -> tuple[float, float]:
    tail = 50 * (1 - level)
    low, high = np.percentile(draws, [tail, 100 - tail])
    return float(low), float(high)
