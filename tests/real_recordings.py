"""Where the tests find real recordings, and how they are got where there are none."""

import os
from pathlib import Path

import pytest

from lib.files import DATA, ROOT

NAMED = os.environ.get("STUDY_RECORDINGS")
PLACES = [Path(NAMED)] if NAMED else [DATA / "downloads", ROOT.parent / "shared/data/real", ROOT.parent / "shared/data"]
ALSO = {"librispeech": ("librispeech-mini",)}
GOT = {
    "librispeech": "python -m lib corpora fetch librispeech --to {to} --parts test-other puts them there",
    "vctk": "python -m lib corpora fetch vctk --to {to} puts them there",
    "ravdess": "python -m lib corpora fetch ravdess --to {to} puts them there",
    "speechocean762": "unpack openslr.org/101's speechocean762.tar.gz to {to}",
}


def place_of(name: str) -> Path | None:
    """The folder of a corpus's real recordings, in STUDY_RECORDINGS or else data/downloads; None if there is none."""
    folders = (place / each for place in PLACES for each in (name, *ALSO.get(name, ())))
    return next((folder for folder in folders if folder.is_dir()), None)


def recordings_of(name: str) -> Path:
    """That folder, or a skip that says how to get the recordings."""
    if (found := place_of(name)) is not None:
        return found
    to = Path(NAMED or "data/downloads") / name
    pytest.skip(f"the real recordings of {name} are not there: {GOT[name].format(to=to)}")
