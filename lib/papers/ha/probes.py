"""What is measured apart from errors: angles of the weights, probes of the embeddings, and the prosody of cohorts."""

from __future__ import annotations

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lib.audio import RATE
from lib.corpora.corpus import Utterance
from lib.corpora.disorders.corpus import pause_share, syllable_rate
from lib.methods.hyperlora import LEAVES, Retrained
from lib.metrics import prosody, subspace
from lib.papers.ha.data import CONDITIONINGS, AsrError, Recordings
from lib.pitch import yin

MATRICES = {leaf: name for name, leaf in LEAVES.items()}
HOP = 160
TARGETS = ("cohort", "severity", "rate", "pauses", "f0")
PROSODY = ("energy_mean", "energy_range", "rate", "pauses", "pause_seconds", "pause_share")
NORMS = ("self_attn_layer_norm", "encoder_attn_layer_norm", "final_layer_norm")


def angles(study: Recordings, tuned: Retrained) -> pd.DataFrame:
    """Principal angles in degrees between every weight before and after fine-tuning, by type and layer.

    Variants: "columns", whole column spaces as scipy.linalg.subspace_angles has them (0 by shape for a matrix with at
    least as many columns as rows); "rows", the same of the transposed matrix; "leading", the `rank` leading left
    singular vectors, which no shape decides. Metrics: angle_mean, angle_largest, and relative_change, the Frobenius
    norm of the change over that of the weight in %. Biases and layer norms are vectors; they have one angle, and
    the mean over a layer's vectors is given.
    """
    if not isinstance(tuned, Retrained):
        raise AsrError("Angles compare a fine-tuned Whisper with Whisper itself: give a system of the method full.")
    before = {path: study.model.network.get_parameter(path).detach() for path in tuned.copies if ".layers." in path}
    after = {path: tuned.values[tuned.copies[path]].detach() for path in before}
    kept = [path for path in before if before[path].any() and after[path].any()]
    tables = []
    for variant in ("columns", "rows", "leading"):
        paths = [path for path in kept if before[path].ndim == 2 or variant == "columns"]
        turn = (lambda weight: weight.mT.contiguous()) if variant == "rows" else (lambda weight: weight)
        rank = study.settings["evaluate"]["angles"]["rank"] if variant == "leading" else None
        one, other = ({path: turn(model[path]) for path in paths} for model in (before, after))
        found = subspace.compare(one, other, device=study.device, rank=rank)
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
    return frame[["target", "layer"]].assign(metric=metric, value=frame[column], unit=unit, variant=variant)


def probes(study: Recordings) -> pd.DataFrame:
    """What the conditioning embeddings encode, learned on training speakers and tested on never-seen ones.

    target: what is read off: cohort and severity (logistic regression; metric probe_accuracy, 1 or 0 by utterance, and
    probe_chance, the share of the commonest class), rate (syllables/s), f0 (semitones) and pauses (share of silence)
    (ridge regression; metric probe_r2, by utterance 1 - squared error over the tested utterances' variance, so that
    the mean is R^2). variant: the embedding. Only cohorts that both sets have take part, and only targets that are
    known of every utterance: rate and pauses need an alignment, severity the corpus's word. No rows without such.
    """
    trained, tested = _probed(study)
    facts = {name: [_facts(item, study) for item in items] for name, items in (("a", trained), ("b", tested))}
    targets = {name for name in TARGETS if all(name in fact for fact in facts["a"] + facts["b"])}
    targets -= {name for name in ("cohort", "severity") if len({fact.get(name) for fact in facts["a"]}) < 2}
    if not tested:
        return pd.DataFrame()
    rows = []
    for kind in CONDITIONINGS:
        table = study.embeddings(kind)
        one, other = (_matrix(table, items) for items in (trained, tested))
        centre, spread = one.mean(0), one.std(0).clip(1e-6)
        one, other = (one - centre) / spread, (other - centre) / spread
        for target in (name for name in TARGETS if name in targets):
            answers = [fact[target] for fact in facts["a"]], [fact[target] for fact in facts["b"]]
            rows += _probe(study, one, other, *answers, tested, target, kind)
    return pd.DataFrame(rows)


def _probed(study: Recordings) -> tuple[list[Utterance], list[Utterance]]:
    """What probes learn from, and what they are tested on: never-seen speakers of the same cohorts."""
    trained = study.select("adaptation", "train")
    cohorts = {item.condition for item in trained}
    return trained, [item for item in study.select("never_seen", "test") if item.condition in cohorts]


def voices(study: Recordings) -> pd.DataFrame:
    """How many voices the probes rest on. Simulated speakers share voices; a recorded speaker is a voice."""
    trained, tested = _probed(study)
    parts = {"training": trained, "never seen, tested": tested, "both": trained + tested}
    return pd.DataFrame(
        {
            "utterances of": name,
            "voices": len({item.recipe.get("voice", item.speaker) for item in items}),
            "speakers": len({item.speaker for item in items}),
            "utterances": len(items),
        }
        for name, items in parts.items()
    )


def _probe(study, one, other, known, wanted, tested: list[Utterance], target: str, kind: str) -> list[dict]:
    from sklearn.linear_model import LogisticRegression, Ridge

    shared = {"target": target, "variant": kind}
    if isinstance(known[0], str):
        model = LogisticRegression(C=study.settings["evaluate"]["probes"]["c"], max_iter=2000).fit(one, known)
        values, metric = model.predict(other) == np.array(wanted), "probe_accuracy"
        chance = max(wanted.count(value) for value in set(wanted)) / len(wanted)
        extra = [{"metric": "probe_chance", "value": chance, "unit": "share", **shared}]
    else:
        known, wanted = np.array(known), np.array(wanted)
        model = Ridge(study.settings["evaluate"]["probes"]["ridge"]).fit(one, known)
        variance = max(float(wanted.var()), 1e-12)
        values, metric, extra = 1 - (model.predict(other) - wanted) ** 2 / variance, "probe_r2", []
    names = ("utterance", "speaker", "role", "split")
    factors = [{name: getattr(item, name) for name in names} | {"cohort": item.condition} for item in tested]
    return extra + [
        {"metric": metric, "value": float(value), "unit": "share", **shared, **factor}
        for value, factor in zip(values, factors, strict=True)
    ]


def _facts(item: Utterance, study: Recordings) -> dict[str, str | float]:
    facts = {"cohort": item.condition, "f0": f0_level(study.examples[item.utterance].wave)}
    if "severity" in item.recipe or item.condition == "typical":
        facts["severity"] = item.recipe.get("severity", "none")
    if item.durations:
        facts |= {"rate": syllable_rate(item), "pauses": pause_share(item)}
    return facts


def f0_level(wave: np.ndarray) -> float:
    """Median F0 of the voiced frames in semitones above 100 Hz; 0 for a wave without any."""
    voiced, _ = voiced_f0(wave)
    return float(12 * torch.log2(voiced.median() / 100)) if len(voiced) else 0.0


def voiced_f0(wave: np.ndarray) -> tuple[Tensor, int]:
    """F0 (voiced frames,) in Hz, and the number of all frames, 100 a second."""
    f0 = yin(torch.from_numpy(wave)[None].double(), RATE, HOP)[0][0]
    return f0[f0 > 0], len(f0)


def _matrix(table: dict[str, Tensor], items: list[Utterance]) -> np.ndarray:
    return torch.stack([table[item.utterance] for item in items]).double().cpu().numpy()


def prosody_of(study: Recordings, items: list[Utterance]) -> np.ndarray:
    """(utterances, 9): energy, rate and pauses of `lib.metrics.prosody`, mean and spread of F0 (semitones), voicing."""
    waves = [study.corpus.wave(item) for item in items]
    measured = prosody.timing(waves, device=study.device)
    intonation = np.array([_intonation(wave) for wave in waves])
    return np.column_stack([*(measured[name] for name in PROSODY), intonation])


def _intonation(wave: np.ndarray) -> tuple[float, float, float]:
    voiced, frames = voiced_f0(wave)
    if len(voiced) < 2:
        return 0.0, 0.0, 0.0
    semitones = 12 * torch.log2(voiced / 100)
    return float(semitones.mean()), float(semitones.std()), len(semitones) / frames


def cohorts_by_prosody(study: Recordings) -> pd.DataFrame:
    """Does prosody tell the cohorts apart? Logistic regression on `prosody_of`, learned on training speakers.

    One row per cohort and one for all: utterances of never-seen speakers, the share told right, and chance, the
    share of the commonest cohort. With one cohort nothing is told apart.
    """
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    trained, tested = _probed(study)
    cohorts = sorted({item.condition for item in trained})
    if len(cohorts) < 2:
        return pd.DataFrame({"cohort": cohorts, "utterances": len(tested)})
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
    model.fit(prosody_of(study, trained), [item.condition for item in trained])
    truth = np.array([item.condition for item in tested])
    right = model.predict(prosody_of(study, tested)) == truth
    chance = max(np.mean(truth == cohort) for cohort in cohorts)
    rows = [
        {"cohort": c, "utterances": int((truth == c).sum()), "told right": right[truth == c].mean()} for c in cohorts
    ]
    return pd.DataFrame([*rows, {"cohort": "all", "utterances": len(truth), "told right": right.mean()}]).assign(
        chance=chance
    )
