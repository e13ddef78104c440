"""Two published corpora as the corpus of a profile, for example LibriTTS for pre-training and VCTK for adaptation.

    corpus: {pretraining: libritts train-clean-100, adaptation: vctk}

A role names a corpus, and optionally subsets of it; `sources: {vctk: ~/corpora/vctk}` says where it was unpacked to, by
default data/downloads/<name>. The speakers that a corpus's loader never shows keep that role. Durations come from the
aligner (`lib.corpora.durations`), trained on all its utterances.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lib.corpora import durations as aligned
from lib.corpora.corpus import Corpus, CorpusError, write_text
from lib.corpora.recorded import layout
from lib.corpora.recorded import read as recorded
from lib.corpora.recorded.clip import Clip
from lib.files import DATA, cache_root, fingerprint

FILLED = ("pretraining", "adaptation")  # the roles that a recipe fills


def build(recipe: dict, root: str | Path = DATA / "built", cores: int | None = None) -> Corpus:
    """Prepare, align or just load the corpus of a recipe.

    Entries of the embedded corpus's recipe do not count. Raises CorpusError for a corpus that is not there, with the
    line that fetches it, and for one that does not exist.
    """
    places = {role: located(recipe, role) for role in FILLED if role in recipe}
    listing = {role: _listing(folder) for role, (_, folder, _) in places.items()}
    pointer = Path(root) / f"joint-{fingerprint({k: recipe[k] for k in FILLED if k in recipe}, listing)}.json"
    if (known := _known(pointer)) is not None:
        return known
    clips = [clip for role, (name, folder, parts) in places.items() for clip in of_role(name, folder, parts, role)]
    title = "-".join(dict.fromkeys(name for name, _, _ in places.values()))
    trim = any(layout.loader(name).ABOUT.trim for name, _, _ in places.values())
    plain = recorded.prepare(clips, title, root, cores, trim)
    corpus = aligned.align(plain, _cache(), recipe.get("aligner"), device=_device(), cores=cores)
    write_text(pointer, json.dumps({"folder": corpus.root.name, "hash": corpus.hash}))
    return corpus


def located(recipe: dict, role: str) -> tuple[str, Path, Sequence[str]]:
    """Name, folder and subsets of the corpus that fills a role. Raises CorpusError where it is not there."""
    name, *parts = str(recipe[role]).split()
    loader = layout.loader(name)
    folder = Path((recipe.get("sources") or {}).get(name, DATA / "downloads" / name)).expanduser()
    if not folder.is_dir():
        line = f"python -m lib.corpora fetch {name} --to {folder}" + (f" --parts {' '.join(parts)}" if parts else "")
        how = f"get it with {line}" if hasattr(loader, "fetch") else loader.ABOUT.access
        raise CorpusError(f"{loader.ABOUT.title}, the corpus for {role}, is not in {folder}: {how}")
    return name, folder, parts


def of_role(name: str, folder: Path, parts: Sequence[str], role: str) -> list[Clip]:
    """The corpus's clips with the role given, except those of speakers that are never seen."""
    found = layout.loader(name).clips(folder)
    chosen = [clip for clip in found if not parts or clip.recipe.get("subset") in parts]
    if not chosen:
        known = sorted({str(clip.recipe.get("subset")) for clip in found})
        raise CorpusError(f"{folder}: holds no subset {' or '.join(parts)}; there are {', '.join(known)}.")
    return [clip if clip.role == "never_seen" else replace(clip, role=role) for clip in chosen]


def _listing(folder: Path) -> str:
    """Names and sizes of the files below a folder, in twelve digits."""
    return fingerprint(sorted((str(f.relative_to(folder)), f.stat().st_size) for f in folder.rglob("*") if f.is_file()))


def _known(pointer: Path) -> Corpus | None:
    """The corpus that a finished build wrote down, or None."""
    try:
        place = json.loads(pointer.read_text(encoding="utf-8"))
        corpus = Corpus.load(pointer.parent / place["folder"])
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return corpus if corpus.hash == place["hash"] else None


def _cache() -> Path:
    return cache_root()


def _device() -> str:
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"
