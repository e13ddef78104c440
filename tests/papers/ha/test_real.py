"""The recognisers on the real voice, which is not there: the run says so."""

from lib import study
from lib.corpora.corpus import Corpus
from lib.papers.ha import real
from lib.papers.ha.study import Study


def test_without_the_recordings_the_run_says_so(voiceless, tmp_path):
    recognisers = Study(voiceless)
    recognisers.corpus = Corpus(tmp_path, "none", "0", [])
    recognisers.run("other_corpus", 0)
    assert "no apt-get" in study.read_manifests(voiceless)["ha-other_corpus-s0"]["missing"]
    rows = study.read_rows(voiceless)
    assert rows["metric"].tolist() == ["recordings"] and real.word_errors(rows, voiceless).empty
