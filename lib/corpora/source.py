"""The corpus that a study works on: built here from a recipe, prepared by name, or a folder of one's own recordings.

    corpus: {cast: [...], ...}                                    speech synthesised here (lib.corpora.embedded)
    corpus: {source: vctk}                                        one prepared corpus, or a folder of recordings
    corpus: {pretraining: libritts train-clean-100, adaptation: vctk}      a corpus for each role

A role names a corpus and optionally subsets of it. Roles that no named corpus fills are the cast's, where there is one.
A published corpus that is not prepared is prepared from data/downloads/<name>, or where `sources: {<name>: FOLDER}`
says. Durations are those of its manifest, or else the aligner's (`lib.corpora.durations`).
"""

import hashlib
import os
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from lib.corpora import durations as aligned
from lib.corpora import published
from lib.corpora.corpus import ROLES, SPLITS, Corpus, CorpusError, Utterance
from lib.corpora.embedded import build as embedded
from lib.corpora.embedded.parts import LICENCES
from lib.corpora.recorded import folder
from lib.corpora.recorded import read as recorded
from lib.corpora.recorded.clip import safe_name
from lib.corpora.recorded.read import BUILT
from lib.files import DATA, cache_root, fingerprint

COMMAND = "python -m lib corpora"


def build(recipe: dict, root: str | Path = BUILT, cores: int | None = None) -> Corpus:
    """The corpus of a profile's recipe, with durations; what is missing of it is made, what is there is loaded.

    Raises CorpusError for a wrong recipe and for a corpus that is not there, with the line that fetches it.
    """
    if recipe.get("source"):
        return with_roles(_timed(open_corpus(recipe["source"], root, cores), recipe, cores))
    named = [role for role in ROLES if role in recipe]
    if not named:
        return embedded.build(recipe, root, cores)
    parts = {}
    for role in named:
        corpus = _of_role(recipe, role, root, cores)
        parts[role] = with_roles(corpus) if role == named[-1] and "never_seen" not in named else corpus
    return joined(parts, embedded.build(recipe, root, cores) if "cast" in recipe else None)


def open_corpus(source: str | Path, root: str | Path = BUILT, cores: int | None = None) -> Corpus:
    """A corpus by the name it was prepared with, by its folder, or prepared now from a folder or CSV of recordings.

    Of several preparations of a name the newest is taken; `<name>-<hash>` names one. A folder of recordings is laid
    out as `lib.corpora.recorded.folder` says. Raises CorpusError naming what there is and the command that prepares
    the corpus.
    """
    name, path = str(source), Path(source).expanduser()
    if found := prepared(name, root):
        return Corpus.load(found[0])
    if (path / "manifest.jsonl").is_file():
        return Corpus.load(path)
    if name in published.LOADERS:
        raise CorpusError(f"{name} is not prepared: {COMMAND} prepare {name} --source FOLDER does it. {_access(name)}")
    if path.exists():
        return Corpus.load(folder.read(path, root=root, cores=cores).root)  # with the durations it was given
    there = sorted({place.name.rpartition("-")[0] for place in _places(root)})
    raise CorpusError(
        f"{name}: no prepared corpus and no folder of that name; there are {', '.join(there) or 'none'}. "
        f"{COMMAND} list names the corpora that {COMMAND} prepare NAME --source FOLDER prepares."
    )


def licences(corpus: Corpus, utterances: Sequence[Utterance]) -> dict[str, str]:
    """The licences of the voices that some utterances of a corpus have, and of the published corpora in it, by name."""
    voices = {item.recipe.get("voice") for item in utterances}
    found = {name: module.ABOUT.licence for name, module in published.LOADERS.items() if name in corpus.name.split("-")}
    return {name: licence for name, licence in LICENCES.items() if name in voices} | found


def prepared(name: str, root: str | Path = BUILT) -> list[Path]:
    """Folders of the finished preparations of a name (`vctk` or `vctk-<hash>`), newest first."""
    wanted = safe_name(name)
    found = [place for place in _places(root) if wanted in (place.name, place.name.rpartition("-")[0])]
    return sorted(found, key=lambda place: (place / "corpus.json").stat().st_mtime, reverse=True)


def given(entry: dict | str | None) -> str | None:
    """What a profile's entry names, NAME or {source: NAME}: a prepared corpus or a folder of recordings, or nothing.

    One with `if_there: true` that is not prepared here counts as nothing, in a line that says so.
    """
    section = entry if isinstance(entry, dict) else {"source": entry}
    source = section.get("source")
    if source and section.get("if_there") and not prepared(source) and not Path(source).exists():
        print(f"{source} is left out: {COMMAND} prepare {source} --source FOLDER makes it part of the study.")
        return None
    return source


def with_roles(corpus: Corpus, share: float = 0.2, all_tested: bool = False) -> Corpus:
    """The corpus with speakers that are never seen in training, so that training and test can share no speaker.

    Where its manifest has none, they are `share` of the speakers of each condition, one at least of two or more, by the
    hash of their names; a corpus of one speaker stays as it is. all_tested: sentences that only they say are all test
    sentences, instead of the manifest's share of them.
    """
    held = set(corpus.speakers("never_seen")) or _held_out(corpus, share)
    known = {item.text for item in corpus.utterances if item.speaker not in held}

    def assigned(item: Utterance) -> Utterance:
        role = "never_seen" if item.speaker in held else item.role
        return replace(item, role=role, split="test" if all_tested and item.text not in known else item.split)

    utterances = [assigned(item) for item in corpus.utterances]
    if utterances == corpus.utterances:
        return corpus
    return replace(corpus, utterances=utterances, hash=fingerprint(corpus.hash, sorted(held), all_tested))


def _held_out(corpus: Corpus, share: float) -> set[str]:
    groups: dict[str, list[str]] = {}
    for speaker in corpus.speakers():
        groups.setdefault(corpus.select(speaker=speaker)[0].condition, []).append(speaker)
    if all(len(speakers) == 1 for speakers in groups.values()):
        groups = {"": corpus.speakers()}
    held: set[str] = set()
    for speakers in groups.values():
        ordered = sorted(speakers, key=lambda name: hashlib.sha256(name.encode()).digest())
        held |= set(ordered[: max(1, round(share * len(speakers)))] if len(speakers) > 1 else ())
    return held


def joined(parts: dict[str, Corpus], rest: Corpus | None = None) -> Corpus:
    """One corpus of several: each gives the speakers of its role, and those of its own that are never seen.

    rest gives the roles that are then still empty. Ids that two corpora have get the corpus's name; a sentence that is
    in two splits is in the later of train, validation and test. Recordings stay where they are.
    """
    chosen: list[tuple[Corpus, Utterance]] = []
    for role, corpus in parts.items():
        chosen += [
            (corpus, item if item.role == "never_seen" else replace(item, role=role)) for item in corpus.utterances
        ]
    filled = {item.role for _, item in chosen}
    if rest is not None:
        chosen += [(rest, item) for item in rest.utterances if item.role not in filled]
    corpora = list({corpus.root: corpus for corpus, _ in chosen}.values())
    base = Path(os.path.commonpath([corpus.root.resolve() for corpus in corpora]))
    splits: dict[str, int] = {}
    owner: dict[str, Path] = {}
    for corpus, item in chosen:
        splits[item.text] = max(splits.get(item.text, 0), SPLITS.index(item.split))
        for name in (item.utterance, item.speaker):
            owner.setdefault(name, corpus.root)

    def own(corpus: Corpus, name: str) -> str:
        return name if owner[name] == corpus.root else f"{corpus.name}_{name}"

    utterances = [
        replace(
            item,
            utterance=own(corpus, item.utterance),
            speaker=own(corpus, item.speaker),
            split=SPLITS[splits[item.text]],
            path=(corpus.root.resolve() / item.path).relative_to(base).as_posix(),
        )
        for corpus, item in chosen
    ]
    identity = fingerprint([(role, corpus.hash) for role, corpus in parts.items()], rest.hash if rest else None)
    aside = [entry for corpus in corpora for entry in corpus.set_aside]
    return Corpus(base, "-".join(corpus.name for corpus in corpora), identity, utterances, aside)


def _of_role(recipe: dict, role: str, root: str | Path, cores: int | None) -> Corpus:
    """The corpus that a role names, or the subsets named, with durations; it is prepared now where it is not yet."""
    name, *parts = str(recipe[role]).split()
    if name not in published.LOADERS:
        return _only(_timed(open_corpus(name, root, cores), recipe, cores), parts)
    for place in prepared(name, root):
        corpus = Corpus.load(place)
        if set(parts) <= {item.recipe.get("subset") for item in corpus.utterances}:
            return _only(_timed(corpus, recipe, cores), parts)
    source = Path((recipe.get("sources") or {}).get(name, DATA / "downloads" / name)).expanduser()
    loader = published.loader(name)
    if not source.is_dir():
        line = f"{COMMAND} fetch {name} --to {source}" + (f" --parts {' '.join(parts)}" if parts else "")
        how = f"get it with {line}" if hasattr(loader, "fetch") else loader.ABOUT.access
        raise CorpusError(f"{loader.ABOUT.title}, the corpus for {role}, is not in {source}: {how}")
    clips = loader.clips(source)
    chosen = [clip for clip in clips if not parts or clip.recipe.get("subset") in parts]
    _check_subsets(parts, {str(clip.recipe.get("subset")) for clip in chosen}, clips, source)
    return _timed(recorded.prepare(chosen, name, root, cores, loader.ABOUT.trim), recipe, cores)


def _only(corpus: Corpus, parts: Sequence[str]) -> Corpus:
    chosen = [item for item in corpus.utterances if not parts or item.recipe.get("subset") in parts]
    if chosen == corpus.utterances:
        return corpus
    _check_subsets(parts, {str(item.recipe.get("subset")) for item in chosen}, corpus.utterances, corpus.root)
    return replace(corpus, utterances=chosen, hash=fingerprint(corpus.hash, sorted(parts)))


def _check_subsets(parts: Sequence[str], found: set[str], items: Sequence, place: Path) -> None:
    if lacking := [part for part in parts if part not in found]:
        known = sorted({str(item.recipe.get("subset")) for item in items})
        raise CorpusError(f"{place}: holds no subset {lacking[0]}; there are {', '.join(known)}.")


def _timed(corpus: Corpus, recipe: dict, cores: int | None) -> Corpus:
    """The corpus with durations, the aligner's where it has none."""
    if all(item.durations for item in corpus.utterances):
        return corpus
    return aligned.align(corpus, cache_root(), recipe.get("aligner"), device="auto", cores=cores)


def _places(root: str | Path) -> list[Path]:
    """The finished corpora below a folder."""
    named = (place for place in sorted(Path(root).glob("*-*")) if re.fullmatch(r".+-[0-9a-f]{12}", place.name))
    return [place for place in named if (place / "corpus.json").is_file()]


def _access(name: str) -> str:
    loader = published.loader(name)
    return f"{COMMAND} fetch {name} --to FOLDER gets it." if hasattr(loader, "fetch") else loader.ABOUT.access
