"""The aligner on the embedded corpus, whose exact durations tell how well it finds phoneme boundaries.

    python -m lib.papers.common.alignment --profile demo --device cuda

trains `lib.models.aligner` on recordings and phonemes alone and writes its weights with the median boundary error
beside them. A profile's `real.aligner`, where there is one, is laid over SETTINGS.
"""

import os
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from lib import cli, study
from lib.corpora import durations as aligned
from lib.corpora.corpus import Utterance
from lib.corpora.durations import SETTINGS, seconds_of
from lib.files import fingerprint
from lib.models.aligner import Aligner, AlignerError
from lib.papers.ht.study import Bench, ready, run_id
from lib.training import parallel
from lib.training.loop import seed_everything
from lib.training.weights import is_kept, keep, load_weights, saved_state

__all__ = ["SETTINGS", "align", "boundary_error", "evaluate", "restore", "seconds_of", "train"]

ROLES = ("pretraining", "adaptation")


def settings_of(profile: dict) -> dict:
    """SETTINGS with what the profile's section `real.aligner` changes, without `voice`, a training that follows."""
    own = profile.get("real", {}).get("aligner", {})
    return study.merge(SETTINGS, {key: value for key, value in own.items() if key != "voice"})


def boundary_error(durations: Sequence[Sequence[float]], exact: Sequence[Sequence[float]]) -> float:
    """Median absolute error of the phoneme boundaries, in ms.

    durations, exact: seconds per symbol, one sequence per utterance. The boundaries are those between two symbols;
    an utterance's start and end do not count. Raises AlignerError for utterances that do not correspond, durations
    that are not finite, and where there is no boundary.
    """
    if len(durations) != len(exact):
        raise AlignerError(f"There are durations of {len(durations)} utterances and exact ones of {len(exact)}.")
    errors = [np.zeros(0)]
    for index, (found, true) in enumerate(zip(durations, exact, strict=True)):
        if len(found) != len(true):
            raise AlignerError(f"Utterance {index} has {len(found)} durations and {len(true)} exact ones.")
        errors.append(np.abs(np.cumsum(found) - np.cumsum(true))[:-1])
    together = np.concatenate(errors)
    if len(together) == 0:
        raise AlignerError("No utterance has two symbols: there is no boundary to measure.")
    if not np.isfinite(together).all():
        raise AlignerError("The durations hold numbers that are not finite: align the recordings again.")
    return 1000 * float(np.median(together))


def utterances_of(bench: Bench, split: str) -> list[Utterance]:
    return [utterance for role in ROLES for utterance in bench.corpus.select(role=role, split=split)]


def make(bench: Bench) -> Aligner:
    """An untrained aligner of the profile's sizes."""
    return aligned.make(settings_of(bench.profile), bench.mel, bench.device)


def train(bench: Bench, seed: int = 0) -> Path:
    """Train the aligner, or find it trained; returns its safetensors file, beside which lies `<run_id>.json`.

    Raises AlignerError for an utterance with fewer frames than symbols.
    """
    path, settings = bench.checkpoint(run_id("aligner", seed)), settings_of(bench.profile)
    mark = fingerprint(bench.corpus.hash, bench.profile["features"], settings, seed, bench.device.split(":")[0])
    if is_kept(path, mark):
        return path
    seed_everything(seed)
    began, resume = time.time(), path.with_suffix(".resume.pt")
    learned = aligned.learn(
        make(bench), bench.features, utterances_of(bench, "train"), settings, resume, mark, bench.device, seed
    )
    model = learned.model
    facts = {"seed": seed, "settings": settings, "speed": learned.history.speed, "history": learned.history}
    facts |= {"parameters": sum(p.numel() for p in model.parameters()), "wall_seconds": time.time() - began}
    keep(path, saved_state(model), mark, facts | evaluate(bench, model))
    return path


def evaluate(bench: Bench, model: Aligner, batch_size: int = 16) -> dict[str, float]:
    """`boundary_error_ms` on the validation utterances against the corpus's exact durations, and their number."""
    utterances = utterances_of(bench, "validation")
    durations = [d for i in range(0, len(utterances), batch_size)
                 for d in align(bench, model, utterances[i : i + batch_size])]  # fmt: skip
    error = boundary_error(durations, [utterance.durations for utterance in utterances])
    return {"boundary_error_ms": error, "validation_utterances": len(utterances)}


def align(bench: Bench, model: Aligner, utterances: list[Utterance]) -> list[np.ndarray]:
    """Seconds per symbol of some utterances, as the aligner hears them."""
    return aligned.heard(model, bench.features, utterances, bench.mel, bench.device)


def restore(bench: Bench, seed: int = 0) -> Aligner:
    """The trained aligner in evaluation mode, trained now if it is not there."""
    path, model = train(bench, seed), make(bench)
    load_weights(model, path)
    return model.eval()


def main() -> None:
    every = len(os.sched_getaffinity(0))
    options = cli.options("lib.papers.common.alignment", "Train the aligner and measure it.", threads=every)
    with cli.told(), parallel.joined(options.device) as device:
        bench = ready(Bench(study.load_profile(options.profile), device))
        measured = evaluate(bench, restore(bench, options.seed))
        if parallel.first():
            print(
                f"median phoneme-boundary error {measured['boundary_error_ms']:.1f} ms "
                f"on {measured['validation_utterances']} validation utterances"
            )


if __name__ == "__main__":
    main()
