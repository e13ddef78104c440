"""The committed reference run agrees with the claims' ids, and the README's tables are generated from it."""

import json

import pytest

from lib.study.claims import load_claims
from lib.study.report import reference

needs_reference = pytest.mark.skipif(
    not (reference.REFERENCE / "claims.json").exists(), reason="no reference run is committed"
)


def stored(name: str):
    return json.loads((reference.REFERENCE / name).read_text())


@needs_reference
def test_reference_claims_have_the_ids_of_the_claims_file():
    assert [record["id"] for record in stored("claims.json")] == [claim["id"] for claim in load_claims()["claims"]]


@needs_reference
def test_the_readmes_tables_are_those_of_the_reference_run():
    readme = (reference.ROOT / "README.md").read_text()
    inside = readme.split(reference.BEGIN)[1].split(reference.END)[0]
    assert inside.strip() == reference.summary(reference.today() or stored("claims.json"))
    page = (reference.REFERENCE / "README.md").read_text()
    assert page == reference.markdown(stored("results.json"), stored("claims.json"), reference.today())


@pytest.mark.skipif(not list(reference.REFERENCE.glob("bench-*.json")), reason="no benchmark is committed")
def test_the_benchmarks_of_the_page_on_speed_are_the_committed_ones():
    page = reference.SPEED.read_text()
    inside = page.split(reference.BENCH_BEGIN)[1].split(reference.BENCH_END)[0]
    assert inside.strip() == reference.benchmarks()


@needs_reference
def test_the_reference_run_is_small_enough_to_commit():
    size = sum(path.stat().st_size for path in reference.REFERENCE.rglob("*") if path.is_file())
    assert 0 < size < 15e6


def test_a_readme_without_markers_is_named(tmp_path):
    (tmp_path / "README.md").write_text("text")
    with pytest.raises(ValueError, match="README.md lacks the lines"):
        reference.put_into_readme("table", tmp_path / "README.md")


def test_only_the_marked_part_of_the_readme_changes(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{reference.BEGIN}\nold\n{reference.END}\nafter\n")
    reference.put_into_readme("new", readme)
    assert readme.read_text() == f"before\n{reference.BEGIN}\nnew\n{reference.END}\nafter\n"


def test_a_report_by_older_rules_says_so_once(tmp_path):
    page = tmp_path / "index.html"
    page.write_text("<h1>Claims</h1><p>reproduced</p>")
    for _ in range(2):
        reference._say_again(page)
    assert page.read_text().count(reference.OLD_RULES) == 1 and page.read_text().endswith("<p>reproduced</p>")
    assert not reference.today() or reference.OLD_RULES in (reference.REFERENCE / "index.html").read_text()
