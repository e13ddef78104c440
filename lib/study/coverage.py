"""How often the nominal 95 % interval of `lib.study.variance` holds the truth, in simulated designs with known
variances.

`coverage()` writes results/reference/coverage.json: a cell for each design and kind of spread. In a design with two or
more levels of every factor that varies the interval is to hold the truth in 93 to 99 of 100 studies. With one seed no
interval can hold what seeds would change, and its cells show by how much.
"""

import argparse
from pathlib import Path

import numpy as np
from scipy import stats

from lib.cli import Verb, print_table
from lib.files import ROOT, write_json
from lib.study.variance import Design

REFERENCE = ROOT / "results" / "reference" / "coverage.json"
DOCS = ROOT / "docs" / "statistics.md"
LEVEL, SIMULATIONS = 0.95, 12000
BOUNDS = (0.93, 0.99)  # where every factor that varies has two or more levels
DESIGNS = ((1, 3, 20), (1, 6, 4), (1, 8, 6), (1, 1, 20), (2, 6, 4), (3, 3, 20), (3, 6, 4), (3, 8, 6), (5, 1, 40),
           (5, 6, 12), (5, 24, 12), (10, 6, 4))  # seeds, speakers, sentences  # fmt: skip
# Standard deviations of seed, speaker, seed x speaker, sentence, and of what is left. The first two were measured:
# COS of HyperTTS's differences, and of pruned attention's; in the others one thing varies more than all else.
SPREADS = {
    "as in HT": (0.7, 4.0, 2.0, 0.0, 3.4),
    "as in SP": (0.7, 0.7, 0.7, 0.45, 2.05),
    "mostly seeds": (2.0, 0.5, 0.5, 0.5, 2.0),
    "mostly speakers": (0.5, 4.0, 0.5, 0.5, 2.0),
    "mostly sentences": (0.2, 0.5, 0.2, 4.0, 1.0),
}


def simulate(
    design: tuple[int, int, int],
    spread: tuple[float, ...],
    crossed: bool = False,
    count: int = SIMULATIONS,
    seed: int = 0,
) -> dict:
    """Share of `count` simulated studies whose interval holds the true mean, with median half-width and df.

    `design` counts seeds, speakers and sentences per speaker; `crossed`: every speaker says the same sentences.
    """
    seeds, speakers, sentences = design
    generator = np.random.default_rng([seed, *design, crossed])
    texts = (1, 1 if crossed else speakers, sentences)
    shapes = [(seeds, 1, 1), (1, speakers, 1), (seeds, speakers, 1), texts, design]
    values = np.zeros((count, *design))
    for deviation, shape in zip(spread, shapes, strict=True):
        values += deviation * generator.normal(size=(count, *shape))
    values = values.reshape(count, -1).T
    codes = {
        name: index.ravel() for name, index in zip(("seed", "speaker", "sentence"), np.indices(design), strict=True)
    }
    if speakers > 1 and not crossed:
        del codes["sentence"]
    codes = {name: code for name, code in codes.items() if code.max() > 0}
    means = values.mean(axis=0)
    found = Design(codes).spread((values - means) / len(values))
    df = np.maximum(found.df, 1.0)
    reach = stats.t.ppf((1 + LEVEL) / 2, df) * np.sqrt(found.variance)
    return {
        "coverage": round(float((np.abs(means) <= reach).mean()), 4),
        "half_width": round(float(np.median(reach)), 4),
        "df": round(float(np.median(df)), 2),
    }


def coverage(path: Path = REFERENCE, count: int = SIMULATIONS) -> list[dict]:
    """Simulate every design with every spread, write the cells to `path` and return them."""
    cells = []
    for design in DESIGNS:
        for crossed in (False, True):
            if crossed and design[1] == 1:  # one speaker's sentences are crossed with seeds either way
                continue
            for name, spread in SPREADS.items():
                facts = dict(zip(("seeds", "speakers", "sentences"), design, strict=True))
                facts |= {
                    "crossed": crossed,
                    "spread": name,
                    "simulations": count,
                    "varying_with_one_level": [
                        kind for kind, count in (("seed", design[0]), ("speaker", design[1])) if count == 1
                    ],
                }
                cells.append(facts | simulate(design, spread, crossed, count))
    write_json(path, cells)
    return cells


def outside(cells: list[dict]) -> list[dict]:
    """The cells that must keep to `BOUNDS`, every varying factor having two or more levels, and do not."""
    low, high = BOUNDS
    return [cell for cell in cells if not cell["varying_with_one_level"] and not low <= cell["coverage"] <= high]


def markdown(cells: list[dict]) -> str:
    """The table of docs/statistics.md: a line for each design, a column for each spread, nested and crossed
    sentences.
    """
    lines = [f"| seeds × speakers × sentences | {' | '.join(SPREADS)} |", "|---|" + "---|" * len(SPREADS)]
    for design in DESIGNS:
        shown = []
        for name in SPREADS:
            key = dict(zip(("seeds", "speakers", "sentences"), design, strict=True)) | {"spread": name}
            mine = [cell for cell in cells if all(cell[field] == value for field, value in key.items())]
            shown.append(
                " / ".join(f"{cell['coverage']:.3f}" for cell in sorted(mine, key=lambda cell: cell["crossed"]))
            )
        lines.append(f"| {' × '.join(map(str, design))} | {' | '.join(shown)} |")
    return "\n".join(lines)


def _main(options: argparse.Namespace) -> None:
    from lib.study.report.reference import put_into_readme

    cells = coverage(options.output, options.simulations)
    print(markdown(cells))
    if options.output.resolve() == REFERENCE:
        put_into_readme(markdown(cells), DOCS, "<!-- coverage -->", "<!-- end of coverage -->")
    if wrong := outside(cells):
        print_table(wrong, "Designs whose interval covers too little or too much")
        raise SystemExit(1)


VERBS = {
    "coverage": Verb(
        _main,
        "python -m lib coverage",
        (
            ("--output", {"type": Path, "default": REFERENCE, "help": "the file"}),
            ("--simulations", {"type": int, "default": SIMULATIONS, "help": "studies of each design and spread"}),
        ),
    )
}
