"""The aligner on the embedded corpus, whose exact durations tell how well it finds phoneme boundaries.

`lib.models.aligner` learns from recordings and phonemes alone; beside its weights stands the median boundary error. A
profile's `real.aligner`, where there is one, is laid over `lib.corpora.durations.SETTINGS`.
"""

from collections.abc import Sequence
from functools import cached_property

import numpy as np

from lib.corpora import durations
from lib.corpora.corpus import Utterance
from lib.models.aligner import Aligner, AlignerError
from lib.study import protocol
from lib.study.part import Part
from lib.study.profile import merge
from lib.training.loop import TrainConfig

ALIGNER = "ht-aligner"  # its weights' name
ROLES = ("pretraining", "adaptation")


class Aligning(protocol.Study):
    """The aligner as a part that is trained once: `train(ALIGNER, seed)`, `restore(ALIGNER, seed)`."""

    error = AlignerError

    @cached_property
    def settings(self) -> dict:
        """SETTINGS with what the profile's section `real.aligner` changes, without `voice`, a training that follows."""
        own = self.profile.get("real", {}).get("aligner", {})
        return merge(durations.SETTINGS, {key: value for key, value in own.items() if key != "voice"})

    def utterances(self, split: str) -> list[Utterance]:
        return [utterance for role in ROLES for utterance in self.corpus.select(role=role, split=split)]

    def build(self) -> Aligner:
        """An untrained aligner of the profile's sizes."""
        return durations.make(self.settings, self.mel)

    def part(self, name: str, seed: int) -> Part:
        settings = self.settings
        config = TrainConfig.from_dict(settings["train"], seed=seed)

        def start(model: Aligner):
            return durations.objective(model, self.features, self.utterances("train"), settings, config, self.device)

        return Part(
            config,
            (self.corpus.hash, self.profile["features"], settings, seed, self.device.split(":")[0]),
            build=lambda: self.build().train(),
            start=start,
            details=lambda model: {"seed": seed, "settings": settings} | self.evaluate(model),
        )

    def evaluate(self, model: Aligner, batch_size: int = 16) -> dict[str, float]:
        """`boundary_error_ms` on the validation utterances against the corpus's exact durations, and their number."""
        chosen, found = self.utterances("validation"), []
        for start in range(0, len(chosen), batch_size):
            found += self.align(model, chosen[start : start + batch_size])
        error = boundary_error(found, [utterance.durations for utterance in chosen])
        return {"boundary_error_ms": error, "validation_utterances": len(chosen)}

    def align(self, model: Aligner, utterances: list[Utterance]) -> list[np.ndarray]:
        """Seconds per symbol of some utterances, as the aligner hears them."""
        return durations.heard(model, self.features, utterances, self.mel, self.device)

    def told(self, seed: int = 0) -> str:
        """How well the aligner finds the boundaries, in a sentence; it is trained first if need be."""
        self.train(ALIGNER, seed)
        found = self.trained(ALIGNER, seed)
        return (
            f"median phoneme-boundary error {found['boundary_error_ms']:.1f} ms "
            f"on {found['validation_utterances']} validation utterances"
        )


def boundary_error(durations: Sequence[Sequence[float]], exact: Sequence[Sequence[float]]) -> float:
    """Median absolute error of the phoneme boundaries, in ms.

    durations, exact: seconds per symbol, one sequence per utterance. The boundaries are those between two symbols;
    an utterance's start and end do not count. Raises AlignerError where there is no boundary.
    """
    errors = [np.abs(np.cumsum(found) - np.cumsum(true))[:-1] for found, true in zip(durations, exact, strict=True)]
    if not any(map(len, errors)):
        raise AlignerError("No utterance has two symbols: there is no boundary to measure.")
    return 1000 * float(np.median(np.concatenate(errors)))
