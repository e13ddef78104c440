"""F0 trackers on a folder of recordings: groups by sex and age, and what they agree on."""

import numpy as np
import pytest

from lib import audio
from lib.corpora.corpus import CorpusError
from lib.workflow.benchmarks import pitch


def voiced(f0: float) -> np.ndarray:
    """A pulse train of 0.8 s, as a vowel has it."""
    time = np.arange(12800) / audio.RATE
    return (0.05 * sum(np.cos(2 * np.pi * k * f0 * time) for k in range(1, 12))).astype(np.float32)


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ({"age": "9", "sex": "m"}, "children"),
        ({"age": "30", "sex": "m"}, "men"),
        ({"sex": "Female"}, "women"),
        ({"age": "", "sex": ""}, "unknown"),
    ],
)
def test_groups_are_children_and_the_sexes_of_adults(row, expected):
    assert pitch.group(row) == expected


def test_trackers_agree_on_the_f0_of_pulses(tmp_path):
    lines = ["path,age,sex"]
    for name, f0, age, sex in (("a", 120, 30, "m"), ("b", 220, 30, "f"), ("c", 300, 8, "f")):
        audio.write(tmp_path / f"{name}.wav", voiced(f0))
        lines.append(f"{name}.wav,{age},{sex}")
    (tmp_path / "metadata.csv").write_text("\n".join(lines))
    found = pitch.compare(tmp_path, 5)
    assert set(found["group"]) == {"men", "women", "children"} and len(found) == 9
    assert (found["f0_20_percent"] > 90).all() and (found["recordings"] == 1).all()
    medians = found.groupby("group")["median_0"].mean()
    assert medians["men"] == pytest.approx(120, abs=3) and medians["children"] == pytest.approx(300, abs=5)


def test_a_folder_without_a_table_is_named(tmp_path):
    with pytest.raises(CorpusError, match="metadata.csv: no such file"):
        pitch.compare(tmp_path)
