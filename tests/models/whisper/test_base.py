"""Whisper base, multilingual and cut in two packages, on real speech beside tiny.en."""

import csv
from pathlib import Path

import pytest
from real_recordings import recordings_of

from lib import audio, pretrained
from lib.metrics import wer
from lib.models.whisper import sizes
from lib.models.whisper.model import is_multilingual, prompt

SOME = 24  # utterances of each corpus; with half as many of speechocean762 alone the two cannot be told apart


@pytest.fixture(scope="module")
def base():
    try:
        return sizes.load("base")
    except pretrained.PretrainedError as error:
        pytest.skip(f"Whisper base is optional and not here: {error}")


def read_librispeech() -> dict[Path, str]:
    folder, found = recordings_of("librispeech"), {}
    for file in sorted(folder.rglob("*.trans.txt")):
        for line in file.read_text().splitlines():
            name, text = line.split(" ", 1)
            found[next(file.parent.glob(f"{name}.*"))] = text
    return found


def read_speechocean762() -> dict[Path, str]:
    folder = recordings_of("speechocean762")
    if not (folder / "metadata.csv").is_file():
        pytest.skip("this test reads the copy of speechocean762 that has a metadata.csv")
    with open(folder / "metadata.csv", newline="") as file:
        return {folder / row["path"]: row["text"] for row in csv.DictReader(file)}


def test_base_loads_whole_and_is_told_english_and_to_transcribe(base):
    told = [base.tokenizer.token_to_id(token) for token in ("<|en|>", "<|transcribe|>")]
    assert is_multilingual(base) and prompt(base) == [base.start, *told, base.no_timestamps] and None not in told
    assert base.network.config.d_model == 512 and base.network.config.decoder_layers == 6
    assert base.pretrained.sha256 == pretrained.WEIGHTS["whisper-base"].files["model.bin"] or "hub" in (
        base.pretrained.source
    )


def test_base_makes_fewer_errors_than_tiny_on_native_and_non_native_speech(base):
    chosen = {}
    for texts in (read_librispeech(), read_speechocean762()):
        chosen |= dict(list(texts.items())[:: len(texts) // SOME][:SOME])
    waves, errors = [audio.read(path) for path in chosen], {}
    for model in (base, sizes.load("tiny.en")):
        heard = model.transcribe(waves, context_seconds=5.0)
        errors[model is base] = sum(min(value, 1) for value in wer.compare(heard, list(chosen.values()))["wer"])
    assert errors[True] < errors[False] and errors[True] < 0.4 * len(chosen)
