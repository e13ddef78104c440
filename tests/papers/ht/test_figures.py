import json
from xml.etree import ElementTree

import pandas as pd
import pytest
import synthetic_study as synthetic
from PIL import Image

from lib import study
from lib.papers.ht import ablation_figures as ablation_plots
from lib.papers.ht import figures as plots
from lib.papers.ht import style
from lib.study import drawing
from lib.study.claims import load_claims

PROFILE = synthetic.PROFILE


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDY_RESULTS", str(tmp_path_factory.mktemp("results")))
        synthetic.write_study()
        table = study.read_rows(PROFILE, "HT")
    sizes = table["system"].map(synthetic.WEIGHTS).astype("Int64")
    narrow = table["system"].str.startswith("adaptertts").fillna(False)
    bottleneck = table["system"].eq("adaptertts_d_b128").map({True: 128, False: 32}).where(narrow)
    d_s = table["d_s"].mask(table["system"].eq("hypertts_evd").fillna(False), 8)
    return table.assign(trainable=sizes, bottleneck=bottleneck.astype("Int64"), d_s=d_s)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    return tmp_path / PROFILE["name"] / "figures"


def errorbars(axis):
    """(x, y) of every point that was drawn with an interval."""
    return [container[0].get_xydata()[0] for container in axis.containers if container[0] is not None]


@pytest.mark.parametrize("name", [name for name in plots.FIGURES if name != "other_corpus"])
def test_every_figure_is_written_as_png_svg_and_caption(name, rows, folder):
    shown = plots.draw(name, rows, PROFILE)
    facts = json.loads((folder / f"{name}.json").read_text())
    assert f"n = {facts['n']} " in facts["caption"] and facts["n"] > 0
    assert facts["alt"] and facts["notebook"] == plots.FIGURES[name].notebook
    assert Image.open(folder / f"{name}.png").width > 600
    assert ElementTree.parse(folder / f"{name}.svg").getroot().tag.endswith("svg")
    assert {path.suffix for path in folder.iterdir()} == {".png", ".svg", ".json"}
    assert shown.alt in shown._repr_html_()


@pytest.mark.parametrize("name", ["results_table", "cos_by_speaker", "cos_against_ds", "conditionings", "never_seen"])
def test_a_changed_system_is_drawn_beside_the_listed_ones_and_named(name, rows, folder):
    changed = rows[rows["system"].eq("hypertts_d").fillna(False) & rows["seed"].eq(0).fillna(False)]
    changed = changed.assign(system="hypertts_d_d_s_16", d_s=16, seed=9)
    plots.draw(name, pd.concat([rows, changed], ignore_index=True), PROFILE)
    assert "HyperTTS d, d_s 16" in (folder / f"{name}.svg").read_text()


def test_a_figure_drawn_twice_is_the_same_file(rows, folder):
    plots.draw("mcd_audit", rows, PROFILE)
    first = (folder / "mcd_audit.svg").read_bytes()
    plots.draw("mcd_audit", rows, PROFILE)
    assert (folder / "mcd_audit.svg").read_bytes() == first


def test_claims_name_figures_and_sections_as_the_plots_do():
    elsewhere = {"generated_parameters": ("03_hypertts_ablations", "HT6")}
    places = {name: (drawing.notebook, drawing.anchor) for name, drawing in plots.FIGURES.items()} | elsewhere
    for claim in load_claims()["claims"]:
        if claim["paper"] == "HT":
            assert places[claim["figure"]] == (claim["notebook"], claim["anchor"])


def test_the_results_figure_shows_the_mean_of_the_rows(rows):
    axis = plots.results_table(rows, PROFILE).axes[0]
    names = [text.get_text() for text in axis.get_yticklabels()]
    drawn = {names[round(y)]: x for x, y in errorbars(axis)}
    wanted = style.tested(rows, "cos", ["hypertts_d"])["value"].mean()
    assert drawn["HyperTTS d"] == pytest.approx(wanted)


def test_gain_against_parameters_is_paired_with_tts_0(rows):
    axis = plots.cos_against_parameters(rows, PROFILE).axes[0]
    drawn = {round(x): y for x, y in errorbars(axis)}
    gain = style.difference(rows, "hypertts_evd", "tts_0", PROFILE).value
    assert drawn[synthetic.WEIGHTS["hypertts_evd"]] == pytest.approx(gain)
    assert axis.get_xscale() == "log"


def test_forgetting_shows_a_loss_for_fine_tuning_only(rows):
    axis = plots.forgetting(rows, PROFILE).axes[1]
    names = [text.get_text() for text in axis.get_yticklabels()]
    drawn = {names[round(y)]: x for x, y in errorbars(axis)}
    assert drawn["TTS-FT"] < -3
    assert all(change > -1 for name, change in drawn.items() if name != "TTS-FT")


def test_widths_are_compared_over_the_seeds_that_all_of_them_have(rows):
    lacking = rows[~((rows["system"] == "hypertts_d_ds2") & (rows["seed"] == 1)).fillna(False)]
    kept = drawing.common_seeds(style.tested(lacking, "cos"), list(style.SWEEP))
    assert set(kept["seed"]) == {0, 2, 3} and set(kept["system"]) == set(style.SWEEP)
    ablation_plots.cos_against_ds(lacking, PROFILE)


def test_every_family_keeps_one_colour():
    tones = list(style.FAMILIES.values())
    assert len(set(tones)) == len(tones)
    assert style.colour("hypertts_d_ds128") == style.colour("hypertts_e") != style.colour("adaptertts_e")


def test_missing_rows_are_named(rows):
    with pytest.raises(drawing.PlotError, match="mcd|reference"):
        plots.mcd_audit(rows[rows["system"] != "reference"], PROFILE)
    with pytest.raises(drawing.PlotError, match="tts_0"):
        plots.domain_gap(rows[~rows["system"].isin(["tts_0", "tts_ft"])], PROFILE)
