"""Cached encoder states, teacher-forced loss and decoding with an adaptation: Whisper tiny.en on real speech."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from lib.methods.hyperlora import HyperLora, StaticLora
from lib.models.whisper import model as whisper
from lib.models.whisper import sizes
from lib.models.whisper.decoding import beam_search, transcribe
from lib.models.whisper.model import Decoder, Encoded, WhisperError
from lib.models.whisper.states import EncoderStates, encode_with_gradients, log_weights, mean_states, prepare, stack
from lib.models.whisper.training import loss, teacher_forcing


@pytest.fixture(scope="module")
def model():
    return sizes.load("tiny.en")


@pytest.fixture(scope="module")
def examples(model, recordings):
    chosen = sorted(recordings, key=lambda r: len(r.wave))[:4]
    return [prepare(model, r.utterance, r.wave, r.text) for r in chosen]


@pytest.fixture(scope="module")
def cache(model, examples, tmp_path_factory):
    cache = EncoderStates(model, tmp_path_factory.mktemp("states"))
    cache.read(examples)
    return cache


@pytest.fixture(scope="module")
def encoded(cache, examples):
    return cache.read(examples[:2])


def test_cached_states_are_the_encoders_in_half_precision(model, cache, examples, encoded):
    fresh = model.encode([e.wave for e in examples[:2]], 5.0)
    assert torch.equal(encoded.log_weights, fresh.log_weights)
    assert torch.allclose(encoded.states, fresh.states, rtol=1e-3, atol=2e-3)
    assert cache.path(examples[0]).stat().st_size < 2 * encoded.states[0].numel() + 200


def test_a_second_read_does_not_encode(model, examples, cache, monkeypatch):
    again = EncoderStates(model, cache.root)
    monkeypatch.setattr(model, "encode", None)
    assert torch.equal(again.read(examples).states, cache.read(examples).states)


@pytest.mark.parametrize("damage", ["flipped", "cut", "empty"])
def test_a_damaged_entry_is_computed_and_written_again(cache, examples, encoded, damage):
    path = cache.path(examples[0])
    whole = path.read_bytes()
    flipped = whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:]
    path.write_bytes({"flipped": flipped, "cut": whole[:-10], "empty": b""}[damage])
    assert torch.equal(cache.read(examples[:1]).states[0], encoded.states[0])
    assert path.read_bytes() == whole
    assert [p.name for p in path.parent.iterdir()] == [path.name]


def test_an_entry_is_named_by_samples_and_context(model, examples):
    example = examples[0]
    assert prepare(model, "another name", example.wave).key == example.key
    assert prepare(model, example.name, example.wave * 0.5).key != example.key
    assert prepare(model, example.name, example.wave, context_seconds=6.0).key != example.key


def test_states_computed_with_gradients_are_those_of_encode(model, examples):
    one = examples[0]
    ours, theirs = encode_with_gradients(model, [one]), model.encode([one.wave], one.context)
    assert torch.allclose(ours.states, theirs.states, atol=1e-4)
    assert torch.equal(ours.log_weights, theirs.log_weights)


@torch.no_grad()
def test_the_mean_state_hears_the_utterance_and_not_the_silence(cache, examples):
    means = mean_states(cache, examples[:2])
    for row, example in enumerate(examples[:2]):
        states = cache.read([example]).states[0]
        heard = [states[p] for p in range(states.shape[0]) if p * 320 < len(example.wave)]
        torch.testing.assert_close(means[row], torch.stack(heard).mean(0), rtol=1e-4, atol=1e-5)


@torch.no_grad()
def test_parallel_logits_are_those_of_transformers(model, encoded):
    full = Encoded(encoded.states, torch.zeros_like(encoded.log_weights))
    tokens = torch.tensor([[model.start, model.no_timestamps, 887, 338], [model.start, model.no_timestamps, 5, 6]])
    theirs = model.network(decoder_input_ids=tokens, encoder_outputs=(full.states,)).logits
    assert torch.allclose(Decoder(model.network, full).read(tokens), theirs, atol=1e-3)


@torch.no_grad()
def test_training_and_decoding_see_the_same_logits(model, encoded):
    tokens = torch.tensor([[model.start, model.no_timestamps, 887, 338], [model.start, model.no_timestamps, 5, 6]])
    decoder = whisper.Decoder(model.network, encoded)
    steps = torch.stack([decoder.step(token) for token in tokens.T], dim=1)
    assert torch.allclose(Decoder(model.network, encoded).read(tokens), steps, atol=1e-3)


@torch.no_grad()
def test_contexts_can_be_mixed_in_a_batch(model, encoded):
    longer = log_weights(model, 10.0)
    states = torch.cat([encoded.states[1], encoded.states[1][: len(longer) - len(encoded.states[1])]])
    mixed = stack([encoded.states[0], states], [encoded.log_weights, longer])
    tokens = torch.tensor([[model.start, model.no_timestamps, 887]] * 2)
    together = Decoder(model.network, mixed).read(tokens)
    for row, alone in enumerate([Encoded(encoded.states[:1], encoded.log_weights), Encoded(states[None], longer)]):
        assert torch.allclose(together[row], Decoder(model.network, alone).read(tokens[:1])[0], atol=1e-3)


@torch.no_grad()
def test_the_loss_is_the_mean_over_transcript_tokens_and_the_end(model, cache, examples):
    total = loss(model, examples[:2], cache)["total"]
    written = []
    for example in examples[:2]:
        prompt = [model.start, model.no_timestamps]
        sequence = torch.tensor([prompt + list(example.tokens) + [model.end]])
        scores = Decoder(model.network, cache.read([example])).read(sequence)[0].log_softmax(-1)
        written += [-float(scores[i - 1, sequence[0, i]]) for i in range(2, sequence.shape[1])]
    assert float(total) == pytest.approx(np.mean(written), rel=1e-4)
    swapped = [replace(a, tokens=b.tokens) for a, b in zip(examples[:2], examples[1::-1], strict=True)]
    assert float(total) < float(loss(model, swapped, cache)["total"]) - 1


def test_the_prompt_and_padding_are_not_trained_on(model, examples):
    inputs, labels = teacher_forcing(model, examples[:2])
    for row, example in enumerate(examples[:2]):
        length = len(example.tokens) + 2
        assert inputs[row, :length].tolist() == [model.start, model.no_timestamps, *example.tokens]
        assert labels[row, :length].tolist() == [-100, *example.tokens, model.end]
        assert (labels[row, length:] == -100).all() and (inputs[row, length:] == model.end).all()
    assert model.tokenizer.decode(list(examples[0].tokens)).startswith(" ")


def test_greedy_transcripts_of_cached_states_are_those_of_transcribe(model, cache, examples):
    assert transcribe(model, examples, cache) == model.transcribe([e.wave for e in examples], context_seconds=5.0)


def strong_update(model, cache, examples) -> tuple[HyperLora, torch.Tensor]:
    embeddings = mean_states(cache, examples)
    torch.manual_seed(0)
    method = HyperLora(model.network, embeddings.shape[1], rank=2)
    method.standardise(embeddings)
    with torch.no_grad():
        method.shared.normal_(std=0.06)
        method.generator[-1].weight.normal_(std=0.06)
    return method, embeddings


@pytest.mark.parametrize("beams", [1, 3])
def test_a_generated_lora_decodes_an_utterance_the_same_alone_and_in_a_batch(model, cache, examples, beams):
    method, embeddings = strong_update(model, cache, examples)
    together = transcribe(model, examples, cache, method, embeddings, beams, max_new_tokens=12)
    alone = [
        transcribe(model, [e], cache, method, embeddings[i : i + 1], beams, max_new_tokens=12)[0]
        for i, e in enumerate(examples)
    ]
    assert together == alone
    assert together != transcribe(model, examples, cache, beams=beams, max_new_tokens=12)


def test_an_adapted_encoder_is_not_read_from_the_cache(model, cache, examples):
    method = StaticLora(model.network, ["encoder.W2"], rank=1)
    untrained = transcribe(model, examples[:1], cache, method)
    assert untrained == transcribe(model, examples[:1], cache)
    with torch.no_grad():
        method.shared.normal_(std=0.5)
    assert transcribe(model, examples[:1], cache, method, max_new_tokens=8) != untrained


@pytest.mark.parametrize("beams", [2, 5])
def test_beam_search_writes_what_transformers_generate_writes(model, cache, examples, beams):
    encoded = cache.read(examples)
    full = Encoded(encoded.states, torch.zeros_like(encoded.log_weights))
    limit = 40
    tokens = model.network.generate(
        encoder_outputs=_outputs(full.states),
        decoder_input_ids=torch.tensor([[model.start, model.no_timestamps]] * len(examples)),
        suppress_tokens=model.suppressed,
        begin_suppress_tokens=model.suppressed_first,
        max_new_tokens=limit,
        num_beams=beams,
        length_penalty=1.0,
    )
    theirs = [model.tokenizer.decode(row, skip_special_tokens=True).strip() for row in tokens.tolist()]
    assert beam_search(model, full, [limit] * len(examples), beams) == theirs


def _outputs(states):
    from transformers.modeling_outputs import BaseModelOutput

    return BaseModelOutput(last_hidden_state=states)


def test_one_beam_is_greedy_decoding(model, encoded):
    assert beam_search(model, encoded, [30, 30], beams=1) == model.decode(encoded, [30, 30])


def test_each_utterance_of_a_search_keeps_its_own_limit(model, encoded):
    texts = beam_search(model, encoded, [3, 40], beams=3)
    assert len(model.tokenizer.encode(" " + texts[0], add_special_tokens=False).ids) <= 3
    assert texts[1] == beam_search(model, Encoded(encoded.states[1:], encoded.log_weights), [40], beams=3)[0]


def test_a_beam_search_scores_no_worse_than_greedy_decoding(model, encoded):
    def score(text: str, row: int) -> float:
        tokens = model.tokenizer.encode(" " + text, add_special_tokens=False).ids + [model.end]
        inputs = torch.tensor([[model.start, model.no_timestamps, *tokens[:-1]]])
        own = Encoded(encoded.states[row : row + 1], encoded.log_weights)
        scores = Decoder(model.network, own).read(inputs)[0, 1:].log_softmax(-1)
        return float(scores[torch.arange(len(tokens)), torch.tensor(tokens)].mean())

    greedy, searched = model.decode(encoded, [60, 60]), beam_search(model, encoded, [60, 60], beams=5)
    with torch.no_grad():
        assert all(
            score(b, row) >= score(g, row) - 1e-4 for row, (g, b) in enumerate(zip(greedy, searched, strict=True))
        )


@pytest.mark.parametrize(
    ("wave", "text", "sentence"),
    [
        (np.ones(31 * 16000, np.float32) * 0.1, "a", "Utterance u7 lasts 31.0 s, longer than Whisper's 30 s: cut it"),
        (np.zeros(16000, np.float32), "a", "Utterance u7: the recording is silent"),
        (np.full(16000, np.nan, np.float32), "a", "Utterance u7: the recording holds NaN"),
        (np.ones((2, 16000), np.float32), "a", "Utterance u7: expected mono samples"),
        (np.ones(16000, np.float32) * 0.1, "  ", "Utterance u7 has no transcript: write one or leave the utterance"),
        (np.ones(16000, np.float32) * 0.1, "word " * 500, "The transcript of utterance u7 has 500 tokens, more than"),
    ],
)
def test_an_utterance_that_cannot_be_used_is_named(model, wave, text, sentence):
    with pytest.raises(WhisperError, match=sentence):
        prepare(model, "u7", wave, text)


def test_an_utterance_without_transcript_can_be_transcribed_and_not_trained_on(model, cache, examples):
    silent = prepare(model, "u8", examples[0].wave)
    assert transcribe(model, [silent], cache) == transcribe(model, examples[:1], cache)
    with pytest.raises(WhisperError, match="Utterance u8 has no transcript"):
        loss(model, [silent], cache)
