"""The unsupervised aligner of speech and text: soft and hard alignments learned without durations.

"One TTS alignment to rule them all" (Badlani et al. 2021, arXiv 2108.10447) with the beta-binomial prior of RAD-TTS
(Shih et al. 2021): convolutions encode symbols and mel frames, their squared distances give the soft alignment, the
forward-sum loss trains it, monotonic alignment search makes it hard, and the binarisation loss draws both together.

Alignments are `(batch, frames, symbols)`. Whatever lies after an utterance's end is masked in every layer, so an
utterance does not depend on the batch it is padded in. Distances and losses are float32, under autocast too.
"""

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from lib.models.fft_block import Sizes, length_mask

BLANK = -1.0  # log score of CTC's blank, as in the paper
MASKED = -1e4  # log probability of a symbol beyond the text: its exponential is 0, its gradient finite


class AlignerError(ValueError):
    """An utterance that cannot be aligned; the message gives its place in the batch."""


@dataclass(frozen=True)
class AlignerDims(Sizes):
    """Sizes of the aligner; the defaults are those of the paper and of RAD-TTS."""

    told = "aligner sizes"
    n_symbols: int
    n_mels: int = 80
    embedding: int = 256  # of a symbol
    shared: int = 80  # channels in which symbols and frames are compared
    speaker: int = 256  # GE2E embedding
    temperature: float = 0.0005  # factor of the squared distances
    prior_scale: float = 1.0  # omega of the beta-binomial prior: a higher one is narrower around the diagonal


class ConvStack(nn.Module):
    """Convolutions with ReLU between them; `sizes` are channels, `kernels` odd."""

    def __init__(self, sizes: list[int], kernels: list[int]):
        super().__init__()
        pairs = zip(sizes[:-1], sizes[1:], kernels, strict=True)
        self.layers = nn.ModuleList(nn.Conv1d(a, b, kernel, padding=kernel // 2) for a, b, kernel in pairs)

    def forward(self, x: Tensor, keep: Tensor) -> Tensor:
        """x `(batch, length, sizes[0])` to `(batch, length, sizes[-1])`; keep `(batch, length, 1)` is 0 on padding."""
        for index, layer in enumerate(self.layers):
            x = layer((F.relu(x) if index else x).mul(keep).transpose(1, 2)).transpose(1, 2)
        return x * keep


class Aligner(nn.Module):
    """Symbols, mel and speaker embedding to the soft alignment (Badlani et al. 2021, section 2.1)."""

    def __init__(self, dims: AlignerDims):
        super().__init__()
        self.dims = dims
        self.embedding = nn.Embedding(dims.n_symbols, dims.embedding, padding_idx=0)
        self.symbol_speaker = nn.Linear(dims.speaker, dims.embedding)
        self.mel_speaker = nn.Linear(dims.speaker, dims.n_mels)
        self.symbol_encoder = ConvStack([dims.embedding, 2 * dims.embedding, dims.shared], [3, 1])
        self.mel_encoder = ConvStack([dims.n_mels, 2 * dims.n_mels, dims.n_mels, dims.shared], [3, 1, 1])

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Log alignment scores `(batch, frames, symbols)`: log-softmax of the distances plus the log prior.

        batch: `symbols` `(batch, symbols)`, `mel` `(batch, frames, n_mels)`, `speaker` `(batch, speaker)`,
        `symbol_lengths` and `frame_lengths` `(batch,)`. Symbols after a text's end score MASKED.
        Raises AlignerError for no utterances or an empty one, fewer frames than symbols, numbers that are not finite.
        """
        symbols, frames = batch["symbol_lengths"], batch["frame_lengths"]
        check_lengths(symbols, frames)
        symbol_mask = length_mask(symbols, batch["symbols"].shape[1])
        frame_mask = length_mask(frames, batch["mel"].shape[1])
        mel = batch["mel"].masked_fill(~frame_mask.unsqueeze(2), 0.0)
        _check_finite(mel, "log-mel")
        _check_finite(batch["speaker"], "speaker embedding")
        texts = self.embedding(batch["symbols"]) + self.symbol_speaker(batch["speaker"]).unsqueeze(1)
        keys = self.symbol_encoder(texts, symbol_mask.unsqueeze(2))
        queries = self.mel_encoder(mel + self.mel_speaker(batch["speaker"]).unsqueeze(1), frame_mask.unsqueeze(2))
        with torch.autocast(mel.device.type, enabled=False):
            nearness = -self.dims.temperature * squared_distances(queries.float(), keys.float())
            alignment = nearness.masked_fill(~symbol_mask.unsqueeze(1), MASKED).log_softmax(2)
            scores = alignment + beta_binomial_prior(symbols, frames, self.dims.prior_scale, alignment.shape)
        return scores.masked_fill(~symbol_mask.unsqueeze(1), MASKED)


def squared_distances(queries: Tensor, keys: Tensor) -> Tensor:
    """Squared L2 distances `(batch, frames, symbols)` of frames and symbols, each `(batch, length, channels)`."""
    products = queries @ keys.transpose(1, 2)
    return queries.square().sum(2, keepdim=True) + keys.square().sum(2).unsqueeze(1) - 2 * products


@torch.no_grad()
def beta_binomial_prior(
    symbol_lengths: Tensor, frame_lengths: Tensor, scale: float = 1.0, shape: tuple[int, ...] | None = None
) -> Tensor:
    """Log prior `(batch, frames, symbols)` of the symbol at each frame, around the diagonal; 0 on padding.

    Symbol k of K at frame t = 1..T of T has BetaBinomial(K - 1, scale t, scale (T + 1 - t)) of k - 1
    (Shih et al. 2021, section 3.4). shape: that of the batch, where it is padded further than its longest item.
    """
    frames, symbols = (int(frame_lengths.max()), int(symbol_lengths.max())) if shape is None else shape[1:]
    device = symbol_lengths.device
    n = (symbol_lengths.double() - 1).view(-1, 1, 1)
    total = frame_lengths.double().view(-1, 1, 1)
    t = torch.arange(1, frames + 1, device=device, dtype=torch.float64).view(1, -1, 1)
    k = torch.arange(symbols, device=device, dtype=torch.float64).view(1, 1, -1)
    inside = (k <= n) & (t <= total)
    left = (n - k).clamp_min(0)
    a, b = scale * t, scale * (total + 1 - t).clamp_min(1)
    choose = torch.lgamma(n + 1) - torch.lgamma(k + 1) - torch.lgamma(left + 1)
    upper = torch.lgamma(k + a) + torch.lgamma(left + b) - torch.lgamma(n + a + b)
    lower = torch.lgamma(a) + torch.lgamma(b) - torch.lgamma(a + b)
    return torch.where(inside, choose + upper - lower, 0.0).float()


def soft_alignment(scores: Tensor) -> Tensor:
    """Log probability `(batch, frames, symbols)` of each symbol at every frame, from the scores of `Aligner`."""
    return scores.float().log_softmax(2)


def forward_sum(scores: Tensor, symbol_lengths: Tensor, frame_lengths: Tensor, blank: float = BLANK) -> Tensor:
    """Forward-sum loss: -log of the probability of all monotonic paths, per symbol, the batch's mean.

    It is the CTC loss of the text 1..K under scores `(batch, frames, symbols)` normalised together with a blank of
    the log score `blank` (Badlani et al. 2021, section 2.1). Raises AlignerError as `check_lengths` does.
    """
    check_lengths(symbol_lengths, frame_lengths)
    with torch.autocast(scores.device.type, enabled=False):
        padded = F.pad(scores.float(), (1, 0), value=blank)
        beyond = ~length_mask(symbol_lengths + 1, padded.shape[2])
        log_probability = padded.masked_fill(beyond.unsqueeze(1), MASKED).log_softmax(2)
        targets = torch.arange(1, padded.shape[2], device=scores.device).expand(len(scores), -1)
        paths = F.ctc_loss(
            log_probability.transpose(0, 1), targets, frame_lengths, symbol_lengths, blank=0, reduction="none"
        )
    return (paths / symbol_lengths).mean()


def binarisation(scores: Tensor, durations: Tensor) -> Tensor:
    """Binarisation loss: mean -log soft alignment on the hard path (Badlani et al. 2021, equation 9), per frame.

    scores `(batch, frames, symbols)`; durations `(batch, symbols)`, whole frames.
    """
    hard = hard_alignment(durations, scores.shape[1])
    return -(soft_alignment(scores) * hard).sum() / hard.sum()


def hard_alignment(durations: Tensor, frames: int) -> Tensor:
    """Durations `(batch, symbols)` in frames to the 0-1 alignment `(batch, frames, symbols)`."""
    ends = durations.cumsum(1).unsqueeze(1)
    frame = torch.arange(frames, device=durations.device).view(1, -1, 1)
    return ((frame < ends) & (frame >= ends - durations.unsqueeze(1))).float()


@torch.no_grad()
def viterbi(scores: Tensor, symbol_lengths: Tensor, frame_lengths: Tensor) -> Tensor:
    """Durations `(batch, symbols)` in frames of the likeliest monotonic path through scores.

    Monotonic alignment search (Kim et al. 2020, arXiv 2005.11129, equations 6 and 7) over the whole batch at once:
    every symbol has at least one frame, a text's durations sum to its frames, padding has 0.
    scores `(batch, frames, symbols)`. Raises AlignerError as `check_lengths` does, and for scores that are not finite.
    """
    check_lengths(symbol_lengths, frame_lengths)
    symbols, frames = symbol_lengths.cpu(), frame_lengths.cpu()
    inside = length_mask(frames, scores.shape[1]).unsqueeze(2) & length_mask(symbols, scores.shape[2]).unsqueeze(1)
    lattice = scores.detach().double().cpu().masked_fill(~inside, 0.0)
    _check_finite(lattice, "alignment scores")
    best = torch.full_like(lattice[:, 0], -math.inf)
    best[:, 0] = lattice[:, 0, 0]
    moved = torch.zeros(lattice.shape[1], *best.shape, dtype=torch.bool)
    for frame in range(1, lattice.shape[1]):
        previous = F.pad(best[:, :-1], (1, 0), value=-math.inf)
        moved[frame] = previous > best
        best = torch.maximum(previous, best) + lattice[:, frame]
    return _trace_back(moved, symbols, frames).to(scores.device)


def _trace_back(moved: Tensor, symbols: Tensor, frames: Tensor) -> Tensor:
    """Durations `(batch, symbols)` from `(frames, batch, symbols)`: did the best path enter the symbol just then?"""
    durations = torch.zeros(moved.shape[1:], dtype=torch.long)
    rows, symbol = torch.arange(len(symbols)), symbols - 1
    for frame in range(len(moved) - 1, -1, -1):
        inside = frame < frames
        durations[rows, symbol] += inside
        symbol = symbol - (inside & moved[frame, rows, symbol]).long()
    return durations


def loss(model: Aligner, batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """Losses "forward_sum", "binarisation" and "total", their weighted sum.

    The weight of the binarisation loss is the scalar `batch["binarise"]`; at 0, or where it is missing, the loss
    and its hard alignment are left out.
    """
    scores = model(batch)
    losses = {"forward_sum": forward_sum(scores, batch["symbol_lengths"], batch["frame_lengths"])}
    losses["total"] = losses["forward_sum"]
    weight = float(batch.get("binarise", 0.0))
    if weight > 0:
        durations = viterbi(scores, batch["symbol_lengths"], batch["frame_lengths"])
        losses["binarisation"] = binarisation(scores, durations)
        losses["total"] = losses["total"] + weight * losses["binarisation"]
    return losses


@torch.no_grad()
def durations_of(model: Aligner, batch: dict[str, Tensor]) -> Tensor:
    """Frames per symbol `(batch, symbols)` of a batch as `Aligner.forward` takes it."""
    return viterbi(model(batch), batch["symbol_lengths"], batch["frame_lengths"])


def check_lengths(symbol_lengths: Tensor, frame_lengths: Tensor) -> None:
    """Raise AlignerError for no utterances, a text without symbols, or fewer frames than symbols."""
    if len(symbol_lengths) == 0:
        raise AlignerError("The batch has no utterances: give at least one.")
    slack = torch.stack([symbol_lengths - 1, frame_lengths - symbol_lengths]).cpu()
    if bool((slack >= 0).all()):
        return
    worst = int(slack.min(0).values.argmin())
    symbols, frames = int(symbol_lengths[worst]), int(frame_lengths[worst])
    if symbols < 1:
        raise AlignerError(f"Utterance {worst} has no symbols: give its phonemes.")
    raise AlignerError(
        f"Utterance {worst} has {frames} frames for {symbols} symbols: give a recording of the whole text."
    )


def _check_finite(values: Tensor, name: str) -> None:
    finite = values.detach().isfinite().flatten(1).all(1)
    if not bool(finite.all()):
        worst = int(finite.logical_not().int().argmax())
        raise AlignerError(f"The {name} of utterance {worst} holds numbers that are not finite: check its recording.")
