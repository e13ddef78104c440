"""Which corpus a study works on: prepared by name, a folder of recordings, one for each role; who is never seen."""

from dataclasses import replace

import pytest
import standins

from lib.corpora import durations as aligned
from lib.corpora import published, source
from lib.corpora.corpus import Corpus, CorpusError, Utterance
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


def of(tmp_path, name: str, said: dict[str, list[str]], **changes) -> Corpus:
    """A corpus of some sentences by speaker, one second each, with durations; nothing of it is on the disk."""
    items = [
        Utterance(f"{speaker}_{i}", speaker, text, "|", (1.0,), "adaptation", "train", "typical",
                  f"{speaker}_{i}.flac", 1.0)
        for speaker, texts in said.items()
        for i, text in enumerate(texts)
    ]  # fmt: skip
    return Corpus(tmp_path / name, name, name, [replace(item, **changes) for item in items])


def test_the_paper_profiles_corpus_has_durations_and_each_corpus_its_role(recipe, alignments, tmp_path):
    corpus = source.build(recipe, tmp_path / "built", cores=1)
    roles = {item.utterance: item.role for item in corpus.utterances}
    assert roles["103_1_000000_000001"] == "pretraining"
    assert roles["p225_001"] == "adaptation" and roles["p226_001"] == "never_seen"
    assert "84_1_000000_000001" not in roles, "another subset than the recipe names"
    assert all(item.durations for item in corpus.utterances)
    assert all(len(corpus.wave(item)) > 0 for item in corpus.utterances)
    assert alignments == ["libritts", "vctk"]


def test_what_is_prepared_and_aligned_is_only_loaded(recipe, alignments, tmp_path):
    first = source.build(recipe, tmp_path / "built", cores=1)
    assert source.build(recipe, tmp_path / "built", cores=1) == first
    assert len(alignments) == 2


def test_a_prepared_corpus_is_opened_by_its_name_with_what_its_manifest_says(recipe, alignments, tmp_path):
    made = published.prepare("vctk", tmp_path / "vctk", tmp_path / "built", cores=1)
    for name in ("vctk", made.root.name, made.root):
        assert source.open_corpus(name, tmp_path / "built") == made
    timed = source.build({"source": "vctk"}, tmp_path / "built", cores=1)
    assert timed.speakers("never_seen") == made.speakers("never_seen") and all(u.durations for u in timed.utterances)
    assert source.open_corpus("vctk", tmp_path / "built") == timed, "the newest, with its durations"


def test_a_folder_of_recordings_is_a_corpus_with_a_speaker_held_out(tmp_path, alignments):
    for speaker in ("anna", "ben", "cleo"):
        standins.sound(tmp_path / "own" / speaker / "a.wav")
        standins.note(tmp_path / "own" / speaker / "a.txt", f"{speaker} speaks.")
    corpus = source.build({"source": str(tmp_path / "own")}, tmp_path / "built", cores=1)
    assert len(corpus.speakers("never_seen")) == 1 and len(corpus.speakers("adaptation")) == 2
    assert source.build({"source": str(tmp_path / "own")}, tmp_path / "built", cores=1) == corpus


def test_durations_are_kept_when_a_folder_is_read_again(tmp_path, alignments):
    standins.sound(tmp_path / "own" / "anna" / "a.wav")
    standins.note(tmp_path / "own" / "anna" / "a.txt", "Anna speaks.")
    timed = source.build({"source": str(tmp_path / "own")}, tmp_path / "built", cores=1)
    for again in (source.open_corpus(tmp_path / "own", tmp_path / "built", 1), Corpus.load(timed.root)):
        assert again == timed and all(item.durations for item in again.utterances)
    assert alignments == ["own"]


def test_a_corpus_that_is_not_there_is_named_with_the_line_that_prepares_or_fetches_it(recipe, tmp_path):
    with pytest.raises(CorpusError, match="torgo is not prepared: python -m lib corpora prepare torgo --source FOLDER"):
        source.open_corpus("torgo", tmp_path)
    published.prepare("vctk", tmp_path / "vctk", tmp_path / "built", cores=1)
    with pytest.raises(CorpusError, match="elsewhere: no prepared corpus and no folder.*; there are vctk. "):
        source.open_corpus("elsewhere", tmp_path / "built")
    recipe["sources"]["libritts"] = str(tmp_path / "nowhere")
    with pytest.raises(
        CorpusError, match="LibriTTS, the corpus for pretraining, .*fetch libritts --to .*--parts train-c"
    ):
        source.build(recipe, tmp_path)


def test_a_subset_that_is_not_there_is_named(recipe, tmp_path):
    recipe["pretraining"] = "libritts train-clean-360"
    with pytest.raises(
        CorpusError, match="no subset train-clean-360; there are dev-clean, test-clean, train-clean-100"
    ):
        source.build(recipe, tmp_path)


def test_speakers_are_held_out_of_every_condition_and_always_the_same(tmp_path):
    said = {f"s{i}": [f"Sentence {i}.", "The same."] for i in range(10)}
    corpus = of(tmp_path, "one", said)
    ill = [replace(u, condition="dysarthria") if u.speaker < "s5" else u for u in corpus.utterances]
    corpus = replace(corpus, utterances=ill)
    chosen = source.with_roles(corpus)
    held = chosen.speakers("never_seen")
    assert sum(speaker < "s5" for speaker in held) == 1 and sum(speaker >= "s5" for speaker in held) == 1
    assert not set(held) & set(chosen.speakers("adaptation"))
    assert source.with_roles(corpus) == chosen and chosen.hash != corpus.hash
    assert source.with_roles(chosen) is chosen, "who has never-seen speakers keeps them"


def test_sentences_that_only_held_out_speakers_say_can_all_be_tested(tmp_path):
    corpus = of(tmp_path, "one", {f"s{i}": [f"Sentence {i}.", "The same."] for i in range(5)})
    chosen = source.with_roles(corpus, all_tested=True)
    (held,) = chosen.speakers("never_seen")
    assert {u.text: u.split for u in chosen.select(speaker=held)} == {
        f"Sentence {held[1:]}.": "test",
        "The same.": "train",
    }
    assert {u.split for u in chosen.select(role="adaptation")} == {"train"}


def test_a_corpus_of_one_speaker_stays_as_it_is(tmp_path):
    corpus = of(tmp_path, "one", {"s": ["A.", "B."]})
    assert source.with_roles(corpus) is corpus


def test_ids_of_two_corpora_do_not_clash_and_a_sentence_is_in_one_split(tmp_path):
    first = of(tmp_path, "first", {"s": ["A sentence.", "Another."]})
    second = of(tmp_path, "second", {"s": ["A sentence."]}, split="test")
    rest = of(tmp_path, "rest", {"t": ["Held out."]}, role="never_seen")
    corpus = source.joined({"pretraining": first, "adaptation": second}, rest)
    assert [(u.utterance, u.speaker, u.role, u.split, u.path) for u in corpus.utterances] == [
        ("s_0", "s", "pretraining", "test", "first/s_0.flac"),
        ("s_1", "s", "pretraining", "train", "first/s_1.flac"),
        ("second_s_0", "second_s", "adaptation", "test", "second/s_0.flac"),
        ("t_0", "t", "never_seen", "train", "rest/t_0.flac"),
    ]
    assert corpus.root == tmp_path
