"""Pruned self-attention for zero-shot TTS (arXiv 2308.14909): masks on the attention weights of a TTS decoder.

With A = softmax(Q K^T / sqrt(d)) of one head and N valid keys, a mask SM multiplies A after the softmax and the rows
are not normalised again:

    VP    SM_ij = 1 if A_ij >= mu_i, mu_i the mean of row i        one mask for all heads, the union over heads
    DP    hard: SM_ij = 1 if A_ij >= theta / N                     theta learned per block, 0 at the start
          soft: SM_ij = sigmoid((A_ij - theta / N) / T)            T = 0.01
    L_sp  mean over blocks and heads of (mean_ij SM_soft - R)^2

Phase 1 of DP trains everything with the soft mask and L_tts + L_sp; phase 2 keeps theta and uses the hard mask.

A row of A sums to one, so mu_i is 1 / N: VP on one head is DP's hard mask with theta = 1, and comparing with 1 / N
instead of a computed mean keeps a row of equal weights whole, whatever the rounding.

A row that loses all its weights gives the context 0: the block's attention then adds the bias of its output layer
alone, and the residual carries the frame on. Padded keys have weight 0, so their mask has no effect; every mean and
count is over valid queries and keys.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from lib.methods.attention_weights import entmax15, top_k
from lib.models import fastspeech2, stylespeech
from lib.models.fft_block import FFTBlock, SelfAttention, Sizes, length_mask
from lib.models.layers import attention_scores, dropout

METHODS = {
    "dense": "nothing is pruned",
    "row_mean": "VP",
    "threshold": "A >= threshold",
    "threshold_over_n": "A >= threshold / N",
    "learned": "DP",
    "dropout": "attention dropout",
    "top_k": "softmax over the largest scores of a row",
    "entmax": "1.5-entmax instead of softmax",
}


@dataclass(frozen=True)
class SparseSettings(Sizes):
    """One variant of the method; a field that its method does not read has no effect."""

    told = "sparse attention settings"
    method: str = "dense"  # a key of METHODS
    union: bool = True  # row_mean: one mask for all heads
    threshold: float = 0.0  # threshold, threshold_over_n
    ratio: float = 0.45  # learned: R
    temperature: float = 0.01  # learned: T
    soft_steps: int = 40_000  # learned: length of phase 1
    hard_phase: bool = True  # learned: False keeps the soft mask to the end and in synthesis, with L_sp
    sparsity_loss: bool = True  # learned: L_sp in the loss of phase 1
    theta_scale: float = 1.0  # learned: theta is this times its parameter; above 1 for runs shorter than the paper's
    dropout: float = 0.1  # dropout
    fraction: float = 0.5  # top_k: kept of each row
    encoder: bool = False  # the phoneme encoder's blocks as well

    def __post_init__(self):
        if self.method not in METHODS:
            raise ValueError(f"there is no sparse attention {self.method!r}: choose one of {', '.join(METHODS)}")
        if not 0 < self.ratio < 1:
            raise ValueError(
                f"R is {self.ratio}, and a mean of mask values lies between 0 and 1: choose R inside (0, 1)"
            )
        if not 0 < self.fraction <= 1:
            raise ValueError(f"fraction is {self.fraction}: choose the kept part of each row inside (0, 1]")
        if not 0 <= self.dropout < 1:
            raise ValueError(f"dropout is {self.dropout}: choose a probability inside [0, 1)")
        if self.temperature <= 0:
            raise ValueError(f"temperature is {self.temperature}: choose T above 0")

    @property
    def last_phase(self) -> int:
        """The phase of a trained model: 2 (hard mask) unless DP runs without its hard mask."""
        return 2 if self.hard_phase or self.method != "learned" else 1

    def phase(self, step: int) -> int:
        """1 while DP's mask is soft, else 2; steps count from 0."""
        return 1 if self.method == "learned" and (step < self.soft_steps or not self.hard_phase) else 2


def _keys(valid: Tensor) -> Tensor:
    """N of each utterance, shaped to meet attention weights: `(batch, length)` to `(batch, 1, 1, 1)`."""
    return valid.sum(1).clamp_min(1).to(torch.float32)[:, None, None, None]


def _at_least(weights: Tensor, border: Tensor | float) -> Tensor:
    """1 where a weight is at least the border, else 0; written as weights' own type, which is what makes it cheap."""
    weights = weights.detach()
    return torch.ge(weights, border, out=torch.empty_like(weights))


def row_mean_mask(weights: Tensor, valid: Tensor, union: bool = True) -> Tensor:
    """VP: 1 where a weight is at least the mean of its row, else 0.

    weights `(batch, heads, queries, keys)`, valid `(batch, keys)`; returns `(batch, heads, queries, keys)`, or
    `(batch, 1, queries, keys)` with `union`: 1 where any head keeps the connection.
    """
    return _at_least(weights.detach().amax(1, keepdim=True) if union else weights, 1 / _keys(valid))


def threshold_mask(weights: Tensor, threshold: float) -> Tensor:
    """1 where a weight is at least `threshold`, the same for every length, else 0; weights `(..., keys)`."""
    return _at_least(weights, threshold)


def hard_mask(weights: Tensor, valid: Tensor, theta: Tensor | float) -> Tensor:
    """DP in phase 2: 1 where a weight is at least theta / N, else 0. No gradient passes.

    weights `(batch, heads, queries, keys)`, valid `(batch, keys)`, theta of the block; returns weights' shape.
    """
    return _at_least(weights, (theta.detach() if isinstance(theta, Tensor) else theta) / _keys(valid))


def soft_mask(weights: Tensor, valid: Tensor, theta: Tensor, temperature: float = 0.01) -> Tensor:
    """DP in phase 1: sigmoid((A - theta / N) / T), differentiable in A and theta; shapes as in `hard_mask`."""
    border = theta / (_keys(valid) * -temperature)
    return torch.sigmoid(torch.add(border, weights, alpha=1 / temperature))


def mean_mask(mask: Tensor, valid: Tensor) -> Tensor:
    """Mean of a soft mask over the valid queries and keys: `(batch, heads, length, length)` to `(batch, heads)`."""
    keep = valid.to(mask.dtype)
    rows = (mask * keep[:, None, None]).sum(-1)
    return (rows * keep[:, None]).sum(-1) / keep.sum(1, keepdim=True).clamp_min(1).square()


def count_kept(mask: Tensor, valid: Tensor) -> Tensor:
    """Kept connections between valid frames: a mask of 0 and 1 `(batch, heads, length, length)` to `(batch,)`."""
    return (mask.bool() & valid[:, None, None] & valid[:, None, :, None]).sum((1, 2, 3))


def sparsity_loss(means: Tensor, ratio: float) -> Tensor:
    """L_sp of mean soft masks `(blocks, batch, heads)`: the paper's loss of each utterance, averaged over the batch."""
    return (means - ratio).square().mean()


class Rule:
    """What one block does to its attention: scores to weights, and the mean of its soft mask for L_sp."""

    def __init__(self, settings: SparseSettings, theta: nn.Parameter | None, block: int):
        self.settings, self.theta, self.block = settings, theta, block
        self.phase = settings.last_phase
        self.mean: Tensor | None = None  # of the last soft mask, until it is collected
        self.observed: list[tuple[Tensor, Tensor, Tensor | None]] | None = None

    def threshold(self) -> Tensor:
        """The block's theta, a scalar."""
        return self.theta[self.block] * self.settings.theta_scale

    def mask(self, weights: Tensor, valid: Tensor) -> Tensor | None:
        """The binary mask, of DP the hard one in either phase; None for the methods that multiply by no mask."""
        s = self.settings
        if s.method == "row_mean":
            return row_mean_mask(weights, valid, s.union)
        if s.method == "threshold":
            return threshold_mask(weights, s.threshold)
        if s.method == "threshold_over_n":
            return hard_mask(weights, valid, s.threshold)
        return hard_mask(weights, valid, self.threshold()) if s.method == "learned" else None

    def weights(self, scores: Tensor, valid: Tensor, training: bool) -> Tensor:
        """Scores `(batch, heads, queries, keys)`, minus infinity at padded keys, to the weights of the values."""
        s = self.settings
        if s.method == "entmax":
            return entmax15(scores)
        if s.method == "top_k":
            return top_k(scores, valid, s.fraction)
        dense = torch.softmax(scores, -1)
        if s.method == "dense":
            return dense
        if s.method == "dropout":
            return dropout(dense, s.dropout, training)
        if s.method == "learned" and self.phase == 1:
            soft = soft_mask(dense, valid, self.threshold(), s.temperature)
            self.mean = mean_mask(soft, valid)
            return dense * soft
        return dense * self.mask(dense, valid)


class SparseSelfAttention(SelfAttention):
    """A block's self-attention under a rule. It takes over the dense one's layers, so a state dict fits both."""

    def __init__(self, dense: SelfAttention, rule: Rule):
        nn.Module.__init__(self)
        self.heads = dense.heads
        self.query, self.key, self.value, self.out = dense.query, dense.key, dense.value, dense.out
        self.rule = rule

    def forward(self, x: Tensor, mask: Tensor, prefix: tuple[Tensor, Tensor] | None = None) -> Tensor:
        """x `(batch, length, channels)`, mask `(batch, length)` True where valid; returns x's shape.

        Raises:
            ValueError: prefix tuning was asked for, whose keys have no place in the paper's masks.
        """
        if prefix is not None:
            raise ValueError("pruned self-attention takes no prefix: use another conditioning with it")
        if self.rule.settings.method == "dense" and self.rule.observed is None:
            return super().forward(x, mask)
        q, k, v = (self._split(layer(x)) for layer in (self.query, self.key, self.value))
        scores = attention_scores(q, k, mask).float()  # masks compare what bfloat16 would round
        weights = self.rule.weights(scores, mask, self.training)
        if self.rule.observed is not None:
            dense = torch.softmax(scores, -1)
            self.rule.observed.append((dense, weights, self.rule.mask(dense, mask)))
        return self.out(torch.matmul(weights.to(v.dtype), v).transpose(1, 2).flatten(2))


class Pruned(nn.Module):
    """What TTS models share whose blocks attend under rules; `rules` are by site, "d0" the decoder's first block.

    Blocks keep their parameter names. DP adds one number per pruned block, `theta`. A new or restored model is in the
    last phase of its schedule; training calls `at_step` before each batch. In phase 2 theta gets no gradient, so an
    optimiser leaves it, decay included.
    """

    def prune(self, settings: SparseSettings, blocks: dict[str, FFTBlock]) -> None:
        """Put the blocks' attention under rules of `settings`; once, when the model is made."""
        self.settings = settings
        learned = settings.method == "learned"
        self.register_parameter("theta", nn.Parameter(torch.zeros(len(blocks))) if learned else None)
        self.rules = {site: Rule(settings, self.theta, i) for i, site in enumerate(blocks)}
        for site, block in blocks.items():
            block.attention = SparseSelfAttention(block.attention, self.rules[site])

    def at_step(self, step: int) -> None:
        """Enter the phase of a training step, counted from 0."""
        for rule in self.rules.values():
            rule.phase = self.settings.phase(step)

    def thresholds(self) -> dict[str, float]:
        """Theta of each pruned block under DP, by site name; nothing under another rule."""
        return {site: float(rule.threshold().detach()) for site, rule in self.rules.items() if self.theta is not None}

    def collected(self) -> dict[str, Tensor]:
        """In phase 1 of DP "mask", the last pass's mean soft masks `(blocks, batch, heads)`, kept no longer."""
        means = [rule.mean for rule in self.rules.values() if rule.mean is not None]
        for rule in self.rules.values():
            rule.mean = None
        return {"mask": torch.stack(means)} if means else {}

    @torch.no_grad()
    def observe(self, batch: dict[str, Tensor]) -> dict[str, tuple[Tensor, Tensor, Tensor | None]]:
        """Attention of each block in one teacher-forced pass, by site name; dropout acts only in training mode.

        Returns the softmax weights, the weights after pruning and the binary mask (of DP the hard one), each
        `(batch, heads, length, length)`; the mask is None where the method multiplies by none, and has one head
        where it is shared.
        """
        for rule in self.rules.values():
            rule.observed = []
        try:
            self(batch)
            return {site: rule.observed[0] for site, rule in self.rules.items()}
        finally:
            for rule in self.rules.values():
                rule.observed = None

    @torch.no_grad()
    def kept(self, batch: dict[str, Tensor], observed: dict | None = None) -> dict[str, np.ndarray]:
        """Share of each utterance's connections that the hard mask keeps, over all heads, by site: each `(batch,)`.

        observed: what `observe` gave for this batch, where that is known.
        """
        shares = {}
        for site, (_, weights, mask) in (observed or self.observe(batch)).items():
            lengths = batch["frame_lengths" if site[0] == "d" else "symbol_lengths"]
            if mask is None:  # top-k and entmax give zeros themselves; dropout and dense attention keep everything
                sparse = self.settings.method in ("top_k", "entmax")
                mask = weights > 0 if sparse else torch.ones_like(weights)
            counts = count_kept(mask.expand_as(weights), length_mask(lengths, weights.shape[-1]))
            shares[site] = (counts / (weights.shape[1] * lengths.double() ** 2)).cpu().numpy()
        return shares


class PrunedTTS(Pruned):
    """A StyleSpeech whose decoder (and encoder, if set) attends under a variant's rules.

    `backbone.load_state_dict` takes a dense checkpoint, strictly.
    """

    def __init__(self, backbone: stylespeech.StyleSpeech, settings: SparseSettings):
        super().__init__()
        self.backbone = backbone
        parts = ("encoder", "decoder") if settings.encoder else ("decoder",)
        self.prune(settings, {f"{p[0]}{i}": block for p in parts for i, block in enumerate(getattr(backbone, p))})

    def forward(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """`StyleSpeech.forward`, and in phase 1 of DP "mask", the mean soft masks `(blocks, batch, heads)`."""
        return self.backbone(batch) | self.collected()

    def synthesise(
        self, symbols: Tensor, lengths: Tensor, reference: Tensor, reference_lengths: Tensor
    ) -> tuple[Tensor, Tensor]:
        """As `StyleSpeech.synthesise`, under the mask of the model's phase."""
        out = self.backbone.synthesise(symbols, lengths, reference, reference_lengths)
        self.collected()
        return out

    def loss(self, out: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """StyleSpeech's losses; in phase 1 of DP also "sparsity", part of "total" unless the variant is without it.

        Under DP each block's theta goes with them ("theta_d0"), for the learning curve.
        """
        parts = fastspeech2.loss(out, batch)
        if "mask" in out:
            parts["sparsity"] = sparsity_loss(out["mask"], self.settings.ratio)
            if self.settings.sparsity_loss:
                parts["total"] = parts["total"] + parts["sparsity"]
        if self.theta is None:
            return parts
        return parts | {f"theta_{site}": rule.threshold().detach() for site, rule in self.rules.items()}
