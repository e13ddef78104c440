"""Whispers of other sizes: small random ones in the hub's layout, English-only, multilingual and of 128 mel bands."""

import json
import shutil

import numpy as np
import pytest
import torch
from huggingface_hub import constants
from synthetic_whisper import MULTILINGUAL, save
from transformers import WhisperFeatureExtractor
from transformers.modeling_outputs import BaseModelOutput

from lib import pretrained
from lib.models.whisper import model as whisper
from lib.models.whisper import sizes as whisper_sizes
from lib.models.whisper.decoding import beam_search
from lib.models.whisper.model import Decoder, Encoded, WhisperError
from lib.models.whisper.states import EncoderStates, encode_with_gradients, prepare
from lib.models.whisper.training import loss, teacher_forcing
from lib.pretrained import PretrainedError

REVISION = "0123456789abcdef0123456789abcdef01234567"


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    place = tmp_path_factory.mktemp("whispers")
    return {
        "english": save(place / "english"),
        "multilingual": save(place / "multilingual", MULTILINGUAL),
        "wide": save(place / "wide", MULTILINGUAL + 1, bands=128, multilingual=True),
    }


@pytest.fixture
def cache(tmp_path, monkeypatch):
    """An empty cache of the hub's files, and a hub that cannot be reached."""
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "hub"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    whisper_sizes.load.cache_clear()
    return tmp_path / "hub"


def noise(seconds: float = 1.2) -> np.ndarray:
    return (0.1 * np.random.default_rng(0).standard_normal(round(seconds * 16000))).astype(np.float32)


def put(cache, repository, folder):
    """A folder as the hub's cache holds it."""
    place = cache / f"models--{repository.replace('/', '--')}"
    shutil.copytree(folder, place / "snapshots" / REVISION)
    (place / "refs").mkdir()
    (place / "refs" / "main").write_text(REVISION)
    return place / "snapshots" / REVISION


def test_the_installed_whisper_is_the_one_that_the_metrics_use(cache):
    assert whisper_sizes.load("tiny.en").pretrained == pretrained.resolve("whisper-tiny.en")


def test_an_english_whisper_in_a_folder_has_the_short_prompt(folders):
    model = whisper_sizes.load("mine", path=folders["english"])
    assert not whisper.is_multilingual(model)
    assert whisper.prompt(model) == [model.start, model.no_timestamps]
    assert model.suppressed == [1, 2] and model.suppressed_first == [220]
    assert model.pretrained.path == folders["english"] and model.pretrained.source.startswith("local path: ")
    assert model.transcribe([noise()], context_seconds=5.0)


@pytest.mark.parametrize("name", ["multilingual", "wide"])
def test_a_multilingual_whisper_is_told_to_write_english(folders, name):
    model = whisper_sizes.load("mine", path=folders[name])
    english, task = model.tokenizer.token_to_id("<|en|>"), model.tokenizer.token_to_id("<|transcribe|>")
    assert whisper.prompt(model) == [model.start, english, task, model.no_timestamps]


def test_the_generation_configuration_says_whether_a_whisper_is_multilingual(tmp_path):
    model = whisper_sizes.load("mine", path=save(tmp_path / "english", MULTILINGUAL, multilingual=False))
    assert not whisper.is_multilingual(model)


def test_multilingual_transcripts_are_those_of_transformers_generate(folders):
    model = whisper_sizes.load("mine", path=folders["multilingual"])
    encoded = model.encode([noise()])
    tokens = model.network.generate(
        encoder_outputs=BaseModelOutput(encoded.states),
        decoder_input_ids=torch.tensor([whisper.prompt(model)]),
        suppress_tokens=[*model.suppressed, *range(model.end + 1, MULTILINGUAL)],
        begin_suppress_tokens=model.suppressed_first,
        max_new_tokens=8,
    )
    theirs = model.tokenizer.decode(tokens[0].tolist(), skip_special_tokens=True).strip()
    assert model.decode(encoded, [8]) == [theirs] == beam_search(model, encoded, [8], beams=1)


def test_no_more_is_written_than_the_decoder_has_room_for(folders):
    model = whisper_sizes.load("mine", path=folders["multilingual"])
    encoded = model.encode([noise()], 5.0)
    assert model.decode(encoded, [500]) == model.decode(encoded, [36]) != model.decode(encoded, [5])


def test_teacher_forcing_trains_on_the_transcript_after_the_long_prompt(folders, tmp_path):
    model = whisper_sizes.load("mine", path=folders["multilingual"])
    example = prepare(model, "one", noise(), "The dog sleeps.", 5.0)
    inputs, labels = teacher_forcing(model, [example])
    assert inputs[0].tolist() == [*whisper.prompt(model), *example.tokens]
    assert labels[0].tolist() == [-100, -100, -100, *example.tokens, model.end]
    states = EncoderStates(model, tmp_path)
    encoded = Encoded(states.read([example]).states, torch.zeros(states.read([example]).states.shape[1]))
    theirs = model.network(decoder_input_ids=inputs, encoder_outputs=(encoded.states,)).logits
    assert torch.allclose(Decoder(model.network, encoded).read(inputs), theirs, atol=1e-4)
    assert torch.isfinite(loss(model, [example], states)["total"])


def test_128_mel_bands_are_those_of_the_transformers_feature_extractor():
    theirs = WhisperFeatureExtractor(feature_size=128)([noise()], sampling_rate=16000, return_tensors="pt")
    padded = torch.nn.functional.pad(torch.from_numpy(noise())[None], (0, 480000))[:, :480000]
    assert torch.allclose(whisper.log_mel(padded, 128), theirs.input_features, atol=1e-4)


def test_states_of_128_mel_bands_are_those_of_transformers_and_the_same_with_gradients(folders):
    model = whisper_sizes.load("mine", path=folders["wide"])
    padded = torch.nn.functional.pad(torch.from_numpy(noise())[None], (0, 480000))[:, :480000]
    theirs = model.network.model.encoder(whisper.log_mel(padded, 128)).last_hidden_state
    ours = model.encode([noise()]).states
    assert torch.allclose(ours, theirs, atol=1e-3)
    example = prepare(model, "one", noise(), "The dog sleeps.", 5.0)
    assert torch.equal(encode_with_gradients(model, [example]).states, model.encode([noise()], 5.0).states)


def test_a_transcript_longer_than_the_decoder_leaves_room_for_the_prompt(folders):
    model = whisper_sizes.load("mine", path=folders["multilingual"])
    with pytest.raises(WhisperError, match="has 37 tokens, more than the decoder's 35"):
        prepare(model, "one", noise(), " ".join(["dog"] * 37), 5.0)


@pytest.mark.parametrize(
    ("name", "repository"), [("base.en", "openai/whisper-base.en"), ("lab/whisper", "lab/whisper")]
)
def test_the_hubs_cache_is_found_by_size_and_by_id_and_the_folder_comes_back(cache, folders, name, repository):
    snapshot = put(cache, repository, folders["english"])
    found = pretrained.whisper(name)
    assert (found.path, found.source) == (snapshot, f"hub cache: {repository}@{REVISION}")
    assert found.sha256 == pretrained.sha256(folders["english"] / "model.safetensors")
    assert pretrained.whisper(f"{repository}@{REVISION}").path == snapshot
    assert whisper_sizes.load(name).network.config.d_model == 16


def test_weights_that_are_nowhere_say_what_to_set(cache):
    with pytest.raises(PretrainedError, match=r"openai/whisper-base.en .* set network: true .*ha\.whisper.* or path:"):
        pretrained.whisper("base.en")


def test_an_incomplete_download_counts_as_none(cache, folders):
    (put(cache, "openai/whisper-small.en", folders["english"]) / "tokenizer.json").unlink()
    with pytest.raises(PretrainedError, match="set network: true"):
        pretrained.whisper("small.en")


def test_a_hub_that_cannot_be_reached_says_how_to_fetch_elsewhere(cache):
    with pytest.raises(PretrainedError, match=r"could not be fetched .*`hf download openai/whisper-medium.en"):
        pretrained.whisper("medium.en", network=True)


def test_a_name_that_can_be_no_id_is_refused(cache):
    with pytest.raises(PretrainedError, match="'openai/whisper-base en' is no id of the hub"):
        pretrained.whisper("base en")


def test_parameters_in_several_files_are_read_and_their_digest_covers_all(folders, tmp_path):
    folder = save(tmp_path / "shards", max_shard_size="1MB")
    assert len(list(folder.glob("model-*.safetensors"))) > 1
    first = whisper_sizes.load("mine", path=folder)
    for name, value in whisper_sizes.load("mine", path=folders["english"]).network.state_dict().items():
        assert torch.equal(first.network.state_dict()[name], value)
    last = sorted(folder.glob("model-*.safetensors"))[-1]
    last.write_bytes(last.read_bytes() + b" ")
    assert pretrained.whisper("mine", folder).sha256 != first.pretrained.sha256


@pytest.mark.parametrize("file", ["model.safetensors", "config.json", "tokenizer.json"])
def test_a_folder_that_lacks_a_file_is_refused_with_its_name(folders, tmp_path, file):
    shutil.copytree(folders["english"], tmp_path / "part")
    (tmp_path / "part" / file).unlink()
    with pytest.raises(PretrainedError, match=f"holds no whole Whisper, {file} is missing"):
        pretrained.whisper("mine", tmp_path / "part")


def test_another_kind_of_model_is_refused(folders, tmp_path):
    shutil.copytree(folders["english"], tmp_path / "bert")
    config = json.loads((tmp_path / "bert" / "config.json").read_text()) | {"model_type": "bert"}
    (tmp_path / "bert" / "config.json").write_text(json.dumps(config))
    with pytest.raises(WhisperError, match="a model of the type bert, not a Whisper"):
        whisper_sizes.load("mine", path=tmp_path / "bert")


def test_a_checkpoint_without_all_parameters_is_refused(folders, tmp_path):
    from safetensors.torch import load_file, save_file

    shutil.copytree(folders["english"], tmp_path / "part")
    state = load_file(tmp_path / "part" / "model.safetensors")
    del state["model.decoder.layers.0.fc1.weight"]
    save_file(state, tmp_path / "part" / "model.safetensors", {"format": "pt"})
    with pytest.raises(WhisperError, match="lacks 1 parameters of a Whisper, model.decoder.layers.0.fc1.weight"):
        whisper_sizes.load("mine", path=tmp_path / "part")


def test_a_damaged_file_is_refused(folders, tmp_path):
    shutil.copytree(folders["english"], tmp_path / "bad")
    (tmp_path / "bad" / "model.safetensors").write_bytes(b"no weights")
    with pytest.raises(WhisperError, match="holds no Whisper model that can be read"):
        whisper_sizes.load("mine", path=tmp_path / "bad")


def test_a_tokenizer_of_another_model_is_refused(folders, tmp_path):
    from tokenizers import Tokenizer, models

    shutil.copytree(folders["english"], tmp_path / "other")
    Tokenizer(models.WordLevel({"a": 0}, unk_token="a")).save(str(tmp_path / "other" / "tokenizer.json"))
    with pytest.raises(WhisperError, match=r"has no <\|startoftranscript\|>"):
        whisper_sizes.load("mine", path=tmp_path / "other")


def test_audio_that_whisper_cannot_take_is_refused_at_any_size(folders):
    model = whisper_sizes.load("mine", path=folders["multilingual"])
    with pytest.raises(WhisperError, match="Audio 0 holds NaN"):
        model.encode([np.full(16000, np.nan, np.float32)])
