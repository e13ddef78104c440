"""Listening tests from the clips to the rows: what is made, simulated listeners, and files that cannot be used."""

import json
from itertools import pairwise

import numpy as np
import pandas as pd
import pytest
import soundfile
from synthetic_listeners import SECRET, answer, make_test, signed, write_clips

from lib import __main__ as door
from lib import study
from lib.study.claims import Bench, load_claims
from lib.study.listening import answers, plan, stimuli
from lib.study.listening.make import protocol, williams
from lib.study.listening.stimuli import ListeningError
from lib.study.report.index import write_report
from lib.study.statistics import interval

EVERY = ["mos", "smos", "xab", "preference", "mushra"]


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return make_test(tmp_path_factory.mktemp("listening"), kinds=EVERY)


@pytest.fixture
def gathered(made, tmp_path):
    """Twelve honest listeners in a folder of their own; returns the folder and the test's key and rules."""
    key, rules, changed = answers.load_key(made[0])
    rng = np.random.default_rng(1)
    assert not changed
    for number in range(12):
        (tmp_path / f"{number}.json").write_bytes(signed(answer(key, number, rng)))
    return tmp_path, key, rules


def why(heard, name):
    return next(line["why"] for line in heard.files if line["file"] == name)


def test_nothing_that_is_served_names_a_system_or_a_sentence(made):
    folder, key = made
    for path in (folder / "page").rglob("*"):
        data = path.name.encode() + (path.read_bytes() if path.is_file() else b"")
        assert not any(name.encode() in data for name in SECRET), path
    names = [path.name for path in (folder / "page" / "audio").iterdir()]
    assert len({(folder / "page" / "audio" / name).stat().st_mtime for name in names}) == 1
    listed = [key["clips"][name][0] for name in sorted(names) if name in key["clips"]]
    assert listed != sorted(listed)
    assert not (folder / "page" / "key.json").exists() and (folder / "key.json").exists()


def test_all_clips_are_equally_loud_and_none_clips(made):
    import pyloudnorm

    folder, key = made
    loudness = []
    for name in key["clips"]:
        wave, rate = soundfile.read(folder / "page" / "audio" / name)
        assert np.abs(wave).max() < 1
        loudness.append(pyloudnorm.Meter(rate, block_size=0.3).integrated_loudness(wave))
    assert np.ptp(loudness) < 0.1


def test_the_anchor_is_the_reference_without_what_lies_above_3500_hz():
    noise = np.random.default_rng(0).normal(size=16000).astype(np.float32)
    kept = np.abs(np.fft.rfft(stimuli.anchor(noise, 16000))) / np.abs(np.fft.rfft(noise))  # 1 Hz a bin
    assert np.median(kept[100:3500]) == pytest.approx(1, abs=0.05) and np.median(kept[4000:]) < 0.01


@pytest.mark.parametrize("count", [1, 2, 3, 4, 7, 8])
def test_each_condition_has_every_place_and_follows_each_other_equally_often(count):
    square = williams(count)
    assert all(sorted(row) == list(range(count)) for row in square)
    assert all(len({row[place] for row in square}) == count for place in range(count))
    following = [pair for row in square for pair in pairwise(row)]
    assert len({following.count(pair) for pair in set(following)}) <= 1
    assert len(set(following)) == count * (count - 1)


def test_every_listener_hears_every_system_say_each_sentence_and_lists_differ_in_their_order(made):
    key = made[1]
    for number, part in enumerate(key["parts"]):
        of_lists = [[each[number]] for each in key["lists"]]
        assert len({tuple(order[0]) for order in of_lists}) == len(of_lists)
        for (order,) in of_lists:
            heard = [part["trials"][name] for name in order if part["trials"][name]["right"] is None]
            said = [(trial["sentence"], *sorted(trial["systems"])) for trial in heard]
            assert len(set(said)) == len(said) == 10 * {"mos": 3, "smos": 3}.get(part["kind"], 1)
    sides = [
        key["parts"][3]["trials"][name]["systems"][0]
        for each in key["lists"]
        for name in each[3]
        if key["parts"][3]["trials"][name]["right"] is None
    ]
    assert sides.count("good_one") == sides.count("bad_one")


def test_reading_recovers_what_simulated_listeners_prefer_and_leaves_out_those_who_do_not_listen(gathered):
    folder, key, rules = gathered
    rng = np.random.default_rng(2)
    straight, mos = answer(key, 20, rng), key["parts"][0]["trials"]
    straight["answers"] = [each | ({"value": 3} if each["trial"] in mos else {}) for each in straight["answers"]]
    loud = answer(key, 21, rng, headphones={name: 1 for name in key["headphones"]})
    fast = answer(key, 22, rng)
    fast["answers"] = [each | {"ms": 100} for each in fast["answers"]]
    for name, found in {"straight": straight, "loud": loud, "fast": fast}.items():
        (folder / f"{name}.json").write_bytes(signed(found))
    heard = answers.read(folder, key, rules)
    assert heard.listeners == 12
    assert "same answer" in why(heard, "straight.json") and "known answer wrong" in why(heard, "straight.json")
    assert "2 of 6 headphone" in why(heard, "loud.json") and "sooner" in why(heard, "fast.json")
    found = {(line["part"], line["system"]): line for line in answers.scores(heard.rows, {"good_one": {"mos": 3.9}})}
    good = found["mos", "good_one"]
    assert good["mean"] == pytest.approx(3.9, abs=0.25) and good["published"] == 3.9 and good["listeners"] == 12
    assert found["mos", "bad_one"]["high"] < good["low"] < good["high"] < found["mos", "reference"]["mean"]
    assert found["smos", "good_one"]["low"] > found["smos", "bad_one"]["high"]
    assert found["preference", "good_one over bad_one"]["low"] > 70
    assert found["xab", "good_one over bad_one"]["low"] > 70
    assert found["mushra", "reference"]["mean"] == 100 and found["mushra", "anchor"]["mean"] < 60


def test_files_that_cannot_be_used_are_told_in_a_sentence_each_and_stay(gathered, tmp_path):
    folder, key, rules = gathered
    rng, whole = np.random.default_rng(3), (folder / "0.json").read_bytes()
    found = json.loads(whole)
    later = answer(key, 1, rng, finished="2026-11-30T12:00:00Z")
    unfinished = answer(key, 30, rng)
    unfinished["answers"] = unfinished["answers"][:5]
    out_of_scale = answer(key, 31, rng)
    out_of_scale["answers"][0] |= {"value": 6}
    found["answers"][0]["value"] = 6 - found["answers"][0]["value"]
    bad = {
        "truncated": (whole[: len(whole) // 2], "no whole file"),
        "tampered": (json.dumps(found).encode(), "changed or damaged"),
        "elsewhere": (signed(answer(key, 32, rng, test="0" * 16)), "another test"),
        "unfinished": (signed(unfinished), "not all trials"),
        "out_of_scale": (signed(out_of_scale), "not all trials"),
        "picture": (b"\x89PNG", "no whole file"),
        "later": (signed(later), "a second file of one listener, whose first, 1.json, counts"),
        "list": (b"[1, 2]", "no whole file"),
    }
    for name, (data, _) in bad.items():
        (folder / f"{name}.json").write_bytes(data)
    heard = answers.read(folder, key, rules)
    assert heard.listeners == 12
    for name, (data, told) in bad.items():
        assert told in why(heard, f"{name}.json") and (folder / f"{name}.json").read_bytes() == data


def test_a_missing_clip_is_named(tmp_path):
    source = write_clips(tmp_path / "speech", sentences=3)
    (source / "bad_one" / "s01.wav").unlink()
    with pytest.raises(ListeningError, match="bad_one has no clip of s01"):
        stimuli.matched(stimuli.from_folder(source), ["good_one", "bad_one"])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"kinds": ["acr"]}, "acr is no kind of test"),
        ({"systems": ["good_one", "other"]}, "no clips of other"),
        ({"kinds": ["xab"], "pairs": []}, "nothing is compared"),
        ({"systems": []}, "no system to rate"),
    ],
)
def test_a_test_that_cannot_be_made_is_told_in_a_sentence(tmp_path, changes, told):
    with pytest.raises(ListeningError, match=told):
        make_test(tmp_path, **changes)
    assert not (tmp_path / "test" / "key.json").exists()


def test_a_test_is_not_written_over_and_a_changed_rule_is_told(tmp_path):
    folder, _ = make_test(tmp_path)
    with pytest.raises(ListeningError, match="holds a test, or half of one"):
        make_test(tmp_path)
    rules = folder / "rules.yaml"
    rules.write_text(rules.read_text().replace("checks_failed: 1", "checks_failed: 9"))
    assert answers.load_key(folder)[1]["checks_failed"] == 9 and answers.load_key(folder)[2]


def test_speech_of_a_profile_comes_with_its_recordings_and_rows_go_to_its_runs(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    systems = ("tts_ft", "hypertts_d", "adaptertts_e", "reference")
    (tmp_path / "smoke").mkdir()
    kept = write_clips(tmp_path / "clips", 4, systems).rename(tmp_path / "smoke/audio")
    for system in systems:
        (kept / system).rename(kept / f"ht-{system}-s0")
    door.main(["listen", "make", "--profile", "smoke", "--paper", "ht"])
    folder = tmp_path / "smoke/listening/ht"
    key, rng = answers.load_key(folder)[0], np.random.default_rng(4)
    quality = dict(zip(systems, (3.7, 3.6, 2.6, 4.6), strict=True)) | {"noise": 1.0}
    for number in range(4):
        (folder / "answers" / f"{number}.json").write_bytes(signed(answer(key, number, rng, quality)))
    door.main(["listen", "read", str(folder / "answers")])
    rows = study.read_rows(study.load_profile("smoke"), "HT")
    assert set(rows["metric"]) == {"mos_listeners", "preference"} and rows["listener"].nunique() == 4
    assert len(rows) == 4 * (4 * 4 + 4) and set(rows["utterance"]) == {"s00", "s01", "s02", "s03"}
    assert study.read_manifests("smoke")["ht-listeners-s0"]["listeners"] == 4
    assert "3.64" in capsys.readouterr().out  # published, beside
    page = write_report(study.load_profile("smoke"), "HT").read_text(encoding="utf-8")
    assert page.count("16 answers of 4 listeners") == 3


def test_a_committed_folder_without_clips_or_without_a_run_is_told_in_one_sentence(tmp_path):
    wanted = ["listen", "make", "--paper", "sp", "--evidence", str(tmp_path)]
    with pytest.raises(SystemExit, match=r"holds no committed run \(FileNotFoundError in results.json\): give"):
        door.main(wanted)
    (tmp_path / "results.json").write_text('{"facts": {"SP": {"profile": "smoke"}}}')
    with pytest.raises(SystemExit, match="holds no speech of sp's listening test: take a run that was committed"):
        door.main(wanted)


def test_a_papers_protocol_has_the_systems_that_the_profile_keeps_speech_of():
    assert protocol("sp", study.load_profile("demo"))["kinds"] == ["mos", "smos"]
    assert set(protocol("sp", study.load_profile("smoke"))["systems"]) == {"baseline", "vp", "dp_r45"}
    with pytest.raises(ListeningError, match="ha has no listening test"):
        protocol("ha", study.load_profile("demo"))


def test_listeners_fill_the_listening_parts_of_a_claim_and_leave_its_verdict(gathered):
    folder, key, rules = gathered
    rows = answers.read(folder, key, rules).rows.replace({"good_one": "dp_r45", "bad_one": "baseline"})
    rows = rows.assign(paper="SP", run_id="sp-listeners-s0").reindex(columns=study.COLUMNS).astype(study.TYPES)
    content = load_claims()
    claim = next(each for each in content["claims"] if each["id"] == "SP2")
    profile = study.load_profile("demo")
    open_papers = {name: facts | {"gates": []} for name, facts in content["papers"].items()}
    record = Bench(content | {"papers": open_papers}, rows, {}, profile, {}).judge(claim)
    parts = {part["name"]: part for part in record["parts"]}
    heard = parts["MOS by listeners, against StyleSpeech"]
    assert heard["verdict"] == "reproduced" and heard["listeners"] == 12 and not heard["primary"]
    assert "by 12 listeners" in heard["reason"] and "one seed only" in heard["reason"]
    assert heard["ci_low"] < 1.0 < heard["ci_high"] and heard["published"] == 0.33
    assert parts["MOS by listeners, against VP"]["verdict"] == "not tested"
    assert record["verdict"] == "not tested"  # the deciding parts have no rows


def test_more_listeners_and_sentences_are_planned_for_smaller_differences(gathered):
    folder, key, rules = gathered
    terms = plan.published(0.9, 0.3, 0.2)
    large, small = ({n["sentences"]: n["listeners"] for n in plan.listeners(terms, d)} for d in (0.6, 0.33))
    assert large[20] < small[20] and small[50] <= small[20]
    pilot = plan.spread(answers.read(folder, key, rules).rows, "mos_listeners")
    assert plan.listeners(pilot, 0.5)[1]["listeners"] < 30
    with pytest.raises(ListeningError, match="above 0"):
        plan.listeners(terms, 0.0)


def test_the_planned_number_of_listeners_has_the_power_that_was_asked_for():
    rng, terms = np.random.default_rng(5), plan.published(0.8, 0.4, 0.2)
    count = next(line["listeners"] for line in plan.listeners(terms, 0.4) if line["sentences"] == 15)
    found = 0
    for _ in range(200):
        people, items = rng.normal(0, 0.4, count), rng.normal(0, 0.2, 15)
        values = 0.4 + people[:, None] + items + rng.normal(0, 0.8 * 2**0.5, (count, 15))
        index = np.indices(values.shape).reshape(2, -1).astype(str)
        table = pd.DataFrame({"speaker": index[0], "utterance": index[1], "value": values.ravel()})
        found += interval(table, crossed=True).ci_low > 0
    assert 0.7 < found / 200 < 0.9
