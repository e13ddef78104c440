"""Layers of the TTS models on `(batch, length, channels)`: torch's own, arranged to be fast on a CPU.

Each computes what torch's layer of the same name does, with the same parameters. What bounded a training step on a CPU:
products of float32 matrices by MKL, which takes twice as long as oneDNN on an AMD processor with AVX-512; convolutions
of one tap on a path without either, and layouts copied around the others; one random number for each dropout decision.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

ARRANGED = True  # False: torch's own layers on a CPU, too
ONEDNN = torch.backends.mkldnn.is_available() and hasattr(torch.ops.mkldnn, "_linear_pointwise")
LEVELS = 1 << 16  # of the numbers that decide what dropout keeps


def _arranged(x: Tensor) -> bool:
    return ARRANGED and x.device.type == "cpu"


class _Product(torch.autograd.Function):
    """`x W^T + b` by oneDNN in float32, forward and backward. Matrices are made dense: oneDNN is slow on others."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        x, weight = x.contiguous(), weight.contiguous()
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, gradient: Tensor):
        x, weight = ctx.saved_tensors
        gradient = gradient.contiguous()
        rows = gradient.flatten(0, -2)
        of_x, of_weight, of_bias = ctx.needs_input_grad
        return (
            _product(gradient, weight.t()) if of_x else None,
            _product(rows.t(), x.flatten(0, -2).t()) if of_weight else None,
            rows.sum(0) if of_bias else None,
        )


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    return torch.ops.mkldnn._linear_pointwise(x, weight, bias, "none", [], "")


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`F.linear` of x `(..., channels)`."""
    exact = x.dtype == weight.dtype == torch.float32 and not torch.is_autocast_enabled("cpu")
    if ONEDNN and _arranged(x) and exact and x.ndim > 1:
        return _Product.apply(x, weight, bias)
    return F.linear(x, weight, bias)


class Linear(nn.Linear):
    def forward(self, x: Tensor) -> Tensor:
        return linear(x, self.weight, self.bias)


class Conv1d(nn.Conv1d):
    """A convolution over the length of x `(batch, length, channels)`, padded to keep it; `kernel` is odd."""

    def __init__(self, channels: int, filters: int, kernel: int):
        super().__init__(channels, filters, kernel, padding=kernel // 2)

    def forward(self, x: Tensor) -> Tensor:
        if not _arranged(x):
            return super().forward(x.transpose(1, 2)).transpose(1, 2)
        if self.kernel_size == (1,):
            return linear(x, self.weight.squeeze(-1), self.bias)
        image = x.transpose(1, 2).unsqueeze(2)  # channels last in memory, as x lies
        h = F.conv2d(image, self.weight.unsqueeze(2), self.bias, padding=(0, *self.padding))
        return h.squeeze(2).transpose(1, 2)


class BatchNorm1d(nn.BatchNorm2d):
    """Batch normalisation of the channels of x `(batch, length, channels)`."""

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x.transpose(1, 2).unsqueeze(2)).squeeze(2).transpose(1, 2)


def dropout(x: Tensor, p: float, training: bool) -> Tensor:
    """`F.dropout` of x `(batch, ...)`, on a CPU with p rounded to 2**-16: one random number decides for four places."""
    if not (training and p > 0 and _arranged(x)):
        return F.dropout(x, p, training)
    places, dropped = x[0].numel(), round(p * LEVELS)
    numbers = torch.randint(-(1 << 63), (1 << 63) - 1, (len(x), -(-places // 4)))
    kept = numbers.view(torch.int16)[:, :places].view(x.shape) >= dropped - LEVELS // 2
    return x * kept.to(x.dtype).mul_(LEVELS / (LEVELS - dropped))


class Dropout(nn.Dropout):
    def forward(self, x: Tensor) -> Tensor:
        return dropout(x, self.p, self.training)


def attention(q: Tensor, k: Tensor, v: Tensor, keep: Tensor) -> Tensor:
    """`F.scaled_dot_product_attention` of `(batch, heads, queries or keys, d)`; keep `(batch, keys)` True where valid.

    In bfloat16 on a CPU torch's fused kernel takes twice as long as the three products that it fuses.
    """
    if _arranged(q) and torch.is_autocast_enabled("cpu"):
        return torch.matmul(torch.softmax(attention_scores(q, k, keep), -1), v)
    return F.scaled_dot_product_attention(q, k, v, attn_mask=keep[:, None, None])


def attention_scores(q: Tensor, k: Tensor, valid: Tensor) -> Tensor:
    """Q K^T / sqrt(d), minus infinity at padded keys, in one product.

    q `(batch, heads, queries, d)`, k `(batch, heads, keys, d)`, valid `(batch, keys)`; returns
    `(batch, heads, queries, keys)`.
    """
    heads, d = q.shape[1], q.shape[-1]
    padding = torch.zeros(valid.shape, dtype=q.dtype, device=q.device).masked_fill_(~valid, -torch.inf)
    bias = padding.repeat_interleave(heads, 0).unsqueeze(1)
    scores = torch.baddbmm(bias, q.flatten(0, 1), k.flatten(0, 1).transpose(1, 2), alpha=d**-0.5)
    return scores.unflatten(0, (-1, heads))


def count(module: nn.Module) -> int:
    """Trainable parameters of a module."""
    return sum(p.numel() for p in module.parameters() if p.requires_grad)
