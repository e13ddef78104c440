"""The latent diffusion study: styles with known truth, pairs, projection, measures, diagnostics, bad input."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
import torch

from lib import study
from lib.corpora.styled import styles
from lib.corpora.styled.styles import Change, StyleError
from lib.methods.latent_diffusion import DiffusionError
from lib.models.clap import ClapError
from lib.papers.ld import clap as latents_clap
from lib.papers.ld import data as latents_data
from lib.papers.ld import diagnostics as latents_diagnostics
from lib.papers.ld import measure as latents_evaluate
from lib.papers.ld import steering as latents_steering
from lib.papers.ld import study as latents
from lib.papers.ld import train as latents_train
from lib.papers.ld.data import Lab, LatentError
from lib.papers.ld.posterior import real_recordings, stretch

RATE = 22050
MICRO = {
    "data": {"sentences": {"train": 2, "validation": 1, "test": 1}, "draws": 2, "takes": 1},
    "posterior": {"channels": 16, "layers": 1, "steps": 2, "batch_size": 2, "frames": 24, "styled": 1, "segment": 6},
    "clap": {"text": "words", "dims": {"size": 8, "channels": 8, "layers": 2}, "train": {"steps": 2, "batch_size": 3}},
    "diffusion": {"steps": 2, "batch_size": 2, "frames": 24},
    "decoder": {"steps": 1, "batch_size": 1, "segment": 6},
    "sampling": {"steps": 2},
    "evaluate": {"guidance": [0.0, 2.0], "styles": ["high_lively"], "players": 1},
}


@pytest.fixture(scope="module")
def profile() -> dict:
    return study.load_profile("smoke", {"ld": MICRO})


@pytest.fixture(scope="module")
def lab(profile, tmp_path_factory, smoke_corpus) -> Lab:
    """A prepared lab of four sentences, in folders of its own."""
    patch = pytest.MonkeyPatch()
    folder = tmp_path_factory.mktemp("latents")
    patch.setenv("STUDY_RESULTS", str(folder / "results"))
    patch.setenv("STUDY_CACHE", str(folder / "cache"))
    latents.prepare(profile)
    yield Lab(profile)
    patch.undo()


def test_preparing_in_two_processes_makes_the_same(lab, profile, tmp_path, monkeypatch):
    """With two threads each process has one, as the lab's only process had."""
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(latents, "WORTH_A_PROCESS", 1)
    used = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        latents.prepare(profile)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(used)
    again = Lab(profile)
    assert latents.is_prepared(again)
    for name in ("posterior", "clap"):
        files = [each.root / "checkpoints" / f"ld-{name}-s0.safetensors" for each in (lab, again)]
        assert files[0].read_bytes() == files[1].read_bytes(), name
    before, after = (next(each.folder.glob("baseline-*.json")).read_text() for each in (lab, again))
    assert before == after


def test_training_conditions_are_kept_and_made_again_when_their_file_is_damaged(lab):
    model, rate = latents.clap_of(lab), lab.vits.dims.rate
    sentence, style = lab.sentences("train")[1], lab.styles[2]
    embedding = model.embed_audio([latents_data.heard(lab.wave(sentence, style), rate)])[0]
    table = latents_clap.training_conditions(lab, model)
    assert table.shape == (2, len(lab.styles), 8)
    assert torch.allclose(table[1, 2], embedding * 8**0.5, atol=1e-6)
    (path,) = lab.folder.glob("conditions-*.table")
    content = path.read_bytes()
    path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    assert torch.equal(latents_clap.training_conditions(lab, model), table)
    assert path.read_bytes() == content


def vowel(f0: float = 120.0, seconds: float = 0.6) -> np.ndarray:
    """A buzz with a slow F0 movement of two semitones around f0."""
    time = np.arange(round(RATE * seconds)) / RATE
    track = f0 * 2 ** (np.sin(2 * np.pi * 2 * time) / 12)
    phase = 2 * np.pi * np.cumsum(track) / RATE
    return (0.1 * sum(np.sin(k * phase) / k for k in range(1, 20))).astype(np.float32)


def median_f0(wave: np.ndarray) -> float:
    f0 = styles.analyse(wave, RATE).f0
    return float(np.median(f0[f0 > 0]))


@pytest.fixture(scope="module")
def analysis():
    return styles.analyse(vowel(), RATE)


def test_a_pitch_change_shifts_f0_by_its_semitones(analysis):
    wave = styles.restyle(analysis, Change(pitch=4.0), RATE)
    assert median_f0(wave) / median_f0(vowel()) == pytest.approx(2 ** (4 / 12), rel=0.02)


def test_a_range_change_scales_f0s_movement_and_keeps_its_mean():
    f0 = np.array([0.0, 100.0, 120.0, 144.0])
    moved = styles.restyled_f0(f0, Change(range=0.5))
    assert moved[0] == 0
    assert np.log2(moved[1:]).mean() == pytest.approx(np.log2(f0[1:]).mean())
    assert np.log2(moved[3] / moved[1]) == pytest.approx(0.5 * np.log2(f0[3] / f0[1]))


def test_an_energy_change_is_its_decibels(analysis):
    plain, soft = (styles.restyle(analysis, Change(energy=e), RATE) for e in (0.0, -8.0))
    assert 10 * np.log10((soft**2).mean() / (plain**2).mean()) == pytest.approx(-8.0, abs=0.01)


def test_a_rate_change_shortens_and_keeps_f0(analysis):
    fast = styles.restyle(analysis, Change(rate=1.25), RATE)
    assert len(fast) == round(analysis.samples / 1.25)
    assert median_f0(fast) == pytest.approx(median_f0(vowel()), rel=0.03)


def test_breath_makes_speech_noisier(analysis):
    clear, breathy = (styles.restyle(analysis, Change(breath=b), RATE) for b in (0.0, 0.8))
    noise = [styles.analyse(wave, RATE).aperiodicity.mean() for wave in (clear, breathy)]
    assert noise[1] > noise[0]


def test_a_pause_is_silence_of_its_length():
    wave = np.ones(1000, np.float32)
    longer = styles.add_pause(wave, 400, 300)
    assert len(longer) == 1300 and not longer[400:700].any() and longer[:300].all()


def test_prompts_name_the_levels_and_held_out_wordings_differ():
    levels = {"pitch": "high", "range": "lively"}
    assert styles.prompt(levels) == "a high voice, lively intonation"
    assert styles.prompt(levels) != styles.prompt(levels, 3)


def test_an_unknown_level_and_an_empty_style_are_refused():
    with pytest.raises(StyleError, match="pitch 'huge': choose from low, middle, high"):
        styles.levels_of({"pitch": "huge"})
    with pytest.raises(StyleError, match="no prompt"):
        styles.prompt({})


def test_restylings_share_timing_and_differ_by_what_is_known(lab):
    arrays = lab.spoken(lab.sentences("test")[0])
    assert len(arrays["wave_neutral"]) == len(arrays["wave_high_lively"])
    shift = arrays["truth_high_lively"][0] - arrays["truth_neutral"][0]
    assert shift == pytest.approx(4.0, abs=0.5)
    assert arrays["shared_0"].shape == arrays["z"].shape
    assert arrays["phones"].shape == (arrays["z"].shape[1],)


def test_the_recordings_latent_is_that_of_its_wave(lab):
    arrays = lab.spoken(lab.sentences("test")[0])
    wave = lab.vits.decode(torch.from_numpy(arrays["z"]).unsqueeze(0))[0].numpy()
    assert np.abs(wave - latents_data.floats(arrays["wave_recorded"])).max() < 1e-4


def test_a_stretch_of_wave_and_latent_is_the_same_stretch():
    z = np.repeat(np.arange(20.0)[None], 2, 0)
    cut, frames = stretch(np.repeat(z[0], 4).astype(np.float32), z, 5, 4, np.random.default_rng(0))
    assert np.array_equal(cut[::4], frames[0])


def test_the_content_projection_keeps_what_tells_phones_apart(lab):
    projection = latents_train.content_projection(lab)
    assert torch.allclose(projection @ projection, projection, atol=1e-3)
    z_text, z = torch.randn(192, 6), torch.randn(192, 6)
    kept = latents_train.keep_content(projection, z_text, z)
    assert torch.allclose(projection @ kept, projection @ z_text, atol=1e-3)


def test_pairs_are_a_function_of_seed_and_step(lab):
    pairs = [latents_train.Pairs(lab, latents.clap_of(lab), "sampled", 2, 24, 0) for _ in range(2)]
    one, same, other = pairs[0](3), pairs[1](3), pairs[0](4)
    assert all(torch.equal(one[name], same[name]) for name in one)
    assert not torch.equal(one["z_text"], other["z_text"])


def test_unknown_pairs_systems_and_styles_are_refused(lab, profile):
    with pytest.raises(LatentError, match="Pairs can be shared or sampled"):
        latents_train.Pairs(lab, None, "mixed", 2, 24, 0)
    with pytest.raises(LatentError, match="There is no system"):
        latents_train.system_of(profile, "none_such")
    with pytest.raises(LatentError, match="There is no style"):
        lab.prompt("shouted")


def test_a_damaged_file_of_the_cache_is_deleted_and_named(lab, tmp_path):
    path = tmp_path / "bad.npz"
    np.savez(path, wave=np.arange(1000))
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(content)
    with pytest.raises(LatentError, match="bad.npz was damaged and is deleted: the same command again"):
        latents_data._load(path)
    assert not path.exists()
    with pytest.raises(LatentError, match="bad.npz is missing: prepare again"):
        latents_data._load(path)


def test_too_many_sentences_are_refused():
    with pytest.raises(LatentError, match="9999 test sentences"):
        latents_data._sentences((("test", 9999),))


def test_a_folder_without_recordings_is_refused(tmp_path):
    with pytest.raises(LatentError, match="no .wav or .flac"):
        real_recordings(tmp_path)


def measures(**changed) -> pd.DataFrame:
    plain = dict.fromkeys((*latents_evaluate.MEASURED, "f0_median", "f0_spread"), 1.0) | {"cer": 0.0}
    return pd.DataFrame([plain | changed])


def test_style_moved_is_100_at_the_restyled_recording_and_0_before(lab):
    before = {"text": measures(), "neutral": measures(), "high_lively": measures(f0_median=5.0, f0_spread=4.0)}
    for given, expected in ((measures(), 0.0), (before["high_lively"], 100.0)):
        found = latents_evaluate.judged(lab, given, before, "high_lively")
        assert found["style_moved"][0] == pytest.approx(expected)


def test_a_move_that_breaks_the_words_does_not_count(lab):
    before = {"text": measures(), "neutral": measures(), "high_lively": measures(f0_median=5.0)}
    found = latents_evaluate.judged(lab, measures(f0_median=5.0, cer=0.9), before, "high_lively")
    assert found["style_moved"][0] == pytest.approx(100.0)
    assert (found["style_moved_intact"][0], found["content_broken"][0]) == (0.0, 1.0)


def test_an_output_without_voice_has_not_moved(lab):
    noise = (0.1 * np.random.default_rng(0).standard_normal(16000)).astype(np.float32)
    silence = np.zeros(16000, np.float32)
    table = latents_evaluate.prosody_of([noise, silence])
    assert not table["hnr"].notna().any() or table["voiced"].sum() < 2
    before = {"text": measures(), "neutral": measures(), "high_lively": measures(f0_median=5.0)}
    found = latents_evaluate.judged(lab, table.tail(1).assign(cer=1.0).reset_index(drop=True), before, "high_lively")
    assert found["style_moved"][0] == 0.0


def test_cka_is_one_for_a_rotation_and_about_zero_for_unrelated():
    random = np.random.default_rng(0)
    x = random.standard_normal((200, 8))
    rotation = np.linalg.qr(random.standard_normal((8, 8)))[0]
    assert latents_diagnostics.cka(x, 3 * x @ rotation + 1) == pytest.approx(1.0)
    assert abs(latents_diagnostics.cka(x, random.standard_normal((200, 8)))) < 0.1


def test_cca_is_one_for_an_invertible_map():
    x = np.random.default_rng(0).standard_normal((100, 6))
    assert latents_diagnostics.cca(x, x @ np.diag(np.arange(1.0, 7.0))) == pytest.approx(1.0)


def test_variance_splits_into_what_styles_share_and_what_they_change(lab):
    table = pd.DataFrame(latents_diagnostics.variance(lab))
    shares = table.pivot_table("value", "utterance", "variant")
    assert np.allclose(shares["text_and_time"] + shares["style_given_text"], 1.0)


def test_shared_durations_have_no_difference_in_length(lab):
    table = pd.DataFrame(latents_diagnostics.misalignment(lab))
    shared = table[(table["metric"] == "length_difference") & (table["variant"] == "shared")]
    assert (shared["value"] == 0).all()


def test_same_seed_gives_the_same_rows_when_trained_again(lab, profile):
    runs = []
    for _ in range(2):
        latents_train.checkpoint(lab, "i2sb", 0).unlink(missing_ok=True)
        runs.append(latents.run(profile, "i2sb", 0).query("metric != 'seconds_trained'"))
    one, same = runs
    pd.testing.assert_frame_equal(one, same)
    assert set(one["x"].dropna()) == {0.0, 2.0}
    assert study.manifest_path("ld-i2sb-s0", profile).is_file()


@pytest.mark.parametrize("system", ["palette_content_removed", "posterior", "clap_probe"])
def test_a_run_writes_rows_of_finite_values(lab, profile, system):
    rows = latents.run(profile, system, 0)
    assert len(rows) and np.isfinite(rows["value"]).all()


def test_a_latent_shorter_than_the_receptive_field_is_refused(lab):
    model, _ = latents_train.diffusion_of(lab, "i2sb", 0)
    with pytest.raises(DiffusionError, match="receptive field"):
        model.sample(torch.randn(1, 192, 3), torch.tensor([3]))


def test_nan_in_sampling_is_told_with_the_step_and_the_scale(lab):
    model, _ = latents_train.diffusion_of(lab, "i2sb", 0)
    broken = torch.nn.Parameter(torch.full_like(model.network.null, torch.nan))
    condition = torch.zeros(1, 8)
    kept, model.network.null = model.network.null, broken
    try:
        with pytest.raises(DiffusionError, match="became NaN in sampling at step"):
            model.sample(torch.randn(1, 192, 40), torch.tensor([40]), condition, guidance=2.0, steps=2)
    finally:
        model.network.null = kept


def test_an_empty_prompt_is_refused_by_the_labs_clap(lab):
    with pytest.raises(ClapError, match="empty"):
        latents.clap_of(lab).embed_text([""])


def test_the_steering_direction_is_the_likeliest_change_that_raises_the_read_out_by_one():
    random = np.random.default_rng(0)
    mixing = random.standard_normal((5, 5))
    z = random.standard_normal((4000, 5)) @ mixing
    weights = random.standard_normal(5)
    u = latents_steering.direction(z, z @ weights + 3.0, alpha=1e-6)
    assert weights @ u == pytest.approx(1.0, rel=1e-4)
    precision = np.linalg.inv(np.cov(z.T))
    for _ in range(20):  # every other change with the same read-out lies further out
        other = random.standard_normal(5)
        other = u + 0.1 * (other - weights * (weights @ other) / (weights @ weights))
        assert u @ precision @ u < other @ precision @ other


def test_steering_measures_what_is_heard_for_what_was_asked(lab):
    table = pd.DataFrame(latents_steering.rows(lab))
    assert set(table["metric"]) == {"steered"} and set(table["variant"]) <= {"f0", "energy"}
    energy = table[table["variant"] == "energy"]
    assert sorted(energy["x"]) == [-8.0, -4.0, 4.0, 8.0] and np.isfinite(energy["value"]).all()
