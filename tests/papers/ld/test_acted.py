"""What z and the CLAP know of acted styles: a stand-in of RAVDESS's layout, and recordings where there are some."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import real_recordings
import torch

from lib import audio, study
from lib.corpora.corpus import CorpusError
from lib.corpora.published import prepare
from lib.corpora.styled import styles
from lib.papers.ld import acted, clap, figures
from lib.papers.ld.data import LatentError
from lib.papers.ld.diagnostic_figures import acted as acted_figure
from lib.papers.ld.diagnostic_figures import posterior
from lib.papers.ld.study import Study
from lib.study.drawing import PlotError
from lib.study.profile import merge


def actors(folder: Path) -> Path:
    """Two actors, two sentences, two emotions: buzzes whose pitch and level the emotion moves."""
    random = np.random.default_rng(0)
    for actor, base in (("01", 110.0), ("02", 190.0)):
        for emotion, up in (("01", 1.0), ("05", 1.4)):
            for sentence in ("01", "02"):
                time = np.arange(24000) / 16000
                track = up * base * 2 ** (np.sin(2 * np.pi * (2 + random.random()) * time) / 8)
                wave = sum(np.sin(k * 2 * np.pi * np.cumsum(track) / 16000) / k for k in range(1, 12))
                noise = 0.01 * random.standard_normal(len(time))
                wave = 0.05 * up * wave * (1 + np.sin(2 * np.pi * 4 * time)) + noise
                file = folder / f"Actor_{actor}" / f"03-01-{emotion}-01-{sentence}-01-{actor}.wav"
                audio.write(file, wave.astype(np.float32))
    return folder


def of(profile, source: Path, **more) -> Study:
    """The study whose probes have a corpus of acted speech."""
    return Study(merge(profile, {"ld": {"probes": {"source": str(source), **more}}}))


@pytest.fixture(scope="module")
def stage(prepared, profile, tmp_path_factory):
    """The study that names a prepared corpus of acted speech, with the rows of both probes."""
    folder = tmp_path_factory.mktemp("acted")
    corpus = prepare("ravdess", actors(folder / "recordings"), folder / "built", 1)
    made = of(profile, corpus.root)
    return made, {name: made.measure(name, 0).rows for name in ("diagnostics", "clap_probe")}


def test_probes_of_acted_speech_are_rows_of_their_own(stage):
    made, rows = stage
    mine = rows["diagnostics"].query("role == 'acted'")
    assert set(mine["speaker"]) == {"01", "02"} and set(mine["target"]) == {"ravdess"}
    assert set(mine["variant"]) == {f"acted_{name}" for name in ("prosody", "style", "speaker", "f0", "energy", "rate")}
    assert np.isfinite(mine["value"]).all()
    speaker = mine.query("variant == 'acted_speaker' and metric == 'probe_skill' and layer == 'mel'")["value"]
    assert speaker.mean() == 1.0  # voices most of an octave apart
    own = rows["diagnostics"].drop(mine.index)
    assert not own["variant"].str.startswith("acted").any() and set(own["speaker"]) == {"joe"}


def test_what_the_embedding_knows_of_acted_speech_is_held_against_what_is_heard(stage):
    mine = stage[1]["clap_probe"].query("role == 'acted' and metric.str.startswith('probe')")
    assert set(mine["variant"]) == {
        f"acted_{name}" for name in ("f0_mean", "f0_range", "energy_mean", "rate", "pause_share")
    }
    true = mine.query("metric == 'probe_true' and variant == 'acted_f0_mean'").set_index("utterance")["value"]
    higher = true["03-01-05-01-02-01-01"] - true["03-01-01-01-02-01-01"]
    assert higher == pytest.approx(12 * np.log2(1.4), abs=1.0)


def test_prompts_are_retrieved_among_neutral_recordings_of_voices_never_heard(stage):
    mine = stage[1]["clap_probe"].query("role == 'acted' and metric == 'retrieval_accuracy' and speaker != 'joe'")
    assert set(mine["variant"]) == {f"acted_{factor}" for factor in styles.PHRASES}
    assert set(mine["speaker"]) == {"01", "02"} and set(mine["target"]) == {"ravdess"}
    assert mine["utterance"].nunique() == 2 * acted.RESTYLINGS  # of the two speakers' neutral test sentences
    assert mine["utterance"].str.startswith("03-01-01-01-02").all() and mine["value"].isin([0.0, 1.0]).all()


def test_the_voice_itself_is_asked_as_short_as_the_others(stage):
    made, rows = stage
    whole = rows["clap_probe"].query("metric == 'retrieval_accuracy' and target == 'used'")
    short = rows["clap_probe"].query("metric == 'retrieval_accuracy' and speaker == 'joe' and target == 'ravdess'")
    assert set(short["variant"]) == {f"short_{factor}" for factor in styles.PHRASES} and len(short) == len(whole)

    class Ear:
        def embed_audio(self, waves):
            return torch.tensor([[len(wave)] for wave in waves])

    heard = clap.draws_of(made, Ear(), "test", most=9000)["embedding"].map(lambda value: int(value[0]))
    assert heard.isin([9000, 9001]).all()  # of recordings longer than that


def test_other_voices_start_as_loud_as_the_voice_so_that_soft_and_loud_mean_the_same(stage):
    """A CLAP that measures the level alone finds how much louder than joe each was asked to be."""
    made, corpus = stage[0], acted.corpus_of(stage[0])

    class Ear:
        def embed_audio(self, waves):
            return torch.tensor([[20 * np.log10(np.sqrt(np.mean(wave**2)))] for wave in waves])

    own = np.mean([np.sqrt(np.mean(made.heard(s, "neutral") ** 2)) for s in made.corpus.sentences("test")])
    neutral = [u for u in corpus.select("adaptation", "test") if u.recipe["style"] == "neutral"]
    table = acted._restyled(made, Ear(), corpus, neutral)
    heard = table["embedding"].map(lambda value: float(value[0])) - 20 * np.log10(own)
    asked = table["levels"].map(lambda levels: made.corpus.settings["amounts"]["energy"].get(levels["energy"], 0.0))
    flat = table["levels"].map(lambda levels: levels["breath"] == "clear")  # noise in the voice changes its level, too
    assert flat.sum() >= 2 and np.allclose(heard[flat], asked[flat], atol=2.5)
    assert table["levels"].map(lambda levels: levels["energy"]).nunique() == 3


def test_acted_speech_is_drawn_beside_the_restyled_voice(stage):
    made, rows = stage
    drawn = acted_figure(pd.concat(rows.values()).assign(seed=0), made.profile)
    assert "of 2 speakers" in drawn.description["caption"]
    shown = [text.get_text() for text in drawn.legends[0].get_texts()]
    assert shown == ["Restyled voice", "Restyled voice, cut to their length", "Acted, ravdess"]


def test_the_encoder_is_judged_on_acted_speech_too(stage):
    made, _ = stage
    rows = made.measure("posterior", 0).rows
    mine = rows.query("role == 'acted'")
    assert set(mine["speaker"]) == {"01", "02"} and set(mine["variant"]) == {"acted_neutral", "acted_angry"}
    assert {"mel_l1", "cos", "cer", "cer_input"} <= set(mine["metric"]) and mine["utterance"].nunique() == 4
    assert set(rows.drop(mine.index)["speaker"].dropna()) == {"joe"}
    drawn = posterior(rows.assign(seed=0, system="posterior"), made.profile)
    assert "Acted, other speakers" in [label.get_text() for label in drawn.axes[0].get_yticklabels()]


def test_without_a_corpus_there_are_no_rows_and_no_figure(prepared):
    assert acted.latent_rows(prepared) == [] and acted.clap_rows(prepared, prepared.clap) == []
    with pytest.raises(PlotError, match="acted"):
        figures.draw("ld_acted", study.read_rows(prepared.profile, "LD"), prepared.profile)


def test_a_corpus_that_is_read_if_it_is_there_is_left_out_in_a_line_that_names_the_command(profile, capsys):
    assert acted.corpus_of(of(profile, "some_acted_corpus", if_there=True)) is None
    assert "python -m lib corpora prepare some_acted_corpus --source FOLDER" in capsys.readouterr().out
    with pytest.raises(CorpusError, match="some_acted_corpus"):
        acted.corpus_of(of(profile, "some_acted_corpus"))


def test_a_corpus_without_styles_is_refused(prepared, profile, tmp_path):
    audio.write(
        tmp_path / "own" / "ann" / "one.wav", 0.1 * np.random.default_rng(0).standard_normal(16000).astype("f4")
    )
    (tmp_path / "own" / "ann" / "one.txt").write_text("Hello there.")
    with pytest.raises(LatentError, match="does not say its recordings' style"):
        acted.corpus_of(of(profile, tmp_path / "own"))


def test_real_acted_recordings_are_probed(prepared, profile, tmp_path):
    recordings = real_recordings.recordings_of("ravdess")
    for actor in sorted(recordings.glob("Actor_*"))[:4]:
        (tmp_path / "some").mkdir(exist_ok=True)
        (tmp_path / "some" / actor.name).symlink_to(actor)
    corpus = prepare("ravdess", tmp_path / "some", tmp_path / "built", 1)
    made = of(profile, corpus.root, utterances=40)
    rows = made.measure("diagnostics", 0).rows.query("role == 'acted'")
    assert len(rows) and np.isfinite(rows["value"]).all()
