"""Recorded atypical speech in the place of the simulated: `ha.corpus: {source: NAME or FOLDER}`.

    typical: {librispeech: 10, cmu_arctic: 75}     corpora of typical speech beside it, utterances of each speaker
    tested: 5                                      most test utterances of each of its own speakers

A corpus keeps its own conditions, severities, splits and never-seen speakers; where it names none, some of each
condition's speakers are held out (`lib.corpora.source.with_roles`). All others are training speakers.
"""

from __future__ import annotations

from dataclasses import replace

from lib.corpora.corpus import Corpus, Utterance
from lib.corpora.source import joined, open_corpus, with_roles
from lib.files import fingerprint


class AsrError(ValueError):
    """A recogniser, corpus, utterance or setting that cannot be used; the message names it and the fix."""


def recorded(recipe: dict, cores: int | None = None) -> Corpus:
    """The corpus of a recipe as above: that named, or a folder's, with disjoint training and never-seen speakers.

    Speakers of typical corpora are never seen, and all that they say is tested.

    Raises CorpusError where it cannot be opened, AsrError where no speaker can be trained on and another one tested.
    """
    opened = open_corpus(recipe["source"], cores=cores)
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
    corpus = replace(corpus, utterances=utterances)
    if tested := recipe.get("tested"):
        corpus = _fewer(corpus, tested)
    for named, count in (recipe.get("typical") or {}).items():
        other = open_corpus(named, cores=cores)
        heard = [replace(u, role="never_seen", split="test", condition="typical") for u in other.utterances]
        other = _fewer(replace(other, utterances=heard), count)
        corpus = joined({"adaptation": corpus, "never_seen": other})
    return corpus


def _fewer(corpus: Corpus, tested: int) -> Corpus:
    """The corpus with the first `tested` test utterances of each speaker; all others stay."""
    heard: dict[str, list[Utterance]] = {}
    for item in corpus.select(split="test"):
        heard.setdefault(item.speaker, []).append(item)
    left_out = {item.utterance for items in heard.values() for item in items[tested:]}
    kept = [item for item in corpus.utterances if item.utterance not in left_out]
    return replace(corpus, utterances=kept, hash=fingerprint(corpus.hash, tested))


def _listed(conditions: set[str]) -> str:
    return ", ".join(sorted(conditions)) or "no condition"
