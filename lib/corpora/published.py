"""The corpora that can be prepared by name, each from the files it is released as.

A loader is a module with `ABOUT` and `clips(source)`, and `fetch(to)` where the corpus can be fetched without asking
anybody; one that comes in several archives has their names in `PARTS`, and its `fetch` takes those wanted.
"""

from collections.abc import Sequence
from pathlib import Path
from types import ModuleType

from lib.corpora.atypical import fluencybank, mdvr_kcl, nemours, sep28k, torgo, uaspeech
from lib.corpora.corpus import Corpus, CorpusError
from lib.corpora.recorded import asterisk, librispeech, libritts, ljspeech, read, speechocean762, vctk
from lib.corpora.recorded.read import BUILT
from lib.corpora.styled import emovdb, esd, expresso, ravdess

LOADERS = {
    module.ABOUT.name: module
    for module in (
        *(vctk, libritts, librispeech, ljspeech, asterisk, speechocean762),
        *(esd, ravdess, expresso, emovdb),
        *(torgo, uaspeech, nemours, fluencybank, sep28k, mdvr_kcl),
    )
}


def loader(name: str) -> ModuleType:
    """The module of a corpus. Raises `CorpusError` for a name without one."""
    if name not in LOADERS:
        raise CorpusError(f"There is no corpus {name!r}; there are {', '.join(LOADERS)}.")
    return LOADERS[name]


def prepare(name: str, source: str | Path, root: str | Path = BUILT, cores: int | None = None) -> Corpus:
    """Prepare the corpus `name` from the folder `source`, as `lib.corpora.recorded.read.prepare` does."""
    module = loader(name)
    return read.prepare(module.clips(Path(source)), name, root, cores, module.ABOUT.trim)


def fetch(name: str, to: str | Path, parts: Sequence[str] = ()) -> Path:
    """Fetch the corpus `name` into the folder `to`; returns the folder to prepare it from.

    parts: of a corpus released in several archives, those to fetch (none: its loader's PARTS). Raises `CorpusError`
    saying where to ask, for a corpus that needs permission.
    """
    module = loader(name)
    if not hasattr(module, "fetch"):
        raise CorpusError(f"{module.ABOUT.title} cannot be fetched by command. {module.ABOUT.access}")
    if not parts:
        return module.fetch(Path(to))
    if not hasattr(module, "PARTS"):
        raise CorpusError(f"{module.ABOUT.title} comes as a whole; leave the parts out.")
    return module.fetch(Path(to), parts)
