"""Speech-like clips by systems of known quality, and listeners who answer a test about them as told."""

import json
import zlib

import numpy as np

from lib import audio
from lib.study.listening import stimuli
from lib.study.listening.make import make

QUALITY = {"reference": 4.6, "good_one": 3.9, "bad_one": 2.9, "noise": 1.0, "anchor": 2.0}
SECRET = ("good_one", "bad_one", "s00", "s01")  # what no file of the page may tell
TEST = {"kinds": ["mos"], "systems": ["good_one", "bad_one"], "pairs": [["good_one", "bad_one"]], "items": 10}


def write_clips(folder, sentences=10, systems=("good_one", "bad_one", "reference"), seconds=0.3):
    """SYSTEM/SENTENCE.wav: tones with harmonics, each system at another level."""
    time = np.arange(int(seconds * audio.RATE)) / audio.RATE
    for number, system in enumerate(systems):
        for sentence in range(sentences):
            wave = sum(np.sin(2 * np.pi * 110 * h * (1 + sentence / 20) * time) / h for h in range(1, 50))
            audio.write(folder / system / f"s{sentence:02}.wav", 0.05 * (number + 1) * wave * np.hanning(len(time)))
    return folder


def make_test(folder, **changes):
    """A test of `write_clips`; returns its folder and key."""
    source, test = write_clips(folder / "speech"), TEST | changes
    facts = {"profile": None, "paper": None, "pairs": test["pairs"]}
    return folder / "test", make(stimuli.from_folder(source), test, folder / "test", facts)


def answer(key, number, rng, quality=QUALITY, spread=0.6, finished="2026-11-29T12:00:00Z", **changes):
    """What listener `number` hands over: ratings by the systems' quality, the listener's own mood and chance."""
    found, mood = [], rng.normal(0, 0.3)
    trials = {name: (part["kind"], each) for part in key["parts"] for name, each in part["trials"].items()}
    each = number % len(key["lists"])
    for name in (name for part in key["lists"][each] for name in part):
        kind, trial = trials[name]
        felt = [quality[system] + mood + rng.normal(0, spread) for system in trial["systems"]]
        if kind in ("xab", "preference"):
            value = int(np.argmax(felt)) + 1
        elif kind == "mushra":
            scores = [100 if s == "reference" else 20 * f for s, f in zip(trial["systems"], felt, strict=True)]
            value = {c: int(np.clip(s, 0, 100)) for c, s in zip(trial["clips"], scores, strict=True)}
        else:
            value = int(np.clip(round(felt[0]), 1, 5))
        if trial["right"] is not None:
            value = trial["right"][0]
        found.append({"trial": name, "value": value, "ms": 60000, "plays": 1})
    content = {"test": key["test"], "listener": f"{number:016x}", "list": each, "began": "", "finished": finished}
    return content | {"headphones": key["headphones"], "answers": found} | changes


def signed(content):
    """The file that the page would hand over."""
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    return json.dumps(
        content | {"crc32": f"{zlib.crc32(text):08x}"}, separators=(",", ":"), ensure_ascii=False
    ).encode()
