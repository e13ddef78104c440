"""Decoders that are trained on: what they start as, what they are told, and what training moves."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from lib.corpora.corpus import Corpus
from lib.models.vits.layers import Decoder
from lib.papers.ld.data import LatentError
from lib.papers.ld.decoders import restyled, two_spaces
from lib.papers.ld.measure import evaluate
from lib.papers.ld.study import Study
from lib.papers.ld.systems import DECODERS
from lib.study.profile import merge


def small() -> Decoder:
    torch.manual_seed(0)
    return Decoder(4, 8, (2, 2), (4, 4), (3, 5), ((1, 2), (1, 3))).requires_grad_(False)


def slow(decoder: Decoder, z: torch.Tensor, g: torch.Tensor) -> torch.Tensor:
    """The wave of one z `(latent, frames)` told g `(size,)`, number by number up to the first convolution's output."""
    weight, bias = decoder.conv_pre.weight, decoder.conv_pre.bias
    channels, frames = weight.shape[0], z.shape[1]
    told = [sum(float(w * n) for w, n in zip(row, g, strict=True)) for row in decoder.cond.weight[:, :, 0]]
    told = [value + float(b) for value, b in zip(told, decoder.cond.bias, strict=True)]
    x = torch.zeros(1, channels, frames)
    for c in range(channels):
        for t in range(frames):
            near = [k for k in range(7) if 0 <= t + k - 3 < frames]
            plain = float(bias[c] + sum(weight[c, :, k] @ z[:, t + k - 3] for k in near))
            x[0, c, t] = (1 + told[channels + c]) * plain + told[c] if len(told) > channels else plain + told[c]
    for i, up in enumerate(decoder.ups):
        x = up(F.leaky_relu(x, 0.1))
        x = sum(block(x, None) for block in decoder.resblocks[2 * i : 2 * i + 2]) / 2
    return torch.tanh(decoder.conv_post(F.leaky_relu(x, 0.01)))[0, 0]


@pytest.mark.parametrize("film", [False, True])
def test_a_condition_starts_as_the_decoder_itself_and_then_shifts_or_scales(film):
    plain, z, g = small(), torch.randn(2, 4, 9), torch.randn(2, 5)
    told = plain.trainable(5, film)
    assert torch.equal(told(z, None, g), plain(z, None))
    assert all(p.requires_grad for p in told.parameters()) and not any(p.requires_grad for p in plain.parameters())
    with torch.no_grad():
        torch.nn.init.normal_(told.cond.weight)
        torch.nn.init.normal_(told.cond.bias)
        made = told(z, None, g)
        for place in range(2):
            assert torch.allclose(made[place], slow(told, z[place], g[place]), atol=1e-5)
    assert not torch.allclose(made, plain(z, None), atol=1e-2)


@pytest.mark.parametrize("kind", DECODERS)
def test_training_moves_the_decoder_alone(prepared, kind, smoke_corpus):
    frozen = [prepared.vits, prepared.encoder, prepared.clap]
    before = [torch.cat([p.flatten().clone() for p in model.parameters()]) for model in frozen]
    made, joe = prepared.decoder(kind), prepared.vits.decoder
    for model, kept in zip(frozen, before, strict=True):
        assert torch.equal(torch.cat([p.flatten() for p in model.parameters()]), kept)
    assert not torch.equal(made.conv_post.weight, joe.conv_post.weight)
    assert hasattr(made, "cond") == (kind in ("speaker", "style"))
    if hasattr(made, "cond"):
        assert made.cond.weight.abs().sum() > 0
    facts = prepared.trained(DECODERS[kind], 0)
    assert facts["trainable_parameters"] == sum(p.numel() for p in made.parameters())


@pytest.mark.parametrize(
    "system",
    [
        *("reconstruction_voices_decoder", "reconstruction_speaker_decoder", "reconstruction_other_speaker"),
        *("two_space", "two_space_neutral"),
    ],
)
def test_systems_with_a_told_decoder_are_measured_like_all_others(prepared, system, smoke_corpus):
    rows = prepared.run(system, 0)
    found = set(rows["metric"])
    assert np.isfinite(rows["value"]).all()
    assert {"style_moved", "style_moved_intact", "cer", "cos", "trainable_parameters"} <= found
    assert ({"style_kept", "cos_other"} <= found) == system.startswith("reconstruction")


def test_likeness_to_another_speaker_is_to_one_and_the_same_whoever_is_told(prepared, monkeypatch, smoke_corpus):
    asked = []
    monkeypatch.setattr(type(prepared.voices), "like", lambda self, waves, name: asked.append(self.named(name)) or 0.0)
    for system in ("reconstruction_voices_decoder", "reconstruction_speaker_decoder", "reconstruction_other_speaker"):
        evaluate(prepared, system, 0)
    assert set(asked) == {prepared.voices.named("other")} and "joe" not in asked


def test_a_style_is_taught_from_the_recordings_own_z_with_its_timing(prepared):
    corpus, named = prepared.corpus, [s.name for s in prepared.paired]
    example = two_spaces(corpus, named, prepared.conditions, np.random.default_rng(0), "train")
    same = restyled(corpus, np.random.default_rng(0), "train")
    sentence, style = next(
        (s, k) for s in corpus.sentences("train") for k in corpus.styles if np.array_equal(corpus.wave(s, k), same.wave)
    )
    assert np.array_equal(example.wave, same.wave) and np.array_equal(example.z, corpus.spoken(sentence)["z"])
    assert torch.equal(example.g, prepared.conditions[named.index(sentence.name), corpus.styles.index(style)])
    assert len(example.wave) == example.z.shape[1] * prepared.vits.dims.hop


def test_one_code_is_for_all_that_a_speaker_says(prepared, smoke_corpus):
    voices = prepared.voices
    told = [voices.draw(True, np.random.default_rng(seed), "train").g for seed in range(12)]
    assert {tuple(g.tolist()) for g in told} <= {tuple(code.tolist()) for code in voices.codes.values()}
    assert not any(name.startswith("new_") for name in voices.codes)
    other = voices.named("other")
    assert other != "joe" and torch.equal(voices.code("other")[0], voices.codes[other])
    assert voices.like([prepared.heard(prepared.tested[0], "neutral")], "joe")[0] > 60


def test_speakers_decoders_and_voices_that_there_are_not_are_refused(prepared, profile, smoke_corpus):
    with pytest.raises(LatentError, match="There is no speaker 'nobody' .* choose one of other, joe, pre_hibari"):
        prepared.voices.code("nobody")
    with pytest.raises(LatentError, match="A decoder can be trainable, voices, speaker, style, not 'loud'"):
        prepared.decoder("loud")
    empty = Corpus(prepared.voices.corpus.root, "empty", "0", [])
    with pytest.raises(LatentError, match="The corpus empty has no train recordings"):
        replace(prepared.voices, corpus=empty).recordings("train")
    named = Study(merge(profile, {"ld": {"systems": {"two_space": {"prompt": "shouted"}}}}))
    with pytest.raises(LatentError, match="There is no style"):
        named.run("two_space", 0)


def test_each_seed_has_a_decoder_and_a_clap_of_its_own(prepared):
    for made in (partial(prepared.decoder, "trainable"), prepared.clap_of):
        first, again, other = (made(seed).state_dict() for seed in (0, 0, 1))
        assert all(torch.equal(first[name], again[name]) for name in first)
        assert any(not torch.equal(first[name], other[name]) for name in first)
