"""What adapting Whisper to one's own recordings came to, on one page that needs no network: report.html."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from lib.files import replace_file
from lib.papers.ha.transcripts import coloured
from lib.study.heard import legend
from lib.study.report.page import environment
from lib.study.statistics import interval, paired_difference

MOST = 12  # sentences shown that got better, and that got worse


def compared(scores: pd.DataFrame) -> dict[str, dict]:
    """WER before and after, and the change, of all test utterances and of speakers training has heard or has not.

    scores: as `lib.papers.ha.folder.Adapted` has them; the parts only where there are both. Each is (mean, low, high),
    an utterance's WER at most 1, with the 95 % interval over speakers and sentences; low and high are None where there
    is one speaker with one sentence.
    """
    groups = {
        "all": scores,
        "speakers whom training has not heard": scores[~scores["heard"]],
        "other sentences of speakers whom training has heard": scores[scores["heard"]],
    }
    found = {}
    for name, group in groups.items():
        if name == "all" or 0 < len(group) < len(scores):
            found[name] = _estimates(group)
    return found


def _estimates(group: pd.DataFrame) -> dict:
    sides = {}
    for when in ("before", "after"):
        table = group[["speaker", "utterance"]].assign(value=group[f"wer_{when}"].clip(upper=1.0), seed=0)
        sides[when] = table.astype({"speaker": "string", "utterance": "string"})
    change = paired_difference(sides["after"], sides["before"], on=("speaker", "utterance"))
    estimates = {when: interval(table) for when, table in sides.items()} | {"change": change}
    counts = {"utterances": len(group), "speakers": group["speaker"].nunique()}
    ends = {name: (each.value, each.ci_low, each.ci_high) for name, each in estimates.items()}
    for when in sides:  # no rate lies beyond these
        ends[when] = tuple(end if end is None else min(max(end, 0.0), 1.0) for end in ends[when])
    return ends | counts


def certainty(change: tuple) -> str:
    """What a change of WER and its interval say: "gained", "uncertain" or "nothing"."""
    value, low, high = change
    if value >= 0:
        return "nothing"
    return "gained" if low is not None and high < 0 else "uncertain"


def write(place: Path, scores: pd.DataFrame, facts: dict) -> Path:
    """Write report.html into the adapter's folder; returns its path.

    facts: folder, system, whisper, told, best_step, steps, trained (utterances, speakers), validated, set_aside.
    """
    found = compared(scores)
    change = scores["wer_after"].clip(upper=1.0) - scores["wer_before"].clip(upper=1.0)
    ranked = scores.assign(change=change).sort_values("change", kind="stable")
    sides = {"better": ranked[ranked["change"] < 0].head(MOST), "worse": ranked[ranked["change"] > 0][::-1].head(MOST)}
    speakers = scores.assign(
        before=scores["wer_before"].clip(upper=1.0), after=scores["wer_after"].clip(upper=1.0)
    ).groupby("speaker")
    listed = speakers.agg(
        before=("before", "mean"), after=("after", "mean"), count=("before", "size"), heard=("heard", "first")
    )
    text = (
        environment()
        .get_template("own.html.j2")
        .render(
            facts,
            groups=found,
            state=certainty(found["all"]["change"]),
            speakers=[{"speaker": name} | row for name, row in listed.to_dict("index").items()],
            changed={side: [_sentence(row) for row in rows.itertuples()] for side, rows in sides.items()},
            counts={
                "better": int((change < 0).sum()),
                "worse": int((change > 0).sum()),
                "same": int((change == 0).sum()),
            },
            legend=legend(),
        )
    )
    with replace_file(place / "report.html") as temporary:
        temporary.write_text(text, encoding="utf-8")
    return place / "report.html"


def _sentence(row) -> dict:
    lines = {"before": coloured(row.reference, row.before), "after": coloured(row.reference, row.after)}
    return {"speaker": row.speaker, "utterance": row.utterance, "reference": row.reference} | lines
