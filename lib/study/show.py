"""Tables of results as a notebook shows them."""

import pandas as pd
from pandas.io.formats.style import Styler

from lib.study import tables
from lib.study.claims import load_claims

LEFT = [{"selector": "th, td, caption", "props": "text-align: left; vertical-align: top"}]


def table(frame: pd.DataFrame | list[dict], caption: str = "", precision: int = 2, index: bool = False) -> Styler:
    """A table with left-aligned text, rounded numbers and dashes for what is missing."""
    styled = pd.DataFrame(frame).convert_dtypes().style.format(precision=precision, na_rep="–", escape="html")
    styled = styled.set_caption(caption) if caption else styled
    return (styled if index else styled.hide(axis="index")).set_table_styles(LEFT)


def verdict(records: list[dict], claim: str) -> Styler:
    """The parts of one claim's record (`lib.study.claims.judge`) in numbers; its statement is the caption.

    A claim that is not tested has no verdict of parts, but the reason.
    """
    record = next(each for each in records if each["id"] == claim)
    tested = record["verdict"] != "not tested"
    columns = ("name", "value", "ci_low", "ci_high", "unit", "n", "published") + (("verdict",) if tested else ())
    parts = [{column: part[column] for column in columns} for part in record["parts"]]
    told = record["verdict"] if tested else f"not tested ({record['reason']})"
    return table(_numeric(parts, columns), f"{claim}, {told}: {record['statement']}")


def verdicts(records: list[dict], notebook: str | None = None) -> Styler:
    """One line per claim, of one notebook or of all."""
    columns = ("id", "statement", "value", "ci_low", "ci_high", "unit", "n", "verdict", "reason")
    chosen = [r for r in records if notebook in (None, r["notebook"])]
    return table(_numeric([{column: r[column] for column in columns} for r in chosen], columns))


def results(rows: pd.DataFrame, profile: dict) -> Styler:
    """Every system on every metric: ours with its interval, the published value in brackets."""
    lines = tables.results(rows, load_claims()["papers"]["HT"], profile)
    shown = [{"system": line["label"]} | {name: _cell(cell) for name, cell in line["cells"].items()} for line in lines]
    return table(shown, "ours [interval] (published)")


def corpus_check(rows: pd.DataFrame, profile: dict) -> Styler:
    """The gap of TTS-0 and what full fine-tuning closes of it (`lib.study.tables.corpus_check`), COS."""
    check = pd.json_normalize(tables.corpus_check(rows, profile) or {})
    return table(check.T.rename(columns={0: "COS"}), index=True)


def _cell(cell: dict) -> str:
    ours = "–" if cell["value"] is None else f"{cell['value']:.2f}"
    ours += "" if cell["ci_low"] is None else f" [{cell['ci_low']:.2f}, {cell['ci_high']:.2f}]"
    return ours if cell["published"] is None else f"{ours} ({cell['published']:g})"


def _numeric(lines: list[dict], columns: tuple[str, ...]) -> pd.DataFrame:
    frame = pd.DataFrame(lines, columns=columns)
    for column in {"value", "ci_low", "ci_high", "published"} & set(columns):
        frame[column] = frame[column].astype("float64")
    return frame.astype({"n": "Int64"})
