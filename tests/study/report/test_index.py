import json
import shutil
from html.parser import HTMLParser
from urllib.parse import unquote

import numpy as np
import pytest
import soundfile
from synthetic_study import PROFILE, write_run, write_study

from lib import study
from lib.study import claims
from lib.study.report import evidence, of_record
from lib.study.report import index as report
from lib.study.report.reference import REFERENCE

VOID = {"meta", "link", "img", "br", "line", "ellipse", "hr", "input"}


class Page(HTMLParser):
    """Ids, links, sources and unbalanced tags of a page."""

    def __init__(self, text):
        super().__init__()
        self.ids, self.links, self.sources, self.images, self.audio, self.open, self.text = ([], [], [], [], [], [], "")
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        facts = dict(attributes)
        self.ids += [facts["id"]] if "id" in facts else []
        self.links += [facts["href"]] if "href" in facts else []
        self.sources += [facts["src"]] if "src" in facts else []
        self.images += [facts] if tag == "img" else []
        self.audio += [facts] if tag == "audio" else []
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.handle_starttag(tag, attributes)
        if tag not in VOID:
            self.open.pop()

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        self.text += data


def add_figure(root, name, size=200, **facts):
    folder = root / "figures"
    folder.mkdir(exist_ok=True)
    (folder / f"{name}.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>" + " " * size)
    told = {"caption": "COS by system: means & intervals.", "n": 30, "notebook": "02_hypertts_evaluate"}
    (folder / f"{name}.json").write_text(json.dumps(told | {"anchor": "HT1"} | facts))


def add_audio(root, system, utterance, seconds=0.1):
    path = root / "audio" / f"ht-{system}-s0" / f"{utterance}.wav"
    path.parent.mkdir(parents=True, exist_ok=True)
    soundfile.write(path, 0.1 * np.sin(np.arange(int(16000 * seconds)) * 0.1), 16000)


@pytest.fixture(scope="module")
def complete(tmp_path_factory):
    """A results folder with everything a run leaves."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDY_RESULTS", str(tmp_path_factory.mktemp("results")))
        write_study()
        row = {"system": "reference", "metric": "wer", "value": 0.0, "unit": "ratio"}
        texts = {"ad0-0": "Lamps & <lanterns> went out."}
        facts = {"pretrained": {"ge2e": {"source": "package Resemblyzer", "sha256": "ab" * 32}}}
        write_run("ht-corpus-s0", [row], texts=texts, **facts)
        root = study.results_root(PROFILE)
        claims.write_claims(PROFILE)
        add_figure(root, "results_table")
        add_figure(root, "forgetting", notebook="none yet")
        (root / "notebooks").mkdir()
        (root / "notebooks" / "02_hypertts_evaluate.html").write_text('<h2 id="HT1">Budget</h2>')
        for system in ("reference", "tts_0", "hypertts_d", "tts_ft"):
            for utterance in ("ad0-0", "ad1-0", "ne0-0"):
                add_audio(root, system, utterance)
        yield root


@pytest.fixture(scope="module")
def page(complete):
    return Page(report.write_report(PROFILE).read_text(encoding="utf-8"))


def test_every_link_and_source_resolves(page, complete):
    assert len(page.links) > 40
    for href in page.links + page.sources:
        if href.startswith("data:"):
            continue
        assert "://" not in href, href
        path, _, fragment = unquote(href).partition("#")
        assert not path or (complete / path).is_file(), href
        if fragment and not path:
            assert fragment in page.ids, href
        elif fragment:
            assert f'id="{fragment}"' in (complete / path).read_text(), href


def test_the_page_is_well_formed_with_unique_ids(page):
    assert page.open == []
    assert len(page.ids) == len(set(page.ids))


def test_claims_come_first_with_verdict_in_words(page):
    assert all(claim in page.ids for claim in (f"HT{i}" for i in range(1, 11)))
    text = page.text
    assert (
        text.index("Is there anything to adapt to?")
        < text.index("At a comparable budget")
        < text.index("Results beside")
    )
    for verdict in ("reproduced", "not reproduced", "not tested"):
        assert verdict in text
    assert "this profile's rows lack role other_corpus" in text.replace("This profile", "this profile")


def test_strips_show_each_seed_and_each_speaker_of_the_first_part_where_there_are_several(complete):
    text = (complete / "index.html").read_text()
    strip = text[text.index('<tbody id="HT1"') :].split('<svg class="strip"')[1].split("</svg>")[0]
    assert strip.count('class="seed"') == 4 and strip.count('class="speaker"') == 6
    marks = evidence.strip({"threshold": 0.0, "ci_low": 1.0, "ci_high": 3.0, "value": 2.0}, None, {})
    assert marks == {"threshold": 6, "low": 35.33, "high": 94, "value": 64.67, "seeds": [], "speakers": []}


def test_a_verdict_that_another_part_decided_names_that_part_beside_the_claims_number():
    records = {r["id"]: r for r in json.loads((REFERENCE / "nonnative" / "claims.json").read_text())}
    assert evidence.against(records["HA1"])["name"] == "whole column spaces, decoder W1 against encoder W1"
    assert evidence.against(records["HA2"]) is None and evidence.against(records["HA9"]) is None
    assert evidence.against(records["HA7"])["name"] == "reduction of capped WER at 0.001 %"
    page = (REFERENCE / "nonnative" / "index.html").read_text()
    assert "<strong>Not reproduced for:</strong> whole column spaces, decoder W1 against encoder W1" in page


def test_images_have_alternatives_and_players_names(page):
    assert page.images and all(image.get("alt") for image in page.images)
    assert len(page.audio) == 12
    assert all(player["aria-label"] and "controls" in player for player in page.audio)


def test_text_from_the_corpus_is_escaped(complete, page):
    assert "Lamps &amp; &lt;lanterns&gt;" in (complete / "index.html").read_text()
    assert "Lamps & <lanterns> went out." in page.text


def test_published_values_stand_beside_ours(page):
    assert "published 80.44" in page.text and "published 453 k, 1.27 %" in page.text


def test_limits_follow_from_the_runs(page):
    for word in ("DistillMOS", "synthetic", "Griffin-Lim", "2.0 M parameters, the paper's 35.7 M"):
        assert word in page.text


def test_weights_are_told_by_source_and_digest(page):
    assert "ge2e: package Resemblyzer (abababababab)" in page.text


def test_an_empty_study_says_what_is_missing(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    text = Page(report.write_report(PROFILE).read_text()).text
    for missing in (
        "The claims are missing: HT1, HT2",
        "The results of HT are missing",
        "The figures are missing",
        "The audio of HT, HA, SP, LD is missing",
        "The costs of HT are missing",
        "Provenance is missing",
    ):
        assert missing in text


def test_an_image_that_was_not_drawn_is_said_to_be_missing(complete, tmp_path):
    shutil.copytree(complete / "figures", tmp_path / "figures")
    (tmp_path / "figures" / "forgetting.svg").unlink()
    found = {figure["name"]: figure for figure in evidence.read_figures(tmp_path)}
    assert found["forgetting"]["source"] is None
    assert found["results_table"]["source"].startswith("data:image/svg+xml,<svg")


def test_a_large_figure_is_linked_not_embedded(tmp_path):
    add_figure(tmp_path, "large", size=evidence.IMAGE_BYTES)
    assert evidence.read_figures(tmp_path)[0]["source"] == "figures/large.svg"


def test_audio_past_the_budget_is_linked(complete):
    rows, papers = study.read_rows(PROFILE), claims.load_claims()["papers"]
    players = evidence.sentences(complete, rows, {}, "HT", papers["HT"], budget=1500)[0]["players"]
    assert players[0]["source"].startswith("data:audio/mpeg")
    assert players[0]["wave"] == "audio/ht-reference-s0/ad0-0.wav"
    assert players[-1]["source"] == players[-1]["wave"] == "audio/ht-tts_ft-s0/ad0-0.wav"


def test_damaged_claims_name_the_file_and_the_fix(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "claims.json").write_text("[{")
    with pytest.raises(ValueError, match="tiny/claims.json is damaged; delete it and run"):
        report.write_report(PROFILE)


@pytest.mark.parametrize(
    ("value", "shown"), [(None, "–"), (-0.0364, "−0.036"), (0.98, "0.980"), (12.345, "12.3"), (0.0, "0.00")]
)
def test_numbers_keep_three_digits_and_a_true_minus(value, shown):
    assert report.significant(value) == shown


def test_counts_and_times_are_short():
    assert [report.count(v) for v in (453_000, 35_700_000, 12, None)] == ["453 k", "35.7 M", "12", "–"]
    assert [report.duration(v) for v in (12.3, 600, 9000, None)] == ["12 s", "10 min", "2.5 h", "–"]


def test_a_rule_changed_after_results_is_told_with_the_paper_s_own_claims():
    change = {"date": "2026-11-21", "claims": ["SP2", "HT1", "SP10"], "text": "Why."}
    known = [{"id": name, "paper": name[:2]} for name in ("HT1", "SP2", "SP10", "LD1")]
    written = {"claims": known, "amendments": [change]}
    assert report._amendments("SP", written) == [change | {"claims": ["SP2", "SP10"]}]
    assert report._amendments("LD", written) == []


def test_one_paper_s_report_is_a_file_of_its_own_and_judges_on_the_rows_there_are(complete):
    path = report.write_report(PROFILE, "HT")
    page = path.read_text()
    assert path.name == "ht.html"
    assert 'id="HT1"' in page and 'id="claims"' in page
    with pytest.raises(ValueError, match="there is no paper XX; choose one of HT"):
        report.write_report(PROFILE, "XX")


def test_a_claims_verdict_on_other_speech_stands_in_a_column_of_its_own(complete, tmp_path):
    root = tmp_path / "results" / PROFILE["name"]
    shutil.copytree(complete, root)
    records = json.loads((root / "claims.json").read_text())
    (root / "nonnative").mkdir()
    theirs = [r | {"verdict": "reproduced", "reason": "on people"} for r in records if r["paper"] == "HA"]
    (root / "nonnative" / "claims.json").write_text(json.dumps(theirs))
    page = report.write_report(PROFILE, copied=root).read_text(encoding="utf-8")
    name = "non-native and children's speech".replace("'", "&#39;")
    assert page.count(f'<th scope="col" role="columnheader">On {name}</th>') == 1
    assert page.count(f'data-label="On {name}"') == len(records)
    assert all(f"HA{number} on {name}: reproduced" in page for number in range(1, 13)) and "On people." in page
    assert not Page(page).open


def test_an_estimate_stands_beside_that_of_the_run_of_record(complete, tmp_path, monkeypatch):
    records = json.loads((complete / "claims.json").read_text())
    estimated = [each for each in records if each["ci_low"] is not None]
    first, second, third = (each["id"] for each in estimated[:3])
    away = {first: 0.0, second: 50.0, third: -50.0}
    known = [
        each | {"profile": "full", "verdict": "inconclusive"}
        | {name: each[name] + away[each["id"]] for name in ("value", "ci_low", "ci_high")}
        for each in estimated if each["id"] in away
    ]  # fmt: skip
    (tmp_path / "claims.json").write_text(json.dumps(known))
    monkeypatch.setattr(of_record, "REFERENCE", tmp_path)
    told = report.write_report(PROFILE).read_text(encoding="utf-8")
    assert "Of 3 claims that the run of record has estimated, too, 1 has its estimate here inside" in told
    for claim, lies in ((first, "Inside"), (second, "Below"), (third, "Above")):
        assert f"{lies} the run of record’s: " in told.split(f'id="{claim}"')[1].split("</tbody>")[0]
    assert of_record.beside(known[0], of_record.committed()) is None  # the run of record itself
    other = estimated[0] | {"parts": [estimated[0]["parts"][0] | {"name": "another part"}]}
    assert of_record.beside(other, of_record.committed()) is None
    assert of_record.beside(estimated[0] | {"speech": "recordings"}, of_record.committed()) is None


def test_without_a_committed_run_nothing_stands_beside_and_a_damaged_one_is_named(complete, tmp_path, monkeypatch):
    monkeypatch.setattr(of_record, "REFERENCE", tmp_path)
    assert of_record.committed() == {}
    assert "run of record" not in report.write_report(PROFILE).read_text(encoding="utf-8").split("</main>")[0]
    (tmp_path / "claims.json").write_text("[")
    with pytest.raises(study.StudyError, match="claims.json"):
        report.write_report(PROFILE)
