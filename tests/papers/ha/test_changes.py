"""Settings that a chapter changes: rank or budget, matrices, generator and conditioning, and those that cannot be."""

import pytest

from lib.papers.ha.study import Study
from lib.study.variant import changed


def entry(system: str, overrides: str = "", **changes) -> dict:
    study, name = changed(Study, "smoke", "cpu", system, overrides, **changes)
    return study.system(name)


def test_a_rank_takes_the_place_of_the_budget_and_the_name_says_so():
    made = entry("lora_w1", rank=8)
    assert made["rank"] == 8 and "budget" not in made and made["name"] == "lora_w1_rank_8"
    assert entry("lora_w1", budget=0.5)["budget"] == 0.5


def test_matrices_are_named_between_commas():
    made = entry("lora_w1", targets="decoder.W1, decoder.cross")
    assert made["targets"] == ["decoder.W1", "decoder.cross"]
    assert made["name"] == "lora_w1_targets_decoder_W1_decoder_cross"


def test_a_generator_has_a_hidden_layer_or_none():
    assert entry("hyper", generator="mlp")["hidden"] == 64
    assert entry("hyper", generator="linear", conditioning="whisper", targets="decoder.W1")["name"] == "hyper"
    assert entry("hyper", conditioning="ge2e")["conditioning"] == "ge2e"


@pytest.mark.parametrize(
    ("system", "changes", "said"),
    [
        ("lora_w1", {"rank": 0}, "rank 0: give from 1 to 64"),
        ("lora_w1", {"targets": "decoder.W9"}, "targets 'decoder.W9': give some of encoder.self.q"),
        ("lora_w1", {"conditioning": "ge2e"}, "conditioning means nothing to the method lora"),
        ("full", {"rank": 2}, "rank means nothing to the method full: leave it out, or choose .* lora or hyper"),
        ("hyper", {"generator": "cnn"}, "generator 'cnn': give one of linear, mlp"),
        ("hyper", {"overrides": '{"ha.trian.steps": 1}'}, "there is no setting ha.trian.steps"),
    ],
)
def test_what_cannot_be_changed_is_told_before_anything_runs(system, changes, said):
    with pytest.raises(ValueError, match=said):
        entry(system, **changes)
