"""What a profile trains, so that it can be timed: each model at its size, and a step of it on a random batch.

A paper's `stages` (`lib.papers.<paper>.cost`) name its trainings; `lib.workflow.estimate` times them.
"""

from collections import Counter
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from lib import text
from lib.study.profile import expected_runs
from lib.training.loop import TrainConfig

SYMBOLS_PER_SECOND = 14  # phonemes, stress marks, spaces and punctuation of English at a reader's pace
SECONDS = {"libritts": 5.8, "vctk": 3.6, "embedded": 3.5}  # mean utterance: 53.8 h of 33 236; 44 h of 44 070; ours


@dataclass(frozen=True)
class Stage:
    """Trainings of one kind: `trainings` times `config.steps` steps of what `build(device, batch)` gives.

    build: a device and a batch size to the model and a function that returns one batch's loss.
    """

    paper: str
    name: str
    trainings: int
    config: TrainConfig
    build: Callable[[str, int], tuple[nn.Module, Callable[[], Tensor]]]


def runs_by_system(profile: dict, paper: str) -> dict[str, int]:
    """How often a paper's systems run: once for each of their seeds."""
    return dict(Counter(run.split("-")[1] for run in sorted(expected_runs(profile, paper))))


def kinds(profile: dict, paper: str, kind_of: Callable[[str], Hashable | None]) -> Iterator[tuple[Hashable, str, int]]:
    """The systems that cost the same as one: their kind, the first of them, and how many trainings they are.

    kind_of: a system's kind, None for one that trains nothing.
    """
    found: dict[Hashable, tuple[str, int]] = {}
    for system, runs in runs_by_system(profile, paper).items():
        if (kind := kind_of(system)) is not None:
            first, count = found.get(kind, (system, 0))
            found[kind] = first, count + runs
    for kind, (first, count) in found.items():
        yield kind, first, count


def seconds_of(profile: dict, role: str) -> float:
    """Mean length of an utterance of a role's corpus."""
    named = str(profile["corpus"].get(role, "embedded"))
    return SECONDS.get(named.split()[0], SECONDS["embedded"])


def speech_batch(size: int, seconds: float, n_mels: int, device: str) -> dict[str, Tensor]:
    """A batch as `Features.batch` gives it: `size` utterances of `seconds`, all numbers random."""
    symbols, frames = max(2, round(seconds * SYMBOLS_PER_SECOND)), round(seconds * 62.5)
    durations = torch.full((size, symbols), frames // symbols)
    durations[:, : frames % symbols] += 1
    batch = {
        "symbols": torch.randint(1, len(text.SYMBOLS), (size, symbols)),
        "durations": durations,
        "pitch": torch.randn(size, symbols),
        "energy": torch.randn(size, symbols),
        "mel": torch.randn(size, frames, n_mels),
        "speaker": nn.functional.normalize(torch.rand(size, 256), dim=1),
        "symbol_lengths": torch.full((size,), symbols),
        "frame_lengths": torch.full((size,), frames),
    }
    return {name: value.to(device) for name, value in batch.items()}
