"""The one table of metrics: the unit of their rows, their name on axes and in tables, which way is better, decimals."""

from dataclasses import dataclass

from lib.study.profile import StudyError


@dataclass(frozen=True)
class Metric:
    """unit: of the rows. name and shown: on an axis, as "name (shown)". better: ↑ or ↓, "" for neither."""

    unit: str
    name: str = ""
    shown: str = ""
    better: str = ""
    decimals: int = 2


METRICS = {
    # similarity and naturalness
    "cos": Metric("cosine x 100", "COS", "GE2E cosine × 100", "↑"),
    "cos_centroid": Metric("cosine x 100", "COS to the speaker's mean", "GE2E cosine × 100", "↑"),
    "cos_other": Metric("cosine x 100", "COS to another speaker", "GE2E cosine × 100"),
    "secs": Metric("cosine", "SECS", "CAM++ cosine", "↑", 3),
    "mismatch": Metric("100 - cosine x 100", "Mismatch", "100 − COS to the nearest training speaker"),
    "clap_similarity": Metric("cosine x 100", "CLAP similarity to the prompt", "× 100", "↑"),
    "mos_predicted": Metric("predicted MOS, 1 to 5", "Predicted MOS", "1 to 5", "↑"),
    "dnsmos_overall_predicted": Metric("predicted MOS, 1 to 5", "DNSMOS overall", "1 to 5", "↑"),
    "dnsmos_p808_predicted": Metric("predicted MOS, 1 to 5", "DNSMOS P.808", "1 to 5", "↑"),
    "mos_listeners": Metric("MOS, 1 to 5", "MOS by listeners", "1 to 5", "↑"),
    "smos_listeners": Metric("SMOS, 1 to 5", "SMOS by listeners", "1 to 5", "↑"),
    "mushra_listeners": Metric("MUSHRA, 0 to 100", "MUSHRA", "0 to 100", "↑", 1),
    "preference": Metric("100 chosen, 50 neither, 0 not", "Chosen by listeners", "%", "↑", 1),
    # words
    "wer": Metric("ratio", "WER", "ratio", "↓", 3),
    "cer": Metric("ratio", "CER", "ratio", "↓", 3),
    "cer_input": Metric("ratio", "CER of the recording", "ratio", "↓", 3),
    "cer_added": Metric("ratio", "CER added", "ratio", "↓", 3),
    "content_broken": Metric("share", "Utterances with broken words", "share", "↓"),
    "wer_hallucinated": Metric("0 or 1", "Repeats itself", "share", "↓", 3),
    **{f"wer_{kind}": Metric("count") for kind in ("substitutions", "deletions", "insertions", "words")},
    "per": Metric("ratio", "PER", "ratio", "↓", 3),
    # spectrum and F0
    "mcd": Metric("dB", "MCD", "dB", "↓"),
    "mcd_as_released": Metric("dB", "MCD as released", "dB"),
    "mcd_filterbank": Metric("dB", "MCD by a mel filter bank", "dB", "↓"),
    "mel_l1": Metric("nat", "Log-mel L1", "nat", "↓"),
    "ffe": Metric("%", "FFE", "%", "↓"),
    "ffe_as_released": Metric("%", "FFE as released", "%"),
    "gpe": Metric("%", "GPE", "%", "↓"),
    "vde": Metric("%", "VDE", "%", "↓"),
    "f0_rmse": Metric("cents", "RMSE of F0", "cents", "↓", 0),
    "f0_correlation": Metric("correlation", "Correlation of log F0", "", "↑"),
    "duration_error": Metric("ms", "Duration error per phone", "ms", "↓", 1),
    "f0_error": Metric("semitones", "Error of median F0", "semitones", "↓"),
    "f0_voicing": Metric("%", "Same voicing", "%"),
    "f0_20_percent": Metric("%", "F0 within 20 %", "%"),
    "f0_20_cents": Metric("%", "F0 within 20 cents", "%"),
    "f0_cents": Metric("cents", "Median difference", "cents"),
    # prosody and style
    "f0_median": Metric("semitones above 100 Hz"),
    "f0_spread": Metric("semitones"),
    "energy_mean": Metric("dB"),
    "energy_range": Metric("dB"),
    "hnr": Metric("dB"),
    "rate": Metric("syllables/s"),
    "jitter": Metric("%"),
    "shimmer": Metric("%"),
    "pause_share": Metric("share"),
    "voiced": Metric("share"),
    "style_moved": Metric("%", "Style moved", "%", "↑", 1),
    "style_moved_intact": Metric("%", "Style moved, words intact", "%", "↑", 1),
    "style_kept": Metric("%", "Style kept", "%", "↑", 1),
    "style_distance": Metric("scales"),
    # attention and generated weights
    "kept_fraction": Metric("share", "Kept connections", "share"),
    "empty_rows": Metric("share", "Queries that keep no key", "share"),
    "theta": Metric("threshold x N", "θ"),
    "curve_theta": Metric("threshold x N", "θ"),
    "curve_sparsity": Metric("squared", "L_sp"),
    "curve_mel": Metric("nat", "Log-mel L1", "nat"),
    "silhouette": Metric("silhouette, -1 to 1", "Silhouette"),
    "adapter_change": Metric("%", "Change by the adapter", "%"),
    # cost
    **dict.fromkeys(("trainable_parameters", "generated_parameters", "backbone_parameters", "steps"), Metric("count")),
    "backbone_changed": Metric("0 or 1"),
    **dict.fromkeys(("trainable_share", "generated_share"), Metric("%")),
    **dict.fromkeys(("seconds_trained", "seconds_per_step", "attention_seconds"), Metric("s")),
    "attention_peak": Metric("MiB"),
    **dict.fromkeys(("time_ratio", "memory_ratio"), Metric("ratio")),
    "final_loss": Metric("nat"),
}


def unit(metric: str) -> str:
    """The unit of a metric's rows. Raises StudyError for a metric that is not in the table."""
    if metric not in METRICS:
        raise StudyError(f"{metric} has no unit: add it to METRICS in lib/study/units.py")
    return METRICS[metric].unit


def axis(metric: str) -> str:
    """An axis's title: "MCD (dB)"."""
    told = METRICS[metric]
    return f"{told.name} ({told.shown})" if told.shown else told.name


def short(metric: str) -> str:
    """A column's or a narrow axis's title, with the better direction: "MCD (dB) ↓", "COS ↑"."""
    told = METRICS[metric]
    return f"{told.name}{f' ({told.shown})' if told.shown in ('%', 'dB', 'cents') else ''} {told.better}".strip()


def change(metric: str) -> str:
    """An axis's title for a difference: "COS (points)", "MCD (dB)", "Predicted MOS"."""
    shown = {"cosine x 100": " (points)", "predicted MOS, 1 to 5": "", "cosine": ""}.get(unit(metric))
    return axis(metric) if shown is None else METRICS[metric].name + shown
