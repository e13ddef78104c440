"""Systems end to end on the smoke corpus: trained, restored, spoken, scored; the same rows after a kill -9."""

import os
import signal
import subprocess
import sys
import time
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from lib.files import replace_file
from lib.papers.ht import measure
from lib.papers.ht.measure import generated_parameters
from lib.papers.ht.speech import synthesise
from lib.papers.ht.study import Study
from lib.papers.ht.systems import TTSError, assemble
from lib.study import StudyError, load_profile, read_rows, shipped
from lib.study.claims import load_claims
from lib.study.variant import changed
from lib.training.weights import WeightsError, load_weights

SMALL = {"ht": {"pretrain": {"steps": 6}, "adapt": {"steps": 4}}, "vocoder": {"hifigan": None, "iterations": 4}}


@pytest.fixture(scope="module")
def ht(tmp_path_factory, smoke_corpus):
    torch.set_num_threads(1)
    os.environ["STUDY_RESULTS"] = str(tmp_path_factory.mktemp("results"))
    yield Study(load_profile("smoke", SMALL))
    del os.environ["STUDY_RESULTS"]


def test_a_frozen_backbone_is_left_bit_for_bit_as_it_was(ht):
    for name in ("hypertts_evd", "lora_d", "cln_d"):
        ht.train(name, 0)
        assert ht.trained(name, 0)["backbone_changed"] == 0
    backbone = ht.backbone().state_dict()
    adapted = ht.restore("hypertts_evd", 0).backbone.state_dict()
    assert all(torch.equal(backbone[name], adapted[name]) for name in backbone)


def test_fine_tuning_changes_every_weight_matrix(ht):
    ht.train("tts_ft", 0)
    before, after = ht.backbone(), ht.restore("tts_ft", 0).backbone
    names = [n for n, p in before.named_parameters() if p.ndim > 1 and "embedding" not in n]
    assert all(not torch.equal(before.get_parameter(n), after.get_parameter(n)) for n in names)


@pytest.mark.parametrize("name", ["adaptertts_evd", "hypertts_d", "concat_d", "cln_d", "lora_d", "prefix_d"])
def test_a_restored_system_speaks_as_the_trained_one(ht, name):
    path = ht.train(name, 0)
    utterances = ht.corpus.select(role="adaptation", split="test")[:1]
    first = synthesise(ht, ht.restore(name, 0), utterances)[0]
    path.unlink()
    ht.train(name, 0)
    assert np.array_equal(first, synthesise(ht, ht.restore(name, 0), utterances)[0])
    zero = synthesise(ht, ht.restore("tts_0", 0), utterances)[0]
    assert first.shape != zero.shape or not np.array_equal(first, zero)


def test_the_shipped_backbone_is_the_start_of_every_system(ht, monkeypatch, tmp_path):
    monkeypatch.setattr(shipped, "WEIGHTS", tmp_path / "weights")
    ht.train("backbone", 0)
    card = shipped.ship(ht, "backbone")
    assert card["trained_on"]["licences"] == {"hibari": "Apache-2.0", "joe": "CC0"}
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "results"))
    taking = Study(load_profile("smoke", {"ht": {**SMALL["ht"], "start": "shipped"}, "vocoder": SMALL["vocoder"]}))
    assert taking.part("hypertts_d", 0).depends[-1] == card["sha256"]
    told = f"shipped, SHA-256 {card['sha256'][:12]}"
    assert taking.facts()["backbone_hash"] == told and taking.taken() == {"backbone": told}


def test_alternatives_have_the_budget_of_the_hypernetwork(ht):
    budget = ht.trained("hypertts_d", 0)["trainable_parameters"]
    for name in ("concat_d", "cln_d", "lora_d", "prefix_d"):
        assert ht.trained(name, 0)["trainable_parameters"] == pytest.approx(budget, rel=0.05)


def test_a_trained_system_is_not_trained_again(ht):
    path = ht.train("adaptertts_e", 0)
    written = path.stat().st_mtime_ns
    assert ht.train("adaptertts_e", 0).stat().st_mtime_ns == written


def test_a_damaged_checkpoint_is_trained_again(ht):
    path = ht.train("adaptertts_e", 0)
    good = path.read_bytes()
    path.write_bytes(good[: len(good) // 2])
    assert ht.train("adaptertts_e", 0).read_bytes() == good


def test_weights_of_another_configuration_are_refused_in_a_sentence(ht):
    path = ht.train("adaptertts_e", 0)
    model = ht.restore("hypertts_d", 0)
    with pytest.raises(WeightsError, match="belongs to another configuration .*delete it"):
        load_weights(model, path)


def test_recordings_against_themselves_show_the_metric_audit(ht):
    rows = ht.run("reference", 0)
    by_metric = rows.groupby("metric")["value"]
    assert by_metric.get_group("mcd").abs().max() < 1e-6
    assert by_metric.get_group("cos").min() > 99.99
    assert by_metric.get_group("ffe").abs().max() < 1e-6
    assert by_metric.get_group("mcd_as_released").min() > 1


def test_scoring_twice_gives_the_same_rows(ht):
    first, second = (ht.run("hypertts_d", 0) for _ in range(2))
    pd.testing.assert_frame_equal(first, second)
    stored = read_rows(ht.profile)
    assert set(stored["run_id"]) >= {"ht-hypertts_d-s0"}


def test_later_seeds_of_full_speak_wherever_a_claim_compares_them():
    corpus = SimpleNamespace(first=lambda role, count: [role])
    full = SimpleNamespace(settings=load_profile("full")["ht"], changed={}, corpus=corpus)
    parts = [part for claim in load_claims()["claims"] if claim["id"].startswith("HT") for part in claim["parts"]]
    asked = {(name, part.get("where", {}).get("role")) for part in parts for name in (part.get("a"), part.get("b"))}
    asked = {(name, role) for name, role in asked if name in full.settings["headline"] and role != "other_corpus"}
    assert {("tts_ft", "pretraining"), ("hypertts_evd", "never_seen"), ("hypertts_d", None)} < asked
    for name, role in asked:
        assert (role or "adaptation") in measure.test_utterances(full, name, 4)
    assert measure.test_utterances(full, "lora_d", 4) == ["adaptation"]
    assert measure.test_utterances(full, "lora_d", 0) == ["adaptation", "pretraining", "never_seen"]


def test_a_system_has_the_rate_of_its_method_and_settings_of_its_own():
    section = load_profile("full")["ht"]
    study = Study(load_profile("full"), "cpu", 1)
    rates = {name: study.train_config(name, 0).learning_rate for name in ("tts_ft", "hypertts_d", "lora_d")}
    known = section["adapt"]["learning_rates"]
    assert (rates["tts_ft"], rates["lora_d"]) == (known["finetune"], known["lora"])
    assert rates["hypertts_d"] == section["adapt"]["learning_rate"]
    own = section["systems"]["tts_ft"]["train"]["steps"]
    steps = {name: study.train_config(name, 0).steps for name in ("tts_ft", "hypertts_d")}
    assert steps == {"tts_ft": own, "hypertts_d": section["adapt"]["steps"]} and own != section["adapt"]["steps"]


def test_unknown_system_names_those_that_exist(ht):
    with pytest.raises(TTSError, match="there is no system 'hyper' in this profile: choose one of reference"):
        ht.system("hyper")


def test_a_method_is_refused_where_it_has_nothing_to_change(ht):
    for method, modules in (("lora", "evd"), ("prefix", "v"), ("layer_norm", "e")):
        system = {"name": "x", "method": method, "modules": modules, "bottleneck": 4, "d_s": 2}
        with pytest.raises(TTSError, match=f"x: {method} cannot change .*: choose from"):
            assemble(ht.backbone(), system)


def test_a_flipped_byte_is_noticed_and_the_system_trained_again(ht):
    path = ht.train("adaptertts_e", 0)
    good = path.read_bytes()
    path.write_bytes(good[:-1] + bytes([good[-1] ^ 1]))
    assert ht.train("adaptertts_e", 0).read_bytes() == good


def test_what_is_generated_has_rows_of_every_hypernetwork(ht):
    rows = ht.run("generated_parameters", 0)
    listed = ht.settings["evaluate"]["clustered_systems"]
    assert set(rows["system"]) == {*listed, *(f"{name}_untrained" for name in listed), "speaker_embedding"}
    assert set(rows["metric"]) == {"silhouette", "generated_parameters"}
    assert set(rows["method"]) == {"hypernetwork", "none"}
    trained, before = (generated_parameters(ht, "hypertts_d", 0, trained)[0] for trained in (True, False))
    assert trained.shape == before.shape and not np.allclose(trained, before)
    np.testing.assert_array_equal(before, generated_parameters(ht, "hypertts_d", 0, trained=False)[0])
    (claim,) = (claim for claim in load_claims()["claims"] if claim["id"] == "HT6")
    assert set(claim["needs"]["systems"]) <= set(rows["system"])


def test_a_system_can_be_conditioned_in_another_way():
    study, name = changed(Study, "smoke", "cpu", "hypertts_d", conditioning="lora", modules="ed", d_s=4)
    assert name == "hypertts_d_conditioning_lora_modules_ed_d_s_4"
    assert study.system(name) == study.own.system("hypertts_d") | {
        "name": name,
        "method": "lora",
        "modules": "ed",
        "d_s": 4,
    }
    with pytest.raises(StudyError, match="modules 'x': give one of e, v, d, ev, ed, vd, evd"):
        changed(Study, "smoke", "cpu", "hypertts_d", modules="x")


def test_no_gpu_is_one_clear_sentence():
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    with pytest.raises(StudyError, match="run with --device cpu"):
        Study({"ht": {}}, "cuda")


def test_a_full_disk_leaves_the_old_file_and_says_so(tmp_path):
    path = tmp_path / "weights.bin"
    path.write_text("old")
    with pytest.raises(OSError, match="the disk is full"), replace_file(path):
        raise OSError(28, "No space left on device")
    assert path.read_text() == "old" and list(tmp_path.iterdir()) == [path]


def test_killed_training_then_the_same_command_gives_the_same_rows(ht, tmp_path):
    def rows_after(folder: str, kill: bool) -> bytes:
        env = os.environ | {"STUDY_RESULTS": str(tmp_path / folder), "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-m", "lib", "train", "ht", "hypertts_d", "--profile", "smoke", "--device", "cpu"]
        checkpoint = tmp_path / folder / "smoke" / "checkpoints" / "ht-backbone-s0.resume.pt"
        if kill:
            with subprocess.Popen(command, env=env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
                while not checkpoint.exists() and process.poll() is None:
                    time.sleep(0.01)
                process.send_signal(signal.SIGKILL)
            assert process.returncode == -signal.SIGKILL
        subprocess.run(command, env=env, check=True, capture_output=True)
        return (tmp_path / folder / "smoke" / "checkpoints" / "ht-hypertts_d-s0.safetensors").read_bytes()

    assert rows_after("killed", kill=True) == rows_after("whole", kill=False)
