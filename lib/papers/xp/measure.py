"""What the experiment's models are like, in result rows: speech, log-mels, and what adapters change inside."""

from collections.abc import Callable

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lib.corpora.corpus import Utterance
from lib.metrics import cos
from lib.models.fft_block import Hooks, length_mask
from lib.papers.ht.measure import clustered, generated_parameters, speaker_silhouette
from lib.papers.ht.speech import synthesise
from lib.papers.ht.systems import Adapted
from lib.papers.xp.systems import BACKBONE, AcrossError, Systems
from lib.study.rows import tidy
from lib.study.units import unit

UNADAPTED = "unadapted"


def test_utterances(study: Systems) -> list[Utterance]:
    """The first test sentences of every adaptation speaker. Raises AcrossError for a corpus without any."""
    chosen = study.corpus.first("adaptation", study.settings["sentences"])
    if not chosen:
        raise AcrossError("the corpus has no test utterances: check xp.sentences and the corpus's set-aside list")
    return chosen


def cell_rows(study: Systems, cell: str, attention: str, seed: int) -> pd.DataFrame:
    """The rows of one cell's adapters on a backbone."""
    entry, name = study.cell(cell), f"{cell}_{attention}"
    model, trained = study.adapted(cell, attention, seed), study.trained(name, seed)
    tables = [model_rows(study, model)]
    if entry["method"] == "hypernetwork":  # silhouettes of what it generates, as claim HT6 takes them
        points, speakers = generated_parameters(study, name, seed)
        tables.append(tidy({"silhouette": speaker_silhouette(points, speakers)}, clustered(study)))
    backbone = sum(p.numel() for p in study.restore(f"{BACKBONE}_{attention}", 0).parameters())
    counts = {"trainable_parameters": trained["trainable_parameters"], "backbone_parameters": backbone}
    counts["seconds_trained"] = trained["seconds_trained"]
    tables.append(pd.DataFrame([{"metric": m, "value": float(v), "unit": unit(m)} for m, v in counts.items()]))
    factors = {"method": entry["method"], "modules": entry["modules"], "variant": attention, "system": name}
    factors |= {"bottleneck": entry.get("bottleneck"), "d_s": entry.get("d_s")}
    return pd.concat(tables, ignore_index=True).assign(trainable=trained["trainable_parameters"], **factors)


def unadapted_rows(study: Systems, attention: str) -> pd.DataFrame:
    """A backbone before adaptation, and what its hard masks keep, by block."""
    tables, backbone = (
        [model_rows(study, study.adapted(None, attention, 0))],
        study.restore(f"{BACKBONE}_{attention}", 0),
    )
    if backbone.theta is not None:
        utterances = test_utterances(study)
        shares = backbone.kept(study.features.batch(study.features.rows(utterances), study.device))
        tables += [tidy({"kept_fraction": share}, utterances).assign(layer=site) for site, share in shares.items()]
        thetas = study.trained(f"{BACKBONE}_{attention}", 0)["thresholds"]
        rows = [{"metric": "theta", "layer": k, "value": v, "unit": unit("theta")} for k, v in thetas.items()]
        tables.append(pd.DataFrame(rows))
    factors = {"system": f"{UNADAPTED}_{attention}", "method": "none", "variant": attention, "trainable": 0}
    return pd.concat(tables, ignore_index=True).assign(**factors)


def model_rows(study: Systems, model: Adapted) -> pd.DataFrame:
    """COS, log-mel L1 and the change that each adapter makes, of one model."""
    utterances = test_utterances(study)
    recorded = study.features.embeddings(study.features.rows(utterances))
    values = {"cos": cos.against(synthesise(study, model, utterances), recorded, study.device)}
    forced = teacher_forced(study, model, utterances)
    tables = [tidy(values | {"mel_l1": forced.pop("mel_l1")}, utterances)]
    tables += [tidy({"adapter_change": change}, utterances).assign(layer=layer) for layer, change in forced.items()]
    return pd.concat(tables, ignore_index=True)


@torch.no_grad()
def teacher_forced(study: Systems, model: Adapted, utterances: list[Utterance]) -> dict[str, np.ndarray]:
    """What one pass with the recordings' durations, pitch and energy shows of a model, each `(utterances,)`.

    mel_l1: L1 of the log-mel after the postnet, in nats. d0, d1, …: what the adapter of a decoder block adds to the
    block's convolution output h, as 100 |adapter(h) - h| / |h| over valid frames; nothing without adapters.
    """
    values = []
    for batch in study.features.batches(study.features.rows(utterances), study.device):
        keep = length_mask(batch["frame_lengths"], batch["mel"].shape[1])
        found: dict[str, Tensor] = {}
        hooks = _watched(model.hooks(batch["speaker"]), keep, found)
        error = (model.backbone(batch, hooks)["mel_postnet"] - batch["mel"]).abs().mean(-1) * keep
        values.append({"mel_l1": error.sum(1) / keep.sum(1)} | found)
    return {name: torch.cat([each[name] for each in values]).double().cpu().numpy() for name in values[0]}


def _watched(hooks: Hooks, keep: Tensor, found: dict[str, Tensor]) -> Hooks:
    """The hooks, which note by site how much they change what passes them."""

    def watch(site: str, adapter: Callable[[Tensor], Tensor]) -> Callable[[Tensor], Tensor]:
        def apply(h: Tensor) -> Tensor:
            out, mask = adapter(h), keep.unsqueeze(-1)
            change = ((out - h) * mask).flatten(1).norm(dim=1)
            found[site] = 100 * change / (h * mask).flatten(1).norm(dim=1)
            return out

        return apply

    return Hooks(after_conv={site: watch(site, h) if site[0] == "d" else h for site, h in hooks.after_conv.items()})
