"""The variance of a mean over random seeds, speakers and sentences, and the degrees of freedom of its estimate.

Seeds, speakers and, where all speakers say the same ones, sentences are crossed random factors; otherwise sentences
are nested in speakers and what they differ in is part of what speakers differ in. For every factor and interaction the
analysis of variance has a mean square; the variance of the mean is a sum of them with signs (two factors:
(MS_seed + MS_speaker - MS_interaction) / n), in which a component that comes out negative counts as zero. Its degrees
of freedom are Satterthwaite's.

Balanced designs: Searle, Casella, McCulloch, Variance Components (1992), chapter 4; Satterthwaite, Biometrics
Bulletin 2 (1946). Where speakers have different numbers of sentences, or cells are missing, mean squares are taken of
the sums of the linearised statistic in each cluster, weighted for their leverage (Bell and McCaffrey, Survey
Methodology 28 (2002); several ways at once: Cameron, Gelbach, Miller, J. Business and Economic Statistics 29 (2011));
in a balanced design this is the analysis of variance, exactly.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from itertools import combinations

import numpy as np
from scipy.sparse import csr_matrix

Term = tuple[str, ...]
UNSEEN = 0.6  # with it two seeds cover 0.93 to 0.99 (lib/study/coverage.py); with 0 down to 0.90, with 1 up to 0.993


@dataclass(frozen=True)
class Spread:
    """Variance of the mean of each column, its degrees of freedom, and what each term adds to it (term to columns)."""

    variance: np.ndarray
    df: np.ndarray
    terms: dict[Term, np.ndarray]


@dataclass
class Design:
    """Which rows share a seed, a speaker, a sentence: `codes` maps a crossed factor with two or more levels to the
    level of every row, integers from 0.
    """

    codes: dict[str, np.ndarray]
    rows: int = field(init=False)

    def __post_init__(self) -> None:
        self.rows = len(next(iter(self.codes.values())))

    @cached_property
    def clusters(self) -> dict[Term, _Clusters]:
        """The cells of every factor and interaction, main effects first."""
        names = list(self.codes)
        terms = [term for size in range(1, len(names) + 1) for term in combinations(names, size)]
        return {term: _Clusters.of([self.codes[name] for name in term]) for term in terms}

    def spread(self, influence: np.ndarray) -> Spread:
        """Of statistics whose linearisation is the sum of `influence` over rows, (rows,) or (rows, columns): of a
        mean, (value - mean) / rows.
        """
        influence = np.asarray(influence, dtype=float).reshape(self.rows, -1)
        sums = {term: cells.matrix @ influence for term, cells in self.clusters.items()}
        squares = {term: self._square(term, sums) for term in self.clusters}
        raw = {
            term: sum((-1) ** (len(over) - len(term)) * squares[over] for over in squares if set(term) <= set(over))
            for term in squares
        }
        parts = {term: np.maximum(part, 0.0) for term, part in raw.items()}
        total = sum(parts.values())
        return Spread(total, self._df(squares, raw, total), parts)

    def _square(self, term: Term, sums: dict[Term, np.ndarray]) -> np.ndarray:
        """The term's mean square over n: squared effects of its cells, each divided by 1 - its factors' leverage."""
        cells, effect = self.clusters[term], 0.0
        for lower in self.clusters:
            if set(lower) <= set(term):
                inner, place = self.clusters[lower], self._place(term, lower)
                share = cells.counts / inner.counts[place]
                effect = effect + (-1) ** (len(term) - len(lower)) * sums[lower][place] * share[:, None]
        leverage = np.ones(len(cells.counts))
        for name in term:
            weight = self.clusters[name,].counts / self.rows
            leverage /= (1 - weight)[self._place(term, (name,))]
        return (np.square(effect) * leverage[:, None]).sum(axis=0)

    def _place(self, term: Term, lower: Term) -> np.ndarray:
        """For every cell of `term` the cell of `lower` that it lies in."""
        return self.clusters[lower].labels[self.clusters[term].first]

    def _levels(self, name: str) -> float:
        """The number of levels that would weigh as much as these if they were equal."""
        weight = self.clusters[name,].counts / self.rows
        return float(np.square(np.square(weight).sum()) / np.power(weight, 4).sum())

    def freedom(self, term: Term) -> float:
        """Degrees of freedom of a term's mean square: (levels - 1) of its factors, times the share of cells there
        are.
        """
        full = np.prod([len(self.clusters[name,].counts) for name in term])
        free = np.prod([self._levels(name) - 1 for name in term])
        return max(float(free * len(self.clusters[term].counts) / full), 1.0)

    def _df(self, squares: dict[Term, np.ndarray], raw: dict[Term, np.ndarray], total: np.ndarray) -> np.ndarray:
        """Satterthwaite's degrees of freedom of the sum of mean squares that the positive components are made of.

        A component of a factor with two levels counts even where it comes out as zero, and below zero by a share of
        it, because one degree of freedom often shows none where there is some.
        """
        two = {term for term in squares if any(len(self.clusters[name,].counts) == 2 for name in term)}
        counted = {term: (part > 0) | (term in two) for term, part in raw.items()}
        below = np.zeros_like(total)
        for term, square in squares.items():
            sign = sum((-1) ** (len(term) - len(part)) * counted[part] for part in squares if set(part) <= set(term))
            least = np.where(term in two, UNSEEN * np.maximum(-raw[term], 0.0), 0.0)
            below += np.square(sign * (square + least)) / self.freedom(term)
        with np.errstate(invalid="ignore", divide="ignore"):
            return np.where(below > 0, np.square(total) / below, np.inf)


@dataclass(frozen=True)
class _Clusters:
    """Cells of a term: the cell of every row, rows in each, the first row of each, and the matrix that sums over
    them.
    """

    labels: np.ndarray
    counts: np.ndarray
    first: np.ndarray
    matrix: csr_matrix

    @classmethod
    def of(cls, codes: list[np.ndarray]) -> _Clusters:
        joined = codes[0]
        for more in codes[1:]:
            joined = joined * (more.max() + 1) + more
        _, first, labels, counts = np.unique(joined, return_index=True, return_inverse=True, return_counts=True)
        matrix = csr_matrix((np.ones(len(labels)), (labels, np.arange(len(labels)))))
        return cls(labels, counts, first, matrix)
