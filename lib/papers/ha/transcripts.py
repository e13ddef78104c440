"""Transcripts before and after adaptation as a notebook shows them: errors marked, a player beside each."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from html import escape

import pandas as pd

from lib import audio, study
from lib.papers.ha.style import COHORTS, label
from lib.study.heard import against, legend
from lib.study.listen import player


@dataclass
class Transcripts:
    """Utterances with their audio, what was meant, and what each system heard."""

    entries: list[dict] = field(repr=False)

    def _repr_html_(self) -> str:
        return legend() + "".join(self._entry(entry) for entry in self.entries)

    def _entry(self, entry: dict) -> str:
        lines = "".join(
            f'<tr><td style="text-align:left;white-space:nowrap;vertical-align:top">{escape(name)}</td>'
            f'<td style="text-align:left">{coloured(entry["reference"], text)}</td></tr>'
            for name, text in entry["heard"].items()
        )
        sound = "" if entry["wave"] is None else player(entry["wave"], entry["title"])
        head = f'<p style="margin:1em 0 .2em"><b>{escape(entry["title"])}</b><br>{escape(entry["reference"])}</p>'
        return f"{head}{sound}<table>{lines}</table>"


def coloured(reference: str, hypothesis: str) -> str:
    """HTML of a transcript, its errors marked by kind, and its WER; both texts as the metric normalises them."""
    found = against(hypothesis, reference, "")
    return f"{found.marked} <small>(WER {found.wer:.2f})</small>"


def kept(profile: dict, systems: tuple[str, ...], shown: str = "", seed: int = 0) -> Transcripts:
    """The utterances whose audio was kept, as each of the systems that have transcripts heard them.

    shown: one more system, with its seed.
    """
    root, first = study.results_root(profile), profile["ha"]["seeds"][0]
    heard = {}
    for system, own in (dict.fromkeys(systems, first) | ({shown: seed} if shown else {})).items():
        path = root / "transcripts" / f"ha-{system}-s{own}.json"
        if path.exists():
            heard[system] = json.loads(path.read_text(encoding="utf-8"))
    waves = {path.stem: path for path in sorted((root / "audio" / f"ha-whisper_0-s{first}").glob("[!.]*.wav"))}
    entries = []
    for name, path in waves.items():
        mine = {system: told[name] for system, told in heard.items() if name in told}
        if mine:
            facts = next(iter(mine.values()))
            severity = "" if facts["severity"] in (None, "none") else f", {facts['severity']}"
            entries.append(
                {
                    "title": f"{COHORTS.get(facts['cohort'], facts['cohort'])}{severity}",
                    "reference": facts["reference"],
                    "heard": {label(system): told["hypothesis"] for system, told in mine.items()},
                    "wave": audio.read(path),
                }
            )
    return Transcripts(entries)


def own(scores: pd.DataFrame, most: int = 10) -> Transcripts:
    """Transcripts of one's own recordings (`lib.papers.ha.folder.Adapted.scores`), those that changed most first."""
    ranked = scores.assign(change=(scores["wer_before"] - scores["wer_after"]).abs()).sort_values(
        "change", ascending=False
    )
    entries = [
        {
            "title": f"{row.speaker}, {row.utterance}",
            "reference": row.reference,
            "heard": {"before": row.before, "after": row.after},
            "wave": None,
        }
        for row in ranked.head(most).itertuples()
    ]
    return Transcripts(entries)
