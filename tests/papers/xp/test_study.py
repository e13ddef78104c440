"""Across the papers: shares of a ceiling, generated weights, and the factorial experiment on random features."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import synthetic_study as synthetic
import torch
from synthetic_batch import make_batch
from synthetic_zero_shot import make_features, make_utterances

from lib import study
from lib.corpora.corpus import Corpus, Utterance
from lib.methods.sparse_attention import SparseSettings
from lib.models.fastspeech2 import FastSpeech2, FastSpeech2Dims
from lib.papers.ht.systems import assemble
from lib.papers.xp import effects, figures
from lib.papers.xp.study import Study
from lib.papers.xp.systems import AcrossError, PrunedFastSpeech2
from lib.papers.xp.weights import Cloud, cloud_of, cloud_rows
from lib.study.drawing import PlotError
from lib.study.report import index as report

SIZES = {"hidden": 16, "encoder_layers": 1, "decoder_layers": 2, "filter": 16, "kernels": [3, 1]}
SIZES |= {"predictor_filter": 16, "bins": 8, "postnet_layers": 2, "postnet_channels": 8, "dropout": 0.1}
TRAINING = {"batch_size": 4, "learning_rate": 0.002, "checkpoint_every": 10}
PROFILE = {
    "name": "tiny",
    "corpus": {},
    "features": {},
    "vocoder": {"hifigan": None, "iterations": 2, "momentum": 0.9},
    "statistics": {"level": 0.95},
    "ht": {
        "backbone": SIZES,
        "pretrain": {"steps": 2, **TRAINING},
        "adapt": {"steps": 2, **TRAINING},
        "seeds": [0],
        "systems": {"tts_0": {"method": "none"}, "hypertts_d": {"method": "hypernetwork", "modules": "d", "d_s": 4}},
    },
    "xp": {
        "systems": {
            "factorial": {"method": "factorial"},
            "weights_tts": {"method": "generated", "of": "ht-hypertts_d-s0"},
        },
        "headline": ["factorial"],
        "seeds": [0, 1],
        "starts_from": "ht-backbone-s0",
        "attention": {"dense": {"method": "dense"}, "pruned": {"method": "learned", "ratio": 0.45}},
        "cells": {
            "adapter": {"method": "adapter", "modules": "d", "bottleneck": 4},
            "hyper": {"method": "hypernetwork", "modules": "d", "bottleneck": 4, "d_s": 4},
        },
        "map_roles": ["adaptation", "never_seen"],
        "backbone": {"steps": 3, **TRAINING},
        "soft_steps": 2,
        "theta_scale": 100.0,
        "adapt": {"steps": 2, **TRAINING},
        "sentences": 2,
    },
}


def scored(values: dict[str, float], seeds=(0,), spread=0.0) -> dict[str, pd.DataFrame]:
    """Rows of systems with the given means, 6 speakers with 3 utterances each."""
    own, keys = np.random.default_rng(0), [(seed, f"s{i % 6}", f"u{i}") for seed in seeds for i in range(18)]
    table = pd.DataFrame(keys, columns=["seed", "speaker", "utterance"])
    return {name: table.assign(value=mean + spread * own.normal(size=len(keys))) for name, mean in values.items()}


@pytest.fixture(scope="module")
def one_paper(tmp_path_factory):
    """The synthetic rows of HT alone, with the sizes that the figure reads."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDY_RESULTS", str(tmp_path_factory.mktemp("results")))
        synthetic.write_study()
        rows = study.read_rows(synthetic.PROFILE)
    whole = rows[rows["metric"].eq("trainable_parameters")].assign(metric="backbone_parameters", value=2_000_000.0)
    return pd.concat([rows, whole], ignore_index=True)


def test_the_shares_of_a_paper_recover_the_effects_built_in(one_paper):
    gains = {gain.system: gain for gain in effects.shares(one_paper, synthetic.PROFILE, effects.SCALES[0])}
    assert set(gains) == {"hypertts_evd", "hypertts_d", "adaptertts_d"}
    assert gains["hypertts_d"].estimate.value == pytest.approx(100 * 7 / 12, abs=5)
    assert gains["hypertts_d"].trained == pytest.approx(0.6)
    assert gains["hypertts_d"].estimate.ci_low < 100 * 7 / 12 < gains["hypertts_d"].estimate.ci_high


def test_the_figure_of_gains_says_which_papers_are_missing(one_paper, tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    figures.draw("xp_gain", one_paper, synthetic.PROFILE)
    facts = json.loads((tmp_path / "tiny/figures/xp_gain.json").read_text())
    assert "HA is not on the left: HA has no wer rows of whisper_0" in facts["caption"]
    assert "SP has no rows in this profile yet" in facts["caption"] and "n = " in facts["caption"]
    assert "HA has no wer rows" in effects.gain_table(one_paper, synthetic.PROFILE)["method"].iloc[-1]


def test_without_rows_each_figure_is_a_sentence():
    empty = study.read_rows("nowhere")
    for name in figures.FIGURES:
        assert figures.shown(name, empty, PROFILE).startswith(f"{name} is not drawn: ")
    with pytest.raises(PlotError, match="python -m lib run xp"):
        effects.effects(empty, "cos", PROFILE)


def test_the_interaction_is_the_difference_of_the_differences():
    means = {("hypernetwork", "dense"): 70.0, ("hypernetwork", "pruned"): 74.0}
    means |= {("adapter", "dense"): 60.0, ("adapter", "pruned"): 61.0}
    factors = {
        "paper": "XP",
        "run_id": "xp-factorial-s0",
        "metric": "cos",
        "split": "test",
        "role": "adaptation",
        "layer": None,
    }
    tables = [
        scored({"x": mean}, seeds=(0, 1))["x"].assign(method=method, variant=attention, **factors)
        for (method, attention), mean in means.items()
    ]
    told = effects.effects(pd.concat(tables), "cos", PROFILE)
    assert told["interaction"].value == pytest.approx(3.0)
    assert told["hypernetwork"].value == pytest.approx(11.5)
    assert told["pruned, adapter"].value == pytest.approx(1.0)
    with pytest.raises(PlotError, match="lacks adapter pruned"):
        effects.effects(pd.concat(tables[:3]), "cos", PROFILE)


def backbones(**settings) -> tuple[FastSpeech2, PrunedFastSpeech2]:
    """A random dense backbone and the same weights under a rule, both in evaluation mode."""
    dims = FastSpeech2Dims.from_dict(SIZES)
    torch.manual_seed(0)
    dense, pruned = FastSpeech2(dims), PrunedFastSpeech2(dims, SparseSettings(**settings))
    missing, unexpected = pruned.load_state_dict(dense.state_dict(), strict=False)
    assert set(missing) <= {"theta"} and not unexpected
    return dense.eval(), pruned.eval()


@pytest.mark.parametrize("settings", [{"method": "dense"}, {"method": "learned"}], ids=["dense", "theta 0"])
def test_a_mask_that_cuts_nothing_leaves_the_backbone_as_it_is(settings):
    dense, pruned = backbones(**settings)
    batch = make_batch(speaker=True)
    with torch.no_grad():
        assert torch.allclose(dense(batch)["mel"], pruned(batch)["mel"], atol=1e-5)
    assert all((share == 1).all() for share in pruned.kept(batch).values())


def test_soft_masks_are_told_in_training_and_hard_ones_cut_connections():
    _, pruned = backbones(method="learned", soft_steps=2, theta_scale=1.0)
    torch.nn.init.constant_(pruned.theta, 1.0)
    batch = make_batch(speaker=True)
    pruned.at_step(0)
    assert pruned(batch)["mask"].shape == (2, 2, 2)
    pruned.at_step(2)
    assert "mask" not in pruned(batch)
    assert all(((share > 0) & (share < 1)).all() for share in pruned.kept(batch).values())


def test_adapters_on_a_pruned_backbone_leave_its_weights_and_thresholds_alone():
    _, pruned = backbones(method="learned")
    model = assemble(pruned, {"name": "x", "method": "adapter", "modules": "d", "bottleneck": 4})
    model(make_batch(speaker=True))["mel"].sum().backward()
    assert all(p.grad is None for p in model.backbone.parameters())
    assert any(p.grad is not None for p in model.adapter.parameters())


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The tiny experiment, run once, and its rows."""
    root = tmp_path_factory.mktemp("across")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDY_RESULTS", str(root / "results"))
        made = made_at(root)
        made.ensure()
        yield made, study.read_rows(PROFILE)


def made_at(root: Path) -> Study:
    """The experiment on the random features of a few speakers."""
    utterances = [replace(u, role="adaptation") if u.speaker == "new_c" else u for u in make_utterances()]
    made = Study(PROFILE)
    made.tts.corpus = Corpus(root, "synthetic", "0123456789ab", utterances)
    made.tts.features = make_features(root / "features", utterances)
    return made


def test_every_cell_is_measured_and_the_unadapted_backbones_once(finished):
    _, rows = finished
    heard = rows[rows["metric"].isin(["cos", "mel_l1"])]
    counts = heard.groupby(["system", "seed"]).size()
    cells = [f"{cell}_{attention}" for cell in ("adapter", "hyper") for attention in ("dense", "pruned")]
    assert {(name, seed) for name in cells for seed in (0, 1)} <= set(counts.index)
    assert {(f"unadapted_{a}", 0) for a in ("dense", "pruned")} == {i for i in counts.index if "unadapted" in i[0]}
    assert set(rows["run_id"]) == study.expected_runs({"xp": PROFILE["xp"]}, "XP")
    thetas = rows[rows["metric"].eq("theta")]["value"]
    assert len(thetas) == 2 and (thetas.abs() > 0).all()


def test_the_same_seed_gives_the_same_rows(finished, tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "again"))
    again = made_at(tmp_path).run("factorial", 1)
    first = finished[1][finished[1]["run_id"].eq("xp-factorial-s1")]
    kept = first["metric"].ne("seconds_trained").to_numpy(dtype=bool)
    assert first["metric"].tolist() == again["metric"].tolist()
    assert first["value"].to_numpy()[kept].tolist() == again["value"].to_numpy()[kept].tolist()


def test_what_is_trained_is_found_and_a_damaged_file_is_trained_again(finished):
    made, _ = finished
    files = {path: path.stat().st_mtime_ns for path in made.root.rglob("xp-*.safetensors")}
    made.prepare()
    made.run("factorial", 0)
    assert len(files) == 10 and files == {path: path.stat().st_mtime_ns for path in files}
    path = made.checkpoint("adapter_dense", 0)
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert made.train("adapter_dense", 0).read_bytes() == good


@pytest.mark.parametrize("name", figures.FIGURES)
def test_the_experiments_figures_are_drawn_from_rows(name, finished, tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    if name == "xp_gain":
        assert "no cos rows of tts_0" in figures.shown(name, finished[1], PROFILE)
        return
    shown = figures.draw(name, finished[1], PROFILE)
    assert "n = " in shown.caption and (tmp_path / f"tiny/figures/{name}.svg").exists()


def test_clusters_that_are_apart_have_a_silhouette_near_one_and_lone_labels_none():
    own = np.random.default_rng(0)
    items = [
        Utterance(f"u{i}", f"s{i // 4}", "", "", (), "adaptation", "test", "stuttering", "", 1.0, {"severity": "mild"})
        for i in range(12)
    ]
    centres = np.eye(8)[np.repeat([0, 1, 2], 4)]
    points = centres + 0.01 * own.normal(size=(12, 8))
    rows = cloud_rows(Cloud(points, own.normal(size=(12, 8)), items, Corpus(Path(), "x", "0", items)))
    found = rows[rows["metric"].eq("silhouette")]
    assert set(found["target"]) == {"speaker"}
    means = found.groupby("variant")["value"].mean()
    assert means["weights"] > 0.95 and means["embedding"] < 0.3
    assert (rows["metric"].value_counts()[["map_x", "map_y"]] == 12).all()


def test_a_system_or_run_that_is_not_there_is_named(finished):
    made, _ = finished
    with pytest.raises(AcrossError, match="no system 'pruned' in this profile: choose one of factorial"):
        made.run("pruned", 0)
    with pytest.raises(AcrossError, match="tts_0 has no hypernetwork"):
        cloud_of(made, "ht-tts_0-s0")
    with pytest.raises(AcrossError, match="sp-vp-s0 generates no weights"):
        cloud_of(made, "sp-vp-s0")
    with pytest.raises(AcrossError, match="no attention 'sparse' in section xp: choose one of dense, pruned"):
        made.rule("sparse")
    with pytest.raises(AcrossError, match="no cell 'lora' in section xp: choose one of adapter, hyper"):
        made.train("lora_dense", 0)


def test_an_experiment_with_other_settings_is_drawn_in_the_place_of_the_profiles_own(finished):
    rows = finished[1]
    other = rows[rows["run_id"].eq("xp-factorial-s1")].assign(run_id="xp-factorial_ratio_0p3-s0", value=1.0)
    together = pd.concat([rows, other], ignore_index=True)
    assert len(effects.cells(together, "cos")["adapter", "dense"]) == len(
        effects.cells(rows, "cos")["adapter", "dense"]
    )
    shown = effects.cells(effects.chosen(together, "factorial_ratio_0p3"), "cos")
    assert all((table["value"] == 1).all() for table in shown.values()) and ("none", "dense") not in shown


def test_a_figure_of_other_settings_is_shown_and_not_kept(finished, tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    assert "n = " in figures.shown("xp_factorial", finished[1], PROFILE, keep=False).caption
    assert not (tmp_path / "tiny").exists()


def test_the_report_links_the_page_and_says_that_it_is_exploratory(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    profile = synthetic.PROFILE
    synthetic.write_run("ht-tts_0-s0", synthetic.system_rows("tts_0", 0, speakers=1, utterances=1))
    assert "Across the papers" not in report.write_report(profile).read_text()
    page = tmp_path / "tiny/notebooks/80_across_papers.html"
    page.parent.mkdir()
    page.write_text("<p>a page</p>")
    written = report.write_report(profile).read_text()
    assert 'href="notebooks/80_across_papers.html"' in written and "no claim was registered" in written
    assert "Across the papers" not in report.write_report(profile, "HT").read_text()
