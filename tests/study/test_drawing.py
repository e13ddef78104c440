"""The plot of intervals, what is found among rows, and legends."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from lib import study
from lib.study import drawing, tables
from lib.study.claims import Bench, load_claims
from lib.study.drawing import Dot
from lib.study.statistics import Estimate, interval


def level(value, half=0.5):
    return Estimate(value, value - half, value + half, level=0.95, n=8, speakers=4, seeds=1, dz=None, fixed=())


def drawn(axis):
    """(x, y) of every point that has an interval."""
    return [tuple(container[0].get_xydata()[0]) for container in axis.containers]


def test_names_stand_from_the_top_down_with_their_intervals():
    _, axis = drawing.canvas()
    drawing.intervals(axis, ["a", "b"], [Dot(level(1.0), "#112233"), Dot(level(2.0), "#445566")], "COS")
    assert [text.get_text() for text in axis.get_yticklabels()] == ["a", "b"] and axis.yaxis_inverted()
    assert drawn(axis) == [(1.0, 0), (2.0, 1)] and axis.get_xlabel() == "COS"
    assert [to_hex(each[0].get_color()) for each in axis.containers] == ["#112233", "#445566"]


def test_several_intervals_of_a_name_stand_beside_each_other_and_what_was_not_measured_leaves_its_place():
    _, axis = drawing.canvas()
    drawing.intervals(axis, ["a"], [[Dot(level(v) if v else None, "k") for v in (1.0, 0.0, 3.0)]], "COS", step=0.2)
    assert drawn(axis) == [(1.0, pytest.approx(-0.2)), (3.0, pytest.approx(0.2))]


@pytest.mark.parametrize("vertical", [False, True])
def test_speakers_are_pale_dots_and_seeds_ticks_beside_the_interval_of_their_mean(vertical):
    rows = [
        {"seed": seed, "speaker": speaker, "utterance": f"{speaker}{i}", "value": 10.0 * seed + len(speaker) + i}
        for seed in range(2)
        for speaker in ("a", "bb", "ccc")
        for i in range(2)
    ]
    _, axis = drawing.canvas()
    found = interval(pd.DataFrame(rows))
    drawing.intervals(axis, ["system"], [Dot(found, "k")], "COS", vertical=vertical)
    dots, ticks = (
        next(line.get_xydata()[:, :: -1 if vertical else 1] for line in axis.lines if line.get_marker() == marker)
        for marker in ("o", "_" if vertical else "|")
    )
    assert dots[:, 0].tolist() == [6.5, 7.5, 8.5] and ticks[:, 0].tolist() == [2.5, 12.5]
    assert set(dots[:, 1]) == set(ticks[:, 1]) == {0.22} and found.value == 7.5


def test_one_seed_and_one_speaker_add_no_points_to_their_mean():
    _, axis = drawing.canvas()
    rows = [{"seed": 0, "speaker": "a", "utterance": str(i), "value": float(i)} for i in range(4)]
    drawing.intervals(axis, ["system"], [Dot(interval(pd.DataFrame(rows)), "k")], "COS")
    assert len(axis.lines) == 1  # the mean itself


def test_published_values_are_hollow_and_differences_have_a_line_at_zero():
    _, axis = drawing.canvas()
    drawing.intervals(axis, ["a", "b"], [Dot(level(1.0), "k")] * 2, "COS", zero=True, hollow=[None, 0.7])
    hollow = [line for line in axis.lines if line.get_marker() == "D"]
    assert [tuple(line.get_xydata()[0]) for line in hollow] == [(0.7, 1.0)]
    assert hollow[0].get_markerfacecolor() == "none"
    assert any(list(line.get_xdata()) == [0, 0] for line in axis.lines)


def test_names_may_stand_on_the_other_axis():
    _, axis = drawing.canvas()
    drawing.intervals(axis, ["a", "b"], [Dot(level(1.0), "k"), Dot(level(2.0), "k")], "COS", vertical=True)
    assert drawn(axis) == [(0, 1.0), (1, 2.0)] and axis.get_ylabel() == "COS"


def test_rows_that_are_not_there_are_named():
    rows = pd.DataFrame({"metric": ["cos"], "system": ["a"], "role": ["never_seen"], "value": [1.0]})
    assert len(drawing.found(rows, "cos", system=["a", "b"])) == 1
    with pytest.raises(drawing.PlotError, match="no cos rows of b, c and adaptation"):
        drawing.found(rows, "cos", system=["b", "c"], role="adaptation")


def test_changed_systems_stand_after_the_one_they_were_made_of():
    rows = pd.DataFrame({"system": ["dp_r45_ratio_0p35", "vp", "dp_r45", "baseline", "dp_r45_nolsp"]})
    assert drawing.present(rows, ("baseline", "dp_r45", "vp")) == ["baseline", "dp_r45", "vp"]
    assert drawing.present(rows, ("dp_r45", "vp"), "SP") == ["dp_r45", "dp_r45_ratio_0p35", "vp"]


def test_a_gain_is_paired_and_is_nothing_without_rows():
    facts = {"seed": 0, "speaker": ["s", "s", "t", "t"], "utterance": list("abcd")}
    low, high = (pd.DataFrame(facts | {"value": values}) for values in ([1, 2, 3, 4], [2.0, 3.1, 4.0, 5.1]))
    assert drawing.gain(high, low, {}).value == pytest.approx(1.05)
    assert drawing.gain(high, low.iloc[:0], {}) is None and drawing.estimate(low.iloc[:0], {}) is None


def ends(found):
    return found.value, found.ci_low, found.ci_high


def test_an_interval_is_that_of_the_claim_about_the_same_rows():
    """Several draws of a sentence are one unit, in figures and tables as in claims."""
    own = np.random.default_rng(0)
    levels = own.normal(0.5, 1.0, 60)
    rows = [
        {"run_id": f"ld-clap_probe-s{seed}", "paper": "LD", "system": "clap_probe", "seed": seed, "speaker": "joe"}
        | {"utterance": f"test_{i:03d}-draw{draw}", "split": "test", "metric": "probe_r2", "variant": "f0_range"}
        | {"value": level + own.normal(0, 0.1)}
        for seed in range(3)
        for i, level in enumerate(levels)
        for draw in range(8)
    ]
    rows = pd.DataFrame(rows, columns=study.COLUMNS).astype(study.TYPES)
    content, profile = load_claims(), {"name": "tiny"}
    bench = Bench(content, rows, {}, profile, {})
    parts = bench.measured(next(c for c in content["claims"] if c["id"] == "LD8"), bench.rows["LD"])
    judged = next(part.estimate for part in parts if part.spec["name"] == "F0 range" and part.spec["primary"])
    shown = drawing.estimate(rows, profile)
    assert ends(shown) == ends(judged) and shown.sentences == 60
    assert shown.half_width > 2 * interval(rows).half_width  # of utterances as units of their own
    paper = {"table": {"where": {}, "columns": ["probe_r2"]}, "systems": {"clap_probe": {"label": "CLAP"}}}
    cell = tables.results(rows, paper, profile)[0]["cells"]["probe_r2"]
    assert (cell["value"], cell["ci_low"], cell["ci_high"]) == ends(judged)
    gained = drawing.gain(rows, rows.assign(value=0.0), profile)
    assert ends(gained) == ends(judged)
    others = drawing.by_sentence(rows.assign(paper="HT"))
    assert others["sentence"].tolist() == rows["utterance"].tolist()


def test_a_legend_tells_colours_marks_and_published_values():
    figure, _ = drawing.canvas()
    drawing.legend(figure, {"A": "#112233", "B": ("#445566", "s")}, hollow=True)
    handles = figure.legends[0].legend_handles
    assert [each.get_label() for each in handles] == ["A", "B", "Published"]
    assert [each.get_marker() for each in handles] == ["o", "s", "D"]


def test_nearly_equal_sizes_are_put_side_by_side():
    places = drawing.apart(pd.Series({"a": 100.0, "b": 101.0, "c": 1000.0}))
    assert places["b"] / places["a"] > 1.05 and places["c"] == 1000.0
