"""Adapt Whisper to a folder of one's own recordings, and get a PEFT adapter out of it.

papermill notebooks/10_asr_adapt.ipynb out.ipynb -p profile demo -p folder my/recordings -p output my/adapter
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from lib.corpora.corpus import Corpus
from lib.corpora.recorded import folder as recordings
from lib.files import replace_file, write_json
from lib.metrics import wer
from lib.papers.ha.data import AsrError
from lib.papers.ha.measure import export, recognise
from lib.papers.ha.systems import EVERYBODY, Systems
from lib.study.profile import results_root


@dataclass
class Adapted:
    """What `adapt` made: the PEFT checkpoint's folder, and a table with WER and CER before and after.

    scores: one row per test utterance: utterance, speaker, seconds, reference, before, after (transcripts), wer_before,
    wer_after, cer_before, cer_after.
    """

    adapter: Path
    scores: pd.DataFrame
    set_aside: list[dict]

    def summary(self) -> pd.DataFrame:
        """Mean WER and CER of each speaker and of all."""
        columns = ["wer_before", "wer_after", "cer_before", "cer_after"]
        means = self.scores.groupby("speaker")[columns].mean()
        means.loc["all"] = self.scores[columns].mean()
        return means.reset_index()


class Own(Systems):
    """The study on one's own recordings, with a folder of its own for what it makes."""

    def __init__(self, profile: dict, device: str, corpus: Corpus, place: Path):
        super().__init__(profile, device, 1)
        self.corpus, self.place = corpus, place

    @property
    def root(self) -> Path:
        return self.place


def adapt(
    folder: str | Path,
    profile: dict,
    system: str = "lora_w1",
    seed: int = 0,
    device: str = "auto",
    output: str | Path = "",
) -> Adapted:
    """Train a low-rank system of the profile on a folder's training split and test it on its test split.

    folder: recordings as `lib.corpora.recorded.folder.read` takes them. output: gets adapter_model.safetensors and
    adapter_config.json (for `peft.PeftModel.from_pretrained`), transcripts.json, scores.csv and the training's
    checkpoint; by default a folder of the folder's name among the profile's results. Utterances that cannot be used
    are set aside and listed. Raises AsrError for a system that is no low-rank update, and for a folder without
    training or test utterances.
    """
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
    scores = pd.DataFrame(
        {
            "utterance": [item.utterance for item in items],
            "speaker": [item.speaker for item in items],
            "seconds": [item.seconds for item in items],
            "reference": [item.text for item in items],
        }
    )
    for when, texts in (("before", before), ("after", after)):
        values = wer.compare(texts, [item.text for item in items])
        scores = scores.assign(**{when: texts, f"wer_{when}": values["wer"], f"cer_{when}": values["cer"]})
    write_json(place / "transcripts.json", scores.to_dict("records"))
    with replace_file(place / "scores.csv") as temporary:
        scores.to_csv(temporary, index=False)
    return Adapted(place, scores, [*corpus.set_aside, *study.set_aside])
