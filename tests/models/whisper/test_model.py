import numpy as np
import pytest
import torch

from lib.metrics.wer import compare
from lib.models.whisper import model as whisper
from lib.models.whisper import sizes
from lib.models.whisper.model import WhisperError


@pytest.fixture(scope="module")
def model():
    return sizes.load("tiny.en")


@pytest.fixture(scope="module")
def short(recordings):
    return sorted(recordings, key=lambda r: len(r.wave))[:8]


@pytest.fixture(scope="module")
def transcripts(model, short):
    return model.transcribe([r.wave for r in short])


def word_error_rate(hypotheses, references) -> float:
    counts = compare(hypotheses, references)
    errors = sum(counts[f"wer_{kind}"].sum() for kind in ("insertions", "deletions", "substitutions"))
    return errors / counts["wer_words"].sum()


def test_log_mel_is_that_of_the_transformers_feature_extractor(speech):
    from transformers import WhisperFeatureExtractor

    theirs = WhisperFeatureExtractor()(speech, sampling_rate=16000, return_tensors="pt").input_features
    padded = torch.zeros(len(speech), 480000)
    for row, wave in enumerate(speech):
        padded[row, : len(wave)] = torch.from_numpy(wave)
    assert torch.allclose(whisper.log_mel(padded), theirs, atol=1e-4)


def test_full_context_encoder_states_are_those_of_transformers(model, speech):
    features = whisper.log_mel(torch.nn.functional.pad(torch.from_numpy(speech[0])[None], (0, 480000))[:, :480000])
    theirs = model.network.model.encoder(features).last_hidden_state
    ours = model.encode(speech[:1])
    assert ours.states.shape == (1, 1500, 384)
    assert torch.allclose(ours.states, theirs, atol=1e-3)
    assert not ours.log_weights.any()


def test_decoder_steps_give_the_logits_of_transformers(model, speech):
    encoded = model.encode(speech[:2], 5.0)
    full = whisper.Encoded(encoded.states, torch.zeros_like(encoded.log_weights))
    tokens = torch.tensor([[model.start, model.no_timestamps, 887, 338]] * 2)
    theirs = model.network(decoder_input_ids=tokens, encoder_outputs=(full.states,)).logits
    decoder = whisper.Decoder(model.network, full)
    ours = torch.stack([decoder.step(token) for token in tokens.T], dim=1)
    assert torch.allclose(ours, theirs, atol=1e-3)


def test_greedy_transcripts_are_those_of_transformers_generate(model, short, transcripts):
    padded = torch.nn.functional.pad(torch.from_numpy(short[3].wave)[None], (0, 480000))[:, :480000]
    tokens = model.network.generate(
        whisper.log_mel(padded),
        decoder_input_ids=torch.tensor([[model.start, model.no_timestamps]]),
        suppress_tokens=model.suppressed,
        begin_suppress_tokens=model.suppressed_first,
        max_new_tokens=100,
    )
    theirs = model.tokenizer.decode(tokens[0].tolist(), skip_special_tokens=True).strip()
    assert transcripts[3] == theirs


def test_real_speech_is_transcribed(short, transcripts):
    assert word_error_rate(transcripts, [r.text for r in short]) < 0.25


def test_thinned_silence_keeps_the_transcripts(model, short, transcripts):
    thinned = model.transcribe([r.wave for r in short], context_seconds=5.0)
    assert word_error_rate(thinned, transcripts) < 0.05


def test_a_transcript_does_not_depend_on_its_batch(model, short, transcripts):
    waves = [r.wave for r in short[:4]]
    together = model.transcribe(waves, context_seconds=5.0)
    assert together == [model.transcribe([wave], context_seconds=5.0)[0] for wave in waves]


def test_weights_saved_by_transformers_give_the_same_transcripts(model, short, transcripts, tmp_path):
    model.network.generation_config.suppress_tokens = model.suppressed
    model.network.generation_config.begin_suppress_tokens = model.suppressed_first
    model.network.save_pretrained(tmp_path)
    model.tokenizer.save(str(tmp_path / "tokenizer.json"))
    again = sizes.load("tiny.en", path=tmp_path)
    assert again.pretrained.source == f"local path: {tmp_path}"
    assert again.transcribe([short[0].wave]) == transcripts[:1]


def test_noise_ends_after_a_bounded_number_of_tokens(model):
    noise = np.random.default_rng(0).standard_normal(16000).astype(np.float32) * 0.1
    text = model.transcribe([noise], context_seconds=5.0)[0]
    assert len(model.tokenizer.encode(text, add_special_tokens=False).ids) <= 27


def test_no_waves_give_no_transcripts(model):
    assert model.transcribe([]) == []


def test_audio_longer_than_thirty_seconds_is_refused_with_its_length(model):
    with pytest.raises(WhisperError, match="Audio 1 lasts 31.0 s, longer than Whisper's 30 s"):
        model.transcribe([np.ones(16000, np.float32), np.ones(31 * 16000, np.float32)])


def test_audio_longer_than_the_context_is_refused_by_encode(model):
    with pytest.raises(WhisperError, match="longer than the context of 5 s"):
        model.encode([np.ones(6 * 16000, np.float32)], 5.0)


@pytest.mark.parametrize(
    ("wave", "sentence"),
    [
        (np.full(16000, np.nan, np.float32), "Audio 0 holds NaN"),
        (np.zeros((2, 16000), np.float32), "Audio 0 is not a one-dimensional array"),
        (np.zeros(16000, np.int16), "Audio 0 is not a one-dimensional array"),
        (np.zeros(0, np.float32), "Audio 0 is not a one-dimensional array"),
    ],
)
def test_bad_audio_is_named(model, wave, sentence):
    with pytest.raises(WhisperError, match=sentence):
        model.transcribe([wave])


def test_a_file_that_is_no_model_is_named(tmp_path):
    (tmp_path / "model.bin").write_bytes(b"\x06\x00\x00\x00not a model")
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "tokenizer.json").write_text("{}")
    with pytest.raises(WhisperError, match="holds no Whisper model that can be read"):
        sizes.load("tiny.en", path=tmp_path)
