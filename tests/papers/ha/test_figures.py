"""Figures, transcripts and tables of the HA study from synthetic rows."""

import itertools

import numpy as np
import pandas as pd
import pytest

from lib import audio, study
from lib.files import write_json
from lib.papers.ha import figures as asr_plots
from lib.papers.ha import size_figures, style
from lib.papers.ha import tables as asr_tables
from lib.papers.ha import transcripts as asr_show
from lib.papers.ha.style import COHORTS, TRAINED, colour, differences
from lib.study.drawing import PlotError
from lib.study.heard import MARKS

SHARES = {
    **{"whisper_0": 0.0, "full": 100.0, "lora_w1": 0.03, "lora_w1_b01": 0.1, "cohort_lora": 0.1, "cohort_ft": 80.0},
    **{"individual": 0.1, "hyper": 0.1, "hyper_mlp": 0.1, "hyper_ge2e": 0.1, "hyper_b0001": 0.001},
    **{"lora_self": 0.03, "lora_cross": 0.03, "lora_encoder": 0.03, "hyper_without_dysarthria": 0.1},
    **{"whisper_0_base": 0.0, "lora_w1_base": 0.03, "hyper_base": 0.1},
}


def errors() -> pd.DataFrame:
    """WER of every system: 0.5 for Whisper, 0.1 to 0.3 for the others, more with severity."""
    random = np.random.default_rng(0)
    rows = []
    for number, (system, share) in enumerate(SHARES.items()):
        for role, cohort in itertools.product(("adaptation", "never_seen"), COHORTS):
            if role == "adaptation" and cohort not in TRAINED:
                continue
            if system.startswith("hyper_without") and cohort != "dysarthria":
                continue
            if system.startswith("cohort") and cohort not in TRAINED:
                continue
            for place, severity in enumerate(("mild", "moderate", "severe")):
                level = 0.5 if system == "whisper_0" else 0.1 + 0.01 * number
                rows.append(
                    {
                        **{"system": system, "seed": 0, "x": share, "metric": "wer", "unit": "ratio", "split": "test"},
                        **{"role": role, "cohort": cohort, "severity": "none" if cohort == "typical" else severity},
                        "speaker": f"{role}_{cohort}_{severity}",
                        "utterance": f"{role}_{cohort}_{severity}_0",
                        "value": level * (1 + place / 2) + 0.02 * random.random(),
                    }
                )
    return pd.DataFrame(rows)


def others() -> pd.DataFrame:
    """Angles by type and layer, probes of both embeddings, parameter counts."""
    rows = []
    kinds = [f"{side}.{kind}" for side in ("encoder", "decoder") for kind in ("self.q", "W1", "W2", "bias")]
    for layer, kind, variant in itertools.product("01", kinds, ("leading", "columns", "rows")):
        shared = {"system": "full", "target": kind, "layer": layer, "seed": 0}
        rows.append(shared | {"metric": "angle_mean", "variant": variant, "value": 0.3, "unit": "degrees"})
        if variant == "leading":
            change = {"metric": "relative_change", "variant": "change", "value": 0.2, "unit": "%"}
            rows.append(shared | change)
    targets = {"cohort": "probe_accuracy", "severity": "probe_accuracy", "rate": "probe_r2", "f0": "probe_r2"}
    for (target, metric), variant, speaker in itertools.product(targets.items(), ("whisper", "ge2e"), "abc"):
        rows.append(
            {
                **{"system": "whisper_0", "seed": 0, "target": target, "variant": variant, "metric": metric},
                **{"speaker": speaker, "utterance": f"{speaker}_0", "value": float(speaker != "a"), "unit": "share"},
            }
        )
    for system in ("lora_w1", "hyper"):
        for name in ("generated_parameters", "generated_share", "trainable_parameters", "trainable_share"):
            rows.append({"system": system, "metric": name, "value": 2.0, "unit": "count", "seed": 0})
    return pd.DataFrame(rows)


@pytest.fixture(scope="module")
def profile() -> dict:
    return {
        "name": "smoke",
        "statistics": {},
        "ha": {"evaluate": {"angles": {"rank": 16}}, "seeds": [0], "whisper": {"name": "tiny.en"}},
    }


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    table = pd.concat([errors(), others()]).reindex(columns=study.COLUMNS)
    return table.astype(study.TYPES)


@pytest.mark.parametrize("name", asr_plots.FIGURES)
def test_every_figure_is_drawn_and_says_what_it_rests_on(rows, profile, name, monkeypatch, tmp_path):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    shown = asr_plots.draw(name, rows, profile)
    assert shown.png.startswith(b"\x89PNG") and "n = " in shown.caption
    assert (tmp_path / "smoke" / "figures" / f"{name}.svg").exists()


@pytest.mark.parametrize("name", asr_plots.FIGURES)
def test_a_figure_without_rows_says_which_to_run(rows, profile, name):
    with pytest.raises(PlotError, match="run"):
        asr_plots.FIGURES[name].draw(rows.iloc[:0], profile)


def test_severity_on_other_speech_than_the_studys_own_says_what_it_is(rows, profile):
    own = asr_plots.severity(rows, profile).description["caption"]
    other = asr_plots.severity(rows, study.load_profile("nonnative")).description["caption"]
    assert "no disorder" not in own and other.endswith("age (severe: below 9, moderate: below 16).")


def test_a_difference_is_paired_by_utterance(rows, profile):
    found = differences(rows, "lora_w1", "whisper_0", profile, role="never_seen", cohort="dysarthria")
    assert found.n == 3 and found.value < -0.3


def test_hypernetworks_without_a_cohort_have_a_colour_of_their_own():
    assert colour("hyper_without_dysarthria") != colour("hyper") == colour("hyper_ge2e")


def test_weights_are_listed_smallest_first(rows):
    table = asr_tables.weights(rows)
    assert len(table) == 2 and (table["generated_parameters"].diff().dropna() >= 0).all()


def test_every_method_has_a_line_and_every_cohort_a_column(rows, profile):
    table = asr_tables.by_cohort(rows, profile).set_index("method")
    assert list(table.columns) == list(COHORTS.values())
    lines = table.to_dict("index")
    (lora,) = [line for name, line in lines.items() if name in ("cohort lora", "LoRA W1 by cohort")]
    assert lora["Typical"] == "–" and "[" in lora["Dysarthria"] and "median" in lora["Dysarthria"]


def test_an_utterance_on_which_the_recogniser_loops_counts_as_all_wrong_and_is_told(profile):
    rows = errors()
    rows = rows[(rows["system"] == "whisper_0") & (rows["cohort"] == "mixed")].assign(value=[0.1, 0.2, 9.0])
    (cell,) = asr_tables.by_cohort(rows, profile)["Mixed"].tolist()
    assert cell.startswith("0.43 [") and cell.endswith(", median 0.20, uncapped 3.10")
    assert style.errors(rows, ["whisper_0"])["value"].max() == 1.0


def test_the_median_averages_an_utterance_over_its_seeds(profile):
    rows = errors()
    rows = rows[(rows["system"] == "whisper_0") & (rows["cohort"] == "mixed")].assign(value=[0.0, 0.2, 0.9])
    rows = pd.concat([rows, rows.iloc[:1].assign(value=1.0, seed=1)])
    (cell,) = asr_tables.by_cohort(rows, profile)["Mixed"].tolist()
    assert ", median 0.50" in cell


def test_errors_are_marked_by_kind():
    text = asr_show.coloured("the cat sat down here", "the bat sat down here now")
    assert f'<span style="{MARKS["substitute"][0]};padding:0 .2em" title="substituted: “cat” was expected">bat<' in text
    assert f'<span style="{MARKS["insert"][0]};padding:0 .2em" title="inserted: nothing was expected">now<' in text
    assert "WER 0.40" in text
    lost = asr_show.coloured("the cat sat", "the cat")
    assert f'<span style="{MARKS["delete"][0]};padding:0 .2em" title="left out: “sat” was expected">sat<' in lost


def test_transcripts_are_escaped():
    assert "<b>" not in asr_show.coloured("bold words", "<b>bold</b> words")


def test_transcripts_are_shown_with_their_audio(profile, monkeypatch, tmp_path):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    facts = {"reference": "A dog sleeps.", "cohort": "mixed", "severity": "severe", "role": "never_seen"}
    for system, heard in (("whisper_0", "A dog dog sleeps."), ("hyper", "A dog sleeps.")):
        path = tmp_path / "smoke" / "transcripts" / f"ha-{system}-s0.json"
        write_json(path, {"clip": facts | {"hypothesis": heard}})
    wave = (0.1 * np.sin(np.arange(8000) / 10)).astype(np.float32)
    audio.write(tmp_path / "smoke" / "audio" / "ha-whisper_0-s0" / "clip.wav", wave)
    page = asr_show.kept(profile, ("whisper_0", "full"), "hyper")._repr_html_()
    assert page.count("<audio") == 1 and "Mixed, severe" in page and "WER 0.33" in page and "WER 0.00" in page


def test_the_order_of_methods_on_two_whispers_is_told_for_each_pair(profile):
    """LoRA beats the hypernetwork on one Whisper, and is beaten on the other; full fine-tuning beats both on both."""
    levels = {"full": (0.1, 0.05), "lora_w1": (0.2, 0.3), "hyper": (0.3, 0.2), "whisper_0": (0.5, 0.4)}
    tables = [
        errors().query("system == 'hyper'").assign(seed=seed, system=name + "_base" * size, value=level + 0.001 * seed)
        for name, both in levels.items() for size, level in enumerate(both) for seed in (0, 1)
    ]  # fmt: skip
    rows = pd.concat(tables, ignore_index=True)
    rows["value"] += np.random.default_rng(0).normal(0, 0.002, len(rows))
    found = size_figures.orders(rows, profile).set_index(["WER of", "minus that of"])["order"]
    assert len(found) == 6 and (found == "the same").sum() == 5
    assert found["LoRA W1, 0.03 %", "Hypernetwork"] == "reversed"
    shown = asr_plots.sizes(rows, profile)
    assert "5 the same, 1 reversed, 0 open" in shown.description["caption"]
    with pytest.raises(PlotError, match="a method on both Whispers"):
        asr_plots.sizes(rows[~rows["system"].str.endswith("_base")], profile)


def test_methods_on_a_larger_whisper_are_no_points_of_the_profiles_own(rows, profile):
    named = [text.get_text() for text in asr_plots.budget(rows, profile).legends[0].get_texts()]
    assert named and not [name for name in named if "base" in name]
