"""The quality gate of built speech: is it understood, does it sound natural?"""

import numpy as np

CONTEXT = 4.0  # seconds of audio, or a multiple, that Whisper hears first; a failure is judged again with its full 30 s


def judge(waves: list[np.ndarray], texts: list[str], gate: dict) -> list[dict]:
    """Quality of each wave (samples,): transcript, wer, mos (predicted) and reason (None: it passes).

    gate: wer, the largest word error rate, and mos, the smallest predicted opinion score that pass.
    """
    from lib.metrics import mos, wer
    from lib.models.whisper import sizes as whisper

    recogniser = whisper.load("tiny.en")
    heard = recogniser.transcribe(waves, batch_size=8, context_seconds=CONTEXT)
    rates = wer.compare(heard, texts)["wer"]
    doubtful = np.flatnonzero(rates > gate["wer"])
    if len(doubtful):
        for index, transcript in zip(doubtful, recogniser.transcribe([waves[i] for i in doubtful]), strict=True):
            heard[index] = transcript
        rates = wer.compare(heard, texts)["wer"]
    qualities = []
    for transcript, rate, opinion in zip(heard, rates, mos.score(waves)["mos_predicted"], strict=True):
        reasons = [f"WER {rate:.2f} above {gate['wer']:g}"] if rate > gate["wer"] else []
        reasons += [f"predicted MOS {opinion:.2f} below {gate['mos']:g}"] if opinion < gate["mos"] else []
        quality = {"transcript": transcript, "wer": round(float(rate), 4), "mos": round(float(opinion), 3)}
        qualities.append(quality | {"reason": " and ".join(reasons) or None})
    return qualities
