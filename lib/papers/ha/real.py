"""The adapted recognisers on a real human voice (HA5): the run ha-other_corpus-s0.

The recognisers are those adapted to atypical speech; the voice is typical, and none of them was trained on it.
"""

from __future__ import annotations

import pandas as pd

from lib.papers.common.real_voice import ROLE, RealVoice, seeds_of, without_recordings
from lib.papers.ha.measure import keep_transcripts, recognise, scores, size_factors
from lib.papers.ha.systems import Systems
from lib.study.claims import select
from lib.study.drawing import count, estimate

COHORT = "typical_real"


def other_corpus(base: Systems, voice: RealVoice) -> tuple[pd.DataFrame, dict]:
    """Word errors of Whisper and its adaptations on the prompts, and facts for the manifest."""
    if facts := voice.absent():
        return without_recordings(), facts
    heard, tables = type(base)(base.profile, base.device, base.cores), []
    heard.corpus, heard.model = voice.to_hear(), base.model  # the adaptations are bound to one network
    for name in voice.settings["recognisers"]:
        if name not in base.settings["systems"]:
            continue
        for seed in seeds_of(base, name):
            system = base.system(name)
            model = None if system["method"] == "none" else base.restore(name, seed)
            items, texts = recognise(heard, system, model)
            rows = scores(items, texts).assign(role=ROLE, cohort=COHORT)
            tables.append(rows.assign(**base.factors(name, seed), **size_factors(base, model)))
            if seed == base.settings["seeds"][0]:
                keep_transcripts(base.root / "transcripts" / f"ha-other_corpus-{name}.json", items, texts)
    facts = {"corpus": heard.corpus.name, "data_hash": heard.corpus.hash, "set_aside": heard.set_aside}
    return pd.concat(tables, ignore_index=True), facts


def word_errors(rows: pd.DataFrame, profile: dict) -> pd.DataFrame:
    """WER of every recogniser on the voice with its interval, as text."""
    mine = select(rows, {"role": ROLE, "cohort": COHORT, "metric": "wer"})
    return pd.DataFrame(
        {"recogniser": name, "WER": estimate(select(mine, {"system": name}), profile).told(3), "prompts": count(mine)}
        for name in dict.fromkeys(mine["system"].dropna())
    )
