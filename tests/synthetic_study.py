"""A small results folder made of random numbers with known effects, for the tests of claims and report."""

import time

import numpy as np

from lib import study

EFFECTS = {  # COS of each system on adaptation speakers, as built in
    "tts_0": 60.0,
    "adaptertts_e": 62.0,
    "adaptertts_d": 62.5,
    "adaptertts_d_b128": 62.6,
    "adaptertts_evd": 63.0,
    "hypertts_d_ds2": 65.0,
    "hypertts_d": 67.0,
    "hypertts_d_ds32": 69.0,
    "hypertts_d_ds128": 71.0,
    "hypertts_d_nolayer": 67.0,
    "hypertts_evd": 71.8,
    "tts_ft": 72.0,
    "concat_d": 64.0,
    "cln_d": 64.0,
    "lora_d": 64.0,
    "prefix_d": 70.0,
}
WIDTHS = {"hypertts_d_ds2": 2, "hypertts_d": 8, "hypertts_d_ds32": 32, "hypertts_d_ds128": 128}
WEIGHTS = {"tts_ft": 2_000_000, "hypertts_evd": 30_000, "hypertts_d": 12_000, "adaptertts_d": 6_000}
SEEDS = (0, 1, 2, 3)
PROFILE = {
    "name": "tiny",
    "ht": {"seeds": [*SEEDS], "headline": ["hypertts_d"], "systems": {"tts_0": {}, "hypertts_d": {}}},
    "statistics": {"level": 0.95},
}
FACTS = {"corpus": "embedded", "data_hash": "0123456789ab", "vocoder": "griffin-lim", "device": "cpu"}


OTHER_PROFILE = PROFILE | {"ht": PROFILE["ht"] | {"adapt": {"steps": 99}}}  # other shared parameters


def write_run(run_id, rows, profile=PROFILE, seed=0, **facts):
    study.write_rows(rows, run_id, profile)
    study.write_manifest(run_id, profile, {"steps": 5}, time.time(), seed=seed, **(FACTS | facts))


def system_rows(system, seed, noise=1.0, speakers=6, utterances=5):
    """Rows of one system: COS, FFE, MCD, WER and predicted MOS of three roles."""
    shared = np.random.default_rng(7)
    own = np.random.default_rng([seed, *system.encode()])
    base = EFFECTS[system]
    rows = []
    for role in ("pretraining", "adaptation", "never_seen"):
        lift = {"adaptation": 0.0, "pretraining": 15.0 if system != "tts_ft" else -4.0, "never_seen": -3.0}[role]
        for speaker in range(speakers):
            for utterance in range(utterances):
                easy = shared.normal(0, 3)
                cos = base + lift + easy + own.normal(0, noise)
                factors = {
                    "method": system.split("_")[0],
                    "system": system,
                    "seed": seed,
                    "d_s": WIDTHS.get(system),
                    "speaker": f"{role[:2]}{speaker}",
                    "utterance": f"{role[:2]}{speaker}-{utterance}",
                    "role": role,
                    "split": "test",
                }
                values = {
                    "cos": (cos, "x100"),
                    "ffe": (60 - 0.3 * cos + own.normal(0, 0.5), "%"),
                    "mcd": (12 - 0.1 * cos + own.normal(0, 0.1), "dB"),
                    "wer": (abs(own.normal(0.1, 0.02)), "ratio"),
                    "mos_predicted": (3 + own.normal(0, 0.1), "1-5"),
                    "secs": (cos / 100, "cosine"),
                }
                rows += [
                    factors | {"metric": metric, "value": value, "unit": unit}
                    for metric, (value, unit) in values.items()
                ]
    weights = {"trainable_parameters": (WEIGHTS.get(system, 0), ""), "seconds_trained": (10.0 + seed, "s")}
    rows += [
        {"system": system, "seed": seed, "metric": metric, "value": value, "unit": unit}
        for metric, (value, unit) in weights.items()
    ]
    if system != "tts_0":
        changed = float(system == "tts_ft")
        rows.append({"system": system, "seed": seed, "metric": "backbone_changed", "value": changed, "unit": ""})
    return rows


def reference_rows():
    """Rows of recordings scored against themselves: path-normalised MCD 0, as released about 5 dB."""
    values = {"mcd": [0.0] * 8, "mcd_as_released": list(np.linspace(4, 6, 8))}
    return [
        {
            "system": "reference",
            "utterance": f"u{i}",
            "speaker": f"s{i % 4}",
            "role": "adaptation",
            "split": "test",
            "metric": m,
            "value": v,
            "unit": "dB",
        }
        for m, column in values.items()
        for i, v in enumerate(column)
    ]


def silhouette_rows():
    own = np.random.default_rng(3)
    return [
        {"system": "hypertts_d", "speaker": f"s{i % 6}", "utterance": f"u{i}", "metric": "silhouette"}
        | {"value": own.normal(0.5, 0.1), "unit": "silhouette"}
        for i in range(30)
    ]


def write_study(profile=PROFILE):
    """All runs of the synthetic study."""
    for system in EFFECTS:
        for seed in (0,) if system == "tts_0" else SEEDS:
            write_run(f"ht-{system}-s{seed}", system_rows(system, seed), profile, seed)
    write_run("ht-reference-s0", reference_rows(), profile)
    write_run("ht-generated_parameters-s0", silhouette_rows(), profile)
