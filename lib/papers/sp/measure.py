"""What a zero-shot system sounds like and what it prunes, in result rows.

`variant` tells the kinds of rows apart: zero_shot (the test sentences, each speaker's reference recording whole),
reference_length (parts of the reference, x seconds long), other_references (another data set's speakers), joined_k
(attention on k test utterances spoken one after the other, x frames long), curve (training, x steps).
Elsewhere x is R of a system with a learned threshold, or the threshold of one with a fixed one.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from torch import Tensor

from lib.corpora.corpus import Utterance
from lib.corpora.source import given
from lib.methods.sparse_attention import PrunedTTS, SparseSettings
from lib.methods.sparse_attention_cost import attention_cost
from lib.metrics import cos, duration, is_silent, mos, per, secs, wer
from lib.models.fft_block import length_mask
from lib.papers.sp.speech import joined, other_sentences, sentences, speak
from lib.papers.sp.systems import Systems
from lib.study.rows import tidy
from lib.study.units import unit

SHORTEST = 1600  # samples of speech that every metric can judge
CURVE_POINTS = 50
AT_ONCE = 8  # inputs whose attention weights are held, every block's before and after pruning
HEARD = ("cer", "wer", "per", "mos_predicted")


def test_utterances(study: Systems, name: str) -> list[Utterance]:
    """The sentences a system speaks: of every never-seen speaker, and of seen ones for the listed systems."""
    chosen = []
    for role, per_speaker in study.settings["sentences"].items():
        if role != "never_seen" and name not in study.settings["seen_systems"]:
            continue
        chosen += study.corpus.first(role, per_speaker)
    return chosen


def usable(waves: list[np.ndarray]) -> list[int]:
    """Places of the waves that can be judged: not silent and at least 0.1 s long."""
    return [i for i, wave in enumerate(waves) if len(wave) >= SHORTEST and not is_silent(wave)]


def judge(
    study: Systems, waves: list[np.ndarray], spoken: list[Utterance], references: Sequence[np.ndarray] = ()
) -> dict[str, np.ndarray]:
    """Similarity of waves to `references`, or without these to the recordings of the same sentences, `(batch,)` each.

    `cos` (GE2E); `secs` (CAM++); `cos_centroid` for the corpus's own speakers.
    """
    device = study.device
    if references:
        values = cos.score(waves, references, device=device)
    else:
        embedded = cos.embed(waves, device)
        values = {"cos": cos.between(embedded, study.features.embeddings(study.features.rows(spoken)))}
        centroids = {speaker: study.centroid(speaker) for speaker in {u.speaker for u in spoken}}
        values["cos_centroid"] = cos.between(embedded, np.stack([centroids[u.speaker] for u in spoken]))
    return values | secs.score(waves, references or [study.corpus.wave(u) for u in spoken], device=device)


def heard(study: Systems, waves: list[np.ndarray], spoken: list[Utterance]) -> dict[str, np.ndarray]:
    """CER and WER of Whisper's transcripts, PER, predicted MOS, `(batch,)` each."""
    texts = [u.text for u in spoken]
    values = wer.score(waves, texts, device=study.device) | per.score(waves, texts)
    values |= mos.score(waves, None, device=study.device)
    return {name: values[name] for name in HEARD}


@torch.no_grad()
def against_recordings(study: Systems, model: PrunedTTS, utterances: list[Utterance]) -> dict[str, np.ndarray]:
    """`mel_l1`, L1 of the log-mel with the recording's own style, durations, pitch and energy, and `duration_error`.

    The durations are those that are predicted in the recording's own style. `(utterances,)` each.
    """
    values, durations = [], []
    for batch in study.features.batches(study.features.rows(utterances), study.device):
        keep = length_mask(batch["frame_lengths"], batch["mel"].shape[1])
        out = model(batch)
        error = (out["mel"] - batch["mel"]).abs().mean(-1) * keep
        values.append((error.sum(1) / keep.sum(1)).cpu().numpy())
        durations.append(duration.of_batch(batch, out["duration"], study.mel.frames_per_second))
    return {"mel_l1": np.concatenate(values).astype(np.float64), "duration_error": np.concatenate(durations)}


def speech_rows(
    study: Systems, model: PrunedTTS, name: str, seed: int
) -> tuple[pd.DataFrame, dict[str, np.ndarray], list[str]]:
    """Every test sentence of a system measured; its waves by utterance, and what could not be judged."""
    spoken = test_utterances(study, name)
    waves = speak(study, model, sentences(study, spoken))
    good = usable(waves)
    spoken_good, waves_good = [spoken[i] for i in good], [waves[i] for i in good]
    tables = [tidy(against_recordings(study, model, spoken), spoken)]
    if good:
        tables.append(tidy(judge(study, waves_good, spoken_good), spoken_good))
    chosen = _listened(study, name, seed)
    listened = [i for i in good if spoken[i].utterance in chosen]
    if listened:
        judged = heard(study, [waves[i] for i in listened], [spoken[i] for i in listened])
        tables.append(tidy(judged, [spoken[i] for i in listened]))
    rows = pd.concat(tables, ignore_index=True)
    cohorts = {speaker: cohort for speaker, (_, cohort) in mismatch(study).items()}
    rows = rows.assign(variant="zero_shot", cohort=rows["speaker"].map(cohorts).fillna("seen"))
    silent = [spoken[i].utterance for i in sorted(set(range(len(spoken))) - set(good))]
    return rows, {u.utterance: wave for u, wave in zip(spoken, waves, strict=True)}, silent


def _listened(study: Systems, name: str, seed: int) -> set[str]:
    """Ids of the utterances whose speech is recognised and rated: the first sentences of never-seen speakers."""
    listed, seeds = (study.settings[key] for key in ("heard_systems", "heard_seeds"))
    if seed not in seeds or (listed != "all" and name not in listed):
        return set()
    return {u.utterance for u in study.corpus.first("never_seen", study.settings["heard_sentences"])}


def reference_rows(study: Systems, model: PrunedTTS) -> pd.DataFrame:
    """Similarity to the recording for references of several lengths: the first sentences of never-seen speakers."""
    spoken, tables = study.corpus.first("never_seen", study.settings["reference_sentences"]), []
    for seconds in study.settings["reference_seconds"]:
        waves = speak(study, model, sentences(study, spoken, seconds))
        good = usable(waves)
        mine = [spoken[i] for i in good]
        values = judge(study, [waves[i] for i in good], mine) if good else {}
        tables.append(tidy(values, mine).assign(variant="reference_length", x=seconds))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def other_rows(study: Systems, model: PrunedTTS) -> pd.DataFrame:
    """Similarity, CER and predicted MOS in the voices of another data set's speakers, if the profile names one."""
    source = given(study.settings["other_references"])
    if source is None:
        return pd.DataFrame()
    (speaker, *_) = study.corpus.speakers("never_seen")
    texts = study.corpus.select(role="never_seen", split="test", speaker=speaker)
    chosen, references = other_sentences(study, source, texts[: study.settings["reference_sentences"]])
    waves = speak(study, model, chosen)
    good = usable(waves)
    if not good:
        return pd.DataFrame()
    spoken, waves = [chosen[i].utterance for i in good], [waves[i] for i in good]
    values = judge(study, waves, spoken, [references[i] for i in good]) | heard(study, waves, spoken)
    owners = [chosen[i].owner for i in good]
    return tidy(values, spoken).assign(
        speaker=np.tile(owners, len(values)), variant="other_references", target=Path(source).name
    )


def kept_rows(study: Systems, model: PrunedTTS) -> pd.DataFrame:
    """What the hard mask keeps of never-seen speakers' test utterances, by pruned block and length in frames.

    kept_fraction: of all connections between valid frames; empty_rows: queries that keep no key of a head. The layer
    "all" is the mean over blocks. Utterances are also joined, two or four of a speaker, for longer inputs.
    """
    tables = []
    for count in study.settings["joined"]:
        groups = [
            study.corpus.select(role="never_seen", split="test", speaker=speaker)[start : start + count]
            for speaker in study.corpus.speakers("never_seen")
            for start in range(0, study.settings["attention_sentences"] * count, count)
        ]
        groups = [group for group in groups if len(group) == count]
        if not groups:
            continue
        for place in range(0, len(groups), AT_ONCE):
            few = groups[place : place + AT_ONCE]
            batch = joined(study.features, [study.features.rows(group) for group in few], study.device)
            first = [group[0] for group in few]
            for layer, values in attention_rows(model, batch).items():
                lengths = values.pop("frames")
                tables.append(tidy(values, first).assign(layer=layer, variant=f"joined_{count}"))
                tables[-1]["x"] = np.tile(lengths, len(values))
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def attention_rows(model: PrunedTTS, batch: dict[str, Tensor]) -> dict[str, dict[str, np.ndarray]]:
    """kept_fraction, empty_rows and frames of each utterance `(batch,)`, by block and over all blocks ("all")."""
    observed = model.observe(batch)
    shares, found = model.kept(batch, observed), {}
    for layer, (_, weights, mask) in observed.items():
        lengths = batch["frame_lengths" if layer[0] == "d" else "symbol_lengths"]
        valid = length_mask(lengths, weights.shape[-1])
        kept = (weights > 0) if mask is None else (mask.bool() & valid[:, None, None])
        none = ~kept.any(-1) & valid[:, None]
        empty = none.float().sum((1, 2)) / (none.shape[1] * lengths)
        found[layer] = {
            "kept_fraction": shares[layer],
            "empty_rows": empty.cpu().numpy().astype(np.float64),
        }
    names = ("kept_fraction", "empty_rows")
    found["all"] = {name: np.mean([values[name] for values in found.values()], axis=0) for name in names}
    frames = batch["frame_lengths"].cpu().numpy().astype(np.float64)
    return {layer: values | {"frames": frames} for layer, values in found.items()}


def training_rows(facts: dict) -> pd.DataFrame:
    """Cost, final thetas and learning curve of a training, from what it wrote beside the weights."""
    cost = {name: facts[name] for name in ("trainable_parameters", "steps", "seconds_trained")}
    cost["seconds_per_step"] = facts["seconds_trained"] / facts["steps"]
    rows = [{"metric": name, "value": float(value)} for name, value in cost.items()]
    rows += [{"metric": "theta", "layer": layer, "value": value} for layer, value in facts["thresholds"].items()]
    if facts["thresholds"]:
        rows.append({"metric": "theta", "layer": "all", "value": float(np.mean(list(facts["thresholds"].values())))})
    history = facts["history"]
    for place in sorted({round(p) for p in np.linspace(0, len(history) - 1, CURVE_POINTS)}):
        record = history[place]
        shared = {"variant": "curve", "split": "train", "x": float(record["step"])}
        rows += [
            shared | {"metric": "curve_theta", "layer": name.removeprefix("theta_"), "value": value}
            for name, value in record.items()
            if name.startswith("theta_")
        ]
        kinds = {"curve_mel": "mel", "curve_sparsity": "sparsity"}
        rows += [shared | {"metric": m, "value": record[key]} for m, key in kinds.items() if key in record]
    table = pd.DataFrame(rows)
    return table.assign(unit=table["metric"].map(unit))


def mismatch(study: Systems) -> dict[str, tuple[float, str]]:
    """How far each never-seen speaker is from the nearest training speaker, and its half: near or far.

    The distance is 100 - COS between the speakers' GE2E centroids; the farther half of the speakers is "far".
    """
    trained = {u.speaker for u in study.training_utterances()}
    known = np.stack([study.centroid(speaker) for speaker in sorted(trained)])
    found = {s: float(100 - 100 * (known @ study.centroid(s)).max()) for s in study.corpus.speakers("never_seen")}
    border = float(np.median(list(found.values())))
    return {speaker: (value, "far" if value > border else "near") for speaker, value in found.items()}


def mismatch_rows(study: Systems) -> pd.DataFrame:
    """The mismatch of every never-seen speaker."""
    found = mismatch(study)
    rows = [
        {"metric": "mismatch", "speaker": s, "role": "never_seen", "cohort": cohort, "value": value}
        for s, (value, cohort) in found.items()
    ]
    return pd.DataFrame(rows).assign(unit=unit("mismatch"))


def cost_rows(study: Systems) -> pd.DataFrame:
    """Time and memory of one block's attention under each rule beside dense attention, by length in frames.

    target is what was measured: forward (synthesis) or training (forward and backward).
    """
    rules = {
        "vp": SparseSettings("row_mean"),
        "dp_soft": SparseSettings("learned", hard_phase=False),
        "dp_hard": SparseSettings("learned"),
        "top_k": SparseSettings("top_k"),
        "entmax": SparseSettings("entmax"),
    }
    settings = study.settings["cost"]
    sizes = {"channels": study.dims.hidden, "heads": study.dims.heads, "batch": settings["batch_size"]}
    records = attention_cost(
        rules, tuple(settings["frames"]), **sizes, device=study.device, repeats=settings["repeats"]
    )
    names = {"seconds": "attention_seconds", "peak_mib": "attention_peak"}
    names |= {"time_ratio": "time_ratio", "memory_ratio": "memory_ratio"}
    rows = [
        {"variant": r["variant"], "x": float(r["frames"]), "target": r["part"], "metric": metric, "value": r[key]}
        for r in records
        for key, metric in names.items()
    ]
    table = pd.DataFrame(rows)
    return table.assign(unit=table["metric"].map(unit))
