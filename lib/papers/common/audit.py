"""What the metrics do to known distortions of real speech, and how far F0 trackers agree: rows for the audit.

Each distortion changes one thing by a known amount: white noise at a signal-to-noise ratio, F0 by semitones and
tempo by a factor (both by WORLD, so WORLD's own analysis and synthesis is among the distortions too), what a vocoder
loses (the universal HiFi-GAN, Griffin-Lim), the voice by another speaker of the same sentence.
"""

import time
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
import pandas as pd
import torch
from scipy import stats

from lib import audio
from lib.corpora import world
from lib.corpora.corpus import Corpus, Utterance
from lib.metrics import cos, ffe, filterbank_mcd, mcd, mos, per, secs, wer
from lib.models.mel import MelDims, log_mel
from lib.models.vocoder import GriffinLim, UniversalHiFiGAN
from lib.study.protocol import Study
from lib.study.rows import write_manifest, write_rows
from lib.study.units import unit

RUN = "audit-metrics-s0"
F0_MIN, F0_MAX, HOP = 65.0, 600.0, 160  # what all F0 trackers are asked for: Hz, Hz, samples
FRAME_PERIOD = 5.0  # WORLD's, in ms
METRICS = (
    *("cos", "secs", "mcd", "mcd_as_released", "mcd_filterbank", "ffe", "gpe", "vde", "ffe_as_released"),
    *("wer", "cer", "per", "mos_predicted"),
    *("dnsmos_overall_predicted", "dnsmos_p808_predicted", "f0_voicing", "f0_20_cents", "f0_20_percent", "f0_cents"),
)


class AuditError(ValueError):
    """Speech that cannot be audited; the sentence says what is missing."""


@dataclass(frozen=True)
class Distortion:
    """One kind of change at one level, in the kind's own unit."""

    kind: str
    level: float | None
    label: str

    @property
    def name(self) -> str:
        return self.kind if self.level is None else f"{self.kind}_{self.level:g}"


DISTORTIONS = (
    Distortion("identical", None, "Identical"),
    *(Distortion("noise", level, f"Noise, SNR {level} dB") for level in (30, 20, 10, 0)),
    *(Distortion("pitch", level, f"F0 +{level} semitone{'s' * (level > 1)}") for level in (1, 2, 4, 6)),
    *(Distortion("tempo", level, f"Tempo × {level:g}") for level in (0.8, 0.9, 1.1, 1.25)),
    Distortion("world", None, "WORLD, nothing changed"),
    Distortion("hifigan", None, "Universal HiFi-GAN"),
    *(Distortion("griffin_lim", level, f"Griffin-Lim, {level} iterations") for level in (60, 4)),
    Distortion("speaker", None, "Another speaker"),
)
BY_NAME = {distortion.name: distortion for distortion in DISTORTIONS}
BRIEF = [  # one or two of each kind, where time is short: DNSMOS alone takes a second for each
    BY_NAME[name]
    for name in (
        *("identical", "noise_20", "noise_0", "pitch_2", "pitch_4", "tempo_1.25"),
        *("world", "hifigan", "griffin_lim_60", "speaker"),
    )
]


def distort(
    wave: np.ndarray,
    distortion: Distortion,
    other: np.ndarray | None = None,
    analysis: world.Analysis | None = None,
    dims: MelDims = MelDims(),
) -> np.ndarray:
    """`wave` (samples,) at 16 kHz changed by `distortion`; float32, clipped to [-1, 1].

    other: the same sentence by another speaker. analysis: WORLD's analysis of `wave` where the caller has it.
    Raises AuditError for a distortion that is not there and for another speaker's wave that is not given.
    """
    level = distortion.level
    match distortion.kind:
        case "identical":
            changed = wave
        case "noise":
            changed = with_noise(wave, level)
        case "pitch":
            changed = _world(analysis or analyse(wave), f0_scale=2 ** (level / 12))
        case "tempo":
            changed = _world(analysis or analyse(wave), tempo=level)
        case "world":
            changed = _world(analysis or analyse(wave))
        case "hifigan" | "griffin_lim" as kind:
            mel = log_mel(torch.from_numpy(wave)[None], dims)
            speak = UniversalHiFiGAN(dims) if kind == "hifigan" else GriffinLim(dims, int(level))
            changed = speak(mel, torch.tensor([mel.shape[1]]))[0]
        case "speaker" if other is not None:
            changed = other
        case "speaker":
            raise AuditError("another speaker's recording of the sentence is needed: give it as `other`")
        case _:
            raise AuditError(f"there is no distortion {distortion.kind!r}: choose one of {', '.join(BY_NAME)}")
    return np.clip(changed, -1, 1).astype(np.float32)


def with_noise(wave: np.ndarray, snr: float) -> np.ndarray:
    """`wave` with white Gaussian noise `snr` dB below its mean power; always the same noise."""
    noise = np.random.default_rng(0).standard_normal(len(wave))
    level = np.sqrt(np.mean(np.square(wave, dtype=np.float64)) / np.mean(noise**2)) * 10 ** (-snr / 20)
    return wave + level * noise


def analyse(wave: np.ndarray) -> world.Analysis:
    """WORLD's analysis of (samples,) at 16 kHz, without the warning that pyworld gives on its first import."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return world.analyse(wave)


def _world(analysis: world.Analysis, f0_scale: float = 1.0, tempo: float = 1.0) -> np.ndarray:
    import pyworld

    return pyworld.synthesize(
        analysis.f0 * f0_scale, analysis.envelope, analysis.aperiodicity, audio.RATE, FRAME_PERIOD / tempo
    )


def choose(corpus: Corpus, most: int) -> list[tuple[Utterance, Utterance]]:
    """Up to `most` test utterances, each of another speaker, with the same sentence in another base voice.

    Raises AuditError when no sentence of the test split is spoken in two base voices.
    """
    tested, pairs = corpus.select(split="test"), {}
    for spoken in tested:
        others = [u for u in tested if u.text == spoken.text and u.recipe["base"] != spoken.recipe["base"]]
        if others:
            pairs.setdefault(spoken.speaker, (spoken, others[0]))
    if not pairs:
        raise AuditError(f"no test sentence of {corpus.name} is spoken in two voices: choose a larger profile")
    found = list(pairs.values())
    return [found[i] for i in np.unique(np.linspace(0, len(found) - 1, min(most, len(found))).round().astype(int))]


def measure(
    corpus: Corpus,
    pairs: Sequence[tuple[Utterance, Utterance]],
    device: str = "cpu",
    dims: MelDims = MelDims(),
    distortions: Sequence[Distortion] = DISTORTIONS,
) -> pd.DataFrame:
    """All metrics of every distortion of the first utterance of each pair (`choose`), in rows of `lib.study`.

    `method` is the kind of distortion, `system` its name; the reference is the undistorted recording.
    """
    keys, heard, reference, texts = [], [], [], []
    for spoken, other in pairs:
        wave = corpus.wave(spoken)
        analysis, voice = analyse(wave), corpus.wave(other)
        for distortion in distortions:
            keys.append((distortion.kind, distortion.name, spoken.speaker, spoken.utterance))
            heard.append(distort(wave, distortion, voice, analysis, dims))
            reference.append(wave)
            texts.append(spoken.text)
    values = {}
    for metric in (cos, secs, mcd):
        values |= metric.score(heard, reference, device=device)
    alignment = filterbank_mcd.align(heard, reference, device=device)
    for metric in (filterbank_mcd, ffe):
        values |= metric.score(heard, reference, device=device, alignment=alignment)
    values |= wer.score(heard, texts, device=device) | per.score(heard, texts)
    values |= mos.score(heard, device=device) | mos.dnsmos(heard, device=device)
    values = {name: values[name] for name in METRICS if name in values}
    wide = pd.DataFrame(keys, columns=["method", "system", "speaker", "utterance"]).assign(**values)
    return _tidy(wide, ["method", "system", "speaker", "utterance"])


def yin_track(wave: np.ndarray, device: str = "cpu") -> np.ndarray:
    """Our F0 every 10 ms, (frames,) in Hz, 0 where unvoiced; the trackers below return the same."""
    return ffe.f0([wave], device)[0]


def harvest_track(wave: np.ndarray) -> np.ndarray:
    """WORLD's Harvest with StoneMask (Morise, Interspeech 2017)."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import pyworld

    signal = wave.astype(np.float64)
    limits = {"f0_floor": F0_MIN, "f0_ceil": F0_MAX, "frame_period": 1000 * HOP / audio.RATE}
    coarse, times = pyworld.harvest(signal, audio.RATE, **limits)
    return pyworld.stonemask(signal, coarse, times, audio.RATE)


def pyin_track(wave: np.ndarray) -> np.ndarray:
    """librosa's probabilistic YIN (Mauch and Dixon, ICASSP 2014)."""
    import librosa

    limits = {"fmin": F0_MIN, "fmax": F0_MAX, "sr": audio.RATE}
    return np.nan_to_num(librosa.pyin(wave, **limits, frame_length=1024, hop_length=HOP)[0])


TRACKERS: dict[str, Callable[[np.ndarray], np.ndarray]] = {
    "yin": yin_track,
    "harvest": harvest_track,
    "pyin": pyin_track,
}
NAMES = {"yin": "YIN (ours)", "harvest": "WORLD Harvest", "pyin": "librosa pYIN"}


def agreement(one: np.ndarray, other: np.ndarray) -> dict[str, float]:
    """How far two F0 tracks (frames,) agree, 0 Hz being unvoiced; the longer one is cut.

    f0_voicing: % of the frames with the same voicing decision. Of the frames that are voiced in both (AuditError
    when there are none): f0_20_cents and f0_20_percent, % within 20 cents and 20 %; f0_cents, the median difference.
    """
    one, other = one[: len(other)], other[: len(one)]
    both = (one > 0) & (other > 0)
    if not both.any():
        raise AuditError("no frame is voiced in both F0 tracks: audit speech, not noise or whispering")
    ratio = one[both] / other[both]
    cents = 1200 * np.abs(np.log2(ratio))
    return {
        "f0_voicing": 100 * float(np.mean((one > 0) == (other > 0))),
        "f0_20_cents": 100 * float(np.mean(cents <= 20)),
        "f0_20_percent": 100 * float(np.mean(np.abs(ratio - 1) <= 0.2)),
        "f0_cents": float(np.median(cents)),
    }


def track(corpus: Corpus, pairs: Sequence[tuple[Utterance, Utterance]]) -> dict[str, dict[str, np.ndarray]]:
    """F0 tracks of the first utterance of each pair: utterance to tracker to (frames,) in Hz."""
    waves = {spoken.utterance: corpus.wave(spoken) for spoken, _ in pairs}
    return {name: {key: tracker(wave) for key, tracker in TRACKERS.items()} for name, wave in waves.items()}


def compare_trackers(
    tracks: dict[str, dict[str, np.ndarray]], pairs: Sequence[tuple[Utterance, Utterance]]
) -> pd.DataFrame:
    """`agreement` of every two trackers on every utterance, in rows of `lib.study`; `system` names the two."""
    keys = ["method", "system", "speaker", "utterance"]
    lines = [
        dict(zip(keys, ("f0", f"{one}_{other}", spoken.speaker, spoken.utterance), strict=True))
        | agreement(tracks[spoken.utterance][one], tracks[spoken.utterance][other])
        for spoken, _ in pairs
        for one, other in combinations(TRACKERS, 2)
    ]
    return _tidy(pd.DataFrame(lines), keys)


def _tidy(wide: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    long = wide.melt(id_vars=keys, var_name="metric", value_name="value")
    return long.assign(unit=long["metric"].map(unit), seed=None)


@dataclass(frozen=True)
class Correlation:
    """Spearman's rank correlation with its bootstrap interval over utterances; n pairs of values."""

    value: float
    ci_low: float
    ci_high: float
    n: int


def correlation(rows: pd.DataFrame, a: str, b: str, draws: int = 500, level: float = 0.95) -> Correlation:
    """Spearman's correlation of two metrics over all distorted utterances.

    The bootstrap draws utterances with all their distortions. Raises AuditError where a metric has no rows.
    """
    missing = {a, b} - set(rows["metric"])
    if missing:
        raise AuditError(f"there are no rows of {', '.join(sorted(missing))}: measure them first")
    wide = rows[rows["metric"].isin([a, b])].pivot(index=["utterance", "system"], columns="metric", values="value")
    groups = [group.to_numpy() for _, group in wide[[a, b]].groupby("utterance")]
    generator = np.random.default_rng(0)
    taken = generator.integers(len(groups), size=(draws, len(groups)))
    drawn = [stats.spearmanr(np.concatenate([groups[i] for i in draw])).statistic for draw in taken]
    low, high = np.nanpercentile(drawn, [50 * (1 - level), 50 * (1 + level)])
    return Correlation(float(stats.spearmanr(wide[a], wide[b]).statistic), float(low), float(high), len(wide))


def write(study: Study, rows: pd.DataFrame, started: float | None = None) -> None:
    """Write the audit's rows and manifest: run `audit-metrics-s0`, whose paper, AUDIT, no claim reads."""
    write_rows(rows, RUN, study.profile)
    names = {"distortions": [name for name in BY_NAME if name in set(rows["system"])]}
    facts = {"device": study.device, "corpus": study.corpus.name, "data_hash": study.corpus.hash}
    write_manifest(RUN, study.profile, study.profile | names, started or time.time(), **facts)
