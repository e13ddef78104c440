"""How long trainings of HyperTTS take: the backbone, and the systems by their method."""

from collections.abc import Iterator

from lib.models.fastspeech2 import FastSpeech2, loss
from lib.papers.ht.systems import BACKBONE, Systems, assemble
from lib.study.cost import Stage, kinds, seconds_of, speech_batch


def stages(profile: dict) -> Iterator[Stage]:
    study = Systems(profile)

    def build(name: str, role: str):
        def make(device: str, size: int):
            model = assemble(FastSpeech2(study.dims), study.system(name)).to(device).train()
            batch = speech_batch(size, seconds_of(profile, role), study.dims.n_mels, device)
            return model, lambda: loss(model(batch), batch)["total"]

        return make

    def method(name: str) -> str | None:
        return study.system(name)["method"] if study.has_weights(name) else None

    if not study.shipped(BACKBONE):
        yield Stage("HT", BACKBONE, 1, study.train_config(BACKBONE, 0), build(BACKBONE, "pretraining"))
    for kind, name, runs in kinds(profile, "HT", method):
        yield Stage("HT", kind, runs, study.train_config(name, 0), build(name, "adaptation"))
