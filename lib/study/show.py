"""Tables of results as a notebook shows them."""

import pandas as pd
from pandas.io.formats.style import Styler

from lib import study
from lib.study import claim_figure, columns, drawing, tables
from lib.study.claims import load_claims, number

LEFT = [{"selector": "th, td, caption", "props": "text-align: left; vertical-align: top"}]


def table(frame: pd.DataFrame | list[dict], caption: str = "", precision: int = 2, index: bool = False) -> Styler:
    """A table with left-aligned text, rounded numbers and dashes for what is missing."""
    styled = pd.DataFrame(frame).convert_dtypes().style.format(precision=precision, na_rep="–", escape="html")
    styled = styled.set_caption(caption) if caption else styled
    return (styled if index else styled.hide(axis="index")).set_table_styles(LEFT)


def verdict(records: list[dict], claim: str) -> Styler:
    """The parts of one claim's record (`lib.study.claims.judge`) in numbers; its statement is the caption.

    A claim that is not tested has no verdict of parts, but the reason. Where the claim was judged on other speech as
    well (`lib.study.columns`), those parts follow, and a column says which speech each is about.
    """
    found = _on_each_speech(records, claim)
    record = found[0]
    shown = ("name", "value", "ci_low", "ci_high", "unit", "n", "published")
    shown += ("verdict",) if any(each["verdict"] != "not tested" for each in found) else ()
    shown = ("speech", *shown) if len(found) > 1 else shown
    parts = [{c: (part | {"speech": each.get("speech")})[c] for c in shown} for each in found for part in each["parts"]]
    told = [each["verdict"] + f" ({each['reason']})" * (each["verdict"] == "not tested") for each in found]
    told = [told[0], *(f"on {each['speech']} {text}" for each, text in zip(found[1:], told[1:], strict=True))]
    return table(_numeric(parts, shown), f"{claim}, {'; '.join(told)}: {record['statement']}")


def parts(records: list[dict], claim: str) -> drawing.Shown | None:
    """The parts of one claim in a picture (`lib.study.claim_figure`), each speech it was judged on beside the other.

    None where nothing was measured.
    """
    found = _on_each_speech(records, claim)
    if not any(part["value"] is not None for record in found for part in record["parts"]):
        return None
    place = {"profile": {"name": found[0]["profile"]}, "notebook": found[0]["notebook"], "anchor": found[0]["anchor"]}
    return drawing.save(claim_figure.parts(found), f"{claim.lower()}_parts", **place)


def _on_each_speech(records: list[dict], claim: str) -> list[dict]:
    """A claim's record, and its records in the columns that lie beside the profile's results."""
    record = next(each for each in records if each["id"] == claim)
    beside = columns.beside(load_claims(), study.results_root(record.get("profile") or ""))
    return [record, *(each for theirs in beside.values() for each in theirs if each["id"] == claim)]


def verdicts(records: list[dict], notebook: str | None = None) -> Styler:
    """One line per claim, of one notebook or of all; what came of it on other speech in a column beside the verdict."""
    chosen = [r for r in records if notebook in (None, r["notebook"])]
    shown = ("id", "statement", "value", "ci_low", "ci_high", "unit", "n", "verdict")
    lines = [{column: r[column] for column in (*shown, "reason")} for r in chosen]
    beside = columns.beside(load_claims(), study.results_root(chosen[0].get("profile") or "")) if chosen else {}
    for name, theirs in beside.items():
        told = {record["id"]: _told(record) for record in theirs}
        if said := [told.get(line["id"], "") for line in lines if any(told.get(each["id"]) for each in lines)]:
            shown += (f"on {name}",)
            lines = [line | {shown[-1]: text} for line, text in zip(lines, said, strict=True)]
    return table(_numeric(lines, (*shown, "reason")))


def _told(record: dict) -> str:
    """A record's value, interval and verdict in a line."""
    value, *ends = (number(record[key]) for key in ("value", "ci_low", "ci_high"))
    return f"{value}{f' [{ends[0]}, {ends[1]}]' * bool(ends[0])}, {record['verdict']}".removeprefix(", ")


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
