"""The recognisers on the real voice, which is not there: the run says so."""

from lib import study
from lib.corpora.corpus import Corpus, CorpusError
from lib.corpora.recorded import asterisk
from lib.papers.common import real_source
from lib.papers.ha import real
from lib.papers.ha.study import Study


def test_without_the_recordings_the_run_says_so(tmp_path, monkeypatch):
    def refused(to):
        raise CorpusError("Asterisk prompts: there is no apt-get here.")

    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path / "results"))
    monkeypatch.setattr(real_source, "INSTALLED", tmp_path / "not installed")
    monkeypatch.setattr(asterisk, "fetch", refused)
    voice = {"corpus": {"name": "asterisk", "source": str(tmp_path / "prompts")}}
    profile = study.load_profile("smoke", {"real": voice})
    recognisers = Study(profile)
    recognisers.corpus = Corpus(tmp_path, "none", "0", [])
    recognisers.run("other_corpus", 0)
    assert "no apt-get" in study.read_manifests(profile)["ha-other_corpus-s0"]["missing"]
    rows = study.read_rows(profile)
    assert rows["metric"].tolist() == ["recordings"] and real.word_errors(rows, profile).empty
