"""Systems with other settings than their profile gives them: names, weights, and values that are refused."""

import json

import pytest
from synthetic_zero_shot import PROFILE, make_study

from lib import study
from lib.papers.sp.study import Study
from lib.study import variant as variants
from lib.study.profile import merge
from lib.study.rows import manifest_path
from lib.study.variant import variant


@pytest.fixture
def kind(tmp_path, monkeypatch):
    """The study of pruned attention whose profile is tiny."""
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "results"))
    made = make_study(tmp_path)

    class Tiny(Study):
        corpus, features = made.corpus, made.features

    def tiny_profile(name: str, overrides: dict | None = None) -> dict:
        return merge(json.loads(json.dumps(PROFILE)), overrides or {})

    monkeypatch.setattr(variants, "load_profile", tiny_profile)
    return Tiny


def start(kind, *changes, **named):
    return variant(kind, "tiny", "cpu", "dp_r45", 0, *changes, beside=False, **named)


def test_without_changes_it_is_the_profiles_own_system(kind):
    made, name = start(kind, ratio=0.45, masks=None)
    assert name == "dp_r45" and not made.changed
    assert list(study.read_manifests("tiny", "SP")) == ["sp-dp_r45-s0"]


def test_a_changed_system_has_rows_and_weights_of_its_own_name(kind):
    start(kind)
    made, name = start(kind, ratio=0.35)
    assert name == "dp_r45_ratio_0p35"
    rows = study.read_rows("tiny", "SP")
    assert rows[(rows["system"] == name).fillna(False)]["x"].dropna().isin([0.35, 0.5]).any()
    assert made.checkpoint(name, 0).name == "sp-dp_r45_ratio_0p35-s0.safetensors"
    manifests = study.read_manifests("tiny", "SP")
    assert manifests["sp-dp_r45_ratio_0p35-s0"]["changed"] == {"of": "dp_r45", "ratio": 0.35}
    assert "changed" not in manifests["sp-dp_r45-s0"]


def test_what_is_trained_otherwise_lies_beside_what_the_profile_trained(kind):
    own, _ = start(kind)
    before = own.checkpoint("dense", 0).read_bytes()
    made, name = start(kind, '{"sp.dense.steps": 2}')
    assert name == "dp_r45_sp_dense_steps_2"
    assert made.checkpoint("dense", 0) != own.checkpoint("dense", 0)
    assert own.checkpoint("dense", 0).read_bytes() == before
    assert made.trained("dense", 0)["steps"] == 2 and own.trained("dense", 0)["steps"] == 3
    study.read_rows("tiny", "SP")  # and their rows stand beside each other


def test_a_finished_variant_is_not_run_again(kind):
    start(kind, ratio=0.35)
    path = manifest_path("sp-dp_r45_ratio_0p35-s0", "tiny")
    written = path.stat().st_mtime_ns
    start(kind, ratio=0.35)
    assert path.stat().st_mtime_ns == written


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"ratio": 1.5}, "ratio 1.5: give from 0.01 to 0.99"),
        ({"ratio": "much"}, "ratio 'much': give from 0.01 to 0.99"),
        ({"masks": "all"}, "masks 'all': give one of dense, row_mean, learned"),
        ({"rank": 4}, "sp has no parameter rank: choose from ratio"),
        ({"overrides": "sp.train.steps=5"}, "write JSON such as"),
    ],
)
def test_values_that_cannot_be_are_refused_with_the_range(kind, changes, told):
    with pytest.raises(study.StudyError, match=told):
        variant(kind, "tiny", "cpu", "dp_r45", beside=False, **changes)
    assert not study.read_manifests("tiny", "SP")
