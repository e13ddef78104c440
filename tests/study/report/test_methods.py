"""The methods page: its equations, links, numbers and names are those of the code."""

import ast
import re
from html.parser import HTMLParser
from urllib.parse import unquote

import pytest
import torch

from lib import study
from lib.files import ROOT
from lib.methods.hyperlora import HyperLora, StaticLora, budget
from lib.methods.hypertts import HyperAdapters, StaticAdapters
from lib.methods.latent_diffusion import I2SB, Palette
from lib.methods.sparse_attention import PrunedTTS, SparseSettings
from lib.models.denoiser import Denoiser, DenoiserDims
from lib.models.fastspeech2 import FastSpeech2, FastSpeech2Dims
from lib.models.layers import count
from lib.models.stylespeech import StyleSpeech, StyleSpeechDims
from lib.study.registry import papers
from lib.study.report import methods as methods_page
from lib.study.report import page

PROFILE = {"name": "tiny"}
NAMES = [paper.key for paper in papers().values() if not paper.across]
EQUATION = re.compile(r"\$\$.+?\$\$|\$[^$\n]+\$", re.DOTALL)


class Page(HTMLParser):
    """Ids, links, what a browser would load, and tags that are not closed."""

    def __init__(self, text: str):
        super().__init__()
        self.ids, self.links, self.loaded, self.open, self.equations = [], [], [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        facts = dict(attributes)
        self.ids += [facts["id"]] if "id" in facts else []
        self.links += [facts["href"]] if tag == "a" else []
        self.loaded += [facts[name] for name in ("src", "data", "poster") if name in facts]
        self.loaded += [facts["href"]] if tag == "link" else []
        self.equations += [facts] if tag == "math" else []
        if tag not in ("meta", "link", "br", "hr", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag, f"</{tag}> closes nothing"


@pytest.fixture
def results(tmp_path, monkeypatch):
    monkeypatch.setenv("STUDY_RESULTS", str(tmp_path))
    folder = study.results_root(PROFILE)
    (folder / "notebooks").mkdir(parents=True)
    (folder / "notebooks" / "02_hypertts_evaluate.html").write_text('<h2 id="HT1">Budget</h2>', encoding="utf-8")
    (folder / "notebooks" / "90_report.html").write_text("")
    (folder / "index.html").write_text("")
    return folder


def test_every_equation_of_the_texts_becomes_mathml_with_its_source(results):
    text = methods_page.write_page(PROFILE).read_text(encoding="utf-8")
    written = [e for name in NAMES for e in EQUATION.findall((methods_page.TEXTS / f"{name}.md").read_text())]
    page = Page(text)
    assert len(page.equations) == len(written) > 60
    assert all(equation["alttext"] for equation in page.equations)
    assert "$" not in re.sub(r"<style>.*?</style>", "", text, flags=re.DOTALL)
    assert page.open == []


def test_the_page_loads_nothing_and_its_links_resolve(results):
    path = methods_page.write_page(PROFILE)
    page = Page(path.read_text(encoding="utf-8"))
    assert page.loaded == ["data:,"]
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/1998/Math)", path.read_text(encoding="utf-8"))
    for href in page.links:
        file, _, fragment = unquote(href).partition("#")
        assert not file or (results / file).is_file(), href
        known = page.ids if not file else Page((results / file).read_text()).ids
        assert not fragment or fragment in known, href
    assert {"index.html", "notebooks/02_hypertts_evaluate.html", "notebooks/02_hypertts_evaluate.html#HT1"} <= set(
        page.links
    )


def test_chapters_that_are_not_there_are_said_to_be_missing(results):
    text = methods_page.write_page(PROFILE).read_text(encoding="utf-8")
    assert "This profile has no chapters of SP yet." in text and "no chapters of HT" not in text
    assert "90_report" not in text


@pytest.mark.parametrize("name", NAMES)
def test_files_and_functions_that_a_text_names_exist(name):
    named = 0
    for line in (methods_page.TEXTS / f"{name}.md").read_text().splitlines():
        if not line.startswith("- `lib/"):
            continue
        for part in re.split(r"(?=`lib/)", line)[1:]:
            file, *functions = re.findall(r"`([^`]+)`", part)
            known = definitions(ROOT / file)
            assert set(functions) <= known, f"{file}: {set(functions) - known}"
            named += len(functions)
    assert named >= 5


def definitions(path):
    found = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}.{each.name}" for each in node.body if isinstance(each, ast.FunctionDef)}
    return found


def says(name, *numbers):
    text = (methods_page.TEXTS / f"{name}.md").read_text()
    assert all(f"{number:,}" in text for number in numbers), numbers


def size(module):
    return sum(parameter.numel() for parameter in module.parameters())


def test_costs_of_hypertts_are_those_of_the_code():
    backbone = FastSpeech2(FastSpeech2Dims())
    hyper = {m: HyperAdapters({x: backbone.sites(x) for x in m}) for m in ("d", "evd")}
    generated = [network.generated(torch.zeros(1, 256)).shape[1] for network in hyper.values()]
    says("ht", count(StaticAdapters(backbone.sites("e"))), *map(count, hyper.values()), *generated, size(backbone))
    layers, c, r, d_s = 6, 256, 32, 8
    formula = 256 * 64 + 64 + 64 * layers + 128 * d_s + d_s * (2 * c * r + r + c)
    assert formula == count(hyper["d"])


def test_costs_of_the_low_rank_updates_are_those_of_the_code():
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    sizes = {"d_model": 384, "decoder_layers": 4, "decoder_ffn_dim": 1536, "decoder_attention_heads": 6}
    small = {"encoder_layers": 1, "encoder_ffn_dim": 8, "encoder_attention_heads": 6, "vocab_size": 16}
    tokens = dict.fromkeys(("pad_token_id", "bos_token_id", "eos_token_id", "decoder_start_token_id"), 1)
    network = WhisperForConditionalGeneration(WhisperConfig(**sizes, **small, **tokens))
    linear, mlp = (HyperLora(network, 384, hidden=hidden) for hidden in (None, 64))
    says("ha", budget(StaticLora(network), network)["generated_parameters"], count(linear), count(mlp))
    assert linear.adapted == mlp.adapted == 30_720


def test_costs_of_pruning_and_diffusion_are_those_of_the_code():
    dense = StyleSpeech(StyleSpeechDims())
    says("sp", size(dense))
    assert size(PrunedTTS(dense, SparseSettings(method="learned"))) - size(dense) == 4
    ld = study.load_profile("demo")["ld"]
    demo = Denoiser(DenoiserDims(condition=ld["clap"]["dims"]["size"], **ld["denoiser"]))
    says("ld", size(demo), size(Denoiser(DenoiserDims())))
    assert ld["sampling"]["steps"] == 12


def test_the_diffusions_equations_are_those_of_the_code():
    g = torch.Generator().manual_seed(0)
    x_0, z_text, noise = (torch.randn(2, 3, 5, generator=g) for _ in range(3))
    t, s = torch.tensor([400, 900]), torch.tensor([100, 450])

    palette = Palette()
    a_t, a_s = (palette.signal[at].float().view(-1, 1, 1) for at in (t, s))
    x_t, _ = palette.q_sample(x_0, z_text, t, noise)
    assert torch.allclose(x_t, a_t.sqrt() * x_0 + (1 - a_t).sqrt() * noise)
    mean, deviation = palette.posterior(x_0, x_t, t, s, eta=0.5)
    variance = 0.25 * (1 - a_s) / (1 - a_t) * (1 - a_t / a_s)
    direction = (x_t - a_t.sqrt() * x_0) / (1 - a_t).sqrt()
    assert torch.allclose(mean, a_s.sqrt() * x_0 + (1 - a_s - variance).sqrt() * direction, atol=1e-5)
    assert torch.allclose(deviation, variance.sqrt())

    bridge = I2SB()
    (v_t, v_s), (w_t, _) = (tuple(part[at].float().view(-1, 1, 1) for at in (t, s)) for part in bridge.variances)
    x_t, target = bridge.q_sample(x_0, z_text, t, noise)
    both = v_t + w_t
    assert torch.allclose(x_t, w_t / both * x_0 + v_t / both * z_text + (v_t * w_t / both).sqrt() * noise, atol=1e-6)
    assert torch.allclose(target, (x_t - x_0) / v_t.sqrt(), atol=1e-5)
    mean, deviation = bridge.posterior(x_0, x_t, t, s, eta=0.5)
    assert torch.allclose(mean, ((v_t - v_s) * x_0 + v_s * x_t) / v_t, atol=1e-6)
    assert torch.allclose(deviation, 0.5 * (v_s * (v_t - v_s) / v_t).sqrt())


@pytest.mark.parametrize("equation", [r"\frac{a}{", r"\nosuchcommand x", r"\begin{aligned} a &= b \end{aligned}"])
def test_an_equation_that_cannot_be_shown_is_refused(equation):
    with pytest.raises(ValueError, match="the equation .* write it"):
        page.mathml(equation)


def test_a_missing_text_is_named(tmp_path):
    with pytest.raises(ValueError, match="ht.md is missing in docs/methods"):
        methods_page.read_text(tmp_path / "ht.md")
    (tmp_path / "ht.md").write_text("no title")
    with pytest.raises(ValueError, match="ht.md begins with no title"):
        methods_page.read_text(tmp_path / "ht.md")
