"""The Opus clips of a committed run: the sentences that players play, by the systems that the papers compare."""

import shutil
from pathlib import Path

import soundfile

from lib.files import replace_file
from lib.study.claims import load_claims
from lib.study.gates import halves
from lib.study.listen import packed
from lib.study.listening.make import protocols
from lib.study.listening.stimuli import REFERENCE, with_recordings
from lib.study.report.evidence import kept_speech

MOST = 8_000_000  # bytes of all papers' clips


def encode(profile: dict) -> dict[str, bytes]:
    """Clips by their path in a folder audio/, of every paper that has a listening test: its headline systems, those of
    the test, those that are not trained, and the recordings as they are and vocoded; none of half a training. Raises
    ValueError for more bytes than `MOST`.
    """
    found, sizes = {}, {}
    for name, test in protocols().items():
        facts, section = load_claims()["papers"][name.upper()], profile.get(name) or {}
        wanted = {REFERENCE, f"{REFERENCE}_vocoded", *facts.get("untrained", []), *(section.get("headline") or [])}
        wanted |= {*test["systems"], *(system for pair in test["pairs"] for system in pair)}
        wanted -= set(halves(profile, name).values())
        heard = kept_speech(with_recordings(profile, name), name.upper(), facts)
        mine = {
            f"{path.parent.name}/{utterance}.opus": _opus(path)
            for utterance, systems in heard.items()
            for system, path in systems.items()
            if system in wanted
        }
        found |= mine
        if mine:
            sizes[name.upper()] = sum(map(len, mine.values())), len(mine), len(heard)
    if (total := sum(size for size, _, _ in sizes.values())) > MOST:
        largest = max(sizes, key=lambda name: sizes[name][0])
        size, clips, sentences = sizes[largest]
        raise ValueError(
            f"the clips would take {total / 1e6:.3g} MB, at most {MOST / 1e6:.3g} MB are committed: {largest} has the "
            f"most, {size / 1e6:.3g} MB for {clips} clips of {sentences} sentences; let its players keep fewer"
        )
    return found


def _opus(path: Path) -> bytes:
    """Speech as Opus; what an earlier portion of the run has packed already as it is."""
    return path.read_bytes() if path.suffix == ".opus" else packed(*soundfile.read(path, dtype="float32"))


def write(clips: dict[str, bytes], folder: Path, papers: list[str]) -> None:
    """Write the clips to `folder`/audio in the place of an earlier run's of the same papers."""
    for paper in papers:
        for earlier in (folder / "audio").glob(f"{paper.lower()}-*"):
            shutil.rmtree(earlier)
    for name, data in clips.items():
        path = folder / "audio" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        with replace_file(path) as temporary:
            temporary.write_bytes(data)
