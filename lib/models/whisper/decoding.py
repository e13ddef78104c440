"""Transcripts of prepared utterances by an adapted Whisper: greedy or beam search, in batches."""

import math
from collections.abc import Sequence
from contextlib import nullcontext

import torch
from torch import Tensor, nn

from lib.models.whisper import model as whisper
from lib.models.whisper.model import Decoder, Encoded, Whisper, prompt
from lib.models.whisper.states import EncoderStates, Example, encode_with_gradients
from lib.models.whisper.training import Adapted

WORST = -1e9


@torch.inference_mode()
def transcribe(
    model: Whisper,
    examples: Sequence[Example],
    cache: EncoderStates,
    adaptation: Adapted | None = None,
    embeddings: Tensor | None = None,
    beams: int = 1,
    batch_size: int = 16,
    max_new_tokens: int = 224,
) -> list[str]:
    """Transcripts of `examples`: greedy with one beam, else beam search.

    embeddings: (utterances, size) in the order of `examples`, for an adaptation that is conditional. Utterances of one
    context and similar length share a batch. At most 10 tokens a second are written, as in `Whisper.transcribe`.
    """
    order = sorted(range(len(examples)), key=lambda index: (examples[index].context, len(examples[index].wave)))
    texts = [""] * len(examples)
    while order:
        context = examples[order[0]].context
        rows = [index for index in order[:batch_size] if examples[index].context == context]
        order = order[len(rows) :]
        batch = [examples[index] for index in rows]
        own = None if embeddings is None else embeddings[rows]
        limits = [whisper._limit(len(example.wave), max_new_tokens) for example in batch]
        with adaptation.applied(model.network, own) if adaptation else nullcontext():
            live = adaptation is not None and adaptation.changes_encoder
            encoded = encode_with_gradients(model, batch) if live else cache.read(batch)
            found = model.decode(encoded, limits) if beams == 1 else beam_search(model, encoded, limits, beams)
        for index, text in zip(rows, found, strict=True):
            texts[index] = text
    return texts


@torch.inference_mode()
def beam_search(
    model: Whisper, encoded: Encoded, limits: Sequence[int], beams: int = 5, length_penalty: float = 1.0
) -> list[str]:
    """Beam search over a batch, at most `limits[i]` tokens for utterance i, and no more than the decoder has room for.

    A hypothesis of n tokens, <|endoftext|> included, scores its summed log probability / n^length_penalty. An
    utterance is done when `beams` hypotheses have ended and the best of those going on scores no higher than the
    worst of them. Tokens that must not be written are struck out after the softmax. All this is transformers' rule.
    """
    batch, device = len(encoded.states), model.device
    banned = torch.zeros(model.network.config.vocab_size, device=device)
    banned[[*model.suppressed, *range(model.end + 1, len(banned))]] = -math.inf
    first = banned.clone()
    first[model.suppressed_first] = -math.inf
    decoder = _BeamDecoder(model, encoded, beams)
    *before, last = prompt(model)
    room = model.network.config.max_target_positions - len(before) - 1
    for known in before:
        decoder.step(torch.full((batch * beams,), known, device=device))
    token = torch.full((batch * beams,), last, device=device)
    limits = [min(most, room) for most in limits]
    limit = torch.tensor(limits, device=device)[:, None]
    running = torch.zeros(batch, beams, 0, dtype=torch.long, device=device)
    scores = torch.full((batch, beams), WORST, device=device)
    scores[:, 0] = 0.0
    ended = torch.full((batch, beams, max(limits)), model.end, device=device)
    ended_scores = torch.full((batch, beams), WORST, device=device)
    done = torch.zeros(batch, 1, dtype=torch.bool, device=device)
    for length in range(1, max(limits) + 1):
        following = decoder.step(token).log_softmax(-1) + (first if length == 1 else banned)
        totals = (scores[..., None] + following.unflatten(0, (batch, beams))).flatten(1)
        totals, places = totals.topk(2 * beams)
        parents, tokens = places // len(banned), places % len(banned)
        candidates = torch.cat([_take(running, parents), tokens[..., None]], dim=2)

        ends = (tokens == model.end) | (length >= limit)
        among_best = torch.arange(2 * beams, device=device) < beams
        new = torch.where(ends & among_best & ~done, totals / length**length_penalty, WORST)
        ended_scores, kept = torch.cat([ended_scores, new], dim=1).topk(beams)
        padded = torch.nn.functional.pad(candidates, (0, ended.shape[2] - length), value=model.end)
        ended = _take(torch.cat([ended, padded], dim=1), kept)

        scores, kept = totals.masked_fill(ends, WORST).topk(beams)
        running = _take(candidates, kept)
        token = running[..., -1].flatten()
        decoder.follow(parents.gather(1, kept))
        worst = ended_scores.min(dim=1, keepdim=True).values
        done = done | (length >= limit) | (scores[:, :1] / length**length_penalty <= worst)
        if done.all():
            break
    best = ended[:, 0].cpu().tolist()
    return [model.tokenizer.decode(row, skip_special_tokens=True).strip() for row in best]


class _BeamDecoder(Decoder):
    """The decoder on the beams of each utterance, whose rows lie one after the other."""

    def __init__(self, model: Whisper, encoded: Encoded, beams: int) -> None:
        super().__init__(model.network, encoded)
        self.beams = beams

    def _heard(self, index: int, attention: nn.Module) -> tuple[Tensor, Tensor]:
        if self.cross[index] is None:
            pair = super()._heard(index, attention)
            self.cross[index] = tuple(part.repeat_interleave(self.beams, dim=0) for part in pair)
        return self.cross[index]

    def follow(self, parents: Tensor) -> None:
        """Go on from beam `parents[i, j]` (batch, beams) of utterance i as its beam j."""
        batch, beams = parents.shape
        rows = (parents + torch.arange(batch, device=parents.device)[:, None] * beams).flatten()
        self.past = [tuple(part[rows] for part in pair) for pair in self.past]


def _take(sequences: Tensor, which: Tensor) -> Tensor:
    """Rows `which` (batch, n) of each utterance's `sequences` (batch, many, length)."""
    return sequences.gather(1, which[..., None].expand(-1, -1, sequences.shape[2]))
