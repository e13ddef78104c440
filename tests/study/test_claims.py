import json

import numpy as np
import pandas as pd
import pytest
import yaml
from synthetic_study import PROFILE, write_run, write_study

from lib import study
from lib.study import claims, tables
from lib.study.claims import ClaimError

COUNTS = {"HT": 10, "HA": 12, "SP": 13, "LD": 9}
CLAIMS = [f"{paper}{i}" for paper, count in COUNTS.items() for i in range(1, count + 1)]


@pytest.fixture(scope="module")
def judged(tmp_path_factory):
    """Records of the synthetic study by id, and its results folder."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDY_RESULTS", str(tmp_path_factory.mktemp("results")))
        write_study()
        records = claims.write_claims(PROFILE)
        yield (
            {record["id"]: record for record in records},
            study.results_root(PROFILE),
            study.read_rows(PROFILE),
        )


def judge_part(values_a, values_b=None, family=None, **part):
    """Record of a claim of one primary part on values of 6 speakers; `family` holds further parts."""
    rows = []
    for system, values in (("a", values_a), ("b", values_b)):
        for i, value in enumerate([] if values is None else values):
            factors = {"system": system, "seed": 0, "speaker": f"s{i % 6}", "utterance": f"u{i}"}
            rows.append(factors | {"role": "adaptation", "split": "test", "metric": "cos", "value": value, "unit": ""})
    table = pd.DataFrame(rows).assign(paper="HT").reindex(columns=study.COLUMNS).astype(study.TYPES)
    base = {
        "name": "part",
        "metric": "cos",
        "unit": "points",
        "where": {"role": "adaptation"},
        "primary": True,
    }
    base |= {"pair_on": ["speaker", "utterance"], "threshold": 0.0, "smallest": 0.0} | part
    claim = {key: "" for key in claims.FIELDS}
    claim |= {
        "id": "X1",
        "paper": "HT",
        "needs": {},
        "parts": [base, *(family or [])],
        "published": {"value": None},
    }
    content = {"rules": {"HT": "rule"}, "claims": [claim]}
    return claims.judge(content, table, {}, PROFILE)[0]


def noisy(mean, size=36, spread=1.0, seed=0):
    return np.random.default_rng(seed).normal(mean, spread, size)


def test_the_claims_file_holds_the_papers_claims_and_is_complete():
    content = claims.load_claims()
    assert [claim["id"] for claim in content["claims"]] == CLAIMS
    for claim in content["claims"]:
        paper = content["papers"][claim["paper"]]
        assert claim["id"].startswith(claim["paper"]) and claim["paper"] in content["rules"]
        compared = [part for part in claim["parts"] if part.get("primary") and "factor" not in part]
        named = {
            name
            for part in compared
            for each in (part.get("a"), part.get("b"), *part.get("systems", []))
            for name in (each if isinstance(each, list) else [each])
            if name
        }
        assert named <= set(claim["needs"].get("systems", [])), claim["id"]
        assert named <= set(paper["systems"]), claim["id"]


@pytest.mark.parametrize("name", ["smoke", "demo", "full", "paper"])
def test_every_run_of_a_profile_has_a_label(name):
    papers, profile = claims.load_claims()["papers"], study.load_profile(name)
    for paper in ("HA", "SP", "LD"):
        assert set(profile[paper.lower()]["systems"]) <= set(papers[paper]["systems"]), paper


def test_published_values_follow_from_the_published_table():
    content = claims.load_claims()
    cos = {name: facts.get("cos") for name, facts in content["papers"]["HT"]["systems"].items()}
    published = {claim["id"]: claim["published"]["value"] for claim in content["claims"]}
    assert published["HT1"] == pytest.approx(cos["hypertts_d"] - cos["adaptertts_e"])
    assert published["HT2"] == pytest.approx(cos["tts_ft"] - cos["hypertts_evd"])
    sweep = [cos[name] for name in ("hypertts_d_ds2", "hypertts_d", "hypertts_d_ds32", "hypertts_d_ds128")]
    assert published["HT5"] == pytest.approx(np.polyfit([1, 3, 5, 7], sweep, 1)[0], abs=1e-3)


def test_every_claim_gets_a_verdict_with_its_reason_and_scale(judged):
    records, root, _ = judged
    written = json.loads((root / "claims.json").read_text())
    assert [record["id"] for record in written] == CLAIMS
    needed = "id paper statement published value ci_low ci_high unit n verdict reason profile scale rule parts"
    for record in written:
        assert set(needed.split()) <= set(record)
        assert record["verdict"] in claims.VERDICTS
        assert record["reason"]
        measured = "corpus embedded" if record["paper"] == "HT" else "nothing measured"
        assert f"tiny profile, {measured}" in record["scale"]


def test_built_in_effects_are_found(judged):
    records, _, _ = judged
    verdicts = {name: record["verdict"] for name, record in records.items()}
    assert verdicts["HT1"] == verdicts["HT3"] == verdicts["HT5"] == verdicts["HT6"] == "reproduced"
    assert verdicts["HT7"] == verdicts["HT10"] == "reproduced"
    assert verdicts["HT4"] in ("inconclusive", "not reproduced")  # no effect was built in
    assert verdicts["HT9"] == "not reproduced"  # prefixes were made better than the hypernetwork
    assert records["HT1"]["value"] == pytest.approx(4.5, abs=0.6)
    assert records["HT5"]["value"] == pytest.approx(1.0, abs=0.15)
    assert records["HT1"]["n"] == 30 and records["HT1"]["seeds"] == 4


def test_a_second_corpus_that_was_not_run_is_not_tested(judged):
    record = judged[0]["HT8"]
    assert record["verdict"] == "not tested"
    assert record["reason"].startswith("this profile's rows lack role other_corpus; they come with python -m")
    assert record["value"] is None and record["ci_low"] is None


def test_a_changed_backbone_refutes_the_claim_that_nothing_is_forgotten(judged):
    rows = judged[2].copy()
    changed = (rows["metric"] == "backbone_changed") & (rows["system"] == "hypertts_d")
    rows.loc[changed, "value"] = 1.0
    content = claims.load_claims()
    content["claims"] = [claim for claim in content["claims"] if claim["id"] == "HT3"]
    record = claims.judge(content, rows, {}, PROFILE)[0]
    assert record["verdict"] == "not reproduced"


def test_rows_name_the_files_behind_the_number(judged):
    records, root, _ = judged
    assert "rows/ht-hypertts_d-s0.parquet" in records["HT1"]["rows"]
    assert all((root / href).exists() for record in records.values() for href in record["rows"])


@pytest.mark.parametrize(
    ("gain", "spread", "verdict"),
    [(3, 1, "reproduced"), (-3, 1, "not reproduced"), (0, 0.1, "not reproduced"), (0.4, 3, "inconclusive")],
)
def test_verdict_of_a_difference(gain, spread, verdict):
    base = noisy(60, spread=5, seed=1)
    part = {"type": "difference", "a": "a", "b": "b", "expect": "greater", "smallest": 0.5}
    record = judge_part(base + noisy(gain, spread=spread, seed=2), base, **part)
    assert record["verdict"] == verdict
    assert record["ci_low"] < record["value"] < record["ci_high"]


@pytest.mark.parametrize(("lost", "verdict"), [(0.2, "reproduced"), (2.0, "not reproduced"), (1.0, "inconclusive")])
def test_non_inferiority_is_judged_against_its_margin(lost, verdict):
    base = noisy(60, spread=5, seed=3)
    part = {"type": "difference", "a": "a", "b": "b", "expect": "less", "threshold": 1.0}
    assert judge_part(base + noisy(lost, spread=0.8, seed=4), base, **part)["verdict"] == verdict


def test_corrected_p_values_can_undo_a_verdict():
    base = noisy(60, spread=5, seed=5)
    a = base + noisy(0, spread=1.0, seed=6)
    part = {"type": "difference", "a": "a", "b": "b", "expect": "greater", "smallest": 0.5}
    shift = next(s for s in np.linspace(0, 1, 100) if judge_part(a + s, base, **part)["p"] < 0.04)
    alone = judge_part(a + shift, base, **part)
    other = {
        "metric": "cos",
        "unit": "points",
        "where": {},
        "primary": True,
        "pair_on": ["speaker", "utterance"],
    }
    other |= {"threshold": 0.0, "smallest": 0.0, "name": "other", **part}
    family = judge_part(a + shift, base, family=[other, other | {"name": "third"}], **part)
    assert alone["verdict"] == "reproduced"
    assert family["verdict"] == "inconclusive"
    assert family["p_holm"] == pytest.approx(3 * family["p"])


@pytest.mark.parametrize(("there", "verdict"), [(True, "reproduced"), (False, "not tested")])
def test_a_part_that_counts_only_where_its_rows_are_does_not_stop_the_verdict(there, verdict):
    base = noisy(60)
    part = {"type": "difference", "a": "a", "b": "b", "expect": "greater"}
    other = {"metric": "wer", "unit": "ratio", "where": {}, "primary": True, "pair_on": ["speaker", "utterance"]}
    other |= {"threshold": 0.0, "smallest": 0.0, "name": "recordings", "if_there": there, **part}
    record = judge_part(base + 2, base, family=[other], **part)
    assert record["verdict"] == verdict
    assert record["parts"][1]["verdict"] == "not tested"


def test_a_large_share_of_weights_is_inconclusive_rather_than_refuted():
    part = {"type": "share", "a": "a", "b": "b", "at_most": 2.0}
    assert judge_part([1.5], [100.0], **part)["verdict"] == "reproduced"
    record = judge_part([7.0], [100.0], **part)
    assert record["verdict"] == "inconclusive" and "backbone of this size" in record["reason"]


def test_a_value_without_an_interval_settles_nothing():
    record = judge_part([0.4], type="value", a="a", expect="greater")
    assert record["verdict"] == "inconclusive" and "single value" in record["reason"]


def test_missing_rows_are_named():
    record = judge_part([1.0, 2.0], type="difference", a="a", b="b", expect="greater")
    assert record["verdict"] == "not tested"
    assert "no cos rows of b for role adaptation" in record["reason"]


def test_no_rows_at_all_leaves_every_claim_untested(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    assert {record["verdict"] for record in claims.write_claims(PROFILE)} == {"not tested"}


def test_a_claim_that_is_written_wrongly_is_named(tmp_path):
    content = yaml.safe_load(claims.CLAIMS.read_text())
    content["claims"][0]["parts"][0]["expect"] = "better"
    path = tmp_path / "claims.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ClaimError, match="HT1, part 'COS, same module'"):
        claims.load_claims(path)
    path.write_text("claims: [")
    with pytest.raises(ClaimError, match="claims.yaml cannot be read"):
        claims.load_claims(path)


def test_the_corpus_check_finds_the_gap_and_how_much_of_it_closes(judged):
    check = tables.corpus_check(judged[2], PROFILE)
    assert check["gap"]["ci_low"] < 15 < check["gap"]["ci_high"] + 2
    assert check["closed"] == pytest.approx(100 * 12 / 15, abs=12)
    assert check["holds"]
    assert tables.corpus_check(judged[2].query("system != 'tts_ft'"), PROFILE) is None


def test_results_stand_beside_the_published_values(judged):
    paper = claims.load_claims()["papers"]["HT"]
    table = {entry["system"]: entry for entry in tables.results(judged[2], paper, PROFILE)}
    assert table["tts_ft"]["cells"]["cos"]["published"] == 80.44
    assert table["tts_ft"]["cells"]["cos"]["value"] == pytest.approx(72, abs=1.5)
    assert table["hypertts_d"]["share"] == pytest.approx(0.6)
    costs = tables.costs(judged[2], study.read_manifests(PROFILE), paper)
    assert costs[-1]["label"] == "TTS-FT" and costs[-1]["seconds"] == pytest.approx(11.5)


def test_a_run_on_other_parameters_stops_the_claims(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    row = {"system": "tts_0", "metric": "cos", "value": 1.0, "unit": "x100"}
    write_run("ht-tts_0-s0", [row])
    write_run("ht-tts_ft-s0", [row], vocoder="hifi-gan")
    with pytest.raises(ValueError, match="their vocoder differs"):
        claims.write_claims(PROFILE)


def table_of(rows):
    return pd.DataFrame(rows).assign(paper="HT").reindex(columns=study.COLUMNS).astype(study.TYPES)


def judge_rows(rows, **part):
    base = {"name": "part", "metric": "wer", "unit": "%", "where": {}, "primary": True, "pair_on": list(PAIRED)}
    claim = {key: "" for key in claims.FIELDS} | {"id": "X1", "paper": "HT", "needs": {}, "published": {"value": None}}
    claim["parts"] = [base | {"threshold": 0.0, "smallest": 0.0} | part]
    return claims.judge({"rules": {"HT": "rule"}, "claims": [claim]}, table_of(rows), {}, PROFILE)[0]


PAIRED = ("seed", "speaker", "utterance")


def word_errors(system, values, **more):
    return [
        {"system": system, "seed": 0, "speaker": f"s{i % 6}", "utterance": f"u{i}", "metric": "wer", "value": value}
        | {"unit": "ratio"}
        | more
        for i, value in enumerate(values)
    ]


def test_a_reduction_is_one_minus_the_ratio_of_the_means_and_its_interval_holds_it():
    before = np.abs(noisy(0.4, spread=0.1))
    record = judge_rows(
        word_errors("before", before) + word_errors("after", 0.25 * before),
        type="reduction",
        a="after",
        b="before",
        expect="greater",
        threshold=50.0,
    )
    assert record["value"] == pytest.approx(75.0)
    assert record["ci_low"] == pytest.approx(75.0) and record["verdict"] == "reproduced"
    varied = judge_rows(
        word_errors("before", before) + word_errors("after", before * noisy(0.5, spread=0.2)),
        type="reduction",
        a="after",
        b="before",
        expect="greater",
    )
    assert varied["ci_low"] < varied["value"] < varied["ci_high"]


def test_a_part_may_compare_values_of_another_column_with_layers_as_units():
    rows = [
        {"system": "ft", "seed": seed, "target": target, "layer": f"decoder.{layer}", "metric": "angle", "unit": "rad"}
        | {"value": (0.3 if target == "fc1" else 0.1) + 0.01 * layer}
        for seed in range(2)
        for target in ("fc1", "fc2", "query")
        for layer in range(4)
    ]
    part = {"metric": "angle", "factor": "target", "unit_of": "layer", "type": "difference", "expect": "greater"}
    record = judge_rows(rows, a="fc1", b=["fc2", "query"], **part)
    assert record["value"] == pytest.approx(0.2) and record["n"] == 4 and record["seeds"] == 2
    assert "has two values" in judge_rows(rows, a="fc1", b="fc2", **part | {"unit_of": None})["reason"]


def test_a_slope_without_log_is_per_unit_of_x():
    rows = [row for x in (0.0, 1.0, 3.0) for row in word_errors(f"g{x:g}", 0.1 + 0.2 * x + np.zeros(12), x=x)]
    record = judge_rows(rows, type="slope", systems=["g0", "g1", "g3"], x="x", log=False, expect="greater")
    assert record["value"] == pytest.approx(0.2)


@pytest.mark.parametrize(
    ("means", "verdict"),
    [((1.2, 1.2), "inconclusive"), ((1.2, 2.0), "reproduced"), ((2.0, 2.0), "not reproduced")],
)
def test_below_its_floor_a_metric_decides_nothing(means, verdict):
    before, after = (noisy(mean, spread=0.01, seed=int(mean * 10)) for mean in means)
    record = judge_part(before, after, type="difference", a="b", b="a", expect="greater", smallest=0.1, floor=1.5)
    assert record["verdict"] == verdict
    told = "all compared lie below 1.5, where cos cannot tell systems apart" in record["reason"]
    assert told == (verdict == "inconclusive")


def test_the_floor_of_a_metric_reaches_its_parts_and_amendments_name_claims_that_exist():
    content = claims.load_claims()
    floors = {part["metric"]: part["floor"] for claim in content["claims"] for part in claim["parts"]}
    assert floors["mos_predicted"] == content["floors"]["mos_predicted"] and floors["cos"] is None
    ids = {claim["id"] for claim in content["claims"]}
    for change in content["amendments"]:
        assert set(change["claims"]) <= ids and change["text"] and change["date"]


def test_a_paper_whose_requirement_is_not_met_is_not_tested():
    rows = word_errors("dense", np.full(12, 0.9)) + word_errors("pruned", np.full(12, 0.2))
    base = {"name": "part", "metric": "wer", "unit": "%", "where": {}, "primary": True, "pair_on": list(PAIRED)}
    claim = {key: "" for key in claims.FIELDS} | {"id": "X1", "paper": "HT", "needs": {}, "published": {"value": None}}
    claim["parts"] = [base | {"threshold": 0.0, "smallest": 0.0, "type": "difference", "a": "pruned", "b": "dense"}]
    claim["parts"][0]["expect"] = "less"
    need = {"metric": "wer", "where": {"system": "dense"}, "at_most": 0.5, "told": "the dense model is not understood"}
    content = {"rules": {"HT": "rule"}, "claims": [claim], "papers": {"HT": {"requires": [need]}}}
    record = claims.judge(content, table_of(rows), {}, PROFILE)[0]
    assert record["verdict"] == "not tested"
    assert record["reason"] == "the dense model is not understood: wer 0.90, at most 0.5 is asked for"
    content["papers"]["HT"]["requires"][0]["at_most"] = 0.95
    assert claims.judge(content, table_of(rows), {}, PROFILE)[0]["verdict"] != "not tested"
