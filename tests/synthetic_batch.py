"""A random batch in the layout of `lib.corpora.features.Features.batch`, for the tests of the TTS models."""

import torch

from lib.models.fft_block import length_mask


def make_batch(symbol_counts=(5, 9), seed=0, shortest=1, speaker=False) -> dict[str, torch.Tensor]:
    """Symbols of `shortest` to 4 frames, 80 mels; with `speaker`, unit embeddings of 256 numbers."""
    g = torch.Generator().manual_seed(seed)
    counts = torch.tensor(symbol_counts)
    shape = (len(counts), int(counts.max()))
    keep = length_mask(counts)
    durations = torch.randint(shortest, 5, shape, generator=g) * keep
    frames = durations.sum(1)
    mel = torch.randn(len(counts), int(frames.max()), 80, generator=g)
    batch = {"symbols": torch.randint(1, 20, shape, generator=g) * keep, "symbol_lengths": counts}
    if speaker:
        batch["speaker"] = torch.nn.functional.normalize(torch.randn(len(counts), 256, generator=g), dim=1)
    return batch | {
        "durations": durations,
        "pitch": torch.randn(shape, generator=g) * keep,
        "energy": torch.randn(shape, generator=g) * keep,
        "mel": mel * length_mask(frames).unsqueeze(-1),
        "frame_lengths": frames,
    }


def alone(batch: dict[str, torch.Tensor], i: int) -> dict[str, torch.Tensor]:
    """Utterance i as a batch of its own, without padding."""
    n, t = int(batch["symbol_lengths"][i]), int(batch["frame_lengths"][i])
    cut = {"mel": t, "symbols": n, "durations": n, "pitch": n, "energy": n}
    return {k: v[i : i + 1, : cut[k]] if k in cut else v[i : i + 1] for k, v in batch.items()}
