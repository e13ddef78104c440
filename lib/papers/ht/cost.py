"""How long trainings of HyperTTS take: the backbone, and the systems by their method."""

from __future__ import annotations

from collections.abc import Iterator

from lib import text
from lib.models.fastspeech2 import FastSpeech2, FastSpeech2Dims, loss
from lib.papers.ht.systems import UNTRAINED, assemble, system_of
from lib.study.cost import Stage, kinds, seconds_of, speech_batch
from lib.training.loop import TrainConfig


def stages(profile: dict) -> Iterator[Stage]:
    dims = FastSpeech2Dims.from_dict({"n_symbols": len(text.SYMBOLS), **profile["backbone"]})

    def build(system: dict, role: str):
        def make(device: str, size: int):
            model = assemble(FastSpeech2(dims), system).to(device).train()
            batch = speech_batch(size, seconds_of(profile, role), dims.n_mels, device)
            return model, lambda: loss(model(batch), batch)["total"]

        return make

    def method(name: str) -> str | None:
        used = profile["systems"][name]["method"]
        return None if used in UNTRAINED else used

    backbone = TrainConfig.from_dict(profile["pretrain"])
    yield Stage("HT", "backbone", 1, backbone, build({"name": "backbone", "method": "backbone"}, "pretraining"))
    adapt = TrainConfig.from_dict({k: v for k, v in profile["adapt"].items() if k != "learning_rates"})
    for kind, name, runs in kinds(profile, "HT", method):
        yield Stage("HT", kind, runs, adapt, build(system_of(profile, name), "adaptation"))
