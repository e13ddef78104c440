"""Listening to the real voice: each kept prompt by the recording and by every system."""

from __future__ import annotations

from lib import audio, study
from lib.papers.common.real_figures import named
from lib.papers.common.real_speech import RUNS
from lib.study.listen import Grid


def prompts(profile: dict) -> Grid:
    """A row of players for each prompt whose audio was kept; no rows where the recordings are not there."""
    manifest = study.read_manifests(profile, "HT").get(RUNS["ht"], {})
    folder = study.results_root(profile) / "audio" / "other_corpus"
    places = {each.name: each for each in sorted(folder.glob("*/"))}
    order = [name for name in ("recording", "reference_vocoded", "tts_0") if name in places]
    order += [name for name in places if name not in order]
    rows = {}
    for utterance, sentence in (manifest.get("texts") or {}).items():
        files = {name: places[name] / f"{utterance}.wav" for name in order}
        rows[sentence] = {
            "Recording" if name == "recording" else named(name): audio.read(file)
            for name, file in files.items()
            if file.exists()
        }
    return Grid(rows)
