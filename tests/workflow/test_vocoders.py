"""Vocoders on a folder of recordings: the universal HiFi-GAN beside Griffin-Lim."""

import pytest

from lib import audio
from lib.workflow.benchmarks import vocoders


def test_hifigan_is_more_natural_than_griffin_lim_and_keeps_the_voice(speech, tmp_path):
    audio.write(tmp_path / "a.wav", speech[0][:40000])
    (tmp_path / "metadata.csv").write_text("path,age,sex\na.wav,30,f\n")
    found = vocoders.compare(tmp_path, 1).set_index("speech")
    recorded, hifigan, half, griffin_lim = found["mos_predicted"]
    assert list(found.index) == ["1 recordings", "universal HiFi-GAN", "universal HiFi-GAN, bfloat16", "Griffin-Lim"]
    assert griffin_lim < hifigan == pytest.approx(recorded, abs=0.3) and half == pytest.approx(hifigan, abs=0.1)
    assert found["cos"].iloc[1] > 95 and (found["rtf"].dropna() > 0).all()
