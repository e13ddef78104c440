"""Trained recognisers on new recordings: the shipped hypernetwork and its card, checkpoints, adapters, bad input."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import standins
import torch

from lib import audio, study
from lib.methods.hyperlora import HyperLora, StaticLora
from lib.models.whisper import sizes
from lib.papers.ha import shipped
from lib.papers.ha.data import AsrError
from lib.training.weights import WeightsError, keep


@pytest.fixture(scope="module")
def model():
    return sizes.load("tiny.en")


@pytest.fixture
def recording(tmp_path):
    path = tmp_path / "one.wav"
    audio.write(path, (0.1 * np.sin(np.arange(audio.RATE) * 0.05)).astype(np.float32))
    return path


@pytest.fixture
def results(monkeypatch, tmp_path):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "results"))
    return tmp_path / "results"


def checkpoint(results: Path, model, name: str = "hyper_mlp") -> Path:
    """A checkpoint of the profile nonnative that changes what is written."""
    torch.manual_seed(0)
    if name == "hyper_mlp":
        made = HyperLora(model.network, model.network.config.d_model, rank=5, hidden=64)
        torch.nn.init.normal_(made.generator[-1].weight, std=0.5)
    else:
        made = StaticLora(model.network, rank=1)
    torch.nn.init.normal_(made.shared, std=0.3)
    path = results / "nonnative" / "checkpoints" / f"ha-{name}-s0.safetensors"
    path.parent.mkdir(parents=True, exist_ok=True)
    keep(path, {f"parts.0.{key}": value for key, value in made.state_dict().items()}, "mark", {"steps": 1})
    return path


def measured(profile: dict) -> None:
    """Rows of Whisper and of the hypernetwork on two speakers of each cohort."""
    for system, error in (("whisper_0", 0.5), ("hyper_mlp", 0.3)):
        rows = [
            {"system": system, "seed": 0, "metric": "wer", "value": error + 0.01 * number, "unit": "ratio"}
            | {"cohort": cohort, "speaker": f"{cohort}{number % 2}", "utterance": f"{cohort}{number}"}
            | {"role": "never_seen", "split": "test"}
            for cohort in ("adults", "children", "typical")
            for number in range(4)
        ]
        run = f"ha-{system}-s0"
        study.write_rows(rows, run, profile)
        study.write_manifest(run, profile, {}, 0.0, corpus="speechocean762", data_hash="abc")


def test_the_shipped_hypernetwork_is_what_its_card_says():
    facts = shipped.card(shipped.WEIGHTS)
    assert shipped.WEIGHTS.stat().st_size < 6e6 and facts["system"]["method"] == "hyper"
    before, after, change = (facts["gain"]["all"][name] for name in ("before", "after", "change"))
    assert after[0] < before[0] and change[2] < 0  # the whole interval
    assert {"command", "trained_on", "training", "learning_curve", "licence", "commit"} <= set(facts)
    assert facts["trained_on"]["licence"] and facts["trained_on"]["hash"]


def test_the_shipped_hypernetwork_reads_a_recording_without_training(recording):
    ((heard,), facts) = shipped.transcribe([recording])
    assert not heard.failed and facts["whisper"]["name"] == "tiny.en"


def test_what_is_shipped_writes_what_its_checkpoint_wrote(results, model, recording, tmp_path):
    source, profile = checkpoint(results, model), study.load_profile("nonnative")
    measured(profile)
    path = tmp_path / "weights" / "ha-hyper.safetensors"
    card = shipped.ship(profile, "hyper_mlp", 0, path)
    assert card["gain"]["all"]["before"][0] == pytest.approx(0.515) and "typical" in card["gain"]
    assert path.stat().st_size < 0.6 * source.stat().st_size
    heard = [shipped.transcribe([recording], weights=each)[0][0] for each in (source, path)]
    assert heard[0].after == heard[1].after != heard[0].before


def test_a_checkpoint_of_the_results_is_found_by_its_systems_name(results, model):
    path = checkpoint(results, model, "lora_w1")
    assert shipped.newest("lora_w1") == path
    assert shipped.card(path)["system"] == {"name": "lora_w1", "method": "lora", "targets": ["decoder.W1"]} | {
        "budget": 0.03,
        "level": "all",
    }


def test_a_peft_adapter_writes_what_the_checkpoint_it_was_made_of_writes(model, recording, tmp_path):
    torch.manual_seed(0)
    made = StaticLora(model.network, rank=2)
    torch.nn.init.normal_(made.shared, std=0.3)
    with torch.no_grad():
        made.update().export(tmp_path / "adapter", "openai/whisper-tiny.en")
    facts = shipped.card(tmp_path / "adapter")
    loaded = shipped.load(tmp_path / "adapter", facts, model)
    for path, (down, up) in made.update().factors.items():
        assert torch.equal(loaded.factors[path][0], down) and torch.equal(loaded.factors[path][1], up)
    assert shipped.transcribe([recording], weights=tmp_path / "adapter")[0][0].failed == ""


def test_a_recording_that_cannot_be_heard_says_why_and_the_others_are_read(recording, tmp_path):
    standins.sound(tmp_path / "long.wav", 31.0)
    (tmp_path / "text.wav").write_text("no sound")
    given = [tmp_path / "none.wav", recording, tmp_path / "text.wav", tmp_path / "long.wav"]
    heard, _ = shipped.transcribe(given)
    assert [bool(each.failed) for each in heard] == [True, False, True, True]
    assert "no such file" in heard[0].failed and "cannot be read as audio" in heard[2].failed
    assert "longer than Whisper's 30 s" in heard[3].failed


def copy(tmp_path: Path) -> Path:
    shutil.copytree(shipped.WEIGHTS.parent, tmp_path / "weights")
    return tmp_path / "weights" / shipped.WEIGHTS.name


def test_damaged_weights_are_refused(tmp_path):
    path = copy(tmp_path)
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(WeightsError, match="its SHA-256 is not the one on its card"):
        shipped.card(path)


def test_weights_for_another_whisper_are_refused(tmp_path, recording):
    path = copy(tmp_path)
    facts = json.loads(path.with_suffix(".json").read_text())
    facts["whisper"]["sha256"] = "0" * 64
    path.with_suffix(".json").write_text(json.dumps(facts))
    with pytest.raises(AsrError, match="adapts another file of Whisper tiny.en"):
        shipped.transcribe([recording], weights=path)


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (lambda path: path.unlink(), "there are no weights"),
        (lambda path: path.with_suffix(".json").unlink(), "card ha-hyper.json is missing or damaged"),
        (lambda path: path.with_suffix(".json").write_text("{"), "card ha-hyper.json is missing or damaged"),
    ],
)
def test_weights_or_cards_that_are_missing_are_named(tmp_path, broken, said):
    path = copy(tmp_path)
    broken(path)
    with pytest.raises((AsrError, WeightsError), match=said):
        shipped.card(path)


def test_without_any_weights_the_training_command_is_told(results):
    with pytest.raises(AsrError, match="no trained hyper_mlp: python -m lib train ha hyper_mlp"):
        shipped.newest("hyper_mlp")
    with pytest.raises(AsrError, match="is not trained: python -m lib run ha hyper"):
        shipped.ship(study.load_profile("nonnative"), "hyper", 0)


def test_a_damaged_peft_adapter_is_refused(model, tmp_path):
    (tmp_path / "adapter_config.json").write_text(json.dumps({"base_model_name_or_path": "openai/whisper-tiny.en"}))
    facts = shipped.card(tmp_path)
    with pytest.raises(ValueError, match="adapter_model.safetensors is damaged or for another network"):
        shipped.load(tmp_path, facts, model)
