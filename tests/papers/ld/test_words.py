"""Small trainings that tell which choices of a sampler keep the words."""

import pytest
import torch

from lib.methods.latent_diffusion import DiffusionError
from lib.papers.ld import words
from lib.papers.ld.data import LatentError
from lib.study.profile import merge


@pytest.fixture(autouse=True)
def small(profile, monkeypatch):
    monkeypatch.setattr(words, "load_profile", lambda name, own: merge(profile, own))


def test_every_choice_is_trained_and_read_at_every_number_of_steps(prepared):
    choices = ["palette:aligned:v", "i2sb:stretched:x0", "palette:sampled:x0:raw"]
    lines = words.words("smoke", choices, 2, [2, 1])
    assert [(line["choice"], line["sampling steps"]) for line in lines] == [(c, n) for c in choices for n in (2, 1)]
    assert all(line["CER"] >= 0 and line["sentences"] == 1 and line["s a training step"] > 0 for line in lines)
    with pytest.raises(DiffusionError, match="I2SB has no prediction 'v'"):
        words.words("smoke", ["i2sb:shared:v"], 2, [1])
    for wrong in ("palette", "palette:aligned:x0:broad", "i2sb:aligned:x0:linear"):
        with pytest.raises(LatentError, match=f"'{wrong}': give process:pairs:prediction, .*, or wide, "):
            words.words("smoke", [wrong], 2, [1])


def test_a_change_is_the_profile_s_sampler_but_for_what_it_names(prepared):
    def made(choice):
        return words.study_of(choice, "it", "smoke", 2, "cpu").part("it", 0).build()

    plain = made("palette:sampled:x0")
    assert made("palette:sampled:x0:wide").dims.channels == 2 * plain.dims.channels
    assert made("palette:sampled:x0:deep").dims.shortest == 2 * plain.dims.shortest
    assert made("palette:sampled:x0:linear").process.schedule == "linear"
    assert made("palette:sampled:x0:published").process.signal[-1] < 0.1 * plain.process.signal[-1]
    z = [3 + 2 * torch.randn(plain.dims.latent, 50)]
    raw = made("palette:sampled:x0:raw")
    raw.set_scale(z)
    plain.set_scale(z)
    assert plain.std.mean() > 1.5 and (raw.std == 1).all() and (raw.mean == 0).all()
