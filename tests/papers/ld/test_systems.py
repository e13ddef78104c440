"""What the latent study trains: conditions, pairs, the content projection, and input that its models refuse."""

import numpy as np
import pytest
import torch

from lib.methods.latent_diffusion import DiffusionError
from lib.models.clap import ClapError
from lib.papers.ld import measure
from lib.papers.ld.data import LatentError
from lib.papers.ld.measure import text_latents
from lib.papers.ld.posterior import stretch
from lib.papers.ld.study import Study
from lib.papers.ld.systems import Pairs, frames_along, keep_content
from lib.study import shipped
from lib.study.profile import merge
from lib.training.weights import WeightsError


def test_training_conditions_are_kept_and_made_again_when_their_file_is_damaged(prepared, profile):
    sentence, style = prepared.corpus.sentences("train")[1], prepared.corpus.styles[2]
    embedding = prepared.clap.embed_audio([prepared.heard(sentence, style)])[0]
    table = prepared.conditions
    assert table.shape == (len(prepared.corpus.sentences("train", "validation")), len(prepared.corpus.styles), 8)
    assert torch.allclose(table[1, 2], embedding * 8**0.5, atol=1e-6)
    (path,) = prepared.corpus.root.glob("conditions-*.table")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert torch.equal(Study(profile).conditions, table)
    assert path.read_bytes() == content


def test_shipped_parts_are_named_by_their_file_in_all_that_depends_on_them(prepared, profile, monkeypatch, tmp_path):
    monkeypatch.setattr(shipped, "WEIGHTS", tmp_path / "weights")
    cards = {part: shipped.ship(prepared, part) for part in ("posterior", "clap")}
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "results"))
    taking = Study(merge(profile, {"ld": {"start": "shipped"}}))
    posterior, clap = (cards[part]["sha256"] for part in ("posterior", "clap"))
    depends = taking.part("palette", 0).depends
    assert depends[:2] == (posterior[:12], clap) and prepared.part("palette", 0).depends[0] != depends[0]
    assert taking.mark_of("posterior", 0) == posterior[:12] and set(taking.taken()) == {"posterior", "clap"}
    assert cards["clap"]["trained_on"]["licences"] == {"joe": "CC0"}
    for name, value in prepared.encoder.state_dict().items():
        torch.testing.assert_close(taking.encoder.state_dict()[name], value, rtol=1e-3, atol=1e-6)
    harder = Study(merge(profile, {"ld": {"start": "shipped", "data": {"amounts": {"pitch": {"low": -9.0}}}}}))
    with pytest.raises(WeightsError, match="clap.safetensors was made with other levels than this profile has"):
        harder.train("clap", 0)


def test_a_stretch_of_wave_and_latent_is_the_same_stretch():
    z = np.repeat(np.arange(20.0)[None], 2, 0)
    cut, frames = stretch(np.repeat(z[0], 4).astype(np.float32), z, 5, 4, np.random.default_rng(0))
    assert np.array_equal(cut[::4], frames[0])


def test_the_content_projection_keeps_what_tells_phones_apart(prepared):
    z_text, z = torch.randn(192, 6), torch.randn(192, 6)
    for projection in prepared.projections.values():
        assert torch.allclose(projection @ projection, projection, atol=1e-3)
        assert round(float(projection.trace())) == prepared.settings["content_directions"]
        kept = keep_content(projection, z_text, z)
        assert torch.allclose(projection @ kept, projection @ z_text, atol=1e-3)
    assert not torch.allclose(*prepared.projections.values(), atol=0.01)


@pytest.mark.parametrize("kind", ["kept", "random"])
def test_a_restyled_recording_keeps_the_neutral_ones_content_where_it_is_asked_for(profile, prepared, kind):
    entry = {"reconstruction_content": {"method": "posterior", "content": kind}}
    made = Study(merge(profile, {"ld": {"systems": entry}}))
    [sentence] = made.tested
    neutral, z = (torch.from_numpy(made.latents(sentence)[style]) for style in ("neutral", "high_lively"))
    mixed = z + made.projections[kind] @ (neutral - z)
    heard = measure.through(made, "reconstruction_content", 0, "high_lively")[0]
    wanted = measure.decode(made, mixed[None], torch.tensor([mixed.shape[1]]))[0]
    assert np.allclose(heard, wanted, atol=1e-4)
    assert not np.allclose(heard, measure.through(made, "reconstruction", 0, "high_lively")[0], atol=1e-3)


def test_content_cannot_be_kept_of_another_rate(profile, prepared, monkeypatch):
    made = Study(merge(profile, {"ld": {"systems": {"mine": {"method": "posterior", "content": "kept"}}}}))
    shorter = {"neutral": np.zeros((192, 9)), "high_lively": np.zeros((192, 7))}
    monkeypatch.setattr(made, "latents", lambda sentence: shorter)
    with pytest.raises(LatentError, match="high_lively changes the rate"):
        measure.through(made, "mine", 0, "high_lively")


def test_pairs_are_a_function_of_seed_and_step(prepared):
    pairs = [Pairs(prepared, "palette", 2, 24, 0) for _ in range(2)]
    one, same, other = pairs[0](3), pairs[1](3), pairs[0](4)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["z_text"], other["z_text"])


def test_frames_follow_other_durations_symbol_by_symbol():
    assert frames_along(np.array([2, 1, 4]), np.array([4, 1, 2])).tolist() == [0, 0, 1, 1, 2, 4, 6]
    assert frames_along(np.array([3, 0, 2]), np.array([2, 1, 2])).tolist() == [0, 2, 3, 3, 4]
    assert frames_along(np.array([2, 0]), np.array([1, 2])).tolist() == [1, 1, 1]
    random = np.random.default_rng(0)
    durations, wanted = random.integers(1, 9, (2, 30))
    owner = np.repeat(np.arange(30), durations)
    assert owner[frames_along(durations, wanted)].tolist() == np.repeat(np.arange(30), wanted).tolist()


@pytest.mark.parametrize("kind", ["aligned", "stretched"])
def test_pairs_that_follow_the_recording_are_as_long_and_show_frames_of_the_sampled_latent(prepared, profile, kind):
    pairs = Pairs(Study(merge(profile, {"ld": {"systems": {"palette": {"pairs": kind}}}})), "palette", 2, 24, 0)
    sentence = pairs.sentences[0]
    arrays, (z_text, z_audio) = prepared.corpus.spoken(sentence), pairs.pair(sentence, "neutral", 0)
    assert z_text.shape == z_audio.shape == arrays["z"].shape
    owner = [np.repeat(np.arange(len(arrays[k])), arrays[k]) for k in ("durations_0", "durations")]
    shown = (z_text.T[:, None] == torch.from_numpy(arrays["sampled_0"]).T).all(2)
    assert shown.any(1).all()
    kept = owner[0][shown.float().argmax(1).numpy()] == owner[1]
    assert kept.all() if kind == "aligned" else not kept.all()


def test_unknown_pairs_systems_and_styles_are_refused(prepared, profile):
    mixed = Study(merge(profile, {"ld": {"systems": {"palette": {"pairs": "mixed"}}}}))
    with pytest.raises(LatentError, match="Pairs can be shared, sampled, aligned, stretched, not 'mixed'"):
        Pairs(mixed, "palette", 2, 24, 0)
    with pytest.raises(LatentError, match="there is no system 'none_such'"):
        prepared.system("none_such")
    with pytest.raises(LatentError, match="The system text has no diffusion"):
        prepared.train("text", 0)
    with pytest.raises(LatentError, match="There is no style"):
        prepared.corpus.prompt("shouted")


def test_a_latent_shorter_than_the_receptive_field_is_refused(prepared):
    model = prepared.diffusion("i2sb", 0)
    with pytest.raises(DiffusionError, match="receptive field"):
        model.sample(torch.randn(1, 192, 3), torch.tensor([3]))


def test_nan_in_sampling_is_told_with_the_step_and_the_scale(prepared):
    model = prepared.diffusion("i2sb", 0)
    broken = torch.nn.Parameter(torch.full_like(model.network.null, torch.nan))
    condition = torch.zeros(1, 8)
    kept, model.network.null = model.network.null, broken
    try:
        with pytest.raises(DiffusionError, match="became NaN in sampling at step"):
            model.sample(torch.randn(1, 192, 40), torch.tensor([40]), condition, guidance=2.0, steps=2)
    finally:
        model.network.null = kept


def test_an_empty_prompt_is_refused_by_the_labs_clap(prepared):
    with pytest.raises(ClapError, match="empty"):
        prepared.clap.embed_text([""])


def test_systems_speak_as_many_test_sentences_as_a_profile_says(prepared, profile):
    few = Study(merge(profile, {"ld": {"evaluate": {"sentences": 1}}}))
    assert few.tested == few.corpus.sentences("test")[:1] and prepared.tested == prepared.corpus.sentences("test")
    assert len(text_latents(few)[1]) == 1 and len(text_latents(prepared)[1]) == len(prepared.tested)
