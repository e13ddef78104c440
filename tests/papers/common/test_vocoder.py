"""The study's own HiFi-GAN: batches, training that learns and resumes, and weights that the profile's vocoder takes."""

from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from lib.models import vocoder, vocoder_weights
from lib.models.mel import MelDims, log_mel
from lib.papers.common.vocoder import VOCODER, Stretches, Training, VocoderConfig, Vocoding, plain
from lib.training.weights import saved_state

DIMS = MelDims()
TINY = VocoderConfig(
    steps=4, channels=16, period_width=1, scale_width=16, batch_size=2, frames=8, learning_rate=2e-3, checkpoint_every=2
)


def recording(index: int, seconds: float) -> np.ndarray:
    at = np.arange(round(seconds * 16000)) / 16000
    noise = 0.1 * np.random.default_rng(index).standard_normal(len(at))
    return (0.4 * np.sin(2 * np.pi * (150 + 60 * index) * at) + noise).astype(np.float32)


@pytest.fixture(scope="module")
def study():
    """Two recordings, of which the second is shorter than a stretch."""
    waves = [recording(0, 0.5), recording(1, 0.1)]
    mels = [log_mel(torch.from_numpy(wave).unsqueeze(0))[0].numpy() for wave in waves]
    utterances = [SimpleNamespace(utterance=str(i), index=i) for i in range(2)]
    made = Vocoding({"name": "tiny", "features": {}, "vocoder_training": {**vars(TINY), "chapter": True}})
    made.corpus = SimpleNamespace(
        hash="noise",
        utterances=utterances,
        wave=lambda u: waves[u.index],
        select=lambda role, split: utterances if role == "pretraining" else [],
    )
    made.features = SimpleNamespace(
        rows=lambda chosen: np.array([u.index for u in chosen]), item=lambda row: {"mel": mels[row]}
    )
    return made


def test_a_stretch_is_a_mel_and_the_samples_under_it(study):
    batches = Stretches(study, study.corpus.utterances, TINY)
    first, again, other = batches(3), batches(3), batches(4)
    assert first["mel"].shape == (2, 8, 80) and first["wave"].shape == (2, 8 * 256)
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["wave"], other["wave"])
    full = Stretches(study, study.corpus.utterances[:1], TINY)(0)
    inside = log_mel(full["wave"])[:, 3:6]
    assert torch.allclose(inside, full["mel"][:, 3:6], atol=0.1)
    short = Stretches(study, study.corpus.utterances[1:], TINY)(0)
    assert (short["wave"][:, 1600:] == 0).all() and (short["mel"][:, 7:] == short["mel"].min()).all()


def test_no_recordings_are_refused_in_a_sentence(study):
    with pytest.raises(ValueError, match="no utterances to train a vocoder on"):
        Stretches(study, [], TINY)


def test_an_unknown_setting_is_named(study):
    with pytest.raises(ValueError, match="vocoder_training.layers: choose from steps"):
        VocoderConfig.of({"vocoder_training": {"steps": 1, "layers": 2}})


def test_training_on_one_batch_lowers_its_mel_distance(study):
    torch.manual_seed(0)
    fast = Training(replace(TINY, learning_rate=0.01), DIMS).train()
    batch = Stretches(study, study.corpus.utterances, TINY)(0)
    mel = [float(fast.step(batch)["mel"]) for _ in range(12)]
    assert mel[-1] < 0.7 * mel[0]


def test_discriminators_learn_only_in_their_own_turn(study):
    torch.manual_seed(0)
    training = Training(replace(TINY, learning_rate=0.0), DIMS).train()
    batch = Stretches(study, study.corpus.utterances, TINY)(0)
    before = training.critics.periods[0].last.bias.clone()
    losses = training.step(batch)
    assert torch.equal(training.critics.periods[0].last.bias, before)
    assert all(p.requires_grad for p in training.critics.parameters())
    expected = losses["adversarial"] + 2 * losses["features"] + 45 * losses["mel"]
    assert float(losses["total"]) == pytest.approx(float(expected), rel=1e-5)


def test_an_interrupted_training_ends_with_the_same_weights(study, tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "whole"))
    whole = vocoder_weights.read(study.train(VOCODER, 0))
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "cut"))
    step, calls = Training.step, []

    def killed(self, batch):
        calls.append(batch)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return step(self, batch)

    monkeypatch.setattr(Training, "step", killed)
    with pytest.raises(KeyboardInterrupt):
        study.train(VOCODER, 0)
    resume = study.checkpoint(VOCODER, 0).with_suffix(".resume.pt")
    assert resume.exists()
    monkeypatch.setattr(Training, "step", step)
    path = study.train(VOCODER, 0)
    resumed = vocoder_weights.read(path)
    assert whole.keys() == resumed.keys() and all(torch.equal(whole[name], resumed[name]) for name in whole)
    assert not resume.exists()
    assert [entry["step"] for entry in study.trained(VOCODER, 0)["history"]] == [1, 2, 3, 4]
    made = path.stat().st_mtime_ns
    assert study.train(VOCODER, 0).stat().st_mtime_ns == made


def test_exported_weights_are_what_the_profiles_vocoder_loads_and_give_a_hop_per_frame(tmp_path):
    from safetensors.torch import save_file

    torch.manual_seed(0)
    training = Training(TINY, DIMS).eval()
    mel = torch.randn(1, 9, 80)
    expected = training.generator(mel.transpose(1, 2))[0].detach().numpy()
    save_file(saved_state(plain(training.generator)), tmp_path / "vocoder-s0.safetensors")
    (wave,) = vocoder.load({"hifigan": str(tmp_path / "vocoder-s0.safetensors")})(mel, torch.tensor([9]))
    assert len(wave) == 9 * 256
    assert wave == pytest.approx(expected, abs=1e-6)


def test_results_of_another_folder_are_found_by_the_same_name(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    file = tmp_path / "full/checkpoints/vocoder-s0.safetensors"
    file.parent.mkdir(parents=True)
    file.touch()
    assert vocoder_weights.find("results/full/checkpoints/vocoder-s0.safetensors") == file


def test_weights_with_speechbrains_names_are_read(tmp_path):
    state = {"conv_pre.conv.weight": torch.ones(2, 3, 7), "conv_pre.conv.bias": torch.zeros(2)}
    torch.save(state, tmp_path / "generator.ckpt")
    assert set(vocoder_weights.read(tmp_path / "generator.ckpt")) == {"conv_pre.weight", "conv_pre.bias"}


def test_the_hub_is_asked_only_when_the_profile_says_so(tmp_path, monkeypatch):
    import huggingface_hub
    from huggingface_hub.errors import LocalEntryNotFoundError

    asked = []

    def download(repository, name, revision, local_files_only):
        asked.append((name, revision, local_files_only))
        if local_files_only or name != "generator.ckpt":
            raise LocalEntryNotFoundError("not here")
        return str(tmp_path / name)

    monkeypatch.setattr(huggingface_hub, "hf_hub_download", download)
    with pytest.raises(ValueError, match="some/hifigan@main cannot be had from the hub .*set vocoder.network: true"):
        vocoder_weights.find("some/hifigan@main")
    assert {offline for _, _, offline in asked} == {True} and {revision for _, revision, _ in asked} == {"main"}
    assert vocoder_weights.find("some/hifigan", network=True) == tmp_path / "generator.ckpt"
