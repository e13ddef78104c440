"""The papers of the study, from one list: `papers` in notebooks/claims.yaml."""

from dataclasses import dataclass
from functools import lru_cache
from importlib import import_module
from types import ModuleType

import yaml

from lib.files import ROOT
from lib.study.profile import StudyError

LIST = ROOT / "notebooks" / "claims.yaml"


@dataclass(frozen=True)
class Paper:
    """A paper's id ("SP"), a name for people, its room in lib/papers and its chapters in reading order.

    across: it has the rows of all papers to read and no claims of its own.
    """

    id: str
    name: str
    module: str
    chapters: tuple[str, ...]
    reference: str = ""
    venue: str = ""
    across: bool = False

    @property
    def key(self) -> str:
        """How commands, profiles and run ids write it: "sp"."""
        return self.id.lower()

    @property
    def published(self) -> str:
        """Where the paper is to be read: "arXiv 2404.04645, LREC-COLING 2024"."""
        return ", ".join(part for part in (self.reference, self.venue) if part)

    def room(self, part: str) -> ModuleType:
        """A module of the paper's room: study, figures or lab."""
        return import_module(f"{self.module}.{part}")


@lru_cache(maxsize=1)
def papers() -> dict[str, Paper]:
    """All papers by their lower-case id, in the order of the list."""
    listed = yaml.safe_load(LIST.read_text(encoding="utf-8"))["papers"]
    fields = ("name", "module", "reference", "venue", "across")
    found = {}
    for name, facts in listed.items():
        known = {field: facts[field] for field in fields if field in facts}
        found[name.lower()] = Paper(id=name, chapters=tuple(facts["chapters"]), **known)
    return found


def paper(name: str) -> Paper:
    """A paper by its id, in any case. Raises StudyError naming the ones there are."""
    try:
        return papers()[name.lower()]
    except KeyError:
        raise StudyError(f"there is no paper {name!r}: choose one of {', '.join(papers())}") from None


def paper_of(chapter: str) -> Paper | None:
    """The paper that a chapter is about; None for one about the study itself."""
    return next((each for each in papers().values() if chapter in each.chapters), None)
