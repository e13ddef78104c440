"""Answers of listeners: checked against the key, left out by the rules of the test, and made rows."""

from __future__ import annotations

import json
import re
import zlib
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from lib.files import file_hash
from lib.study.claim_compare import by_listener
from lib.study.listening.make import COMPARED
from lib.study.listening.stimuli import REFERENCE, ListeningError
from lib.study.statistics import interval
from lib.study.units import unit

EARLIEST = 900  # ms of waiting for each second of a clip
FEW = 10  # answers, below which the same one everywhere says nothing
RATED = {"mos": "mos_listeners", "smos": "smos_listeners", "mushra": "mushra_listeners"}
LARGEST = {"mos": 5, "smos": 5, "xab": 2, "preference": 3}
RULES = ("headphones_right", "checks_failed", "same_answer", "too_fast", "reference_low")


@dataclass
class Heard:
    """What a folder of answers holds: `rows` of those who count, a line for every file with why it does not count."""

    rows: pd.DataFrame = field(repr=False)
    files: list[dict] = field(default_factory=list)

    @property
    def listeners(self) -> int:
        return self.rows["listener"].nunique()


def load_key(folder: Path) -> tuple[dict, dict, bool]:
    """The key of the test in `folder`, its rules, and whether these were changed since it was made."""
    try:
        key = json.loads((folder / "key.json").read_text(encoding="utf-8"))
        rules = yaml.safe_load((folder / "rules.yaml").read_text(encoding="utf-8"))
        known = {name: float(rules[name]) for name in RULES}
        return key, known, file_hash(folder / "rules.yaml") != key["rules_sha256"]
    except (OSError, ValueError, KeyError, TypeError, yaml.YAMLError) as error:
        raise ListeningError(
            f"{folder} holds no whole test ({type(error).__name__}): give a folder that `listen make` wrote, with its "
            "key.json and rules.yaml"
        ) from error


def check(data: bytes, key: dict) -> dict:
    """One listener's answers. Raises ListeningError for anything but whole, unchanged answers to this very test."""
    try:
        found = json.loads(data)
        content = {name: value for name, value in found.items() if name != "crc32"}
        text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    except (ValueError, AttributeError, RecursionError):
        raise ListeningError("no whole file of answers: ask the listener for it again") from None
    if found.get("test") != key["test"]:
        raise ListeningError("answers of another test: keep it with the test that it is of")
    if found.get("crc32") != f"{zlib.crc32(text):08x}":
        raise ListeningError("changed or damaged after the page wrote it: ask the listener for it again")
    try:
        trials = {name: (part["kind"], each) for part in key["parts"] for name, each in part["trials"].items()}
        expected = [name for part in key["lists"][_whole(found["list"])] for name in part]
        if [answer["trial"] for answer in found["answers"]] != expected:
            raise ValueError
        for answer in found["answers"]:
            kind, trial = trials[answer["trial"]]
            values = [answer["value"]] if kind != "mushra" else [answer["value"][name] for name in trial["clips"]]
            if not all(int(kind != "mushra") <= _whole(value) <= LARGEST.get(kind, 100) for value in values):
                raise ValueError
            _whole(answer["ms"])
        if set(found["headphones"]) != set(key["headphones"]) or not isinstance(found["finished"], str):
            raise ValueError
        if not re.fullmatch(r"[0-9a-f]{16}", found["listener"]):
            raise ValueError
    except (ValueError, KeyError, TypeError, IndexError):
        raise ListeningError("not all trials are answered as the page does it: ask the listener to finish") from None
    return found


def _whole(value: object) -> int:
    if type(value) is not int or value < 0:
        raise ValueError
    return value


def read(folder: Path, key: dict, rules: dict) -> Heard:
    """All answers in a folder. A file that cannot be used, and a second one of a listener, is listed and left where it
    is; the listener's first counts.
    """
    usable, files = [], []
    for path in sorted(folder.glob("[!.]*.json")):
        try:
            usable.append((path.name, check(path.read_bytes(), key)))
        except (ListeningError, OSError) as error:
            files.append({"file": path.name, "listener": "", "counts": "no", "why": str(error)})
    if not usable and not files:
        raise ListeningError(f"{folder} holds no answers: gather the listeners' JSON files there")
    first, rows = {}, []
    for name, found in sorted(usable, key=lambda each: (each[1]["finished"], each[0])):
        listener = found["listener"]
        why = excluded(found, key, rules)
        if listener in first:
            why = [f"a second file of one listener, whose first, {first[listener]}, counts"]
        first.setdefault(listener, name)
        files.append({"file": name, "listener": listener, "counts": "no" if why else "yes", "why": "; ".join(why)})
        rows += [] if why else to_rows(found, key)
    columns = ["listener", "system", "target", "variant", "utterance", "metric", "value", "unit"]
    return Heard(pd.DataFrame(rows, columns=columns), sorted(files, key=lambda each: each["file"]))


def excluded(found: dict, key: dict, rules: dict) -> list[str]:
    """Why a listener does not count, by the rules written beforehand; nothing for one who does."""
    why, values = [], {answer["trial"]: answer for answer in found["answers"]}
    right = sum(found["headphones"][name] == answer for name, answer in key["headphones"].items())
    if right < rules["headphones_right"]:
        why.append(f"{right} of {len(key['headphones'])} headphone trials right")
    failed = fast = low = references = 0
    for part in key["parts"]:
        mine = {name: trial for name, trial in part["trials"].items() if name in values}
        given = [values[name]["value"] for name in mine]
        failed += sum(t["right"] is not None and values[n]["value"] not in t["right"] for n, t in mine.items())
        fast += sum(values[name]["ms"] < EARLIEST * trial["seconds"] for name, trial in mine.items())
        if part["kind"] == "mushra":
            rated = [v[t["clips"][t["systems"].index(REFERENCE)]] for v, t in zip(given, mine.values(), strict=True)]
            low, references = low + sum(value < 90 for value in rated), references + len(rated)
            given = [value for each in given for value in each.values()]
        same = max(Counter(given).values()) / len(given)
        if len(given) >= FEW and same >= rules["same_answer"]:
            why.append(f"{100 * same:.0f} % the same answer in the part {part['kind']}")
    if failed > rules["checks_failed"]:
        why.append(f"{failed} trials with a known answer wrong")
    if fast > rules["too_fast"] * len(values):
        why.append(f"{fast} of {len(values)} trials answered sooner than they can be heard")
    if low > rules["reference_low"] * references:
        why.append(f"the hidden reference below 90 in {low} of {references} trials")
    return why


def to_rows(found: dict, key: dict) -> list[dict]:
    """Rows of one listener: a rating of each system and sentence, or 100, 50 or 0 for the first system of a pair."""
    rows, values = [], {answer["trial"]: answer["value"] for answer in found["answers"]}
    for part in key["parts"]:
        kind = part["kind"]
        for name, trial in part["trials"].items():
            if name not in values or trial["right"] is not None:
                continue
            shared = {"listener": found["listener"], "utterance": trial["sentence"], "variant": kind}
            value, systems = values[name], trial["systems"]
            if kind in COMPARED:
                a, b = next(pair for pair in key["pairs"] if set(pair) == set(systems))
                chosen = 50.0 if value == 3 else 100.0 * (systems[value - 1] == a)
                rows.append(shared | {"system": a, "target": b, "metric": "preference", "value": chosen})
                continue
            given = [value[clip] for clip in trial["clips"]] if kind == "mushra" else [value]
            rows += [
                shared | {"system": system, "metric": RATED[kind], "value": float(rated)}
                for system, rated in zip(systems, given, strict=True)
            ]
    return [row | {"unit": unit(row["metric"])} for row in rows]


def scores(rows: pd.DataFrame, published: dict[str, dict], level: float = 0.95) -> list[dict]:
    """Mean of every system, or share of every pair, with its interval over listeners and sentences, and the published
    mean (`published`: a system's numbers as claims.yaml has them).
    """
    found = []
    for (variant, system, target), table in rows.fillna({"target": ""}).groupby(["variant", "system", "target"]):
        made = interval(by_listener(table), level=level, crossed=True)
        named = f"{system} over {target}" if target else system
        line = {"part": variant, "system": named, "mean": made.value, "low": made.ci_low, "high": made.ci_high}
        line |= {"published": (published.get(system) or {}).get(variant), "listeners": made.speakers}
        found.append(line | {"answers": len(table)})
    order = {name: i for i, name in enumerate((*RATED, *COMPARED))}
    return sorted(found, key=lambda line: (order[line["part"]], -np.float64(line["mean"])))
