"""The order of the study: which step makes which result from which.

    snakemake --cores 2 --config profile=demo device=cpu      (or ./run_all.sh, which also makes the environment)

Every paper has the same steps: what its systems share is prepared, each system is run, the chapters read the rows, a
page tells the claims. A step runs again when its notebook, the code that it reaches in lib/, its part of the profile
or a file that it reads has changed, and trained systems are trained again on another kind of device. The number of
cores and the executor do not count: they are no parameters of a result.
"""

import os
import sys
from pathlib import Path
from shlex import quote

sys.path.insert(0, workflow.basedir)

from lib.papers.common.real_source import since
from lib.study import expected_runs, load_profile, results_root, runs_on_the_real_voice
from lib.study.registry import paper_of, papers
from lib.workflow import terminal
from lib.workflow.code import code_digest
from lib.workflow.steps import OTHER, long_runs, paper_sections, settings, starts
from lib.workers import compile_librosa


onstart:
    compile_librosa()


PROFILE = load_profile(config.get("profile", "demo"))
DEVICE = config.get("device", "cpu")
if DEVICE not in ("cpu", "cuda"):
    raise ValueError(f"device={DEVICE}: choose cpu or cuda.")

NAME = PROFILE["name"]
R = os.path.relpath(results_root(PROFILE))
PYTHON = quote(sys.executable)
ALL_CORES = workflow.cores or 8
HALF_OF_THEM = max(1, ALL_CORES // 2)  # for a step beside which others run
ONE_JOB = 1 if DEVICE == "cpu" else min(4, ALL_CORES)
GPU = int(DEVICE == "cuda")

# What a step that trains or scores asks of a cluster's scheduler, in MB and minutes; one machine limits neither.
HOURS = {"smoke": 1, "demo": 2, "full": 12}.get(NAME, 7 * 24)
LARGE = {"gpu": GPU, "mem_mb": 32000 if GPU else 16000, "runtime": 60 * HOURS}

PAPERS = {key: paper for key, paper in papers().items() if key in PROFILE}
FIRST = next(iter(PAPERS))  # is done before the others, so that there is something to read
TOLD = [key for key, paper in PAPERS.items() if not paper.across]
LONG = long_runs(PROFILE)

if config.get("terminal") == "progress":
    terminal.show(workflow, {"real": "real voice"} | {key: paper.id for key, paper in PAPERS.items()})

# The real voice: runs of some papers on recordings that may not be there (their rows then say so).
REAL = PROFILE["real"]
RUNS = {key: sorted(expected_runs(PROFILE, key)) for key in PAPERS}
for other in sorted(runs_on_the_real_voice(PROFILE)):
    RUNS[other.split("-")[0]].append(other)

# Chapters about the study itself: those that write rows and the last one.
MEASURING = {"00_corpus": "ht-corpus-s0", "05_metric_audit": "audit-metrics-s0"}
LAST = "90_report"
CHAPTERS = [*MEASURING, *(name for paper in PAPERS.values() for name in paper.chapters), LAST]
EXECUTED = {name: f"{R}/notebooks/{name}.ipynb" for name in CHAPTERS}

CODE = {key: code_digest(f"{paper.module}.study", "lib.corpora.source") for key, paper in PAPERS.items()}
CODE["real"] = code_digest("lib.papers.common.real_voice", "lib.corpora.source")
TEMPLATES = sorted(str(path) for path in Path("lib/study/report/templates").glob("[!.]*.*"))

# exec makes a step the child of Snakemake itself, so that it notices when Snakemake is gone.
STEP = "exec {PYTHON} -m lib step {log}"
AS_ASKED = " --profile {NAME} --device {DEVICE} --threads {threads}"
NOTEBOOK = (
    "exec {PYTHON} -m lib chapter {log} {input.notebook} {output.notebook}"
    " profile={NAME} device={DEVICE} threads={threads}"
)


def chapter(name):
    """A notebook as an input whose date does not count; what it says does, through code_digest."""
    return ancient(f"notebooks/{name}.ipynb")


def chapter_code(name):
    return code_digest(f"notebooks/{name}.ipynb", "lib.corpora.embedded", "lib.corpora.source", prose=True)


def rows(runs):
    return [f"{R}/rows/{run}.parquet" for run in runs]


def read_by(name):
    """What a chapter reads: the rows of its paper's runs, of all papers where it lies across them."""
    paper = paper_of(name)
    if paper is None:
        return {LAST: [f"{R}/claims.json"]}[name]
    own = [run for key in (PAPERS if paper.across else [paper.key]) for run in RUNS[key] if OTHER not in run]
    return rows([*own, *(f"{key}-{OTHER}-s0" for key in REAL["chapters"].get(name, []))])


def pages(paper):
    """The pages of a paper's chapters that read no other's rows."""
    others = [name for name in paper.chapters if set(REAL["chapters"].get(name, [])) - {paper.key}]
    return [f"{R}/notebooks/{name}.html" for name in paper.chapters if name not in others]


def prepared_before(key):
    """What another paper prepares and this one starts from."""
    start = PROFILE[key].get("starts_from")
    return [f"{R}/prepared/{start.split('-')[0]}.json"] if start else []


wildcard_constraints:
    system=r"\w+",
    seed=r"\d+",
    paper="|".join([*PAPERS, "real"]),
    chapter="|".join(CHAPTERS),


rule all:
    input:
        f"{R}/index.html",
        f"{R}/methods.html",
        expand(f"{R}/{{paper}}.html", paper=TOLD),
        EXECUTED.values(),
        rows([*MEASURING.values(), *(run for runs in RUNS.values() for run in runs)]),


rule corpus:
    message: "corpus: build"
    input: "data/sentences.txt"
    output: f"{R}/corpus.json"
    log: f"{R}/logs/corpus.log"
    params:
        profile=settings(PROFILE, "corpus"),
        code=code_digest("lib.corpora.source", "lib.metrics"),
    threads: ALL_CORES
    priority: 30
    shell: STEP + " prepare corpus --profile {NAME} --threads {threads}"


rule prepare:
    message: "{wildcards.paper}: prepare what its systems share"
    input: f"{R}/corpus.json", lambda wildcards: prepared_before(wildcards.paper)
    output: f"{R}/prepared/{{paper}}.json"
    log: f"{R}/logs/{{paper}}/prepare.log"
    params:
        profile=lambda wildcards: paper_sections(PROFILE, wildcards.paper),
        device=DEVICE,
        found=lambda wildcards: since(PROFILE, Path(f"{R}/prepared/real.json")) if wildcards.paper == "real" else None,
        code=lambda wildcards: CODE[wildcards.paper],
    threads: HALF_OF_THEM
    resources: **LARGE
    shell: STEP + " prepare {wildcards.paper}" + AS_ASKED


use rule prepare as first_prepare with:
    wildcard_constraints: paper=FIRST,
    priority: 30


rule run:
    message: "{wildcards.paper} {wildcards.system}, seed {wildcards.seed}: train and score"
    input:
        f"{R}/corpus.json",
        f"{R}/prepared/{{paper}}.json",
        lambda wildcards: f"{R}/prepared/real.json" if wildcards.system == OTHER else [],
        lambda wildcards: rows(starts(PROFILE, wildcards.paper, wildcards.system)),
    output:
        f"{R}/rows/{{paper}}-{{system}}-s{{seed}}.parquet",
        f"{R}/manifests/{{paper}}-{{system}}-s{{seed}}.json",
    log: f"{R}/logs/{{paper}}/{{system}}-s{{seed}}.log"
    params:
        profile=lambda wildcards: paper_sections(PROFILE, wildcards.paper, wildcards.system),
        device=DEVICE,
        code=lambda wildcards: CODE[wildcards.paper],
    threads: ONE_JOB
    resources: **LARGE
    shell: STEP + " run {wildcards.paper} {wildcards.system} --seed {wildcards.seed}" + AS_ASKED


use rule run as first_run with:
    wildcard_constraints: paper=FIRST,
    priority: 10


use rule run as long_run with:
    wildcard_constraints:
        paper="|".join(sorted({run.split("-")[0] for run in LONG})) or "none",
        system="|".join(sorted({run.split("-")[1] for run in LONG})) or "none",
    priority: 1


for name, run_id in MEASURING.items():

    rule:
        name: f"chapter_{name}"
        message: f"chapter {name}"
        input: f"{R}/corpus.json", notebook=chapter(name)
        output: f"{R}/rows/{run_id}.parquet", f"{R}/manifests/{run_id}.json", notebook=EXECUTED[name]
        log: f"{R}/logs/{name}.log"
        params:
            profile=settings(PROFILE, "corpus", "features", "statistics"),
            device=DEVICE,
            code=chapter_code(name),
        threads: ONE_JOB
        resources: gpu=GPU
        shell: NOTEBOOK


rule chapter:
    wildcard_constraints: chapter="|".join(name for name in CHAPTERS if name not in MEASURING),
    message: "chapter {wildcards.chapter}"
    input: lambda wildcards: read_by(wildcards.chapter), notebook=lambda wildcards: chapter(wildcards.chapter)
    output: notebook=f"{R}/notebooks/{{chapter}}.ipynb"
    log: f"{R}/logs/{{chapter}}.log"
    params:
        profile=lambda wildcards: [paper_sections(PROFILE, each.key) for each in [paper_of(wildcards.chapter)] if each],
        statistics=settings(PROFILE, "statistics"),
        code=lambda wildcards: chapter_code(wildcards.chapter),
    threads: ONE_JOB
    resources: gpu=GPU
    shell: NOTEBOOK


use rule chapter as first_chapter with:
    wildcard_constraints: chapter="|".join(PAPERS[FIRST].chapters),
    priority: 10


rule page:
    message: "page: {wildcards.chapter}"
    input: f"{R}/notebooks/{{chapter}}.ipynb"
    output: f"{R}/notebooks/{{chapter}}.html"
    log: f"{R}/logs/page/{{chapter}}.log"
    shell: STEP + " page {input} {output}"


rule paper_report:
    message: "report: {wildcards.paper}, before the other papers are done"
    input:
        "notebooks/claims.yaml",
        TEMPLATES,
        lambda wildcards: rows(RUNS[wildcards.paper]),
        lambda wildcards: pages(PAPERS[wildcards.paper]),
    output: f"{R}/{{paper}}.html"
    log: f"{R}/logs/{{paper}}/report.log"
    params:
        code=code_digest("lib.study.report.index"),
    priority: 20
    shell: STEP + " report {wildcards.paper} --profile {NAME}"


rule claims:
    message: "claims: verdicts"
    input:
        "notebooks/claims.yaml",
        [path for name, path in EXECUTED.items() if name != LAST],
        rows([*MEASURING.values(), *(run for runs in RUNS.values() for run in runs)]),
    output: f"{R}/claims.json"
    log: f"{R}/logs/claims.log"
    params:
        profile=settings(PROFILE, "statistics", *(f"{key}.{part}" for key in PAPERS for part in ("headline", "seeds"))),
        code=code_digest("lib.study.claims"),
    shell: STEP + " claims --profile {NAME}"


rule methods_page:
    message: "page: the methods and their equations"
    input:
        "notebooks/claims.yaml",
        sorted(str(path) for path in Path("docs/methods").glob("[!.]*.md")),
        TEMPLATES,
        expand(f"{R}/notebooks/{{chapter}}.html", chapter=EXECUTED),
    output: f"{R}/methods.html"
    log: f"{R}/logs/methods.log"
    params:
        code=code_digest("lib.study.report.methods"),
    shell: STEP + " report methods --profile {NAME}"


rule report:
    message: "report: {R}/index.html"
    input:
        "notebooks/claims.yaml",
        TEMPLATES,
        f"{R}/claims.json",
        f"{R}/methods.html",
        expand(f"{R}/notebooks/{{chapter}}.html", chapter=EXECUTED),
    output: f"{R}/index.html"
    log: f"{R}/logs/report.log"
    params:
        code=code_digest("lib.study.report.index"),
    shell: STEP + " report --profile {NAME}"


ruleorder: first_prepare > prepare
ruleorder: first_run > long_run > run
ruleorder: first_chapter > chapter
ruleorder: chapter_00_corpus > chapter_05_metric_audit > first_run > long_run > run


onsuccess:
    if os.path.exists(f"{R}/index.html"):
        print(f"The report: {R}/index.html", file=sys.stderr)


onerror:
    print(f"A step failed: its error is above, its log in {R}/logs. The same command goes on.", file=sys.stderr)
