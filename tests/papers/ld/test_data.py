"""The restyled speech of the latent study: what is known of it, and files and settings that are refused."""

import numpy as np
import pytest
import torch

from lib.papers.ld import data
from lib.papers.ld.data import LatentError


def test_restylings_share_timing_and_differ_by_what_is_known(prepared):
    arrays = prepared.corpus.spoken(prepared.corpus.sentences("test")[0])
    assert len(arrays["wave_neutral"]) == len(arrays["wave_high_lively"])
    shift = arrays["truth_high_lively"][0] - arrays["truth_neutral"][0]
    assert shift == pytest.approx(4.0, abs=0.5)
    assert arrays["shared_0"].shape == arrays["z"].shape
    assert arrays["phones"].shape == (arrays["z"].shape[1],)


def test_the_recordings_latent_is_that_of_its_wave(prepared):
    arrays = prepared.corpus.spoken(prepared.corpus.sentences("test")[0])
    wave = prepared.vits.decode(torch.from_numpy(arrays["z"]).unsqueeze(0))[0].numpy()
    assert np.abs(wave - data.floats(arrays["wave_recorded"])).max() < 1e-4


def test_a_damaged_file_of_the_cache_is_deleted_and_named(tmp_path):
    path = tmp_path / "bad.npz"
    np.savez(path, wave=np.arange(1000))
    content = bytearray(path.read_bytes())
    content[500] ^= 1
    path.write_bytes(content)
    with pytest.raises(LatentError, match="bad.npz was damaged and is deleted: the same command again"):
        data.read(path)
    assert not path.exists()
    with pytest.raises(LatentError, match="bad.npz is missing: prepare again"):
        data.read(path)


def test_too_many_sentences_are_refused():
    with pytest.raises(LatentError, match="9999 test sentences"):
        data._sentences((("test", 9999),))
