"""Recorded atypical speech as the source: speakers, conditions and the whole study on stand-ins for two corpora."""

import shutil
from dataclasses import replace
from pathlib import Path

import chapters
import pytest
import standins

from lib import study
from lib.corpora import published
from lib.corpora.corpus import Corpus, Utterance
from lib.files import ROOT
from lib.papers.ha import figures, probes
from lib.papers.ha import source as sources
from lib.papers.ha.source import AsrError
from lib.papers.ha.study import Study
from lib.study import claims, registry, show
from lib.study import profile as profiles
from lib.study.profile import merge
from lib.study.report import index

PROMPTS = [f"Number {word} is here." for word in ("one", "two", "three", "four", "five", "six", "seven", "eight")]
TORGO = ("F01", "F03", "F04", "M01", "M04", "FC01", "FC02", "FC03")
UASPEECH = ("M04", "M05", "F05", "M11", "CM04", "CM05", "CM12")
SETTINGS = """
ha:
  corpus: {{source: {}}}
  train: {{steps: 1}}
  systems:
    full: {{steps: 1}}
    hyper_without_stuttering: {{}}
"""


def torgo(root: Path) -> Path:
    for speaker in TORGO:
        session = root / speaker.rstrip("0123456789") / speaker / "Session1"
        for number, prompt in enumerate(PROMPTS):
            standins.note(session / "prompts" / f"{number:04}.txt", prompt)
            standins.sound(session / "wav_headMic" / f"{number:04}.wav", 0.4 + 0.05 * number)
    return root


def uaspeech(root: Path) -> Path:
    base = root / "UASpeech"
    for speaker in UASPEECH:
        names = [f"{speaker}_B1_C{number}_M5" for number, _ in enumerate(PROMPTS)]
        words = [prompt.split()[1].upper() for prompt in PROMPTS]
        entries = "".join(f'"*/{name}.lab"\n{word}\n.\n' for name, word in zip(names, words, strict=True))
        standins.note(base / "mlf" / speaker / f"{speaker}_word.mlf", "#!MLF!#\n" + entries)
        for number, name in enumerate(names):
            standins.sound(base / "audio" / "original" / speaker / f"{name}.wav", 0.4 + 0.05 * number)
    return root


def nemours(root: Path) -> Path:
    for speaker in ("BB", "BK", "SC"):
        for number, prompt in enumerate(PROMPTS):
            standins.note(root / speaker / "TEXT" / f"{speaker}{number}.TXT", prompt)
            standins.sound(root / speaker / "WAV" / f"{speaker}{number}.WAV", 0.4 + 0.05 * number)
            if speaker == "BB":
                standins.sound(root / speaker / "WAV" / f"JP{speaker}{number}.WAV", 0.4 + 0.05 * number)
    return root


def fluencybank(root: Path) -> Path:
    for speaker in range(8):
        stamps = (f"\x15{500 * number}_{500 * number + 450}\x15" for number, _ in enumerate(PROMPTS))
        said = "".join(f"*PAR:\t{text[:-1]} . {at}\n" for text, at in zip(PROMPTS, stamps, strict=True))
        standins.note(root / f"{speaker}.cha", f"@UTF8\n@Begin\n{said}@End\n")
        standins.sound(root / f"{speaker}.wav", 0.5 * len(PROMPTS))
    return root


def speechocean762(root: Path) -> Path:
    rows = ["path,speaker,text,split,age"]
    for number, (part, age) in enumerate(
        [("train", 8), ("train", 9), ("train", 30), ("train", 40), ("test", 8), ("test", 30)]
    ):
        for take, prompt in enumerate(PROMPTS):
            standins.sound(root / f"{number}_{take}.wav", 0.4 + 0.05 * take)
            rows.append(f"{number}_{take}.wav,{number},{prompt.upper()},{part},{age}")
    standins.note(root / "metadata.csv", "\n".join(rows) + "\n")
    return root


@pytest.mark.parametrize(
    ("corpus", "cohorts"),
    [(nemours, {"dysarthria", "typical"}), (fluencybank, {"stuttering"}), (speechocean762, {"adults", "children"})],
)
def test_every_other_corpus_with_transcripts_feeds_the_study_by_cohort(corpus, cohorts, tmp_path, monkeypatch):
    built = published.prepare(corpus.__name__, corpus(tmp_path / "source"), tmp_path / "built", cores=1)
    asr = Study(study.load_profile("smoke", {"ha": {"corpus": {"source": str(built.root)}}}), "cpu", 1)
    tested = {item.condition: item.speaker for item in asr.select("never_seen", "test")}
    groups = {item.condition for item in asr.select("adaptation", "train")}
    assert groups == cohorts and set(tested) and set(tested) <= cohorts and not asr.set_aside
    trained = {item.speaker for item in asr.select("adaptation", "train")}
    assert trained.isdisjoint(tested.values())
    assert len(asr.training_groups(asr.system("hyper"))["all"]) == len(asr.select("adaptation", "train"))


@pytest.fixture(scope="module", params=[torgo, uaspeech], ids=["torgo", "uaspeech"])
def prepared(request, tmp_path_factory) -> Corpus:
    place = tmp_path_factory.mktemp(request.param.__name__)
    return published.prepare(request.param.__name__, request.param(place / "source"), place / "built", cores=1)


@pytest.fixture(scope="module")
def heard(prepared, tmp_path_factory):
    """The study on the corpus, which one line of the profile names, all systems of the smoke profile run."""
    place, patch = tmp_path_factory.mktemp("study"), pytest.MonkeyPatch()
    patch.setenv("STUDY_RESULTS", str(place / "results"))
    patch.setenv("STUDY_CACHE", str(place / "cache"))
    shutil.copytree(profiles.PROFILES, place / "profiles")
    (place / "profiles" / "smoke.yaml").write_text(SETTINGS.format(prepared.root))
    patch.setattr(profiles, "PROFILES", place / "profiles")
    yield Study(study.load_profile("smoke"), "cpu", 1).ensure()
    patch.undo()


def test_speakers_who_are_tested_as_never_seen_are_not_trained_on(heard, prepared):
    trained = {u.speaker for u in heard.select("adaptation")}
    tested = {u.speaker for u in heard.select("never_seen", "test")}
    assert tested == set(prepared.speakers("never_seen")) and not trained & tested
    groups = heard.training_groups(heard.system("hyper"))
    assert {u.speaker for items in groups.values() for u in items} <= trained


def test_the_corpus_says_what_cohorts_and_severities_there_are(heard):
    rows = study.read_rows(heard.profile, "HA")
    assert set(rows["cohort"].dropna()) == {"dysarthria", "typical"}
    assert set(rows["severity"].dropna()) == {u.recipe["severity"] for u in heard.utterances if "severity" in u.recipe}
    assert set(rows["role"].dropna()) == {"adaptation", "never_seen"}
    systems = {"whisper_0", "full", "lora_w1", "cohort_lora", "hyper", "hyper_ge2e"}
    assert set(rows.loc[rows["metric"] == "wer", "system"]) == systems


def test_a_condition_that_the_corpus_has_not_leaves_a_row_that_says_so(heard):
    rows = study.read_rows(heard.profile, "HA")
    mine = rows[rows["system"] == "hyper_without_stuttering"]
    assert mine[["metric", "value"]].to_numpy().tolist() == [["recordings", 0.0]]
    manifest = study.read_manifests(heard.profile)["ha-hyper_without_stuttering-s0"]
    assert "no speaker with stuttering" in manifest["missing"] and manifest["corpus"] == heard.corpus.name


@pytest.mark.parametrize("name", ["ha_severity", "ha_ceiling", "ha_budget", "ha_cohorts", "ha_unseen", "ha_probes"])
def test_figures_are_drawn_and_name_the_corpus(heard, prepared, name):
    shown = figures.draw(name, study.read_rows(heard.profile, "HA"), heard.profile)
    assert prepared.root.name in shown.caption and "simulated" not in shown.caption


def test_claims_are_judged_on_the_corpus_and_name_it(heard, prepared):
    records = {record["id"]: record for record in claims.write_claims(heard.profile) if record["paper"] == "HA"}
    assert {record["speech"] for record in records.values()} == {f"recordings of {prepared.root.name}"}
    wer = next(part for part in records["HA3"]["parts"] if part["name"].endswith("dysarthria"))
    assert wer["value"] is not None and wer["n"] == len(
        [u for u in heard.select(split="test") if u.condition == "dysarthria"]
    )
    assert records["HA1"]["value"] is not None and records["HA11"]["value"] is not None


@pytest.mark.parametrize("chapter", registry.papers()["ha"].chapters)
def test_every_chapter_is_rendered_on_the_corpus(heard, prepared, chapter, tmp_path):
    shown = chapters.page(chapter, tmp_path, profile="smoke", device="cpu")
    assert prepared.root.name in shown and "What we learn" in shown and shown.count("<figcaption>") >= 2
    assert "object at 0x" not in shown


def test_the_report_is_about_the_corpus(heard, prepared):
    show.parts(claims.write_claims(heard.profile), "HA3")
    page = index.write_report(heard.profile).read_text()
    assert 'href="#figure-ha3_parts"' in page
    assert prepared.root.name in page and "All atypical speech is simulated" not in page


def test_prosody_tells_the_corpuss_cohorts_apart(heard):
    assert list(probes.cohorts_by_prosody(heard)["cohort"]) == ["dysarthria", "typical", "all"]


def spoken(speaker: str, condition: str, split: str = "train", role: str = "adaptation") -> Utterance:
    text = f"A {split} sentence."
    return Utterance(f"{speaker}_{split}", speaker, text, "", (), role, split, condition, f"{speaker}_{split}.wav", 1.0)


@pytest.mark.parametrize(
    ("speakers", "said"),
    [
        ({"a": "dysarthria"}, r"own has one speaker \(a\): who is tested must not be trained on"),
        ({"a": "typical", "b": "typical"}, "own names no condition but typical: give a CSV with the column condition"),
        ({"a": "dysarthria", "b": "typical"}, "own has too few speakers"),
    ],
)
def test_a_corpus_that_holds_nobody_out_is_refused(monkeypatch, tmp_path, speakers, said):
    items = [spoken(name, kind, split) for name, kind in speakers.items() for split in ("train", "test")]
    monkeypatch.setattr(sources, "open_corpus", lambda named, cores: Corpus(tmp_path, "own", "0" * 12, items))
    with pytest.raises(AsrError, match=said):
        sources.recorded({"source": "own"})


def test_without_never_seen_speakers_some_of_each_condition_are_held_out(monkeypatch, tmp_path):
    items = [spoken(f"{kind}{n}", kind, split) for kind in ("dysarthria", "typical") for n in range(3)
             for split in ("train", "test")]  # fmt: skip
    monkeypatch.setattr(sources, "open_corpus", lambda named, cores: Corpus(tmp_path, "own", "0" * 12, items))
    corpus = sources.recorded({"source": "own"})
    held, trained = corpus.speakers("never_seen"), corpus.speakers("adaptation")
    assert {name[:-1] for name in held} == {name[:-1] for name in trained} == {"dysarthria", "typical"}
    assert not set(held) & set(trained) and corpus.hash != "0" * 12


def test_typical_speech_of_other_corpora_is_only_tested(monkeypatch, tmp_path):
    def corpora(named: str, cores: int | None) -> Corpus:
        kinds = {"own": "dysarthria", "read": "typical"}
        items = [replace(spoken(f"{kinds[named]}{n}", kinds[named], split), utterance=f"{named}{n}{split}{take}")
                 for n in range(3) for split in ("train", "test") for take in range(3)]  # fmt: skip
        return Corpus(tmp_path / named, named, named, [replace(u, text=u.utterance) for u in items])

    monkeypatch.setattr(sources, "open_corpus", corpora)
    recipe = {"source": "own", "tested": 1, "typical": {"read": 2}}
    corpus = sources.recorded(recipe)
    typical = [u for u in corpus.utterances if u.condition == "typical"]
    assert len(typical) == 3 * 2 and {(u.role, u.split) for u in typical} == {("never_seen", "test")}
    own = [u for u in corpus.utterances if u.condition == "dysarthria"]
    assert len([u for u in own if u.split == "test"]) == 3 and len([u for u in own if u.role == "adaptation"]) == 2 * 4
    assert (corpus.root / typical[0].path).parent == tmp_path / "read"
    assert corpus.hash != sources.recorded({**recipe, "tested": 2}).hash


def test_a_corpus_in_another_language_has_no_usable_utterance(heard):
    foreign = [replace(u, text="Привет, как дела?") for u in heard.corpus.utterances[:1]]
    other = Study(heard.profile, "cpu", 1)
    other.corpus = replace(heard.corpus, utterances=foreign)
    with pytest.raises(AsrError, match="no utterance can be used: .* is not English"):
        _ = other.examples


def test_a_profile_of_ones_own_names_the_source(monkeypatch, tmp_path):
    shutil.copytree(ROOT / "notebooks" / "profiles", tmp_path / "profiles")
    (tmp_path / "profiles" / "mine.yaml").write_text("ha: {corpus: {source: torgo}}\n")
    monkeypatch.setattr(profiles, "PROFILES", tmp_path / "profiles")
    section = study.load_profile("mine")["ha"]
    assert section["corpus"]["source"] == "torgo" and "hyper" in section["systems"]
    assert study.load_profile("smoke")["ha"]["corpus"]["source"] is None


def test_a_source_that_is_nowhere_is_named(heard):
    profile = merge(heard.profile, {"ha": {"corpus": {"source": "nowhere"}}})
    with pytest.raises(ValueError, match="nowhere: no prepared corpus and no folder of that name"):
        _ = Study(profile, "cpu", 1).corpus
