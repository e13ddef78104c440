"""Where the recordings of the real voice are, told without reading them: what the workflow asks before it starts."""

import json
from pathlib import Path

from lib.files import ROOT

INSTALLED = Path("/usr/share/asterisk/sounds")
STAND_IN = "stand_in"


def source(profile: dict) -> Path:
    """The folder of the recordings: the profile's, or the installed package's where that is not there."""
    given = ROOT / profile["real"]["corpus"]["source"]
    return INSTALLED if not given.exists() and INSTALLED.is_dir() else given


def here(profile: dict) -> bool:
    """Whether the recordings lie there, without fetching them."""
    return profile["real"]["corpus"]["name"] == STAND_IN or next(source(profile).rglob("*.g722"), None) is not None


def how_to_get(profile: dict) -> str:
    """The one line that gets the recordings."""
    return f"python -m lib corpora fetch asterisk --to {profile['real']['corpus']['source']}"


def since(profile: dict, record: Path) -> str:
    """Whether the recordings came after they had been found missing: a parameter of the steps that read them.

    record: what `lib.papers.common.real_voice.RealVoice.prepare` wrote.
    """
    try:
        known = json.loads(record.read_text())
    except (OSError, ValueError):
        return "at first"
    late = known.get("late") or (known.get("corpus") is None and here(profile))
    return "later" if late else "at first"
