"""The clips of a committed run, and the page that plays them from beside it."""

import numpy as np
import pytest
import soundfile
from browser import Browser, needs_browser
from synthetic_study import PROFILE, system_rows, write_run

from lib import audio, study
from lib.study.report import clips, reference
from lib.study.report.index import write_report

SYSTEMS = ("reference", "reference_vocoded", "tts_0", "hypertts_d", "lora_d")


def keep(root, paper, system, utterances, seconds=2.0):
    time = np.arange(int(seconds * audio.RATE)) / audio.RATE
    for number, name in enumerate(utterances):
        wave = sum(np.sin(2 * np.pi * (110 + 20 * number) * h * time) / h for h in range(1, 20))
        audio.write(root / "audio" / f"{paper}-{system}-s0" / f"{name}.wav", 0.1 * wave)


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    """A committed run with clips of HyperTTS and of latent diffusion, and its folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDY_RESULTS", str(tmp_path_factory.mktemp("results")))
        for system in ("tts_0", "hypertts_d"):
            write_run(f"ht-{system}-s0", system_rows(system, 0))
        root, folder = study.results_root(PROFILE), tmp_path_factory.mktemp("committed")
        (root / "claims.json").write_text("[]")
        for system in SYSTEMS:
            keep(root, "ht", system, [f"ad{speaker}-0" for speaker in range(5)] + ["ad0-1", "ne0-0"])
        keep(root, "ld", "reference", ["test_000-high_lively"])
        keep(root, "ld", "palette_aligned", ["test_000-high_lively-x2", "test_000-high_lively-x4"])
        row = {"system": "palette_aligned", "metric": "cer", "value": 0.1, "unit": "ratio", "split": "test", "x": 2.0}
        write_run("ld-palette_aligned-s0", [row | {"speaker": "joe", "utterance": "test_000-high_lively"}])
        reference.collect(PROFILE, folder)
        yield root, folder


def test_every_sentence_of_the_compared_systems_is_a_small_clip_of_the_same_speech(committed):
    root, folder = committed
    there = {path.relative_to(folder / "audio").as_posix() for path in (folder / "audio").rglob("*.opus")}
    assert len([name for name in there if name.startswith("ht-hypertts_d-s0/")]) == 7
    assert "ht-reference_vocoded-s0/ne0-0.opus" in there and not any("lora" in name for name in there)
    clip, wave = folder / "audio/ht-tts_0-s0/ad0-0.opus", root / "audio/ht-tts_0-s0/ad0-0.wav"
    heard, measured = audio.read(clip), audio.read(wave)
    assert clip.stat().st_size < wave.stat().st_size / 4
    assert len(heard) == len(measured) and np.corrcoef(heard, measured)[0, 1] > 0.98


def test_a_guided_clip_has_the_papers_scale_and_the_name_of_its_recording(committed):
    _, folder = committed
    names = sorted(path.relative_to(folder / "audio").as_posix() for path in (folder / "audio").glob("ld-*/*"))
    assert names == ["ld-palette_aligned-s0/test_000-high_lively.opus", "ld-reference-s0/test_000-high_lively.opus"]


def test_more_than_may_be_committed_names_the_largest_and_leaves_the_folder_alone(committed, monkeypatch):
    _, folder = committed
    monkeypatch.setattr(clips, "MOST", 10_000)
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*")}
    with pytest.raises(ValueError, match="at most 0.01 MB are committed: HT has the most, .* 28 clips of 7 sentences"):
        reference.collect(PROFILE, folder)
    assert {path: path.stat().st_mtime_ns for path in folder.rglob("*")} == before


@needs_browser
def test_the_page_plays_every_clip_from_disk_and_says_once_whose_audio_is_missing(committed):
    _, folder = committed
    page = (folder / "index.html").read_text(encoding="utf-8")
    assert page.count("The audio of ") == 1 and "The audio of HA, SP is missing" in page
    with Browser() as browser:
        browser.open(folder / "index.html")
        lengths = browser.evaluate(
            "Promise.all([...document.querySelectorAll('audio')].map(a => new Promise((done, fail) => {"
            " a.onloadedmetadata = () => done(a.duration); a.onerror = () => fail(new Error(a.src)); a.load(); })))"
        )
        assert not browser.complaints
    assert len(lengths) == 30 and all(abs(seconds - 2) < 0.1 for seconds in lengths)


def test_a_run_without_speech_says_so_once(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    page = write_report(PROFILE).read_text(encoding="utf-8")
    assert page.count("The audio of ") == 1 and "The audio of HT, HA, SP, LD is missing: no run" in page


def test_a_clip_is_what_libsndfile_calls_opus(committed):
    _, folder = committed
    assert {soundfile.info(path).subtype for path in folder.rglob("*.opus")} == {"OPUS"}
