"""Adapt Whisper to a folder of one's own recordings, and get a PEFT adapter out of it.

papermill notebooks/10_asr_adapt.ipynb out.ipynb -p profile demo -p folder my/recordings -p output my/adapter
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import pandas as pd

from lib.corpora.corpus import Corpus, Utterance
from lib.corpora.recorded import folder as recordings
from lib.files import replace_file, write_json
from lib.metrics import wer
from lib.papers.ha import own_page
from lib.papers.ha.best import Best
from lib.papers.ha.data import AsrError
from lib.papers.ha.measure import base_model, export, recognise
from lib.papers.ha.systems import EVERYBODY, Systems
from lib.study.part import Part
from lib.study.profile import results_root
from lib.text import IN_CAPITALS, sentence

SPEAKERS = 4  # training speakers from which on some of them are the validation part
SHARE = 5  # one in so many of them, or of the sentences of fewer speakers


@dataclass
class Adapted:
    """What `adapt` made: the PEFT checkpoint's folder, and a table with WER and CER before and after.

    scores: one row per test utterance: utterance, speaker, heard (whether training heard the speaker), seconds,
    reference, before, after (transcripts), wer_before, wer_after, cer_before, cer_after. best_step: the training step
    that was kept, the one with the lowest loss on the validation part; 0 is Whisper as it was. validated: utterances of
    that part. page: report.html, which tells people all of it.
    """

    adapter: Path
    scores: pd.DataFrame
    set_aside: list[dict]
    best_step: int
    validated: int
    page: Path | None = None

    @property
    def errors(self) -> tuple[float, float]:
        """Mean WER of the test utterances before and after, that of an utterance at most 1."""
        before, after = self.scores[["wer_before", "wer_after"]].clip(upper=1.0).mean()
        return float(before), float(after)

    @property
    def gained(self) -> bool:
        before, after = self.errors
        return after < before

    def told(self) -> str:
        """What came of it, in a sentence."""
        before, after = self.errors
        numbers = f"WER of {len(self.scores)} test utterances {before:.3f} before, {after:.3f} after"
        if self.gained:
            return f"{numbers}; step {self.best_step} of the training is kept."
        return f"Nothing is gained: {numbers}. Do not use this adapter; give more recordings, of more sentences."

    def summary(self) -> pd.DataFrame:
        """Mean WER and CER of each speaker and of all."""
        columns = ["wer_before", "wer_after", "cer_before", "cer_after"]
        means = self.scores.groupby("speaker")[columns].mean()
        means.loc["all"] = self.scores[columns].mean()
        return means.reset_index()


class Own(Systems):
    """The study on one's own recordings, with a folder of its own for what it makes.

    Transcripts are spelt as the recogniser spells. Of four training speakers or more every fifth is the validation
    part, else every fifth training sentence.
    """

    def __init__(self, profile: dict, device: str, corpus: Corpus, place: Path):
        super().__init__(profile, device, 1)
        utterances = [replace(item, text=spelt(item.text)) for item in corpus.utterances]
        self.corpus, self.place = replace(corpus, utterances=utterances), place
        self.best: Best | None = None

    @cached_property
    def held(self) -> list[Utterance]:
        """The validation part; empty where there are fewer than three training sentences."""
        trained = super().select("adaptation", "train")
        speakers = _some({item.speaker for item in trained}, SPEAKERS)
        if speakers:
            heard = super().select("adaptation")
            return [u for u in heard if u.speaker in speakers and u.split != "test"]
        if given := super().select("adaptation", "validation"):
            return given
        sentences = _some({item.text for item in trained}, 3)
        return [item for item in trained if item.text in sentences]

    def select(self, role: str | None = None, split: str | None = None) -> list[Utterance]:
        found, held = super().select(role, split), {item.utterance for item in self.held}
        return [item for item in found if item.utterance not in held] if split == "train" else found

    def part(self, name: str, seed: int) -> Part:
        """A system's adaptations at their best step. Raises AsrError for bad settings or data."""
        part = super().part(name, seed)
        if not self.held:
            return part
        depends = *part.depends, [item.utterance for item in self.held]
        part, path = replace(part, depends=depends), self.checkpoint(name, seed).with_suffix(".best.pt")
        self.best = Best(self, self.held, part.config, path, self.mark(part))
        details = {"at_step": self.best.at_step, "details": lambda model: {"best_step": self.best.step}}
        details["unseen"] = lambda model, losses: None  # the best step is told by `Best`
        return replace(part, **details)

    @property
    def root(self) -> Path:
        return self.place


def spelt(text: str) -> str:
    """A transcript as Whisper spells: a sentence, and none without a mark at its end."""
    text = sentence(text) if len(text.split()) >= IN_CAPITALS or text == text.lower() else text
    return f"{text}." if text[-1:].isalnum() else text


def _some(names: set[str], least: int) -> set[str]:
    """One in `SHARE` of at least `least` names, by hash; none of fewer."""
    ordered = sorted(names, key=lambda name: hashlib.sha256(name.encode()).digest())
    return set(ordered[: max(1, len(ordered) // SHARE)]) if len(ordered) >= least else set()


def adapt(
    folder: str | Path,
    profile: dict,
    system: str = "lora_w1",
    seed: int = 0,
    device: str = "auto",
    output: str | Path = "",
) -> Adapted:
    """Train a low-rank system of the profile on a folder's training split and test it on its test split.

    Training stops when the loss on a validation part has risen, and its best step is kept (`Own`).

    folder: recordings as `lib.corpora.recorded.folder.read` takes them. output: gets adapter_model.safetensors and
    adapter_config.json (for `peft.PeftModel.from_pretrained`), transcripts.json, scores.csv, gain.json, which says
    whether anything was gained, report.html, a page about all of it, and the training's checkpoint; by default a folder
    of the folder's name among the profile's results. Utterances that cannot be used are set aside and listed. Raises
    AsrError for a system that is no low-rank update, and for a folder without training or test utterances.
    """
    profile = Systems(profile).study_of(system).profile
    spec = Systems(profile).system(system)
    if spec["method"] not in ("lora", "hyper") or spec["level"] != EVERYBODY:
        raise AsrError(
            f"The system {system} is not one low-rank update, so no PEFT adapter can be made of it: choose lora_w1, "
            "another LoRA or a hypernetwork."
        )
    corpus = recordings.read(folder)
    place = Path(output) if str(output) else results_root(profile) / "adapted" / Path(folder).resolve().name
    study = Own(profile, device, corpus, place)
    tested = study.select(split="test")
    if not tested:
        raise AsrError(f"{folder}: no test utterance is left; give more recordings with different sentences.")
    study.training_groups(spec)
    _, before = recognise(study, {"name": "whisper_0", "method": "none"}, None)  # before the training: what fails here
    wer.compare(before, [item.text for item in tested])  # would fail after it
    model = study.restore(system, seed)
    export(study, model, place)
    items, after = recognise(study, spec, model)
    learned = study.select("adaptation", "train")
    heard = {item.speaker for item in learned}
    scores = pd.DataFrame(
        {
            "utterance": [item.utterance for item in items],
            "speaker": [item.speaker for item in items],
            "heard": [item.speaker in heard for item in items],
            "seconds": [item.seconds for item in items],
            "reference": [item.text for item in items],
        }
    )
    for when, texts in (("before", before), ("after", after)):
        values = wer.compare(texts, [item.text for item in items])
        scores = scores.assign(**{when: texts, f"wer_{when}": values["wer"], f"cer_{when}": values["cer"]})
    study.checkpoint(system, seed).with_suffix(".best.pt").unlink(missing_ok=True)
    write_json(place / "transcripts.json", scores.to_dict("records"))
    with replace_file(place / "scores.csv") as temporary:
        scores.to_csv(temporary, index=False)
    best_step = study.trained(system, seed).get("best_step", study.train_config(spec, seed).steps)
    made = Adapted(place, scores, [*corpus.set_aside, *study.set_aside], best_step, len(study.held))
    before, after = made.errors
    facts = {"gained": made.gained, "wer_before": before, "wer_after": after, "told": made.told()}
    steps = {"best_step": best_step, "validated": made.validated}
    write_json(place / "gain.json", facts | steps)
    about = {"system": system, "whisper": f"Whisper {study.settings['whisper']['name']}", "place": place.name}
    about |= {"folder": Path(folder).resolve().name, "base": base_model(study.settings["whisper"])}
    about |= {"steps": study.train_config(spec, seed).steps, "trained": (len(learned), len(heard))}
    made.page = own_page.write(place, scores, about | steps | {"set_aside": made.set_aside})
    return made
