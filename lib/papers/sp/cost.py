"""How long trainings of StyleSpeech take: by rule of attention and size, and the common start."""

from collections.abc import Iterator

from lib.papers.sp.systems import DENSE, Systems
from lib.study.cost import Stage, kinds, seconds_of, speech_batch
from lib.training.loop import TrainConfig


def stages(profile: dict) -> Iterator[Stage]:
    study = Systems(profile, "cpu")
    section = study.settings

    def build(name: str):
        def make(device: str, size: int):
            model = study.build(name).to(device).train()
            model.at_step(10**9)  # the last phase is the longest
            batch = speech_batch(size, seconds_of(profile, "pretraining"), profile["features"]["n_mels"], device)
            return model, lambda: model.loss(model(batch), batch)["total"]

        return make

    def kind(name: str) -> str | None:
        entry = section["systems"][name]
        return None if entry["method"] == "cost" else f"{entry['method']} {entry.get('model', '')}".strip()

    if not section["from_scratch"] and not study.shipped(DENSE):
        trainings = len({study.dense_seed(seed) for seed in section["seeds"]})
        yield Stage("SP", DENSE, trainings, TrainConfig.from_dict(section["dense"]), build(DENSE))
    for told, name, runs in kinds(profile, "SP", kind):
        config = TrainConfig.from_dict({**section["train"], **section["systems"][name].get("train", {})})
        yield Stage("SP", told, runs, config, build(name))
