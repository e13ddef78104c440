"""The table of metrics: units, titles of axes and columns."""

import pytest

from lib.study import StudyError, units
from lib.study.claims import load_claims


def test_a_metric_without_a_unit_is_named():
    with pytest.raises(StudyError, match="tempo_error has no unit: add it to METRICS"):
        units.unit("tempo_error")


def test_every_column_of_the_papers_tables_has_a_title():
    for paper in load_claims()["papers"].values():
        assert all(units.METRICS[metric].name for metric in paper["table"]["columns"])


def test_titles_tell_the_unit_the_direction_and_the_change():
    assert units.axis("mcd") == "MCD (dB)" and units.axis("cos") == "COS (GE2E cosine × 100)"
    assert units.short("mcd") == "MCD (dB) ↓" and units.short("cos") == "COS ↑"
    assert units.change("cos") == "COS (points)" and units.change("mos_predicted") == "Predicted MOS"
    assert units.change("mel_l1") == "Log-mel L1 (nat)"
