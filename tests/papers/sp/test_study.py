"""The zero-shot study on random features: systems, references, rows, figures, and input that it refuses."""

import numpy as np
import pandas as pd
import pytest
import synthetic_corpus
import torch
from synthetic_zero_shot import PHONEMES, make_study

from lib import audio, study
from lib.models.mel_style import ReferenceSpeechError
from lib.papers.sp import figures as zero_shot_plots
from lib.papers.sp import measure as zero_shot_rows
from lib.papers.sp import players
from lib.papers.sp.measure import against_recordings, attention_rows, mismatch, training_rows, usable
from lib.papers.sp.speech import checked, joined, recordings_of, reference_mel, sentences, speak
from lib.papers.sp.systems import DENSE, Batches, ZeroShotError, parameter_counts
from lib.study import gates
from lib.study.drawing import PlotError
from lib.study.units import axis

TIMES = ("seconds_trained", "seconds_per_step")


@pytest.fixture
def bench(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "results"))
    return make_study(tmp_path)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The tiny study, run once: its bench and all its rows."""
    root = tmp_path_factory.mktemp("zero_shot")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDY_RESULTS", str(root / "results"))
        bench = make_study(root)
        bench.prepare()
        for system in bench.settings["systems"]:
            bench.run(system, 0)
        yield bench, study.read_rows(bench.profile, "SP")


def test_the_same_seed_gives_the_same_rows(finished, tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "again"))
    again = make_study(tmp_path)
    second = again.run("dp_r45", 0).reset_index(drop=True)
    first = finished[1][finished[1]["system"] == "dp_r45"].reset_index(drop=True)
    kept = ~first["metric"].isin(TIMES).to_numpy()
    assert len(first) == len(second)
    assert first["metric"][kept].tolist() == second["metric"][kept].tolist()
    assert first["value"][kept].tolist() == second["value"][kept].tolist()


def test_a_trained_system_is_found_and_not_trained_again(bench):
    path = bench.train("vp", 0)
    written = path.stat().st_mtime_ns
    assert bench.train("vp", 0) == path and path.stat().st_mtime_ns == written


def test_systems_go_on_from_the_dense_model_of_their_seed(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "results"))
    bench = make_study(tmp_path, train={"steps": 1, "batch_size": 4, "learning_rate": 0.0})
    dense, other, pruned = bench.restore(DENSE, 1), bench.restore(DENSE, 0), bench.restore("dp_r45", 1)
    for name, weight in dense.backbone.state_dict().items():
        assert torch.equal(weight, pruned.backbone.state_dict()[name]), name
    assert not torch.equal(*(model.backbone.encoder[0].attention.query.weight for model in (dense, other)))


def test_without_dense_models_of_their_own_all_seeds_go_on_from_that_of_the_first(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "results"))
    still = {"steps": 1, "batch_size": 4, "learning_rate": 0.0}
    bench = make_study(tmp_path, train=still, own_dense=False, seeds=[0, 1])
    first, pruned = bench.restore(DENSE, 0), bench.restore("dp_r45", 1)
    for name, weight in first.backbone.state_dict().items():
        assert torch.equal(weight, pruned.backbone.state_dict()[name]), name
    assert bench.trained("dp_r45", 1)["after"] == "sp-dense-s0" and not bench.checkpoint(DENSE, 1).exists()
    assert "sp-dense-s0" in (shared := bench.shared()) and "sp-dense-s1" not in shared


def test_a_system_may_train_from_scratch_beside_others_that_do_not(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "results"))
    systems = {
        "baseline": {"method": "dense"},
        "whole": {"method": "dense", "from_scratch": True, "train": {"steps": 3}},
    }
    bench = make_study(tmp_path, systems=systems)
    bench.train("whole", 0)
    assert bench.trained("whole", 0)["after"] is None and not bench.checkpoint(DENSE, 0).exists()
    bench.train("baseline", 0)
    assert bench.trained("baseline", 0)["after"] == "sp-dense-s0"


def test_the_curve_of_a_system_begins_with_that_of_its_dense_model_and_has_unseen_losses(bench):
    bench.train("vp", 0)
    start, own = (bench.trained(name, 0)["history"] for name in (DENSE, "vp"))
    joined = gates.read_curves(bench.profile)["sp-vp-s0"]
    assert len(joined) == len(start) + len(own) and joined[-1]["step"] == start[-1]["step"] + own[-1]["step"]
    assert joined[-1]["validation"] > 0


def test_from_scratch_no_system_needs_the_dense_model(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "results"))
    systems = {"baseline": {"method": "dense"}, "small": {"method": "dense", "model": {"decoder_layers": 2}}}
    bench = make_study(tmp_path, from_scratch=True, systems=systems)
    assert len(bench.restore("small", 0).backbone.decoder) == 2
    assert not bench.checkpoint(DENSE, 0).exists()


def test_dp_adds_one_weight_for_each_pruned_block(bench):
    counts = parameter_counts(bench)
    for size in ("here", "at the paper's sizes"):
        assert counts["dp_r45"][size] - counts["baseline"][size] == 4
        assert counts["vp"][size] == counts["baseline"][size]


def test_theta_moves_in_phase_one_and_its_curve_ends_at_the_final_value(finished):
    bench, rows = finished
    mine = rows[(rows["system"] == "dp_r45").fillna(False)]
    final = mine[mine["metric"] == "theta"].set_index("layer")["value"]
    assert set(final.index) == {"d0", "d1", "d2", "d3", "all"} and (final.abs() > 0).all()
    assert (mine[mine["metric"] == "theta"]["x"] == 0.45).all()
    curve = mine[(mine["metric"] == "curve_theta") & (mine["layer"] == "d0")].sort_values("x")
    assert curve["x"].tolist() == [1, 2, 3, 4]
    assert curve["value"].iloc[-1] == pytest.approx(final["d0"])
    assert len(mine[mine["metric"] == "curve_sparsity"]) == bench.settings["soft_steps"]


def test_rows_cover_unseen_and_seen_speakers_and_references(finished):
    _, rows = finished
    mine = rows[(rows["system"] == "dp_r45").fillna(False)]
    spoken = mine[(mine["variant"] == "zero_shot") & (mine["metric"] == "cos")]
    assert spoken.groupby("role")["utterance"].nunique().to_dict() == {"adaptation": 1, "never_seen": 4}
    assert set(spoken["cohort"]) == {"near", "far", "seen"}
    parts = mine[(mine["variant"] == "reference_length") & (mine["metric"] == "cos")]
    assert set(parts["x"]) == {0.5} and parts["utterance"].nunique() == 2
    assert {"joined_1", "joined_2"} <= set(mine["variant"].dropna())
    assert set(rows["metric"]) >= {
        "mismatch",
        "mel_l1",
        "duration_error",
        "time_ratio",
        "memory_ratio",
        "trainable_parameters",
    }


def test_only_listed_systems_speak_as_seen_speakers(bench):
    assert {u.role for u in zero_shot_rows.test_utterances(bench, "vp")} == {"never_seen"}
    assert {u.role for u in zero_shot_rows.test_utterances(bench, "baseline")} == {"never_seen", "adaptation"}


def test_the_dense_model_keeps_every_connection(finished):
    _, rows = finished
    mine = rows[(rows["system"] == "baseline") & (rows["metric"] == "kept_fraction")]
    assert len(mine) and (mine["value"] == 1).all()


def test_a_mask_that_removes_whole_rows_leaves_finite_speech(bench):
    model = bench.restore("dp_r45", 0)
    with torch.no_grad():
        model.theta.fill_(1e6)
    chosen = bench.corpus.select(role="never_seen", split="test")[:2]
    batch = bench.features.batch(bench.features.rows(chosen))
    found = attention_rows(model, batch)["all"]
    assert found["kept_fraction"].tolist() == [0, 0] and found["empty_rows"].tolist() == [1, 1]
    assert all(np.isfinite(each).all() for each in against_recordings(bench, model, chosen).values())
    assert all(np.isfinite(wave).all() for wave in speak(bench, model, sentences(bench, chosen)))


def test_empty_rows_count_queries_without_a_key(bench):
    model = bench.restore("vp", 0)
    batch = bench.features.batch(bench.features.rows(bench.corpus.select(role="never_seen", split="test")[:1]))
    assert attention_rows(model, batch)["d0"]["empty_rows"].tolist() == [0]


def test_what_is_kept_does_not_depend_on_how_many_are_looked_at_at_once(bench, monkeypatch):
    model, found = bench.restore("dp_r45", 0), []
    for few in (100, 1):
        monkeypatch.setattr(zero_shot_rows, "AT_ONCE", few)
        rows = zero_shot_rows.kept_rows(bench, model)
        found.append(rows.sort_values(["variant", "layer", "metric", "utterance"], ignore_index=True))
    pd.testing.assert_frame_equal(*found, atol=1e-6)


def test_joined_utterances_are_their_features_one_after_the_other(bench):
    rows = bench.features.rows(bench.corpus.select(role="never_seen", split="test")[:3])
    batch = joined(bench.features, [rows[:2], rows[2:]], "cpu")
    frames = 5 * len(PHONEMES)
    assert batch["frame_lengths"].tolist() == [2 * frames, frames]
    assert torch.equal(batch["mel"][0, frames:], torch.tensor(bench.features.item(int(rows[1]))["mel"]))
    assert (batch["mel"][1, frames:] == 0).all()
    assert batch["durations"].sum(1).tolist() == batch["frame_lengths"].tolist()


def test_references_have_the_seconds_asked_for(bench):
    whole = reference_mel(bench, "new_c")
    assert len(whole) == 5 * len(PHONEMES)
    assert len(reference_mel(bench, "new_c", 0.5)) == round(0.5 * bench.mel.frames_per_second)
    longer = 1.5 * len(whole) / bench.mel.frames_per_second
    assert len(reference_mel(bench, "new_c", longer)) == round(1.5 * len(whole))


def test_references_that_no_style_can_be_read_from_are_refused_by_name(bench):
    with pytest.raises(ReferenceSpeechError, match=r"new_c: .* give a longer reference"):
        reference_mel(bench, "new_c", 0.1)
    with pytest.raises(ReferenceSpeechError, match=r"new_c: .* is silent"):
        checked(bench, torch.full((50, 80), np.log(1e-5)), "new_c")
    with pytest.raises(ZeroShotError, match=r"new_c has .* s of reference speech, not 60 s"):
        reference_mel(bench, "new_c", 60.0)


@pytest.mark.parametrize("ratio", [0.0, 1.0, -0.2, 1.7])
def test_a_ratio_outside_zero_to_one_is_refused(tmp_path, ratio):
    bench = make_study(tmp_path, systems={"dp": {"method": "learned", "ratio": ratio}})
    with pytest.raises(ValueError, match=r"choose R inside \(0, 1\)"):
        bench.sparse("dp")


def test_what_the_profile_does_not_have_is_named(tmp_path):
    bench = make_study(tmp_path, systems={"wide": {"method": "dense", "model": {"hidden": 32}}})
    with pytest.raises(ZeroShotError, match="no system 'dp_r45'"):
        bench.sparse("dp_r45")
    with pytest.raises(ZeroShotError, match="wide changes the model's size"):
        bench.build("wide")


def test_recordings_of_another_data_set_are_one_for_each_speaker(tmp_path):
    wave = 0.1 * np.sin(np.arange(8000) / 5).astype(np.float32)
    for name in ("b/two.wav", "b/one.wav", "a/one.wav"):
        audio.write(tmp_path / name, wave)
    (tmp_path / "empty").mkdir()
    assert list(recordings_of(tmp_path)) == ["a", "b"]
    with pytest.raises(ZeroShotError, match="holds no <speaker>"):
        recordings_of(tmp_path / "empty")


def test_a_prepared_corpus_gives_recordings_of_the_speakers_that_are_never_seen(tmp_path):
    corpus = synthetic_corpus.source(tmp_path)
    corpus.save()
    found = recordings_of(corpus.root)
    assert list(found) == corpus.speakers("never_seen") and all(len(wave) for wave in found.values())


def test_silent_and_tiny_waves_are_set_aside():
    speech = 0.1 * np.ones(1600, dtype=np.float32)
    assert usable([speech, np.zeros(5000, dtype=np.float32), speech[:100]]) == [0]


def test_half_of_the_unseen_speakers_are_far(bench):
    found = mismatch(bench)
    (near,), (far,) = ([v for v, c in found.values() if c == cohort] for cohort in ("near", "far"))
    assert 0 <= near < far


def test_training_rows_thin_a_long_history(bench):
    bench.train("baseline", 0)
    facts = bench.trained("baseline", 0)
    facts["history"] = [{"step": i, "mel": 1.0, "total": 2.0} for i in range(1, 1001)]
    curve = training_rows(facts).query("variant == 'curve'")
    assert 40 <= len(curve) <= 50 and curve["x"].iloc[-1] == 1000


@pytest.mark.parametrize("name", list(zero_shot_plots.FIGURES))
def test_every_figure_is_drawn_from_rows_and_refuses_none(finished, name, monkeypatch):
    bench, rows = finished
    figure = zero_shot_plots.FIGURES[name].draw(rows, bench.profile)
    assert figure.description["n"] > 0 and "n = " in figure.description["caption"]
    with pytest.raises(PlotError):
        zero_shot_plots.FIGURES[name].draw(rows.iloc[:0], bench.profile)


def test_the_figure_of_phase_one_leaves_out_what_only_some_systems_were_measured_by(finished):
    bench, rows = finished
    table = rows[rows["system"] == "dp_r45"]
    short = table[table["metric"] != "mel_l1"].assign(system="dp_r45_phase20")
    figure = zero_shot_plots.FIGURES["sp_phase"].draw(pd.concat([table, short]), bench.profile)
    assert [each.get_ylabel() for each in figure.axes] == [axis("cos")]


def test_quality_against_r_takes_systems_that_were_run_with_another_r(finished):
    bench, rows = finished
    changed = rows[rows["system"] == "dp_r45"].assign(system="dp_r45_ratio_0p35", x=0.35)
    figure = zero_shot_plots.FIGURES["sp_quality"].draw(pd.concat([rows, changed]), bench.profile)
    assert "DP R=0.45, ratio 0.35" in [text.get_text() for text in figure.legends[0].get_texts()]
    places = [container[0].get_xdata()[0] for container in figure.axes[0].containers]
    assert 0.35 in places and 0.45 in places


@pytest.mark.parametrize("profile", ["smoke", "demo", "full", "paper"])
def test_every_system_of_a_profile_can_be_built(profile, tmp_path):
    section = study.load_profile(profile)["sp"]
    bench = make_study(tmp_path, **section)
    for name, entry in section["systems"].items():
        if entry["method"] != "cost":
            assert bench.sparse(name).method == entry["method"]
    listed = {*section["headline"], *section["seen_systems"], *section["reference_systems"]}
    assert listed <= set(section["systems"])
    assert section["soft_steps"] < section["train"]["steps"]


def test_an_episode_takes_the_style_from_another_utterance_of_the_speaker(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "results"))
    bench = make_study(tmp_path, systems={"episodic": {"method": "dense", "episodic": True}})
    batches = Batches(bench, "episodic", 3, seed=0)
    for micro in range(6):
        chosen = batches.sampler(micro)
        support = batches.support(micro, chosen)
        assert (batches.speakers[support] == batches.speakers[chosen]).all() and (support != chosen).all()
        batch, expected = batches(micro), bench.features.batch(batches.rows[support])
        torch.testing.assert_close(batch["reference"], expected["mel"])
    model = bench.build("episodic").eval()
    own = {name: value for name, value in batch.items() if not name.startswith("reference")}
    assert not torch.allclose(model(batch)["mel"], model(own)["mel"])
    torch.testing.assert_close(
        model(own | {"reference": own["mel"], "reference_lengths": own["frame_lengths"]})["mel"], model(own)["mel"]
    )


def test_the_recordings_of_the_players_sentences_are_kept_beside_the_systems_plain_and_vocoded(finished):
    made = finished[0]
    kept = {path.parent.name: audio.read(path) for path in made.root.glob("audio/sp-*-s0/*.wav")}
    name = next(iter(made.players()))
    said = next(u for u in made.corpus.utterances if u.utterance == name)
    plain, vocoded = kept["sp-reference-s0"], kept["sp-reference_vocoded-s0"]
    np.testing.assert_allclose(plain, made.corpus.wave(said), atol=1e-4)
    picture = players.sentence(made)
    titles = [axis.get_title(loc="left") for axis in picture.axes if axis.get_title(loc="left")]
    assert titles == ["Recording", "Reference (vocoded)", "DP R=0.45"]
    assert picture.description["caption"].startswith(f"“{said.text}” (new c)")
    assert abs(len(vocoded) - len(plain)) < 0.05 * audio.RATE and not np.array_equal(vocoded[:4000], plain[:4000])


def test_players_have_the_first_sentence_of_every_speaker_before_the_second_of_any(bench):
    bench.settings["players"] |= {"speakers": 2, "sentences": 2}
    by_id = {u.utterance: u.speaker for u in bench.corpus.utterances}
    speakers = [by_id[name] for name in bench.players()]
    assert len(set(speakers)) == 2 and speakers[: len(set(speakers))] == list(dict.fromkeys(speakers))
