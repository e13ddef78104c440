"""How far a system moved: what counts as style, as broken words, and as no move."""

import numpy as np
import pandas as pd
import pytest

from lib.papers.ld.data import LatentError
from lib.papers.ld.measure import MEASURED, judged, prosody_of
from lib.papers.ld.reconstruction import real_recordings


def measures(**changed) -> pd.DataFrame:
    plain = dict.fromkeys((*MEASURED, "f0_median", "f0_spread"), 1.0) | {"cer": 0.0}
    return pd.DataFrame([plain | changed])


def test_style_moved_is_100_at_the_restyled_recording_and_0_before(prepared):
    before = {"text": measures(), "neutral": measures(), "high_lively": measures(f0_median=5.0, f0_spread=4.0)}
    for given, expected in ((measures(), 0.0), (before["high_lively"], 100.0)):
        found = judged(prepared, given, before, "high_lively")
        assert found["style_moved"][0] == pytest.approx(expected)


def test_style_kept_counts_the_move_from_the_neutral_recording_by_the_same_way(prepared):
    before = {"text": measures(), "neutral": measures(), "high_lively": measures(f0_median=5.0)}
    found = judged(prepared, measures(f0_median=11.0), before, "high_lively", measures(f0_median=9.0))
    assert (found["style_moved"][0], found["style_kept"][0]) == pytest.approx((250.0, 50.0))


def test_a_move_that_breaks_the_words_does_not_count(prepared):
    before = {"text": measures(), "neutral": measures(), "high_lively": measures(f0_median=5.0)}
    found = judged(prepared, measures(f0_median=5.0, cer=0.9), before, "high_lively")
    assert found["style_moved"][0] == pytest.approx(100.0)
    assert (found["style_moved_intact"][0], found["content_broken"][0]) == (0.0, 1.0)


def test_an_output_without_voice_has_not_moved(prepared):
    noise = (0.1 * np.random.default_rng(0).standard_normal(16000)).astype(np.float32)
    silence = np.zeros(16000, np.float32)
    table = prosody_of([noise, silence])
    assert not table["hnr"].notna().any() or table["voiced"].sum() < 2
    before = {"text": measures(), "neutral": measures(), "high_lively": measures(f0_median=5.0)}
    found = judged(prepared, table.tail(1).assign(cer=1.0).reset_index(drop=True), before, "high_lively")
    assert found["style_moved"][0] == 0.0


def test_a_folder_without_recordings_is_refused(tmp_path):
    with pytest.raises(LatentError, match="no recordings"):
        real_recordings(tmp_path)
