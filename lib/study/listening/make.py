"""Making a listening test: OUT/page/, which is served or sent, and beside it key.json, rules.yaml and answers/."""

from __future__ import annotations

import json
import os
import random
import secrets
import shutil
from collections.abc import Collection
from pathlib import Path

import yaml

from lib.files import ROOT, file_hash, write_json
from lib.study.listening import stimuli
from lib.study.listening.stimuli import ANCHOR, NOISE, REFERENCE, ListeningError

PAGE = Path(__file__).parent / "page"
PROTOCOLS = ROOT / "notebooks" / "listening.yaml"
KINDS = ("mos", "smos", "xab", "preference", "mushra")
COMPARED = ("xab", "preference")  # pairs, not single systems
CHECKS = 2  # trials with a known answer in each part
LISTS = 4  # at least, so that sides of pairs change between listeners
RANDOM = random.SystemRandom()


def protocols() -> dict[str, dict]:
    """The papers' own tests, by paper."""
    return yaml.safe_load(PROTOCOLS.read_text(encoding="utf-8"))


def protocol(paper: str, profile: dict, there: Collection[str] | None = None) -> dict:
    """The paper's test with the systems that the profile keeps speech of, or with those `there`. Raises ListeningError
    for a paper without speech.
    """
    found, settings = protocols(), profile.get(paper) or {}
    if paper not in found:
        raise ListeningError(f"{paper} has no listening test: choose one of {', '.join(found)}")
    if there is None:
        kept = (settings.get("players") or {}).get("systems", settings.get("systems") or {})
        there = set(kept) & set(settings.get("systems") or {})
    chosen = found[paper]
    has = [name for name in chosen["systems"] if name in there]
    return chosen | {"systems": has, "pairs": [pair for pair in chosen["pairs"] if set(pair) <= {*has}]}


def make(clips: dict[str, dict], test: dict, out: Path, facts: dict, post: str | None = None) -> dict:
    """Write the test of `clips` (files by system and sentence) to the folder `out`; returns its key.

    test: kinds, systems, pairs and items (sentences a listener hears). facts: what the key says of where the clips
    are from. Raises ListeningError for clips that are missing and for a folder that holds a test.
    """
    if (out / "key.json").exists() or (out / "page").exists():
        raise ListeningError(f"{out} holds a test, or half of one, whose key its answers need: name another with --to")
    unknown = [kind for kind in test["kinds"] if kind not in KINDS]
    kinds, systems = test["kinds"], list(test["systems"])
    if unknown or not systems:
        told = f"{', '.join(unknown)} is no kind of test" if unknown else "there is no system to rate"
        raise ListeningError(f"{told}: choose kinds from {', '.join(KINDS)} and systems from {', '.join(clips)}")
    if set(kinds) & set(COMPARED) and not test["pairs"]:
        raise ListeningError("nothing is compared: name the pairs as --pairs A:B")
    if set(kinds) - {"mos", "preference"} and REFERENCE not in clips:
        raise ListeningError(f"{', '.join(kinds)} needs recordings of the sentences: a folder named {REFERENCE}")
    with_reference = [REFERENCE] * (REFERENCE in clips and REFERENCE not in systems)
    every = list(dict.fromkeys([*systems, *(name for pair in test["pairs"] for name in pair), *with_reference]))
    sentences = stimuli.matched(clips, every)
    waves, rate = stimuli.load(clips, every, sentences)
    best = REFERENCE if REFERENCE in every else systems[0]
    for sentence in sentences:
        if "mushra" in kinds:
            waves[ANCHOR, sentence] = stimuli.anchor(waves[best, sentence], rate)
        waves[NOISE, sentence] = stimuli.noisy(waves[best, sentence])
    waves = stimuli.level(waves, rate)
    seconds = {key: len(wave) / rate for key, wave in waves.items()}
    folder = out / "page" / "audio"
    order = RANDOM.sample(sorted(waves), len(waves))
    names = {key: stimuli.write(folder, waves[key], rate) for key in order}
    open_names = {sentence: stimuli.write(folder, waves[best, sentence], rate) for sentence in sentences}
    tones = [(stimuli.write(folder, wave, 44100), answer) for wave, answer in stimuli.headphone_tones()]
    RANDOM.shuffle(tones)
    rated = systems + with_reference
    parts = [_part(kind, rated, test["pairs"], sentences, best) for kind in kinds]
    rounds = -(-len(sentences) // (heard := min(test["items"], len(sentences))))
    count = max(LISTS, *(len(part["square"]) for part in parts)) * rounds
    lists = [[_order(part, sentences, heard, rounds, number) for part in parts] for number in range(count)]
    mark = secrets.token_hex(8)

    def shown(trial: dict) -> dict:
        clips = [names[key] for key in trial["clips"]]
        return {"clips": clips} | ({"x": open_names[trial["sentence"]]} if trial["x"] else {})

    page = {
        "test": mark,
        "post": post,
        "headphones": [name for name, _ in tones],
        "level": open_names[sentences[0]],
        "parts": [
            {"kind": part["kind"], "training": [shown(each) for each in part["training"]]}
            | {"trials": {name: shown(part["trials"][name]) for name in sorted(part["trials"])}}
            for part in parts
        ],
        "lists": lists,
    }
    key = facts | {
        "test": mark,
        "systems": rated,
        "headphones": dict(tones),
        "lists": lists,
        "parts": [{"kind": part["kind"], "trials": part["trials"]} for part in parts],
        "clips": {names[pair]: [*pair, round(seconds[pair], 3)] for pair in names},
    }
    for part in key["parts"]:
        part["trials"] = {name: _plain(part["kind"], each, names, seconds) for name, each in part["trials"].items()}
    for name in ("index.html", "listen.js", "listen.css"):
        shutil.copyfile(PAGE / name, out / "page" / name)
    (out / "page" / "test.js").write_text(f"window.TEST = {json.dumps(page)};\n", encoding="utf-8")
    shutil.copyfile(PAGE / "rules.yaml", out / "rules.yaml")
    (out / "answers").mkdir(exist_ok=True)
    for path in (out / "page").iterdir():
        os.utime(path, (0, 0))
    write_json(out / "key.json", key | {"rules_sha256": file_hash(out / "rules.yaml")})
    return key


def williams(count: int) -> list[list[int]]:
    """A Latin square of `count` conditions in which each follows each other one equally often (Williams, Australian J.
    Scientific Research A 2, 1949): `count` rows, twice as many where `count` is odd.
    """
    first = [0] + [(i + 1) // 2 if i % 2 else count - i // 2 for i in range(1, count)]
    rows = [[(each + shift) % count for each in first] for shift in range(count)]
    return rows + [row[::-1] for row in rows] if count % 2 and count > 1 else rows


def _part(kind: str, systems: list[str], pairs: list, sentences: list[str], best: str) -> dict:
    """The trials of a part: by the number of the condition, the sentence and the version (sides of a pair, or order of
    all systems), with those whose answer is known.
    """
    conditions = [tuple(pair) for pair in pairs] if kind in COMPARED else [(system,) for system in systems]
    square, trials, place = williams(len(conditions)), {}, {}
    if kind == "mushra":
        every = [name for name in systems if name != REFERENCE] + [REFERENCE, ANCHOR]
        square = williams(len(every))
        conditions = [tuple(every)]
        versions = [tuple(every[i] for i in row) for row in square]
    for number, condition in enumerate(conditions):
        if kind != "mushra":
            versions = [condition, condition[::-1]] if kind in COMPARED else [condition]
        for sentence in sentences:
            for version, order in enumerate(versions):
                place[number, sentence, version] = name = secrets.token_hex(4)
                trials[name] = _trial(kind, [(system, sentence) for system in order], sentence)
    checks = []
    for number in range(0 if kind == "mushra" else CHECKS):
        sentence = sentences[number % len(sentences)]
        good, bad = (best, sentence), (NOISE, sentence)
        sides = [good, bad] if number % 2 else [bad, good]
        shown = {"mos": [bad], "smos": [good]}.get(kind, sides)
        right = {"mos": [1, 2], "smos": [4, 5]}.get(kind, [sides.index(good) + 1])
        checks.append(secrets.token_hex(4))
        trials[checks[-1]] = _trial(kind, shown, sentence) | {"right": right}
    last = sentences[-1]
    ends = [(best, last), (NOISE, last)]
    training = [_trial(kind, ends, last)] if kind in (*COMPARED, "mushra") else [_trial(kind, [e], last) for e in ends]
    made = {"kind": kind, "square": square, "trials": trials, "place": place, "checks": checks, "training": training}
    return made | {"conditions": len(conditions), "versions": len(versions)}


def _trial(kind: str, clips: list[tuple[str, str]], sentence: str) -> dict:
    return {"clips": clips, "sentence": sentence, "x": kind in ("smos", "xab", "mushra")}


def _plain(kind: str, trial: dict, names: dict, seconds: dict) -> dict:
    """A trial as the key holds it: its clips' names, systems and the least time that hearing them takes."""
    lasts = (max if kind == "mushra" else sum)(seconds[pair] for pair in trial["clips"])
    facts = {"clips": [names[pair] for pair in trial["clips"]], "systems": [pair[0] for pair in trial["clips"]]}
    return facts | {"sentence": trial["sentence"], "seconds": round(lasts, 3), "right": trial.get("right")}


def _order(part: dict, sentences: list[str], heard: int, rounds: int, number: int) -> list[str]:
    """The trials of one list: every condition of `heard` sentences, in as many passes as there are conditions, each of
    which has every sentence once and the conditions equally often.
    """
    rows = len(part["square"])
    start = (number // rows + number) % rounds * heard
    chosen = RANDOM.sample([sentences[(start + i) % len(sentences)] for i in range(heard)], heard)
    found = []
    for passed in range(part["conditions"]):
        for i, sentence in enumerate(chosen):
            row = (number + i) % rows
            condition = part["square"][row][passed] if part["conditions"] > 1 else 0
            version = row if part["kind"] == "mushra" else (number + i + passed) % part["versions"]
            found.append(part["place"][condition, sentence, version % part["versions"]])
    for check in part["checks"]:
        found.insert(RANDOM.randint(1, len(found)), check)
    return found
