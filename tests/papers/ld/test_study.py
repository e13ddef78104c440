"""The latent diffusion study: preparing, running, and systems with other settings."""

import json
import shutil

import numpy as np
import pandas as pd
import pytest
import torch

from lib import study
from lib.papers.ld import pictures, players
from lib.papers.ld import study as ld
from lib.papers.ld.measure import text_waves
from lib.papers.ld.study import Study
from lib.study import variant as variants
from lib.study.heard import transcript
from lib.study.profile import merge
from lib.study.rows import manifest_path
from lib.study.variant import variant


def test_preparing_in_two_processes_makes_the_same(prepared, profile, tmp_path, monkeypatch):
    """With two threads each process has one, as the only process had."""
    first = {file.name: file.read_bytes() for file in prepared.root.glob("checkpoints/ld-*.safetensors")}
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "results"))
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(ld, "WORTH_A_PROCESS", 1)
    (tmp_path / "cache" / prepared.corpus.root.name).mkdir(parents=True)
    for file in prepared.corpus.root.glob("*.npz"):  # speech, which this process would make with both threads
        shutil.copy(file, tmp_path / "cache" / prepared.corpus.root.name)
    used = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        again = Study(profile)
        again.prepare()
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(used)
    for name in ("posterior", "clap"):
        file = again.checkpoint(name, 0)
        assert file.read_bytes() == first[file.name], name
    before, after = (next(each.corpus.root.glob("baseline-*.json")).read_text() for each in (prepared, again))
    assert before == after
    assert json.loads((again.root / "prepared" / "ld.json").read_text())["data_hash"] == prepared.corpus.hash


def test_same_seed_gives_the_same_rows_when_trained_again(prepared, profile):
    runs = []
    for _ in range(2):
        prepared.checkpoint("i2sb", 0).unlink(missing_ok=True)
        runs.append(Study(profile).run("i2sb", 0).query("metric != 'seconds_trained'"))
    one, same = runs
    pd.testing.assert_frame_equal(one, same)
    assert set(one["x"].dropna()) == {0.0, 2.0}
    manifest = json.loads(manifest_path("ld-i2sb-s0", profile).read_text())
    assert manifest["corpus"] == "joe, restyled" and manifest["data_hash"] == prepared.corpus.hash
    assert set(manifest["pretrained"]) == {"whisper-tiny.en", "ge2e", "vits", "clap"}
    kept = {file.stem for file in prepared.root.glob("audio/ld-i2sb-s0/*.wav")}
    assert kept == set(manifest["texts"]) == {"test_000-high_lively-x2"}
    picture = players.sentence(prepared, {"i2sb": 0, "posterior": 0, "one_that_the_profile_lacks": 0})
    assert [axis.get_title(loc="left") for axis in picture.axes if axis.get_title(loc="left")] == ["I2SB"]


def test_the_picture_of_a_translation_has_the_words_that_are_heard_above_each_latent(prepared):
    picture = pictures.translation(prepared, {"i2sb": 0}, "high_lively", 2.0)
    said = [axis.get_title(loc="left") for axis in picture.axes[:3]]
    [sentence] = prepared.tested
    heard = transcript(text_waves(prepared)[0], sentence.text)
    assert said[0].startswith("“") and said[0].endswith(f"(WER {heard.wer:.2f})")
    assert all("(WER " in words for words in said) and "Seeds: I2SB 0." in picture.description["caption"]


def test_a_picture_takes_the_first_seed_whose_weights_are_here(prepared, profile):
    made = Study(merge(profile, {"ld": {"seeds": [4, 0]}}))
    prepared.train("i2sb", 0)
    assert made.seed_here("i2sb") == 0
    made.settings["seeds"] = [7, 8]
    assert made.seed_here("i2sb") == 7


@pytest.mark.parametrize("system", ["palette_content_removed", "posterior", "clap_probe"])
def test_a_run_writes_rows_of_finite_values(prepared, system):
    rows = prepared.run(system, 0)
    assert len(rows) and np.isfinite(rows["value"]).all()


@pytest.fixture
def changed(prepared, profile, monkeypatch):
    """`variant` of the small study."""
    monkeypatch.setattr(
        variants, "load_profile", lambda name, more=None: merge(json.loads(json.dumps(profile)), more or {})
    )
    return lambda **changes: variant(Study, "smoke", "cpu", "palette", beside=False, **changes)


def test_another_guidance_needs_no_training_and_has_rows_of_its_own(prepared, changed):
    path = prepared.train("palette", 0)
    made, name = changed(guidance=[3, 5])
    assert name == "palette_guidance_3_5"
    assert made.checkpoint(name, 0) == path and not path.with_stem(f"ld-{name}-s0").exists()
    rows = study.read_rows("smoke", "LD").query("system == @name")
    assert set(rows["x"].dropna()) == {3.0, 5.0}
    assert {file.stem[-2:] for file in prepared.root.glob(f"audio/ld-{name}-s0/*.wav")} == {"x3", "x5"}


def test_other_pairs_are_trained_beside_the_profiles(prepared, changed):
    before = prepared.train("palette", 0).read_bytes()
    made, name = changed(pairs="shared", steps=1)
    assert made.checkpoint(name, 0).name == "ld-palette_pairs_shared_steps_1-s0.safetensors"
    assert made.settings["sampling"]["steps"] == 1
    assert prepared.checkpoint("palette", 0).read_bytes() == before
    assert made.checkpoint("posterior", 0) == prepared.checkpoint("posterior", 0)


def test_a_guidance_that_cannot_be_is_refused(changed):
    with pytest.raises(study.StudyError, match="guidance .*'much'.: give a number from 0 to 20"):
        changed(guidance=[1.0, "much"])
