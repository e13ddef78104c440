"""The page in headless Chromium, from the first page to the last, and what reading makes of the answers."""

import json
import threading

import numpy as np
import pytest
from browser import Browser, needs_browser
from synthetic_listeners import QUALITY, answer, make_test, signed, write_clips

from lib import __main__ as door
from lib import audio
from lib.study.listen import packed
from lib.study.listening import answers
from lib.study.listening.receive import server

pytestmark = needs_browser
FAST = """
  HTMLMediaElement.prototype.play = function () { setTimeout(() => this.onended(), 0); return Promise.resolve(); };
  const now = performance.now.bind(performance); let late = 0; performance.now = () => now() + (late += 20000);
"""
ARRIVED = "new Promise(r => { const look = () => state.received ? r(true) : setTimeout(look, 20); look(); })"
CLICK = "document.querySelector('.next').click()"


@pytest.fixture(scope="module")
def browser():
    with Browser() as opened:
        yield opened


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    kinds = ["mos", "smos", "xab", "preference", "mushra"]
    return make_test(tmp_path_factory.mktemp("page"), kinds=kinds, items=2)


def typed(browser, text, code, number):
    """A key that the browser itself acts on."""
    for kind in ("keyDown", "keyUp"):
        facts = {"key": " " if code == "Space" else code, "code": code, "windowsVirtualKeyCode": number}
        browser.call("Input.dispatchKeyEvent", type=kind, **facts, **({"text": text} if kind == "keyDown" else {}))


def chosen(key, clips):
    """What a listener of known preferences answers to a trial with these clips."""
    systems = [key["clips"].get(clip, ["reference"])[0] for clip in clips]
    return [QUALITY[system] for system in systems]


def go_through(browser, key, pages=None):
    """Answer page by page, by clicks, until the last or as many `pages`; returns how many."""
    done = 0
    while pages is None or done < pages:
        step = browser.evaluate("({at: state.step, last: steps.length - 1, text: !steps[state.step].text ? null : 1,"
                                " kind: steps[state.step].kind || null, trial: steps[state.step].trial})")  # fmt: skip
        if step["at"] == step["last"]:
            return done
        browser.evaluate(
            "(async () => { for (const b of document.querySelectorAll('.player')) { b.click();"
            " await new Promise(r => setTimeout(r, 5)); } document.querySelector('.agree input')?.click(); })()"
        )
        if step["kind"] == "headphones":
            answer = key["headphones"][step["trial"]["clips"][0]]
        elif step["kind"]:
            felt = chosen(key, step["trial"]["clips"])
            answer = felt.index(max(felt)) + 1 if step["kind"] in ("xab", "preference") else round(felt[0])
            answer = 5 if step["kind"] == "smos" and felt[0] > 4 else answer
        if step["kind"] == "mushra":
            rated = json.dumps([100 if value > 4.5 else int(20 * value) for value in felt])
            browser.evaluate(
                f"{rated}.forEach((v, i) => {{ const r = document.querySelectorAll('input[type=range]')[i];"
                " r.value = v; r.dispatchEvent(new Event('input')); })"
            )
        elif step["kind"]:
            browser.evaluate(f"document.querySelector('input[value=\"{answer}\"]').click()")
        assert not browser.evaluate("document.querySelector('.next').disabled"), step
        browser.evaluate(CLICK)
        done += 1
    return done


def test_a_listener_who_stops_half_way_goes_on_and_the_receiver_gets_what_was_preferred(browser, made):
    folder, key = made
    with server(folder, port=0) as receiver:
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{receiver.server_port}/"
        browser.open(address)
        browser.evaluate(FAST)
        go_through(browser, key, 20)
        listener = browser.evaluate("state.listener")
        browser.open("about:blank")
        browser.open(address)
        assert (browser.evaluate("state.listener"), browser.evaluate("state.step")) == (listener, 20)
        assert "welcome back" in browser.evaluate("document.body.innerText")
        browser.evaluate(FAST)
        go_through(browser, key)
        assert not browser.complaints
        browser.evaluate(CLICK)
        assert browser.evaluate(ARRIVED)
        assert "arrived" in browser.evaluate("document.querySelector('main').innerText")
        receiver.shutdown()
    assert [path.stem for path in (folder / "answers").iterdir()] == [listener]
    heard = answers.read(folder / "answers", *answers.load_key(folder)[:2])
    assert heard.listeners == 1, heard.files
    found = {(line["part"], line["system"]): line["mean"] for line in answers.scores(heard.rows, {})}
    assert found["mos", "good_one"] == 4 and found["mos", "bad_one"] == 3
    assert found["xab", "good_one over bad_one"] == found["preference", "good_one over bad_one"] == 100
    assert found["mushra", "reference"] == 100 and found["mushra", "anchor"] == 40


def test_a_test_of_a_committed_runs_clips_is_made_answered_and_judged_without_training(
    browser, tmp_path, monkeypatch, capsys
):
    """What the README says of SP's test, in a committed folder with three sentences of four systems and no rows."""
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "results"))
    systems = ("dp_r45", "vp", "baseline", "reference")
    for name, quality in zip(systems, (3.9, 3.0, 2.2, 4.6), strict=True):
        monkeypatch.setitem(QUALITY, name, quality)
    committed = tmp_path / "committed"
    for path in write_clips(tmp_path / "clips", 3, systems).glob("*/*.wav"):
        clip = committed / "audio" / f"sp-{path.parent.name}-s0" / f"{path.stem}.opus"
        clip.parent.mkdir(parents=True, exist_ok=True)
        clip.write_bytes(packed(audio.read(path), audio.RATE))
    facts = {"facts": {"SP": {"profile": "smoke"}}, "table": [], "corpus_check": None}
    (committed / "results.json").write_text(json.dumps(facts))
    door.main(["listen", "make", "--paper", "sp", "--evidence", str(committed)])
    folder = tmp_path / "results" / "listening" / "sp"
    key = answers.load_key(folder)[0]
    with server(folder, port=0) as receiver:
        threading.Thread(target=receiver.serve_forever, daemon=True).start()
        browser.open(f"http://127.0.0.1:{receiver.server_port}/")
        browser.evaluate(FAST)
        go_through(browser, key)
        browser.evaluate(CLICK)
        assert browser.evaluate(ARRIVED)
        receiver.shutdown()
    for number in range(11):
        told = signed(answer(key, number, np.random.default_rng(number), QUALITY))
        (folder / "answers" / f"{number}.json").write_bytes(told)
    door.main(["listen", "read", str(folder / "answers")])
    assert capsys.readouterr().out.count("\tyes\t") == 12
    door.main(["claims", "--evidence", str(committed)])
    parts = {
        (claim["id"], part["name"]): part
        for claim in json.loads((committed / "claims.json").read_text())
        for part in claim["parts"]
    }
    part = parts["SP2", "MOS by listeners, against StyleSpeech"]
    assert (part["listeners"], part["n"]) == (12, 36) and part["value"] == pytest.approx(1.7, abs=0.6)
    assert "36 answers of 12 listeners" in (committed / "index.html").read_text(encoding="utf-8")


def test_from_a_file_the_page_needs_no_mouse_and_hands_over_a_file(browser, made):
    folder, key = made
    browser.open(folder / "page" / "index.html", width=390)
    browser.evaluate(FAST)
    assert browser.evaluate("document.documentElement.scrollWidth") <= 390
    assert browser.evaluate("document.activeElement.tagName") == "H1"
    browser.evaluate("document.querySelector('.agree input').focus()")
    typed(browser, " ", "Space", 32)
    browser.evaluate("document.querySelector('.next').focus()")
    typed(browser, "\r", "Enter", 13)
    assert browser.evaluate("state.step") == 1
    browser.press("p", 80)
    browser.evaluate("new Promise(r => setTimeout(r, 20))")
    browser.press("Enter", 13)
    assert browser.evaluate("state.step") == 1  # not answered yet
    browser.press("2", 50)
    browser.press("Enter", 13)
    assert browser.evaluate("state.step") == 2
    unnamed = (
        "[...document.querySelectorAll('button, input, fieldset, progress')].filter(e => e.offsetParent &&"
        " !(e.innerText || e.ariaLabel || e.closest('label')?.innerText || e.querySelector('legend')))"
        ".length"
    )
    for _ in range(200):
        assert browser.evaluate(unnamed) == 0 and browser.evaluate("document.documentElement.scrollWidth") <= 390
        if not go_through(browser, key, 1):
            break
    found = answers.check(browser.evaluate("handedOver()").encode(), key)
    assert found["answers"] and not browser.complaints
    browser.evaluate("window.saved = null; HTMLAnchorElement.prototype.click = function () { saved = this.download; }")
    browser.evaluate(CLICK)
    assert browser.evaluate("saved") == f"answers-{found['listener']}.json"


def test_a_clip_is_heard_to_its_end_before_it_can_be_judged(browser, made):
    folder, _ = made
    browser.open(folder / "page" / "index.html")
    browser.evaluate("state.step = steps.findIndex(step => step.training); show()")
    browser.evaluate("document.querySelector('input[value=\"3\"]').click()")
    assert browser.evaluate("document.querySelector('.next').disabled")
    browser.evaluate("document.querySelector('.player').click()")
    ready = (
        "new Promise(r => { const look = () => document.querySelector('.next').disabled ? setTimeout(look, 20) : r(1);"
        " look(); })"
    )
    assert browser.evaluate(ready) == 1
    assert browser.evaluate("document.querySelector('.player').getAttribute('aria-label')").endswith("heard")
