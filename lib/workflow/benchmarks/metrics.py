"""Our metrics against the libraries that people use for them today, one utterance after the other as those work."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import torch

from lib.audio import RATE
from lib.metrics import ffe, filterbank_mcd, mcd, subspace
from lib.metrics.dtw import warp
from lib.models import speaker
from lib.models.whisper import sizes as whisper
from lib.papers.common import audit
from lib.workers import map_in_threads
from lib.workflow.benchmarks import Bound, Comparison, Speech, largest

LEADING = 32  # directions of a principal subspace


def batch_of(device: str) -> int:
    """Utterances at once: a GPU takes all of a benchmark's, a CPU what fits its cache."""
    return 32 if device == "cpu" else 256


def mcd_pymcd(speech: Speech, device: str) -> Comparison:
    """pymcd takes 13 cepstra of the squared power at 22.05 kHz: its values are only correlated with ours."""
    folder, (few, places) = tempfile.TemporaryDirectory(), speech.sample()

    def theirs() -> np.ndarray:
        import soundfile

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from pymcd.mcd import Calculate_MCD
        meter, files = Calculate_MCD("dtw"), [str(Path(folder.name) / f"{side}.wav") for side in ("heard", "reference")]
        values = []
        for pair in few.pairs:
            for file, wave in zip(files, pair, strict=True):
                soundfile.write(file, wave, RATE, subtype="FLOAT")
            values.append(meter.calculate_mcd(files[1], files[0]))
        return np.array(values)

    def ours() -> np.ndarray:
        return mcd.score(speech.heard, speech.waves, device=device, released=False)["mcd"]

    def difference(a: np.ndarray, b: np.ndarray) -> float:
        return float(1 - np.corrcoef(a[places], b)[0, 1])

    packages = ("pymcd", "pyworld", "pysptk", "fastdtw")
    names = ("MCD along the DTW path", "pymcd", speech.describe("pairs"), packages)
    bound = Bound("WORLD's envelopes", lambda: map_in_threads(mcd.mel_cepstra, speech.heard + speech.waves))
    unit, share = "(1 - correlation)", few.seconds / speech.seconds
    return Comparison(*names, ours, theirs, difference, 0.3, unit, bound, share=share)


def mcd_librosa(speech: Speech, device: str) -> Comparison:
    """The same cepstra from librosa's STFT and mel filters, aligned by librosa.sequence.dtw."""

    def theirs() -> np.ndarray:
        return np.array([librosa_mcd(librosa_cepstra(a), librosa_cepstra(b))[0] for a, b in speech.pairs])

    def ours() -> np.ndarray:
        batch = batch_of(device)
        return filterbank_mcd.score(speech.heard, speech.waves, device=device, batch_size=batch)["mcd_filterbank"]

    what, packages = "MCD by a filter bank along the DTW path", ("librosa", "numba")
    names = (what, "librosa's STFT, mel and DTW", speech.describe("pairs"), packages)
    return Comparison(*names, ours, theirs, lambda a, b: largest([a], [b]), 0.01, "dB", _cepstra(speech, device))


def dtw_librosa(speech: Speech, device: str) -> Comparison:
    """Paths of the filter bank's cepstra, which are there already: totals of the pairs, and lengths of their paths."""
    sides = [[librosa_cepstra(wave) for wave in side] for side in (speech.waves, speech.heard)]

    def theirs() -> np.ndarray:
        import librosa

        found = (librosa.sequence.dtw(one.T, other.T) for one, other in zip(*sides, strict=True))
        return np.array([(accumulated[-1, -1], len(path)) for accumulated, path in found])

    def ours() -> np.ndarray:
        return np.array([(path.total, len(path.rows)) for path in warp(*sides)])

    narrow = [[frames[:, :1] for frames in side] for side in sides]
    bound = Bound("costs and paths of frames of one coefficient", lambda: warp(*narrow))
    names = ("DTW paths", "librosa.sequence.dtw", speech.describe("pairs"), ("librosa", "numba"))
    return Comparison(*names, ours, theirs, lambda a, b: largest([a], [b]), 1e-6, "of cost or steps", bound)


def _cepstra(speech: Speech, device: str) -> Bound:
    size = filterbank_mcd.CPU_BATCH if device == "cpu" else batch_of(device)
    waves = sorted(speech.heard + speech.waves, key=len)
    parts = [waves[i : i + size] for i in range(0, len(waves), size)]
    work = partial(filterbank_mcd.cepstra, device=device)
    return Bound("spectra and mel cepstra", lambda: map_in_threads(work, parts))


def librosa_cepstra(wave: np.ndarray) -> np.ndarray:
    """Mel cepstra c_1 ... c_25 (frames, 25) as `lib.metrics.filterbank_mcd` has them, by librosa."""
    import librosa
    from scipy.fft import dct

    settings = {"n_fft": filterbank_mcd.FFT, "hop_length": filterbank_mcd.HOP, "win_length": filterbank_mcd.WINDOW}
    magnitude = np.abs(librosa.stft(wave, **settings, pad_mode="constant"))
    mel = librosa.filters.mel(sr=RATE, n_fft=filterbank_mcd.FFT, n_mels=filterbank_mcd.BANDS) @ magnitude
    floor = mel.max() * 10 ** (-filterbank_mcd.RANGE / 20)
    return dct(np.log(np.maximum(mel, floor)), axis=0)[1 : filterbank_mcd.ORDER + 1].T / filterbank_mcd.BANDS


def librosa_mcd(heard: np.ndarray, reference: np.ndarray) -> tuple[float, np.ndarray]:
    """MCD in dB of two cepstra and the path (steps, 2) of frames (reference, heard), by librosa."""
    import librosa

    _, path = librosa.sequence.dtw(reference.T, heard.T, metric="euclidean")
    distances = np.linalg.norm(reference[path[:, 0]] - heard[path[:, 1]], axis=1)
    return filterbank_mcd.DECIBEL * float(distances.mean()), path


def f0_pyin(speech: Speech, device: str) -> Comparison:
    """librosa's pYIN."""
    return _f0(speech, device, "pyin", ("librosa", "numba"))


def f0_harvest(speech: Speech, device: str) -> Comparison:
    """WORLD's Harvest with StoneMask."""
    return _f0(speech, device, "harvest", ("pyworld",))


def _f0(speech: Speech, device: str, peer: str, packages: tuple[str, ...]) -> Comparison:
    few, places = speech.sample()

    def ours() -> list[np.ndarray]:
        return ffe.f0(speech.waves, device, batch_of(device))

    def theirs() -> list[np.ndarray]:
        return [audit.TRACKERS[peer](wave) for wave in few.waves]

    def difference(a: list[np.ndarray], b: list[np.ndarray]) -> float:
        pairs = zip((a[i] for i in places), b, strict=True)
        return 100 - float(np.mean([audit.agreement(x, y)["f0_20_percent"] for x, y in pairs]))

    names = ("F0", audit.NAMES[peer], speech.describe(), packages)
    bound = Bound("Fourier transforms of the frames", _transforms(speech, device))
    unit, share = "% of voiced frames off by more than 20 %", few.seconds / speech.seconds
    return Comparison(*names, ours, theirs, difference, 15.0, unit, bound, share=share)


def _transforms(speech: Speech, device: str) -> Callable[[], list[torch.Tensor]]:
    """Two transforms of 1024 samples for each frame and one back, as the autocorrelation of YIN takes them."""
    size = ffe.CPU_BATCH if device == "cpu" else batch_of(device)
    frames = [sum(1 + len(wave) // ffe.HOP for wave in speech.waves[i : i + size]) for i in range(0, len(speech), size)]
    noise = torch.randn(max(frames), 1024, device=device)

    def work() -> list[torch.Tensor]:
        return [torch.fft.irfft(torch.fft.rfft(noise[:n]) * torch.fft.rfft(noise[:n]))[:, :1] for n in frames]

    return work


def ffe_librosa(speech: Speech, device: str) -> Comparison:
    """F0 by pYIN on both sides, the path by librosa.sequence.dtw, errors counted as ours are."""
    few, places = speech.sample()

    def theirs() -> np.ndarray:
        values = []
        for heard, reference in few.pairs:
            _, path = librosa_mcd(librosa_cepstra(heard), librosa_cepstra(reference))
            errors = ffe.errors(audit.pyin_track(heard)[path[:, 1]], audit.pyin_track(reference)[path[:, 0]])
            values.append(errors["ffe"])
        return np.array(values)

    def ours() -> np.ndarray:
        batch = batch_of(device)
        alignment = filterbank_mcd.align(speech.heard, speech.waves, device=device, batch_size=batch)
        return ffe.score(speech.heard, speech.waves, device=device, batch_size=batch, alignment=alignment)["ffe"]

    def f0_of_all() -> list:
        sides, batch = (speech.heard, speech.waves), batch_of(device)
        return [ffe.f0(waves, device, batch, released) for waves in sides for released in (False, True)]

    def difference(a: np.ndarray, b: np.ndarray) -> float:
        return abs(float(np.mean(a[places] - b)))

    names = ("FFE along the DTW path", "librosa pYIN and DTW", speech.describe("pairs"), ("librosa", "numba"))
    bound = Bound("F0 of both sides, with the released frames", f0_of_all)
    unit, share = "points between the mean FFE", few.seconds / speech.seconds
    return Comparison(*names, ours, theirs, difference, 10.0, unit, bound, share=share)


def ge2e_resemblyzer(speech: Speech, device: str) -> Comparison:
    """Resemblyzer on the same device, one utterance after the other, which is how it works."""
    loaded: dict = {}

    def theirs() -> list[np.ndarray]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from resemblyzer import VoiceEncoder, audio
        encoder = loaded.setdefault("encoder", loaded.get("encoder") or VoiceEncoder(device, verbose=False))
        levelled = (audio.normalize_volume(wave, speaker.LEVEL, increase_only=True) for wave in speech.waves)
        return [encoder.embed_utterance(wave) for wave in levelled]

    def ours() -> list[np.ndarray]:
        return list(speaker.embed(speech.waves, device))

    names = ("GE2E speaker embeddings", "Resemblyzer", speech.describe(), ("Resemblyzer", "librosa"))
    encoder, on_cpu = speaker.load(device), device == "cpu"
    count = sum(len(speaker.partial_starts(len(wave))) for wave in speech.waves)
    partials = torch.rand(count, speaker.PARTIAL, speaker.CHANNELS)
    parts = partials.to(device).split(speaker.CPU_PARTIALS if on_cpu else speaker.GPU_PARTIALS)
    lstm = torch.inference_mode()(lambda part: encoder(part))
    bound = Bound("the LSTM", lambda: map_in_threads(lstm, parts) if on_cpu else list(map(lstm, parts)))
    return Comparison(*names, ours, theirs, largest, 1e-4, "of any entry", bound)


def angles_scipy(speech: Speech, device: str) -> Comparison:
    """Whole column spaces; those of square and wide matrices are the whole space, with angles of zero."""
    return _angles(speech, device, None)


def leading_angles_scipy(speech: Speech, device: str) -> Comparison:
    """The leading left singular vectors, which say something about square matrices too."""
    return _angles(speech, device, LEADING)


def _angles(speech: Speech, device: str, rank: int | None) -> Comparison:
    before = whisper_matrices(len(speech))
    generator = torch.Generator().manual_seed(0)
    after = {k: w + 0.05 * w.std() * torch.randn(w.shape, generator=generator) for k, w in before.items()}

    def theirs() -> list[np.ndarray]:
        from scipy.linalg import subspace_angles, svd

        def basis(weight: torch.Tensor) -> np.ndarray:
            matrix = weight.flatten(1).double().numpy()
            return matrix if rank is None else svd(matrix, full_matrices=False)[0][:, :rank]

        return [subspace_angles(basis(before[name]), basis(after[name])) for name in before]

    def ours() -> list[np.ndarray]:
        return list(subspace.compare(before, after, device=device, rank=rank).values())

    what = "column spaces" if rank is None else f"{rank} leading directions"
    names = (f"Principal angles, {what}", "scipy.linalg.subspace_angles", f"{len(before)} matrices", ("scipy",))
    bound = _gram_matrices(before, device) if rank is None else _tridiagonal(before, device)
    return Comparison(*names, ours, theirs, largest, 1e-6, "rad", bound)


def _gram_matrices(weights: dict[str, torch.Tensor], device: str) -> Bound:
    """Three products for each tall pair, two for each other one."""
    matrices = [weight.flatten(1).double().to(device) for weight in weights.values()]

    def work() -> None:
        for matrix in matrices:
            rows, columns = matrix.shape
            for _ in range(3 if rows >= 2 * columns else 2):
                matrix.mT @ matrix if rows > columns else matrix @ matrix.mT

    return Bound("Gram matrices in float64", work)


def _tridiagonal(weights: dict[str, torch.Tensor], device: str) -> Bound:
    """Eigenvalues alone, of which the reduction to tridiagonal form is nearly all."""
    matrices = [weight.flatten(1).double().to(device) for weight in weights.values()]
    grams = [m.mT @ m if m.shape[0] > m.shape[1] else m @ m.mT for m in matrices]
    return Bound("tridiagonal forms of the Gram matrices", lambda: [torch.linalg.eigvalsh(g) for g in grams * 2])


def whisper_matrices(most: int) -> dict[str, torch.Tensor]:
    """The first `most` weight matrices and kernels of Whisper tiny.en, on the CPU."""
    parameters = whisper.load("tiny.en").network.named_parameters()
    weights = [(name, weight.detach()) for name, weight in parameters if weight.ndim > 1]
    return dict(weights[:most])


ROWS = (
    *(mcd_pymcd, mcd_librosa, dtw_librosa, f0_pyin, f0_harvest, ffe_librosa, ge2e_resemblyzer),
    *(angles_scipy, leading_angles_scipy),
)
