"""The report as a reader meets it, in headless Chromium: no errors, links, sound, keyboard, contrast, phone, paper."""

import json
from urllib.parse import unquote

import nbformat
import numpy as np
import pytest
import soundfile
from browser import Browser, needs_browser
from synthetic_study import PROFILE, system_rows, write_run

from lib import study
from lib.study import claims
from lib.study.drawing import canvas, describe, save
from lib.study.report import index as report
from lib.study.report import methods as methods_page
from lib.study.report import page

pytestmark = needs_browser
SYSTEMS = ("tts_0", "adaptertts_d", "hypertts_d", "hypertts_evd", "tts_ft")
UTTERANCE = "ad0-0"
CONTRAST = """(() => {
  const parse = (text) => (text.match(/[\\d.]+/g) || []).map(Number);
  const light = (c) => c.slice(0, 3).map((v) => v / 255)
    .map((v) => (v <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4))
    .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
  const behind = (e) => {
    for (; e; e = e.parentElement) {
      const c = parse(getComputedStyle(e).backgroundColor);
      if (c.length < 4 || c[3] > 0) return c;
    }
    return matchMedia("(prefers-color-scheme: dark)").matches ? [0, 0, 0] : [255, 255, 255];
  };
  const found = {};
  for (const e of document.querySelectorAll("body *")) {
    if (e.closest("script, style, svg, details:not([open]) > :not(summary)") || !e.getClientRects().length) continue;
    if (![...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim())) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(behind(e))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) found[`${e.tagName}.${e.className}`] = [Math.round(100 * ratio) / 100, e.textContent.slice(0, 40)];
  }
  return JSON.stringify(found);
})()"""
PLAY = """(async (player) => {
  player.muted = true;
  await player.play();
  for (let i = 0; i < 100 && !(player.currentTime > 0); i++) await new Promise((done) => setTimeout(done, 50));
  player.pause();
  return [player.currentTime, player.duration, player.error && player.error.message];
})"""
LINKS = """JSON.stringify([...document.querySelectorAll("a[href], audio[src], img[src], link[href], script[src]")]
  .map((e) => e.getAttribute("href") || e.getAttribute("src")))"""
IDS = """JSON.stringify([...document.querySelectorAll("[id], a[name]")].map((e) => e.id || e.name))"""


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A finished run in small: claims, a figure, a chapter, audio past the players that are shown, report, methods."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STUDY_RESULTS", str(tmp_path_factory.mktemp("results")))
        patch.setattr("lib.study.report.evidence.PLAYERS", 2)
        for system in SYSTEMS:
            write_run(f"ht-{system}-s0", system_rows(system, 0), texts={UTTERANCE: "Lamps & <lanterns> went out."})
        root = study.results_root(PROFILE)
        for system in SYSTEMS[:3]:
            path = root / "audio" / f"ht-{system}-s0" / f"{UTTERANCE}.wav"
            path.parent.mkdir(parents=True)
            soundfile.write(path, 0.1 * np.sin(np.arange(16000) * 0.1), 16000)
        claims.write_claims(PROFILE)
        for name in {record["figure"] for record in json.loads((root / "claims.json").read_text())}:
            figure, axis = canvas(1, 3.0, 2.0)
            axis.plot([0, 1])
            save(
                describe(figure, f"{name}: means, n = 30.", "A line.", 30), name, PROFILE, "02_hypertts_evaluate", "HT1"
            )
        sections = "\n".join(f'<a id="HT{i}"></a>\n\n## Claim {i}\n\n$E_{i} = mc^2$\n' for i in range(1, 11))
        notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell("# Chapter\n\n" + sections)])
        (root / "notebooks").mkdir()
        nbformat.write(notebook, root / "notebooks" / "a.ipynb")
        for name in ("01_hypertts_train", "02_hypertts_evaluate", "03_hypertts_ablations"):
            page.render(root / "notebooks" / "a.ipynb", root / "notebooks" / f"{name}.html")
        methods_page.write_page(PROFILE)
        report.write_report(PROFILE)
        yield root


@pytest.fixture(scope="module")
def browser():
    with Browser() as started:
        yield started


def test_no_page_complains_overflows_a_phone_or_lacks_contrast(browser, results):
    for path in (results / "index.html", results / "methods.html"):
        for width, dark in ((360, False), (360, True), (1280, True)):
            browser.open(path, width, dark)
            assert browser.complaints == []
            assert browser.evaluate("document.documentElement.scrollWidth") <= width, path.name
            browser.evaluate("document.querySelectorAll('details').forEach((each) => { each.open = true; })")
            assert browser.evaluate("document.documentElement.scrollWidth") <= width, path.name
            assert json.loads(browser.evaluate(CONTRAST)) == {}, (path.name, dark)


def test_every_link_from_the_report_on_leads_somewhere(browser, results):
    waiting, ids, wanted = ["index.html"], {}, []
    while waiting:
        name = waiting.pop()
        browser.open(results / name)
        assert browser.complaints == [], name
        ids[name] = set(json.loads(browser.evaluate(IDS)))
        for href in json.loads(browser.evaluate(LINKS)):
            if href.startswith(("data:", "https://")):
                continue
            target, _, fragment = unquote(href).partition("#")
            folder = results / name
            path = (folder.parent / target).resolve() if target else folder.resolve()
            assert path.is_file(), f"{name} links {href}"
            other = str(path.relative_to(results.resolve()))
            wanted.append((name, other, fragment))
            if path.suffix == ".html" and other not in ids and other not in waiting:
                waiting.append(other)
    assert len(ids) == 5 and len(wanted) > 80
    assert [link for link in wanted if link[2] and link[2] not in ids[link[1]]] == []


def test_recordings_play_from_the_page_and_from_their_files(browser, results):
    browser.open(results / "index.html")
    sources = json.loads(browser.evaluate('JSON.stringify([...document.querySelectorAll("audio")].map((a) => a.src))'))
    assert [source[:4] for source in sources] == ["data", "data", "file"]
    for index in (0, 2):
        time, duration, error = browser.evaluate(f'{PLAY}(document.querySelectorAll("audio")[{index}])')
        assert error is None and time > 0
        assert duration == pytest.approx(1.0, abs=0.15)


def test_the_evidence_of_every_claim_is_three_clicks_away(browser, results):
    browser.open(results / "index.html")
    with_rows = [r["id"] for r in json.loads((results / "claims.json").read_text()) if r["rows"]]
    assert len(with_rows) >= 4
    for claim in with_rows:
        found = json.loads(
            browser.evaluate(f"""(() => {{
          const links = [...document.querySelectorAll("#{claim} .evidence a")];
          const by = Object.fromEntries(links.map((link) => [link.textContent, link.getAttribute("href")]));
          for (const link of links.filter((link) => link.getAttribute("href").startsWith("#"))) link.click();
          return JSON.stringify(by);
        }})()""")
        )
        assert set(found) == {"figure", "notebook", "audio", "rows"}
        for kind in ("figure", "audio", "rows"):
            browser.evaluate(f'location.hash = "{found[kind]}"; new Promise((done) => setTimeout(done, 60))')
            assert browser.evaluate(f'document.querySelector("{found[kind]}").checkVisibility()'), (claim, kind)
        csv = browser.evaluate(f'document.querySelector("{found["rows"]} a").getAttribute("href")')
        lines = (results / csv).read_text().splitlines()
        assert lines[0].startswith("part,run_id") and len(lines) > 1
        assert found["notebook"].endswith(f"#{claim}")


def test_the_filter_leaves_the_claims_of_a_verdict(browser, results):
    browser.open(results / "index.html")
    count = """(() => { const select = document.querySelector("select[name=verdict]"); select.value = "not tested";
        select.dispatchEvent(new Event("change", {bubbles: true}));
        const left = [...document.querySelectorAll("tbody[data-verdict]")].filter((each) => !each.hidden);
        return [left.length, left.every((each) => each.dataset.verdict === "not tested"),
                document.querySelector("output").value]; })()"""
    records = json.loads((results / "claims.json").read_text())
    untested = sum(record["verdict"] == "not tested" for record in records)
    assert browser.evaluate(count) == [untested, True, f"{untested} of {len(records)} claims"]


def test_the_report_can_be_read_with_the_keyboard_alone(browser, results):
    browser.open(results / "index.html")
    browser.press("Tab", 9)
    assert browser.evaluate("document.activeElement.textContent") == "Skip to the claims"
    browser.press("Enter", 13)
    assert browser.evaluate("location.hash") == "#claims"
    reached = set()
    for _ in range(14):
        browser.press("Tab", 9)
        reached.add(browser.evaluate("document.activeElement.tagName"))
    assert {"SELECT", "A", "SUMMARY"} <= reached
    unreached = browser.evaluate("""[...document.querySelectorAll("a[href], button, select, summary, audio")]
        .filter((e) => e.tabIndex < 0).length""")
    assert unreached == 0


def test_on_paper_the_reasons_are_unfolded_and_the_controls_gone(browser, results, tmp_path):
    browser.open(results / "index.html", 720, print_=True)
    hidden = 'getComputedStyle(document.querySelector("nav")).display'
    assert browser.evaluate(hidden) == "none"
    browser.evaluate('window.dispatchEvent(new Event("beforeprint"))')
    assert browser.evaluate('[...document.querySelectorAll("details.why")].every((each) => each.open)')
    assert browser.evaluate("document.documentElement.scrollWidth") <= 720
    browser.evaluate('window.dispatchEvent(new Event("afterprint"))')
    assert not browser.evaluate('[...document.querySelectorAll("details.why")].some((each) => each.open)')
