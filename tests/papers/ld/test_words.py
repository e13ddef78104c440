"""Small trainings that tell which choices of a sampler keep the words."""

import pytest

from lib import study
from lib.methods.latent_diffusion import DiffusionError
from lib.papers.ld import words
from lib.papers.ld.data import LatentError


def test_every_choice_is_trained_and_read_at_every_number_of_steps(prepared, profile, monkeypatch):
    def small(name: str, own: dict) -> dict:
        del own["ld"]["data"]  # the speech that is there
        return study.merge(profile, own)

    monkeypatch.setattr(words, "load_profile", small)
    lines = words.words("smoke", ["palette:aligned:v", "i2sb:stretched:x0"], 2, [2, 1])
    found = [(line["process"], line["pairs"], line["estimates"], line["sampling steps"]) for line in lines]
    assert found == [("palette", "aligned", "v", n) for n in (2, 1)] + [("i2sb", "stretched", "x0", n) for n in (2, 1)]
    assert all(line["CER"] >= 0 and line["sentences"] == 1 and line["s a training step"] > 0 for line in lines)
    with pytest.raises(DiffusionError, match="I2SB has no prediction 'v'"):
        words.words("smoke", ["i2sb:shared:v"], 2, [1])
    with pytest.raises(LatentError, match="'palette': give process:pairs:prediction"):
        words.words("smoke", ["palette"], 2, [1])
