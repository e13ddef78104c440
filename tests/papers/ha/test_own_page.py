"""The page about one's own recordings: what it says where something is gained, where that is open, and where not."""

import pandas as pd
import pytest

from lib.papers.ha import own_page

FACTS = {"folder": "mine <1>", "system": "lora_w1", "whisper": "Whisper tiny.en", "place": "out", "base": "openai/x"}
FACTS |= {"best_step": 4, "steps": 9, "trained": (12, 3), "validated": 4}
FACTS |= {"set_aside": [{"utterance": "u9", "reason": "is silent"}]}
SAID, WRONG = "the cat <sat> down here", "a dog sat up there"


def scores(before: float, after: float, spread: float = 0.0, speakers: int = 6, heard: int = 3) -> pd.DataFrame:
    """Three utterances of each speaker; from speaker to speaker the errors after rise by `spread`."""
    rows = [
        {"utterance": f"u{speaker}-{number}", "speaker": f"s{speaker}", "heard": speaker < heard, "reference": SAID}
        | {"before": WRONG, "after": SAID if after < before else WRONG, "wer_before": before + 0.01 * number}
        | {"wer_after": after + 0.01 * ((speaker + number) % 3) + spread * (speaker - 2.5) * (speakers > 1)}
        for speaker in range(speakers)
        for number in range(3)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ((0.6, 0.3), "The adaptation helps."),
        ((0.41, 0.4, 0.1), "it cannot be told yet"),
        ((0.3, 0.6), "Nothing is gained: do not use this adapter."),
    ],
)
def test_a_page_says_whether_the_adapter_is_worth_using(tmp_path, given, said):
    page = own_page.write(tmp_path, scores(*given), FACTS).read_text(encoding="utf-8")
    assert page.count("do not use this adapter") == ("Nothing" in said) and said in page
    assert "mine &lt;1&gt;" in page and "<sat>" not in page and "is silent" in page and "http" not in page


def test_speakers_whom_training_has_not_heard_stand_apart(tmp_path):
    found = own_page.compared(scores(0.6, 0.3))
    apart = found["speakers whom training has not heard"]
    assert apart["speakers"] == 3 and apart["utterances"] == 9 and apart["change"][2] < 0
    assert list(own_page.compared(scores(0.6, 0.3, heard=6))) == ["all"]
    page = own_page.write(tmp_path, scores(0.6, 0.3, heard=6), FACTS).read_text(encoding="utf-8")
    assert "what a new speaker would gain is not known" in page


def test_one_recording_has_no_interval_and_claims_no_certainty(tmp_path):
    found = own_page.compared(scores(0.6, 0.3, speakers=1).head(1))["all"]
    assert found["change"][1:] == (None, None) and own_page.certainty(found["change"]) == "uncertain"
    assert "of this one speaker only" in own_page.write(tmp_path, scores(0.6, 0.3, speakers=1), FACTS).read_text()


def test_every_sentence_that_changed_is_counted_and_the_largest_changes_are_shown(tmp_path):
    page = own_page.write(tmp_path, scores(0.6, 0.3), FACTS).read_text(encoding="utf-8")
    assert "18 better, 0 worse, 0 with as many errors" in page and page.count("<article>") == own_page.MOST
