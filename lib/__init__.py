"""Four speech-adaptation papers, their metrics and the study that compares them."""

import os
from pathlib import Path


def _numba_cache() -> None:
    """numba's compiled code, which it keeps beside the packages or below HOME: in STUDY_CACHE where that is named, and
    in data/cache where neither of the two can be written."""
    cache = os.environ.get("STUDY_CACHE")
    if not cache:
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path("~/.cache").expanduser())
        while not home.exists():
            home = home.parent
        if os.access(home, os.W_OK):
            return
        cache = Path(__file__).resolve().parent.parent / "data/cache"
    os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(cache).absolute() / "numba"))


_numba_cache()
# torch's threads on a CPU sleep soon where another process has the core that they wait for; read once, as torch loads.
os.environ.setdefault("GOMP_SPINCOUNT", "3000")
