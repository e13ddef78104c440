import numpy as np
import pandas as pd
import pytest

from lib.study import claims, load_profile, planning, power
from lib.study.statistics import interval

TRUE = {"seed": 1.0, "speaker": 2.0, ("seed", "speaker"): 0.7, "sentence": 1.5, "rest": 1.2}


def simulated(seeds, speakers, sentences, seed):
    shapes = [
        (seeds, 1, 1),
        (1, speakers, 1),
        (seeds, speakers, 1),
        (1, speakers, sentences),
        (seeds, speakers, sentences),
    ]
    generator = np.random.default_rng(seed)
    parts = [sd * generator.normal(size=shape) for sd, shape in zip(TRUE.values(), shapes, strict=True)]
    seed, speaker, utterance = np.indices((seeds, speakers, sentences)).reshape(3, -1)
    unit = [f"{s}-{u}" for s, u in zip(speaker, utterance, strict=True)]
    return pd.DataFrame({"seed": seed, "speaker": speaker, "utterance": unit, "value": sum(parts).ravel()})


def test_terms_recover_the_variances_that_were_simulated():
    found = [power.single(interval(simulated(5, 12, 6, seed))) for seed in range(60)]
    means = {term: np.mean([each[term] for each in found]) for term in found[0]}
    expected = {("seed",): 1, ("speaker",): 4, ("seed", "speaker"): 0.49}
    expected |= {("speaker", "sentence"): 2.25, ("seed", "speaker", "sentence"): 1.44}
    for term, variance in expected.items():
        assert means[term] == pytest.approx(variance, rel=0.2), term


def test_the_half_width_of_a_run_design_is_about_its_intervals():
    estimate = interval(simulated(5, 12, 6, 1))
    found = power.half_width(power.single(estimate), power.sizes_of(estimate))
    assert found == pytest.approx(estimate.half_width, rel=0.25)


def test_a_larger_design_is_narrower_and_the_needed_one_reaches_the_target():
    terms = power.single(interval(simulated(5, 12, 6, 2)))
    wide, narrow = (power.half_width(terms, dict(seed=s, speaker=12, sentence=6)) for s in (3, 10))
    assert narrow < wide
    design = power.needed(terms, 1.2, {"seed": 3, "speaker": 12, "sentence": 6})
    sizes = {"seed": design["seeds"], "speaker": design["speakers"], "sentence": design["sentences"]}
    assert power.half_width(terms, sizes) < 1.2
    assert power.needed(terms, 0.001, {"seed": 3, "speaker": 12, "sentence": 6}) is None


def test_more_sentences_of_one_speaker_do_not_stand_for_speakers():
    terms = {("speaker",): 4.0, ("speaker", "sentence"): 0.01}
    assert power.half_width(terms, {"seed": 1, "speaker": 6, "sentence": 4}) == pytest.approx(
        power.half_width(terms, {"seed": 1, "speaker": 6, "sentence": 400}), rel=0.01
    )


def test_seeds_known_from_elsewhere_are_added_to_one_seeds_terms():
    assert power.with_seeds({("speaker",): 1.0}, {("seed",): 2.0, ("speaker",): 9.0}) == {
        ("speaker",): 1.0,
        ("seed",): 2.0,
    }


@pytest.mark.parametrize(
    ("spec", "target"),
    [
        ({"smallest": 0.5, "threshold": 0.0}, 0.5),
        ({"smallest": 0.0, "threshold": 0.0, "equivalence": 1.0}, 1.0),
        ({"smallest": 0.0, "threshold": 40.0, "published": 50.0}, 10.0),
        ({"smallest": 0.0, "threshold": -0.02}, 0.02),
        ({"smallest": 0.0, "threshold": 0.0}, None),
    ],
)
def test_what_half_width_decides_a_part(spec, target):
    assert power.wanted(spec) == target


def test_a_profile_says_how_many_seeds_speakers_and_sentences_a_part_gets():
    part = {"a": "hypertts_d", "b": "adaptertts_d", "where": {"role": "adaptation", "split": "test"}}
    assert planning.profile_sizes(part, "HT", load_profile("full")) == {"seed": 5, "speaker": 24, "sentence": 4}
    part = {"a": "dp_r45", "b": "vp", "where": {"role": "never_seen", "split": "test"}}
    assert planning.profile_sizes(part, "SP", load_profile("demo")) == {"seed": 1, "speaker": 8, "sentence": 3}
    part = {"a": "hyper", "b": "whisper_0", "where": {"cohort": "typical"}}
    assert planning.profile_sizes(part, "HA", load_profile("demo"))["speaker"] == 6


def test_noise_alone_needs_no_more_seeds():
    assert (
        power.needed({("speaker",): 1.0}, 1.5, {"seed": 1, "speaker": 8, "sentence": 4}, training=False)["seeds"] == 1
    )


def record(**part):
    terms = {"speaker": 9.0, "seed": 0.5, "seed speaker": 1.0}
    return {"id": "HT4", "parts": [{"name": "COS, decoder", "terms": terms} | part]}


def test_claims_that_a_design_cannot_decide_are_named_with_what_would():
    once = {"ht": {"headline": ["hypertts_d"]}}  # hypertts_d_nolayer runs with the first seed
    found = planning.undecided([record()], claims.load_claims(), load_profile("full", once))
    line = next(line for line in found if line["claim"] == "HT4")
    assert line["reason"] == "one seed decides nothing about training"
    seeds = {"ht": {"headline": list(load_profile("full")["ht"]["systems"])}}
    decides = planning.undecided([record()], claims.load_claims(), load_profile("full", seeds))
    assert "COS, decoder" not in [line["part"] for line in decides]
    wide = record(terms={"speaker": 20.0, "seed": 0.5, "seed speaker": 1.0})
    found = planning.undecided([wide], claims.load_claims(), load_profile("full", seeds))
    line = next(line for line in found if line["claim"] == "HT4")
    assert line["half-width"] > line["wanted"] == 1.5 and "speakers" in line["design"]
    never = next(line for line in found if line["claim"] == "HT6")
    assert never["half-width"] is None and never["reason"] == "its spread was never measured"


@pytest.mark.parametrize(
    ("spec", "value", "far"),
    [
        ({"expect": "greater", "threshold": 0.0, "smallest": 2.0}, 1.97, 0.03),
        ({"expect": "greater", "threshold": -10.0, "smallest": 0.0}, -48.0, 38.0),
        ({"expect": "less", "threshold": 0.0, "smallest": 0.02}, -0.03, 0.01),
        ({"equivalence": 1.0, "threshold": 0.0}, 0.8, 0.2),
        ({"equivalence": 1.0, "threshold": 0.0}, -1.5, 0.5),
    ],
)
def test_a_part_is_decided_by_an_interval_that_ends_before_the_smallest_effect(spec, value, far):
    assert power.distance(spec, value) == pytest.approx(far)


def test_a_value_at_the_smallest_effect_is_decided_by_no_design():
    heard = pd.DataFrame({"value": np.arange(60) % 7, "seed": 0, "speaker": "s", "utterance": map(str, range(60))})
    estimate = interval(heard, level=0.95)
    spec = {"expect": "greater", "threshold": 0.0, "metric": "cer"}
    near, far = (spec | {"smallest": estimate.value + by} for by in (0.01, 2.0))
    assert power.design(near, estimate, {}, training=False)["enough"] is None
    enough = power.design(far, estimate, {}, training=False)["enough"]
    assert enough["half_width"] < 2.0
    assert power.design(far, estimate, {}, training=False, family=5)["enough"]["half_width"] > enough["half_width"]


def test_what_would_decide_a_part_is_told_in_words():
    part = {"name": "COS", "half_width": 3.71, "design": {"target": 1.5, "seeds_known": False}}
    enough = {"seeds": 4, "speakers": 48, "sentences": 6, "half_width": 1.46}
    told = power.told(part | {"design": part["design"] | {"enough": enough}})
    assert "reaches 3.71 to either side" in told and "4 seeds, 48 speakers, 6 sentences each would reach 1.46" in told
    assert "or more" in told
    assert "no design of up to" in power.told(part | {"design": part["design"] | {"enough": None}})
    assert power.told({"name": "COS", "design": None}) == ""
    assert power.told(part | {"design": part["design"] | {"enough": enough}, "verdict": "reproduced"}) == ""
