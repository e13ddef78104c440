"""What is measured of the adapted Whisper and of the embeddings, apart from errors: angles and probes."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lib.corpora.corpus import Utterance
from lib.corpora.disorders.corpus import pause_share, syllable_rate
from lib.methods.hyperlora import LEAVES, Retrained
from lib.metrics import subspace
from lib.papers.ha.data import CONDITIONINGS, AsrError, Bench
from lib.pitch import yin

MATRICES = {leaf: name for name, leaf in LEAVES.items()}
NORMS = ("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm")


def angles(bench: Bench, tuned: Retrained) -> pd.DataFrame:
    """Principal angles in degrees between every weight before and after fine-tuning, by type and layer.

    Variants: "columns", whole column spaces as scipy.linalg.subspace_angles has them (0 by shape for a matrix with at
    least as many columns as rows); "rows", the same of the transposed matrix; "leading", the `rank` leading left
    singular vectors, which no shape decides. Metrics: angle_mean, angle_largest, and relative_change, the Frobenius
    norm of the change over that of the weight in %. Biases and layer norms are vectors; they have one angle, and
    the mean over a layer's vectors is given.
    """
    if not isinstance(tuned, Retrained):
        raise AsrError("Angles compare a fine-tuned Whisper with Whisper itself: give a system of the method full.")
    before = {path: bench.model.network.get_parameter(path).detach() for path in tuned.copies if ".layers." in path}
    after = {path: tuned.values[tuned.copies[path]].detach() for path in before}
    kept = [path for path in before if before[path].any() and after[path].any()]
    tables = []
    for variant in ("columns", "rows", "leading"):
        paths = [path for path in kept if before[path].ndim == 2 or variant == "columns"]
        turn = (lambda weight: weight.mT.contiguous()) if variant == "rows" else (lambda weight: weight)
        rank = bench.settings["evaluate"]["angles"]["rank"] if variant == "leading" else None
        one, other = ({path: turn(model[path]) for path in paths} for model in (before, after))
        found = subspace.compare(one, other, device=bench.device, rank=rank)
        tables.append(_by_type({path: np.degrees(values) for path, values in found.items()}, variant))
    change = {p: np.array([100 * float((after[p] - before[p]).norm() / before[p].norm())]) for p in kept}
    tables.append(_by_type(change, "change"))
    return pd.concat(tables, ignore_index=True)


def kind_of(path: str) -> tuple[str, str]:
    """Type ("decoder.W1", "encoder.bias", …) and layer of a parameter by its path."""
    _, side, _, layer, rest = path.split(".", 4)
    module, leaf = rest.rsplit(".", 1)
    if module in NORMS:
        return f"{side}.layer_norm", layer
    return f"{side}.{MATRICES[module] if leaf == 'weight' else 'bias'}", layer


def _by_type(values: dict[str, np.ndarray], variant: str) -> pd.DataFrame:
    """Rows by type and layer: the mean over the parameters of a type that a layer has several of."""
    frame = pd.DataFrame(
        [(*kind_of(path), float(mine.mean()), float(mine.max())) for path, mine in values.items()],
        columns=["target", "layer", "mean", "largest"],
    )
    frame = frame.groupby(["target", "layer"], sort=False).mean().reset_index()
    if variant == "change":
        return _rows(frame, "mean", "relative_change", "%", variant)
    parts = [_rows(frame, "mean", "angle_mean", "degrees", variant)]
    return pd.concat([*parts, _rows(frame, "largest", "angle_largest", "degrees", variant)])


def _rows(frame: pd.DataFrame, column: str, metric: str, unit: str, variant: str) -> pd.DataFrame:
    rows = frame[["target", "layer"]].assign(metric=metric, value=frame[column], unit=unit, variant=variant)
    return rows


def probes(bench: Bench) -> pd.DataFrame:
    """What the conditioning embeddings encode, learned on training speakers and tested on never-seen ones.

    target: what is read off: cohort and severity (logistic regression; metric probe_accuracy, 1 or 0 by utterance, and
    probe_chance, the share of the commonest class), rate (syllables/s), f0 (semitones) and pauses (share of silence)
    (ridge regression; metric probe_r2, by utterance 1 - squared error over the tested utterances' variance, so that
    the mean is R^2). variant: the embedding. Only the three cohorts that both sets have take part.
    """
    trained = bench.select("adaptation", "train")
    cohorts = {item.condition for item in trained}
    tested = [item for item in bench.select("never_seen", "test") if item.condition in cohorts]
    facts = {name: [_facts(item, bench) for item in items] for name, items in (("a", trained), ("b", tested))}
    rows = []
    for kind in CONDITIONINGS:
        table = bench.embeddings(kind)
        one, other = (_matrix(table, items) for items in (trained, tested))
        centre, spread = one.mean(0), one.std(0).clip(1e-6)
        one, other = (one - centre) / spread, (other - centre) / spread
        for target in facts["a"][0]:
            answers = [fact[target] for fact in facts["a"]], [fact[target] for fact in facts["b"]]
            rows += _probe(bench, one, other, *answers, tested, target, kind)
    return pd.DataFrame(rows)


def _probe(bench, one, other, known, wanted, tested: list[Utterance], target: str, kind: str) -> list[dict]:
    from sklearn.linear_model import LogisticRegression, Ridge

    shared = {"target": target, "variant": kind}
    if isinstance(known[0], str):
        model = LogisticRegression(C=bench.settings["evaluate"]["probes"]["c"], max_iter=2000).fit(one, known)
        values, metric = model.predict(other) == np.array(wanted), "probe_accuracy"
        chance = max(wanted.count(value) for value in set(wanted)) / len(wanted)
        extra = [{"metric": "probe_chance", "value": chance, "unit": "share", **shared}]
    else:
        known, wanted = np.array(known), np.array(wanted)
        model = Ridge(bench.settings["evaluate"]["probes"]["ridge"]).fit(one, known)
        variance = max(float(wanted.var()), 1e-12)
        values, metric, extra = 1 - (model.predict(other) - wanted) ** 2 / variance, "probe_r2", []
    names = ("utterance", "speaker", "role", "split")
    factors = [{name: getattr(item, name) for name in names} | {"cohort": item.condition} for item in tested]
    return extra + [
        {"metric": metric, "value": float(value), "unit": "share", **shared, **factor}
        for value, factor in zip(values, factors, strict=True)
    ]


def _facts(item: Utterance, bench: Bench) -> dict[str, str | float]:
    return {
        "cohort": item.condition,
        "severity": item.recipe["severity"],
        "rate": syllable_rate(item),
        "pauses": pause_share(item),
        "f0": f0_level(bench.examples[item.utterance].wave),
    }


def f0_level(wave: np.ndarray) -> float:
    """Median F0 of the voiced frames in semitones above 100 Hz; 0 for a wave without any."""
    f0 = yin(torch.from_numpy(wave)[None].double(), 16000, 160)[0][0]
    voiced = f0[f0 > 0]
    return float(12 * torch.log2(voiced.median() / 100)) if len(voiced) else 0.0


def _matrix(table: dict[str, Tensor], items: list[Utterance]) -> np.ndarray:
    return torch.stack([table[item.utterance] for item in items]).double().cpu().numpy()
