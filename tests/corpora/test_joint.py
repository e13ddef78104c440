"""Two published corpora as one, on stand-ins in their layouts."""

from dataclasses import replace

import pytest
import standins

from lib.corpora import durations as aligned
from lib.corpora.corpus import CorpusError
from lib.corpora.embedded import build as kokoro
from lib.corpora.recorded import joint
from lib.study import load_profile


@pytest.fixture
def recipe(tmp_path) -> dict:
    standins.libritts(tmp_path / "libritts")
    standins.vctk(tmp_path / "vctk")
    sources = {name: str(tmp_path / name) for name in ("libritts", "vctk")}
    return load_profile("paper")["corpus"] | {"sources": sources}


@pytest.fixture
def alignments(monkeypatch) -> list[str]:
    """The corpora that were aligned; every one gets one symbol a recording."""
    aligned_ones = []

    def align(corpus, cache, settings=None, **options):
        aligned_ones.append(corpus.name)
        timed = [replace(item, phonemes="|", durations=(item.seconds,)) for item in corpus.utterances]
        made = replace(corpus, utterances=timed, hash="0123456789ab")
        made.save()
        return made

    monkeypatch.setattr(aligned, "align", align)
    return aligned_ones


def test_the_paper_profiles_corpus_has_durations_and_each_corpus_its_role(recipe, alignments, tmp_path):
    corpus = kokoro.build(recipe, tmp_path / "built", cores=1)
    roles = {item.utterance: item.role for item in corpus.utterances}
    assert roles["103_1_000000_000001"] == "pretraining"
    assert roles["p225_001"] == "adaptation" and roles["p226_001"] == "never_seen"
    assert "84_1_000000_000001" not in roles, "another subset than the recipe names"
    assert all(item.durations for item in corpus.utterances)
    assert alignments == ["libritts-vctk"]


def test_what_is_aligned_is_only_loaded_until_a_file_comes(recipe, alignments, tmp_path):
    first = kokoro.build(recipe, tmp_path / "built", cores=1)
    assert kokoro.build(recipe, tmp_path / "built", cores=1) == first
    assert len(alignments) == 1
    standins.note(tmp_path / "vctk" / "VCTK-Corpus-0.92" / "txt" / "p225" / "p225_003.txt", "Six spoons.")
    kokoro.build(recipe, tmp_path / "built", cores=1)
    assert len(alignments) == 2


def test_a_corpus_that_is_not_there_is_named_with_the_line_that_fetches_it(recipe, tmp_path):
    recipe["sources"]["libritts"] = str(tmp_path / "nowhere")
    with pytest.raises(
        CorpusError, match="LibriTTS, the corpus for pretraining, .*fetch libritts --to .*--parts train-c"
    ):
        joint.build(recipe, tmp_path)


def test_a_subset_that_is_not_there_is_named(recipe, tmp_path):
    recipe["pretraining"] = "libritts train-clean-360"
    with pytest.raises(
        CorpusError, match="no subset train-clean-360; there are dev-clean, test-clean, train-clean-100"
    ):
        joint.build(recipe, tmp_path)
