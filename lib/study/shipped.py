"""Weights that come with the project: data/weights/<paper>-<part>.safetensors in float16, each with a card (.json).

    python -m lib ship ld posterior --profile full      writes a trained part and its card
    ht: {start: shipped}                                in a profile: what is shipped is taken, not trained
    python -m lib train ld posterior --profile full     takes what this profile's very recipe made, as if trained here
    python -m lib train ld posterior --from-scratch     trains it whatever is shipped

A card says how the weights were made and on what (`recipe`: the training's fingerprint; `made`: the SHA-256 of what it
wrote), how good they are, what they need, and their SHA-256.
"""

from __future__ import annotations

import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from safetensors.torch import load_file, save_file
from torch import Tensor

from lib import text
from lib.corpora import source
from lib.corpora.corpus import Corpus
from lib.files import DATA, file_hash, fingerprint, load_json, replace_file, write_json
from lib.study.claim_compare import select
from lib.study.profile import StudyError
from lib.study.provenance import git_state
from lib.study.rows import read_rows
from lib.training import parallel
from lib.training.weights import WeightsError, is_kept, keep, load_weights, metadata

Study = Any  # lib.study.protocol.Study, which imports this module
WEIGHTS = DATA / "weights"
POINTS = 50  # most of a learning curve on a card
LICENCE = "MIT, as the project; what it was trained on has its own"
MARK = "shipped"  # the fingerprint in a shipped file: no training's, so that it is never taken for one
OWN = {  # what a card says beside the facts of its training
    *("what", "commands", "commit", "profile", "recipe", "training", "trained_on", "needs", "quality", "licence"),
    "weights",
}
OF = ("profile", "history", "fingerprint", "sha256", "wall_seconds")  # facts of a training that a card says otherwise


@dataclass(frozen=True)
class Lesson:
    """What a shared part is made for and what it hears.

    needs: sizes and features that weights must have been made with. trained, tested: what it is trained on, and what
    nothing may be trained on, each with its `text`. people: the corpus's speakers and their roles. licences: of what it
    is trained on, by name.
    """

    needs: dict
    trained: list
    tested: list
    people: dict[str, str]
    licences: dict[str, str]

    @classmethod
    def of(cls, corpus: Corpus, trained: list, **needs: object) -> Lesson:
        people = {item.speaker: item.role for item in corpus.utterances}
        needs = {"symbols": text.SYMBOLS, **needs}
        return cls(needs, trained, corpus.select(split="test"), people, source.licences(corpus, trained))


def file_of(paper: str, part: str) -> Path:
    return WEIGHTS / f"{paper}-{part}.safetensors"


def told(path: Path) -> str:
    """A shipped file in manifests."""
    return f"{MARK}, SHA-256 {file_hash(path)[:12]}"


def write(path: Path, state: dict[str, Tensor], card: dict) -> dict:
    """Write weights as float16, then their card with the SHA-256; a tensor that float16 cannot hold stays as it is."""
    with replace_file(path) as temporary:
        save_file({name: _half(value).contiguous() for name, value in state.items()}, temporary, {"fingerprint": MARK})
    card = card | {"weights": sum(value.numel() for value in state.values()), "sha256": file_hash(path)}
    write_json(path.with_suffix(".json"), card)
    return card


def read_card(path: Path) -> dict:
    """The card of weights. Raises WeightsError where one of the two is missing or damaged or not the other's."""
    mend = "`git checkout data/weights` restores both" if path.resolve().parent == WEIGHTS else "make both anew"
    if not path.is_file():
        raise WeightsError(f"{path}: there are no weights, only a card: {mend}.")
    told = f"{path}: its card {path.stem}.json is missing or damaged: {mend}."
    card = load_json(path.with_suffix(".json"), lambda _: WeightsError(told))
    if card.get("sha256") != file_hash(path):
        raise WeightsError(f"{path}: its SHA-256 is not the one on its card, one of them is damaged: {mend}.")
    return card


def take(study: Study, part: str, source: Path, path: Path) -> Path:
    """Put a shipped part where a study looks for a trained one, bit for bit, the card as its facts; returns `path`.

    One that was trained there goes into the folder `trained` beside it.
    Raises WeightsError for a file that cannot be used, or not by this profile, with what mends it.
    """
    card = read_card(source)
    _check(study, part, card, source.name)
    facts = path.with_suffix(".json")
    if not (path.is_file() and facts.is_file() and file_hash(path) == card["sha256"]):
        made = study.part(part, 0)
        try:
            load_weights(made.saved(made.build()), source)
        except WeightsError:
            raise WeightsError(f"{source.name} is of another architecture than {part} here: {_mend(study)}") from None
        if metadata(path).get("fingerprint", MARK) != MARK:
            (path.parent / "trained").mkdir(exist_ok=True)
            for each in filter(Path.is_file, (path, facts)):
                each.replace(path.parent / "trained" / each.name)
        write_json(facts, card | {"fingerprint": told(source)})
        with replace_file(path) as temporary:
            temporary.write_bytes(source.read_bytes())
    return path


def adopt(study: Study, part: str, seed: int = 0) -> bool:
    """Put a shipped part where a study that trains it keeps it, in 32-bit floats, if its card names this very recipe.

    False where nothing is shipped, the recipe is another, or the part is there. Raises WeightsError for a damaged one.
    """
    source, path = file_of(study.paper, part), study.checkpoint(part, seed)
    there = source.exists() or source.with_suffix(".json").exists()
    if part not in study.shares or study.made_by(part) != part or not there:
        return False
    marks, card = _marks(study, part, seed), read_card(source)
    if card.get("recipe") not in marks or any(is_kept(path, mark) for mark in marks):
        return False
    state = {name: value.float() if value.is_floating_point() else value for name, value in load_file(source).items()}
    facts = {name: value for name, value in card.items() if name not in OWN}
    keep(path, state, marks[0], facts | {"from": told(source)})
    if parallel.first():
        print(f"{path.stem}: {source.name} of data/weights, which this very recipe made.", file=sys.stderr, flush=True)
    return True


def ship(study: Study, part: str, seed: int = 0, path: Path | None = None) -> dict:
    """Write a trained part of a profile and its card into data/weights; returns the card.

    Raises StudyError for a part that is not shipped or is not trained with the profile's settings.
    """
    if part not in study.shares:
        shares = ", ".join(study.shares) or "nothing"
        raise StudyError(f"{part} is nothing that the systems of {study.paper} share: they share {shares}")
    system = study.made_by(part)
    trained, train = study.checkpoint(system, seed), study.command("train", system, seed)
    if not _is_trained(study, system, seed):
        raise StudyError(f"{trained.stem} is not trained with the settings of this profile: {train} does it")
    lesson, known, state = study.lesson(part), study.trained(system, seed), load_file(trained)
    if system != part:  # whole: the part is its backbone
        state = {name.removeprefix("backbone."): value for name, value in state.items()}
    facts = {name: value for name, value in known.items() if name not in OF}
    card = facts | {
        "what": f"{study.paper}-{part} of the study, seed {seed}, profile {study.profile['name']}, in 16-bit floats",
        "commands": [f"{train} --from-scratch", study.command("ship", part, seed)],
        "commit": git_state()["commit"],
        "profile": study.profile["name"],
        "recipe": known["fingerprint"],
        "made": known.get("made", known["sha256"]),  # of one that was taken over: what its training wrote
        "training": asdict(study.part(system, seed).config),
        "trained_on": {
            "corpus": study.corpus.name,
            "hash": study.corpus.hash,
            "licences": lesson.licences,
            "people": lesson.people,
            "sentences": _named(lesson.trained),
        },
        "needs": lesson.needs,
        "quality": quality(study, part, seed),
        "history": thinned(known.get("history", [])),
        "licence": LICENCE,
    }
    return write(path or file_of(study.paper, part), state, card)


def quality(study: Study, part: str, seed: int = 0) -> list[dict]:
    """Means of the rows that tell how good a part is, by role or else by variant; none before they are measured."""
    rows = select(read_rows(study.profile, study.paper.upper()), study.shares[part], seed=seed)
    by = "role" if rows["role"].notna().any() else "variant"
    groups = rows.groupby(["system", "metric", "unit", by], sort=True)["value"].agg(["mean", "size"]).reset_index()
    lines = groups.rename(columns={"mean": "value", "size": "rows"}).to_dict("records")
    return [line | {"value": float(f"{line['value']:.4g}")} for line in lines]


def thinned(history: list[dict]) -> list[dict]:
    """At most `POINTS` records of a learning curve: all with the loss on unseen sentences, evenly spaced others."""
    kept = [record for record in history if "validation" in record][-POINTS:]
    others = [record for record in history if "validation" not in record]
    space = POINTS - len(kept)
    kept += others[:: -(-len(others) // space)] if space and others else []
    return [
        {"step": record["step"]} | {k: float(f"{record[k]:.4g}") for k in ("total", "validation") if k in record}
        for record in sorted(kept, key=lambda record: record["step"])
    ]


def _check(study: Study, part: str, card: dict, name: str) -> None:
    """Raise WeightsError where a card is of weights that do not fit the study's settings or its data.

    Its corpus must be the study's or have it as a part: every speaker in the same role there, and no sentence that is
    tested here among those that were trained on.
    """
    lesson, given, data = study.lesson(part), card.get("needs", {}), card.get("trained_on", {})
    unlike = [key for key, value in lesson.needs.items() if fingerprint(value) != fingerprint(given.get(key))]
    if unlike:
        raise WeightsError(f"{name} was made with other {', '.join(unlike)} than this profile has: {_mend(study)}")
    if data.get("hash") == study.corpus.hash:
        return
    people = data.get("people", {})
    if strange := [who for who, role in lesson.people.items() if people.get(who) != role]:
        raise WeightsError(
            f"{name} was trained on another corpus, where {strange[0]} is not in the same role: {_mend(study)}"
        )
    known = set(data.get("sentences", "").split())
    if known & set(_named(lesson.tested).split()):
        raise WeightsError(f"{name} was trained on sentences that this profile tests on: {_mend(study)}")


def _mend(study: Study) -> str:
    return f"write `start: trained` in section {study.paper} of profile {study.profile['name']}."


def _is_trained(study: Study, part: str, seed: int) -> bool:
    """Whether weights are those of the profile's settings, trained on whichever kind of device."""
    return any(is_kept(study.checkpoint(part, seed), mark) for mark in _marks(study, part, seed))


def _marks(study: Study, part: str, seed: int) -> list[str]:
    """The fingerprints of a part's training by the profile's settings: on the study's device, then on each kind."""
    marks, device = [], study.device
    try:
        for study.device in (device, "cpu", "cuda"):
            marks.append(study.mark(study.part(part, seed)))
    finally:
        study.device = device
    return marks


def _named(sentences: list) -> str:
    """Sentences as eight digits of a hash each, so that a card can tell whether it knows one."""
    return " ".join(sorted({fingerprint(each.text)[:8] for each in sentences}))


def _half(value: Tensor) -> Tensor:
    half = value.half() if value.is_floating_point() else value
    return half if bool(half.isfinite().all()) else value
