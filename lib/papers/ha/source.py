"""Recorded atypical speech in the place of the simulated: `ha.corpus: {source: NAME or FOLDER}`.

A corpus keeps its own conditions, severities, splits and never-seen speakers; where it names none, some of each
condition's speakers are held out (`lib.corpora.source.with_roles`). All others are training speakers.
"""

from __future__ import annotations

from dataclasses import replace

from lib.corpora.corpus import Corpus
from lib.corpora.source import open_corpus, with_roles


class AsrError(ValueError):
    """A recogniser, corpus, utterance or setting that cannot be used; the message names it and the fix."""


def recorded(named: str, cores: int | None = None) -> Corpus:
    """A prepared corpus by its name, or a folder of recordings, with disjoint training and never-seen speakers.

    Raises CorpusError where it cannot be opened, AsrError where no speaker can be trained on and another one tested.
    """
    opened = open_corpus(named, cores=cores)
    if len(speakers := opened.speakers()) < 2:
        raise AsrError(
            f"{opened.name} has one speaker ({speakers[0]}): who is tested must not be trained on, so give two "
            "speakers or more; chapter 10 adapts to a folder of one speaker."
        )
    if {item.condition for item in opened.utterances} == {"typical"}:
        raise AsrError(
            f"{opened.name} names no condition but typical: give a CSV with the column condition (dysarthria, "
            "stuttering, …), or prepare the corpus with --condition."
        )
    corpus = with_roles(opened, all_tested=True)
    utterances = [u if u.role == "never_seen" else replace(u, role="adaptation") for u in corpus.utterances]
    trained = {u.condition for u in utterances if (u.role, u.split) == ("adaptation", "train")}
    tested = {u.condition for u in utterances if (u.role, u.split) == ("never_seen", "test")}
    if not trained & tested:
        raise AsrError(
            f"{corpus.name} has too few speakers: training needs one, and another of the same condition is held out; "
            f"there are training sentences of {_listed(trained)} and never-seen speakers' test sentences of "
            f"{_listed(tested)}."
        )
    return replace(corpus, utterances=utterances)


def _listed(conditions: set[str]) -> str:
    return ", ".join(sorted(conditions)) or "no condition"
