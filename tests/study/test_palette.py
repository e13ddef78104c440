"""Names, published values and colours of systems, those with changed settings among them."""

import pytest

from lib.study import palette


@pytest.mark.parametrize("paper", ["HT", "HA", "SP", "LD"])
def test_every_listed_system_has_a_name_and_a_colour(paper):
    for system in palette.listed(paper):
        assert palette.label(paper, system) and palette.colour(paper, system).startswith("#")


@pytest.mark.parametrize(
    ("paper", "system", "label"),
    [
        ("SP", "dp_r45", "DP R=0.45"),
        ("SP", "dp_r45_ratio_0p35", "DP R=0.45, ratio 0.35"),
        ("SP", "dp_r45_ratio_0p35_temperature_1e_05", "DP R=0.45, ratio 0.35, temperature 1e-05"),
        ("HT", "hypertts_d_d_s_16", "HyperTTS d, d_s 16"),
        ("HA", "something_else", "something else"),
    ],
)
def test_a_changed_system_says_what_it_was_and_what_was_changed(paper, system, label):
    assert palette.label(paper, system) == label


def test_a_changed_system_has_a_colour_apart_from_its_origins_and_a_family_keeps_its_own():
    assert palette.colour("SP", "dp_r45_ratio_0p35") != palette.colour("SP", "dp_r45")
    assert palette.colour("HT", "hypertts_d_ds128") == palette.colour("HT", "hypertts_e")
    assert palette.colour("HT", "adaptertts_e") != palette.colour("HT", "hypertts_e")


def test_published_values_are_those_of_the_claims_file():
    assert palette.published("HT", "tts_0")["cos"] == 73.79 and palette.published("HT", "lora_d") == {"label": "LoRA d"}
