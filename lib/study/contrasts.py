"""Ratios of means, weighted sums of systems and slopes, each with its interval (`lib.study.statistics`)."""

from collections.abc import Sequence

import numpy as np
import pandas as pd

from lib.study.statistics import FACTORS, Estimate, StatisticsError, estimate, interval, levelled, pair, reduced


def reduction(a: pd.DataFrame, b: pd.DataFrame, on: Sequence[str] = FACTORS, **options: float) -> Estimate:
    """By how many percent the mean of a is below the mean of b, 100 (1 - mean a / mean b), over the pairs that agree
    in `on`. Raises StatisticsError as `ratio` does, and when nothing pairs.
    """
    joined = pair({"a": a, "b": b}, on)
    return ratio(joined, joined["b"] - joined["a"], joined["b"], **options)


def share_of_gain(
    a: pd.DataFrame,
    base: pd.DataFrame,
    ceiling: pd.DataFrame,
    on: Sequence[str] = FACTORS,
    better: int = 1,
    **options: float,
) -> Estimate:
    """100 (a - base) / (ceiling - base) of the means over what all three have: how much of the ceiling's gain a keeps.

    a and ceiling agree in `on`; the base serves every seed. `better` is -1 where lower values are better. Raises
    StatisticsError when it cannot be told that the ceiling gains, so that a share of its gain says nothing.
    """
    joined = pair({"a": a, "ceiling": ceiling}, on).merge(reduced(base, "base", FACTORS[1:]), on=list(FACTORS[1:]))
    if joined.empty:
        raise StatisticsError("nothing pairs; evaluate the three systems on the same utterances")
    gain = interval(joined.assign(value=joined["ceiling"] - joined["base"]), **options)
    if not better * gain.value > 0 or (gain.ci_low is not None and gain.ci_low <= 0 <= gain.ci_high):
        raise StatisticsError("it cannot be told that full fine-tuning gains; no share of its gain is given")
    top, bottom = (better * (joined[name] - joined["base"]) for name in ("a", "ceiling"))
    return ratio(joined, top, bottom, **options)


def ratio(table: pd.DataFrame, top: pd.Series, bottom: pd.Series, *, level: float = 0.95, **_: float) -> Estimate:
    """The mean of `top` in percent of the mean of `bottom`, row by row those of `table`.

    Linearised (the delta method): Cochran, Sampling Techniques (1977), chapter 6. `dz` is that of `top`. Raises
    StatisticsError when the mean of `bottom` is not above zero.
    """
    over = float(bottom.mean())
    if not over > 0:
        raise StatisticsError(f"a share of a mean of {over:g} says nothing; compare a positive quantity")
    value = float(top.mean()) / over
    influence = (top - value * bottom).to_numpy() / (over * len(table))
    return estimate(table, 100 * value, 100 * influence, top.to_numpy(), level, None)


def contrast(tables: dict, weights: Sequence[float], on: Sequence[str] = FACTORS, **options: float) -> Estimate:
    """Mean of the weighted sum of several systems' values, pair by pair, with `options` of `interval`."""
    joined = pair(tables, on)
    return interval(joined.assign(value=joined[list(tables)].to_numpy() @ np.asarray(weights, dtype=float)), **options)


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
    return contrast({key: tables[key] for key in sorted(tables)}, weights, on, **options)


def trend(table: pd.DataFrame, x: pd.Series, *, level: float = 0.95, **_: float) -> Estimate:
    """Least-squares slope of the speakers' means of `table.value` on their number `x` (indexed by speaker).

    A speaker's residual is divided by 1 - its leverage, as in the jackknife (MacKinnon and White, J. Econometrics 29,
    1985). Raises StatisticsError for fewer than three speakers with a number, or when it is the same for all.
    """
    table = levelled(table)
    at = table["speaker"].map(x).astype(float)
    table, at = table[at.notna()].reset_index(drop=True), at[at.notna()].to_numpy()
    speakers = table["speaker"].nunique()
    if speakers < 3 or np.ptp(at) == 0:
        raise StatisticsError("a trend needs three or more speakers that differ; score more speakers")
    centred, values = at - at.mean(), table["value"].to_numpy()
    value = float(centred @ values / (centred @ centred))
    residual = values - values.mean() - value * centred
    whole = centred @ centred
    alone = 1 - 1 / speakers - pd.Series(np.square(centred) / whole).groupby(table["speaker"]).transform("sum")
    influence = centred * residual / (whole * np.maximum(alone.to_numpy(), 1 / speakers))
    return estimate(table, value, influence, values, level, None, used=1)
