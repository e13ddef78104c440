"""The simulated atypical corpus: who says what, disjoint speakers and sentences, noise, resuming."""

from dataclasses import replace

import numpy as np
import pytest
from synthetic_corpus import source as synthetic_source

from lib.corpora.corpus import Corpus, CorpusError
from lib.corpora.disorders import corpus as simulated

RECIPE = {
    "seed": 0,
    "snr": 15,
    "severities": ["mild", "moderate", "severe"],
    "mixtures": ["stuttering", "dysarthria", "parkinsons"],
    "groups": {
        "trained": {
            "role": "adaptation",
            "conditions": ["stuttering", "dysarthria", "parkinsons"],
            "speakers": 2,
            "train": 1,
            "test": 1,
        },
        "unseen": {"role": "never_seen", "conditions": ["stuttering", "dysarthria"], "speakers": 2, "test": 1},
        "mixed": {"role": "never_seen", "conditions": ["mixed"], "speakers": 2, "test": 1},
        "typical": {"role": "never_seen", "conditions": ["typical"], "speakers": 1, "test": 1},
    },
}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return synthetic_source(tmp_path_factory.mktemp("source"))


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    return tmp_path_factory.mktemp("built")


@pytest.fixture(scope="module")
def corpus(source, root):
    return simulated.build(RECIPE, source, root, cores=1)


def with_group(**group) -> dict:
    return RECIPE | {"groups": {"only": group}}


def test_every_group_has_its_speakers_and_utterances(corpus):
    table = corpus.table()
    trained = table[table["role"] == "adaptation"]
    assert trained.groupby(["condition", "split"]).size().to_dict() == {
        (condition, split): 2 for condition in RECIPE["mixtures"] for split in ("train", "test")
    }
    assert set(table["condition"]) == {*RECIPE["mixtures"], "mixed", "typical"}
    assert not corpus.set_aside


def test_training_and_never_seen_speakers_share_no_voice_and_splits_no_sentence(corpus):
    voices = {role: {u.recipe["voice"] for u in corpus.select(role=role)} for role in ("adaptation", "never_seen")}
    assert not voices["adaptation"] & voices["never_seen"]
    texts = {split: {u.text for u in corpus.select(split=split)} for split in ("train", "test")}
    assert texts["train"] and not texts["train"] & texts["test"]


def test_severities_are_spread_over_the_speakers_of_a_condition(corpus):
    chosen = {u.speaker: u.recipe["severity"] for u in corpus.select(role="adaptation")}
    by_condition = [{level for name, level in chosen.items() if name.startswith(c)} for c in RECIPE["mixtures"]]
    assert all(len(levels) == 2 for levels in by_condition)


def test_a_mixed_speaker_has_two_profiles_and_a_typical_one_none(corpus):
    kinds = {u.condition: [p["cohort"] for p in u.recipe["profiles"]] for u in corpus.utterances}
    assert len(set(kinds["mixed"])) == 2
    assert kinds["typical"] == []
    assert kinds["dysarthria"] == ["dysarthria"]


def test_every_pair_of_conditions_is_mixed_in_every_severity():
    made = {(simulated.mixture(RECIPE, index), RECIPE["severities"][index % 3]) for index in range(9)}
    assert len(made) == 9


def test_trainings_can_be_watched_on_sentences_that_no_test_has(source):
    group = {"role": "adaptation", "conditions": ["dysarthria"], "speakers": 2, "train": 1, "test": 1}
    first = {u.text for u in source.select(split="train")[:1]}
    held = [replace(u, split="validation" if u.text in first else u.split) for u in source.utterances]
    source = replace(source, utterances=held)
    jobs = simulated.plan(source, with_group(**group, validation=1))
    said = {split: {job.source.text for job in jobs if job.split == split} for split in ("train", "validation", "test")}
    assert said["validation"] and not said["validation"] & (said["train"] | said["test"])
    plain = simulated.plan(source, with_group(**group))
    assert [job for job in jobs if job.split != "validation"] == plain  # the other splits are as without it


def test_durations_fit_the_recording(corpus):
    for item in corpus.utterances:
        assert abs(len(corpus.wave(item)) / 16000 - sum(item.durations)) < 1e-6


def test_typical_speech_is_the_recording_in_noise_of_the_set_level(corpus, source):
    (item,) = [u for u in corpus.utterances if u.condition == "typical"]
    original = {u.utterance: u for u in source.utterances}[item.recipe["source"]]
    before, after = source.wave(original), corpus.wave(item)
    ratio = 10 * np.log10(np.mean(before**2) / np.mean((after - before) ** 2))
    assert abs(ratio - RECIPE["snr"]) < 0.5


def test_pink_noise_loses_three_decibels_an_octave():
    noise = simulated.pink_noise(1 << 16, np.random.default_rng(0))
    power = np.abs(np.fft.rfft(noise)) ** 2
    hertz = np.fft.rfftfreq(1 << 16, 1 / 16000)
    octaves = [10 * np.log10(power[(hertz > low) & (hertz < 2 * low)].mean()) for low in (200, 400, 800, 1600, 3200)]
    assert np.allclose(np.diff(octaves), -3.01, atol=0.5)
    assert abs(np.mean(noise**2) - 1) < 1e-9


def test_a_weak_voice_is_nearer_to_the_noise(source):
    jobs = simulated.plan(source, with_group(role="never_seen", conditions=["parkinsons"], speakers=1, test=1))
    job = jobs[0]
    clean, _ = simulated.make(source, job, None)
    noisy, _ = simulated.make(source, job, 15)
    typical = np.mean(source.wave(job.source) ** 2)
    assert np.mean(clean**2) < typical
    assert 10 * np.log10(np.mean(clean**2) / np.mean((noisy - clean) ** 2)) < 14.5


def test_the_same_recipe_gives_the_same_samples(source, corpus):
    job = next(j for j in simulated.plan(source, RECIPE) if j.condition == "stuttering" and j.role == "adaptation")
    first, second = (simulated.make(source, job, 15)[0] for _ in range(2))
    assert np.array_equal(first, second)


def test_a_finished_corpus_is_loaded_and_not_made_again(source, corpus, root, monkeypatch):
    monkeypatch.setattr(simulated, "make", None)
    assert simulated.build(RECIPE, source, root, cores=1).hash == corpus.hash


def test_a_stopped_build_goes_on_with_what_is_missing(source, corpus, root, tmp_path):
    import shutil

    folder = tmp_path / corpus.root.name
    shutil.copytree(corpus.root, folder)
    (folder / "corpus.json").unlink()
    lost = folder / corpus.utterances[0].path
    kept = folder / corpus.utterances[1].path
    lost.unlink()
    stamp = kept.stat().st_mtime_ns
    again = simulated.build(RECIPE, source, tmp_path, cores=1)
    assert lost.exists() and kept.stat().st_mtime_ns == stamp
    assert [u.utterance for u in again.utterances] == [u.utterance for u in corpus.utterances]


def test_another_severity_is_another_corpus(source):
    one = simulated.plan(source, RECIPE)
    other = simulated.plan(source, RECIPE | {"severities": ["severe"]})
    assert one[0].profiles != other[0].profiles
    assert {job.severity for job in other if job.profiles} == {"severe"}


@pytest.mark.parametrize(
    ("group", "said"),
    [
        ({"role": "never_seen", "conditions": ["mumbling"], "speakers": 1, "test": 1}, "'mumbling'"),
        ({"role": "pretraining", "conditions": ["stuttering"], "speakers": 1, "test": 1}, "role 'pretraining'"),
        ({"role": "never_seen", "conditions": ["stuttering"], "speakers": 1, "test": 9}, "2 test sentences of 9"),
        ({"role": "never_seen", "conditions": ["typical"], "speakers": 3, "test": 1}, "one speaker twice"),
    ],
)
def test_a_recipe_that_cannot_be_filled_is_refused(source, group, said):
    with pytest.raises(CorpusError, match=said):
        simulated.plan(source, with_group(**group))


def test_an_utterance_that_cannot_be_made_is_set_aside(source, tmp_path, monkeypatch):
    silent = next(u for u in source.utterances if u.role == "never_seen" and u.split == "test")
    whole = Corpus.wave
    monkeypatch.setattr(Corpus, "wave", lambda self, u: 0 * whole(self, u) if u == silent else whole(self, u))
    recipe = with_group(role="never_seen", conditions=["dysarthria"], speakers=2, test=2)
    made = simulated.build(recipe, source, tmp_path, cores=1)
    assert [entry["utterance"].endswith(silent.utterance[-8:]) for entry in made.set_aside] == [True]
    assert len(made.utterances) == 3


def test_rate_and_pauses_are_read_off_the_alignment(source):
    item = source.utterances[0]
    span = sum(item.durations[1:-2])
    assert simulated.syllable_rate(item) == pytest.approx(5 / span)
    assert simulated.pause_share(item) == pytest.approx(3 * 0.03 / span)
