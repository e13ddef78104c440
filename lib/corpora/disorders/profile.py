"""Speaker profiles: every parameter of a simulated condition, and the ranges it is drawn from by severity.

What is changed follows the literature below; the numbers of `RANGES` are our choice unless said otherwise, set so
that the three severities do not overlap. All of it is simulated speech and no substitute for recordings.

- Stuttering: repetitions of sounds, syllables and one-syllable words, prolongations, and blocks with tension are its
  core behaviours (Guitar, "Stuttering: An Integrated Approach to Its Nature and Treatment"); interjections are
  disfluencies that typical speakers have too. Probabilities are per word.
- Dysarthria: imprecise consonants, slow rate, irregular articulatory breakdown, hypernasality, breathy (weak) and
  strained voice are among the deviant dimensions of Darley, Aronson and Brown, "Differential diagnostic patterns of
  dysarthria" (JSHR 1969); Duffy, "Motor Speech Disorders". Nasalised vowels have a weaker and broader first formant
  (House and Stevens, "Analog studies of the nasalization of vowels", JSHD 1956).
- Parkinson's: monopitch, monoloudness, reduced loudness, breathiness and short rushes of speech are dimensions of
  hypokinetic dysarthria (Darley, Aronson and Brown 1969; Duffy); rate and rhythm: Skodda and Schlegel, "Speech rate
  and rhythm in Parkinson's disease" (Movement Disorders 2008); noise and cycle-to-cycle irregularity of the voice:
  Little et al., "Suitability of dysphonia measurements for telemonitoring of Parkinson's disease" (IEEE TBME 2009).
  Tremor is drawn from 4 to 7 Hz.
- Cluttering: fast or irregular rate with collapsed or deleted syllables (St. Louis and Schulte, "Defining
  cluttering: the lowest common denominator", 2011).
- Dysphonia: jitter, shimmer and breathiness; what a measurement reads differs from the values set here, because
  WORLD moves F0 and level every 5 ms and not every cycle.
"""

from dataclasses import dataclass, fields

import numpy as np

from lib.corpora.disorders.segments import AtypicalError

COHORTS = ("stuttering", "dysarthria", "parkinsons", "cluttering", "dysphonia")
SEVERITIES = ("mild", "moderate", "severe")
DISFLUENCIES = ("sound_repetition", "syllable_repetition", "word_repetition", "prolongation", "block", "interjection")
LIMITS = {  # where not 0..1
    "repetitions": (1, 10),
    "gap": (0, 1),
    "prolongation_seconds": (0.05, 5),
    "block_seconds": (0.05, 10),
    "interjection_seconds": (0.05, 5),
    "onset_tension": (0, 0.5),
    "slowness": (0.3, 4),
    "rush_speed": (1, 3),
    "tilt": (-12, 12),
    "level": (-40, 0),
    "tremor_rate": (0.5, 20),
    "tremor_f0": (0, 0.3),
    "jitter": (0, 0.2),
    "shimmer": (0, 0.5),
}


@dataclass(frozen=True)
class Profile:
    """One simulated speaker. The defaults change nothing; every field below is one parameter.

    Fluency: probabilities per word of each disfluency; most repetitions of one disfluency; `gap` s of silence after
    each copy; seconds of prolongations, blocks and interjections; `onset_tension`, relative rise of F0 at the abrupt
    onset after a block; `deletion`, probability that an unstressed syllable of a word of several is left out.
    Time: `slowness`, the factor on all durations; `irregularity`, standard deviation of the log factor of a syllable;
    `rush`, probability per word that a rush of `rush_words` words starts there, spoken `rush_speed` times as fast.
    Articulation: `imprecision` (0 to 1) of consonants, `nasality` (0 to 1) of vowels.
    Voice: `tilt` of the spectrum above 500 Hz in dB per octave (below 0 weak, above 0 strained); `breathiness`, the
    share of noise (0 to 1) added to the power of voiced sounds; `pitch_range` and `level_range`, factors (0 to 1) on
    the deviations of log F0 and of the syllables' level in dB; `level` in dB; tremor at `tremor_rate` Hz with relative
    depths in F0 and amplitude; `jitter` and `shimmer`, relative standard deviations per 5 ms of F0 and amplitude.
    """

    cohort: str
    severity: str
    sound_repetition: float = 0.0
    syllable_repetition: float = 0.0
    word_repetition: float = 0.0
    prolongation: float = 0.0
    block: float = 0.0
    interjection: float = 0.0
    repetitions: int = 1
    gap: float = 0.0
    prolongation_seconds: float = 0.5
    block_seconds: float = 0.5
    interjection_seconds: float = 0.4
    onset_tension: float = 0.0
    deletion: float = 0.0
    slowness: float = 1.0
    irregularity: float = 0.0
    rush: float = 0.0
    rush_words: int = 3
    rush_speed: float = 1.0
    imprecision: float = 0.0
    nasality: float = 0.0
    tilt: float = 0.0
    breathiness: float = 0.0
    pitch_range: float = 1.0
    level_range: float = 1.0
    level: float = 0.0
    tremor_rate: float = 5.0
    tremor_f0: float = 0.0
    tremor_amplitude: float = 0.0
    jitter: float = 0.0
    shimmer: float = 0.0

    def __post_init__(self) -> None:
        check_names(self.cohort, self.severity)
        limits = {item.name: (0, 1) for item in fields(self)[2:]} | LIMITS | {"rush_words": (1, 20)}
        for name, (low, high) in limits.items():
            if not low <= getattr(self, name) <= high:
                raise AtypicalError(f"The profile's {name} is {getattr(self, name)}: it lies in {low}..{high}.")
        if sum(getattr(self, name) for name in DISFLUENCIES) > 1:
            raise AtypicalError("The profile's probabilities of disfluencies sum to more than 1 per word: lower them.")


Range = tuple[float, float]
RANGES: dict[str, dict[str, tuple[Range, Range, Range]]] = {
    "stuttering": {
        "sound_repetition": ((0.010, 0.030), (0.040, 0.065), (0.080, 0.120)),
        "syllable_repetition": ((0.010, 0.020), (0.025, 0.045), (0.050, 0.080)),
        "word_repetition": ((0.010, 0.020), (0.020, 0.030), (0.030, 0.050)),
        "prolongation": ((0.010, 0.020), (0.030, 0.050), (0.060, 0.090)),
        "block": ((0.005, 0.010), (0.020, 0.040), (0.060, 0.090)),
        "interjection": ((0.015, 0.025), (0.030, 0.050), (0.060, 0.090)),
        "repetitions": ((1, 1), (2, 3), (3, 5)),
        "gap": ((0.04, 0.08), (0.06, 0.12), (0.06, 0.16)),
        "prolongation_seconds": ((0.25, 0.45), (0.5, 0.9), (1.0, 1.8)),
        "block_seconds": ((0.25, 0.45), (0.5, 1.0), (1.2, 2.5)),
        "interjection_seconds": ((0.25, 0.35), (0.3, 0.45), (0.35, 0.6)),
        "onset_tension": ((0.05, 0.08), (0.10, 0.15), (0.18, 0.25)),
    },
    "dysarthria": {
        "slowness": ((1.10, 1.25), (1.35, 1.6), (1.75, 2.3)),
        "irregularity": ((0.05, 0.10), (0.13, 0.2), (0.25, 0.35)),
        "imprecision": ((0.25, 0.4), (0.5, 0.65), (0.75, 0.9)),
        "nasality": ((0.15, 0.35), (0.45, 0.65), (0.75, 1.0)),
        "tilt": ((1.0, 1.5), (2.0, 3.0), (3.5, 5.0)),  # weak (negative) or strained, one per speaker
        "breathiness": ((0.02, 0.04), (0.06, 0.10), (0.15, 0.25)),
        "pitch_range": ((0.8, 0.9), (0.6, 0.7), (0.35, 0.5)),
    },
    "parkinsons": {
        "pitch_range": ((0.65, 0.8), (0.4, 0.55), (0.15, 0.3)),
        "level_range": ((0.7, 0.8), (0.5, 0.6), (0.25, 0.4)),
        "level": ((-5, -3), (-9, -6), (-16, -11)),
        "breathiness": ((0.03, 0.06), (0.09, 0.15), (0.2, 0.35)),
        "tilt": ((-1.5, -0.5), (-3, -2), (-5, -3.5)),
        "imprecision": ((0.1, 0.2), (0.3, 0.45), (0.55, 0.7)),
        "rush": ((0.03, 0.06), (0.08, 0.14), (0.16, 0.25)),
        "rush_words": ((2, 3), (2, 4), (3, 5)),
        "rush_speed": ((1.1, 1.2), (1.25, 1.4), (1.5, 1.8)),
        "tremor_rate": ((4, 7), (4, 7), (4, 7)),
        "tremor_f0": ((0.003, 0.006), (0.010, 0.018), (0.025, 0.045)),
        "tremor_amplitude": ((0.02, 0.05), (0.08, 0.14), (0.18, 0.3)),
        "jitter": ((0.002, 0.005), (0.006, 0.012), (0.015, 0.025)),
        "shimmer": ((0.01, 0.03), (0.04, 0.07), (0.09, 0.14)),
    },
    "cluttering": {
        "slowness": ((0.84, 0.9), (0.72, 0.8), (0.58, 0.68)),
        "irregularity": ((0.08, 0.12), (0.15, 0.22), (0.25, 0.35)),
        "deletion": ((0.05, 0.1), (0.15, 0.25), (0.35, 0.5)),
        "word_repetition": ((0.01, 0.02), (0.025, 0.04), (0.05, 0.07)),
        "interjection": ((0.01, 0.03), (0.04, 0.06), (0.07, 0.1)),
        "gap": ((0.03, 0.06), (0.03, 0.06), (0.03, 0.06)),
    },
    "dysphonia": {
        "jitter": ((0.005, 0.01), (0.015, 0.025), (0.035, 0.06)),
        "shimmer": ((0.03, 0.06), (0.08, 0.12), (0.16, 0.25)),
        "breathiness": ((0.05, 0.1), (0.15, 0.25), (0.35, 0.55)),
        "tilt": ((-1.0, -0.5), (-2.5, -1.5), (-4.5, -3.0)),
    },
}


def check_names(cohort: str, severity: str) -> None:
    """Raise AtypicalError for an unknown cohort or severity."""
    for what, value, allowed in (("cohort", cohort, COHORTS), ("severity", severity, SEVERITIES)):
        if value not in allowed:
            raise AtypicalError(f"The {what} {value!r} is unknown: use one of {', '.join(allowed)}.")


def draw_profile(cohort: str, severity: str, seed: int) -> Profile:
    """A speaker of a cohort and severity: each parameter uniform in its entry of `RANGES`, the same for a seed.

    Where in its range a parameter falls depends on the cohort and seed only, so that the three severities of one seed
    are one speaker getting worse. In dysarthria the seed also decides between a weak and a strained voice.
    Raises AtypicalError for an unknown cohort or severity.
    """
    check_names(cohort, severity)
    random = np.random.default_rng([seed, COHORTS.index(cohort)])
    drawn: dict[str, float] = {}
    for name, ranges in RANGES[cohort].items():
        low, high = ranges[SEVERITIES.index(severity)]
        value = low + (high - low) * random.random()
        drawn[name] = round(value) if name in ("repetitions", "rush_words") else round(float(value), 4)
    if cohort == "dysarthria" and random.random() < 0.5:
        drawn["tilt"] = -drawn["tilt"]
    return Profile(cohort, severity, **drawn)
