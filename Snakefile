"""The order of the study: which step makes which result from which.

    snakemake --cores 2 --config profile=demo device=cpu      (or ./run_all.sh, which also makes the environment)

A step runs again when its notebook, the code that it reaches in lib/, its part of the profile or a file that it
reads has changed, and trained systems are trained again on another kind of device. The number of cores and the
executor do not count: they are no parameters of a result.
"""

import os
import sys
from pathlib import Path
from shlex import quote

sys.path.insert(0, workflow.basedir)

from lib.workflow.code import code_digest
from lib.papers.common.real_source import since
from lib.study import expected_runs, load_profile, results_root
from lib.workflow.warm import Warm
from lib.workflow.steps import long_runs, paper_sections, settings, trained_runs

PROFILE = load_profile(config.get("profile", "demo"))
DEVICE = config.get("device", "cpu")
if DEVICE not in ("cpu", "cuda"):
    raise ValueError(f"device={DEVICE}: choose cpu or cuda.")

NAME = PROFILE["name"]
R = os.path.relpath(results_root(PROFILE))
WARM = Warm(DEVICE)
PYTHON = quote(sys.executable)
ALL_CORES = workflow.cores or 8
ONE_JOB = 1 if DEVICE == "cpu" else min(4, ALL_CORES)
GPU = int(DEVICE == "cuda")

# What a step that trains or scores asks of a cluster's scheduler, in MB and minutes; one machine limits neither.
HOURS = {"smoke": 1, "demo": 2, "full": 12}.get(NAME, 7 * 24)
LARGE = {"gpu": GPU, "mem_mb": 32000 if GPU else 16000, "runtime": 60 * HOURS}

TRAINED = trained_runs(PROFILE)
CLUSTERED = [f"ht-{s}-s{seed}" for s in PROFILE["ht"]["evaluate"]["clustered_systems"] for seed in PROFILE["ht"]["seeds"]]
ROWS = sorted(expected_runs(PROFILE, "HT"))
CHAPTERS = (
    "00_corpus",
    "01_hypertts_train",
    "02_hypertts_evaluate",
    "03_hypertts_ablations",
    "04_real_speech",
    "05_metric_audit",
    "90_report",
)

# The other papers: the module that prepares and runs their systems, and the chapters that read the rows. XP is what
# lies across the papers: its runs start from theirs, and its chapter reads the rows of all.
MODULES = {"ha": "lib.papers.ha.study", "sp": "lib.papers.sp.study", "ld": "lib.papers.ld.study", "xp": "lib.papers.xp.study"}
CHAPTERS_OF = {
    "ha": (
        "10_asr_adapt",
        "11_subspace_angles",
        "12_parameter_budget",
        "13_hypernet_zero_shot",
        "14_conditioning_probes",
    ),
    "sp": ("20_pruning_train", "21_pruning_sweep", "22_attention_maps", "23_phase_and_mismatch"),
    "ld": (
        "30_latent_diagnostics",
        "31_latent_diffusion_train",
        "32_guidance_sweep",
        "33_decoder_and_alignment",
        "34_clap_and_prosody",
    ),
    "xp": ("80_across_papers",),
}
PAPERS = [paper for paper in MODULES if paper in PROFILE]
LONG = long_runs(PROFILE)

# The real voice: runs of two papers on recordings that may not be there (their rows then say so).
REAL = {"ht": "ht-other_corpus-s0", "ha": "ha-other_corpus-s0"}
REAL_CHAPTER = {"13_hypernet_zero_shot": [REAL["ha"]]}
TRANSFERRED = [run for run in TRAINED if run.split("-")[1] in PROFILE["real"]["transferred"]]
RECOGNISERS = [run for run in sorted(expected_runs(PROFILE, "HA")) if run.split("-")[1] in PROFILE["real"]["recognisers"]]
PAPER_OF = {chapter: paper for paper in PAPERS for chapter in CHAPTERS_OF[paper]}

# The study's own vocoder, trained where the profile asks for its chapter; `snakemake vocoder_chapter` asks, too.
VOCODER, VOCODER_CHAPTER = f"{R}/checkpoints/vocoder-s0.safetensors", "40_vocoder_train"
ITS_CHAPTER = [VOCODER_CHAPTER] if PROFILE["vocoder_training"]["chapter"] else []
OWN_VOCODER = [VOCODER] if (PROFILE["vocoder"]["hifigan"] or "").endswith(f"/{NAME}/{VOCODER[len(R) + 1 :]}") else []
EXECUTED = {name: f"{R}/notebooks/{name}.ipynb" for name in (*CHAPTERS, *ITS_CHAPTER, *PAPER_OF)}

# exec makes a step the child of Snakemake itself, so that it notices when Snakemake is gone.
STEP = "exec {PYTHON} -m lib step {log}"
MODULE = STEP + " -m"
NOTEBOOK = (
    "exec {PYTHON} -m lib chapter {log} {input.notebook} {output.notebook}"
    " profile={NAME} device={DEVICE} threads={threads}"
)


def chapter(name):
    """A notebook as an input whose date does not count; what it says does, through code_digest."""
    return ancient(f"notebooks/{name}.ipynb")


# The digest of what a paper's steps reach, taken once for all of them.
CODE = {paper: code_digest(MODULES[paper], "lib.corpora.source") for paper in PAPERS}
BEHIND_THE_DOOR = ("sp", "xp")  # the others still have a command of their own


def command(verb, paper, system=""):
    if paper in BEHIND_THE_DOOR:
        return f"{verb} {paper} {system}"
    return f"-m {MODULES[paper]} {verb}" + (f" --system {system}" if system else "")


def runs_of(paper):
    return sorted(expected_runs(PROFILE, paper))


def read_by(chapter):
    """The runs whose rows a chapter reads: its paper's, and those of all papers where it lies across them."""
    if PAPER_OF[chapter] != "xp":
        return runs_of(PAPER_OF[chapter])
    return [*ROWS, *(run for paper in PAPERS for run in runs_of(paper))]


def of_others(paper, system=None):
    """Files of another paper's run that a step starts from: a checkpoint to prepare, the run that a system names."""
    section = PROFILE[paper]
    if system is None:
        return [f"{R}/checkpoints/{section['starts_from']}.safetensors"] if "starts_from" in section else []
    named = section["systems"].get(system, {}).get("of")
    return [f"{R}/rows/{named}.parquet"] if named else []


wildcard_constraints:
    system=r"\w+",
    seed=r"\d+",
    paper="|".join(MODULES),


rule all:
    input:
        f"{R}/index.html",
        EXECUTED.values(),
        f"{R}/ht.html",
        f"{R}/methods.html",
        expand(f"{R}/rows/{{run}}.parquet", run=["ht-corpus-s0", "audit-metrics-s0", *ROWS]),
        expand(f"{R}/checkpoints/{{run}}.safetensors", run=["ht-backbone-s0", *TRAINED]),


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


rule corpus_notebook:
    message: "corpus: describe and check"
    input: f"{R}/corpus.json", notebook=chapter("00_corpus")
    output:
        f"{R}/rows/ht-corpus-s0.parquet",
        f"{R}/manifests/ht-corpus-s0.json",
        notebook=EXECUTED["00_corpus"],
    log: f"{R}/logs/00_corpus.log"
    params:
        profile=settings(PROFILE, "corpus", "features"),
        code=code_digest("notebooks/00_corpus.ipynb", "lib.corpora.embedded", prose=True),
    threads: ONE_JOB
    resources: gpu=GPU
    priority: 10
    shell: NOTEBOOK


rule metric_audit:
    message: "metrics: audit on known distortions"
    input: f"{R}/corpus.json", notebook=chapter("05_metric_audit")
    output:
        f"{R}/rows/audit-metrics-s0.parquet",
        f"{R}/manifests/audit-metrics-s0.json",
        notebook=EXECUTED["05_metric_audit"],
    log: f"{R}/logs/05_metric_audit.log"
    params:
        profile=settings(PROFILE, "corpus", "features", "statistics"),
        device=DEVICE,
        code=code_digest("notebooks/05_metric_audit.ipynb", "lib.corpora.embedded", prose=True),
    threads: ONE_JOB
    resources: gpu=GPU
    shell: NOTEBOOK


rule backbone:
    message: "backbone: pre-train"
    input: f"{R}/corpus.json"
    output:
        f"{R}/checkpoints/ht-backbone-s0.safetensors",
        f"{R}/checkpoints/ht-backbone-s0.json",
    log: f"{R}/logs/train/ht-backbone-s0.log"
    params:
        profile=settings(PROFILE, "features", "ht.backbone", "ht.pretrain"),
        device=DEVICE,
        code=code_digest("lib.papers.ht.systems", "lib.corpora.source"),
    threads: ALL_CORES
    resources: **LARGE
    priority: 30
    shell: STEP + " train ht backbone --profile {NAME} --device {DEVICE} --threads {threads}"


rule train:
    message: "{wildcards.system}, seed {wildcards.seed}: train"
    input:
        f"{R}/corpus.json",
        f"{R}/checkpoints/ht-backbone-s0.safetensors",
    output:
        f"{R}/checkpoints/ht-{{system}}-s{{seed}}.safetensors",
        f"{R}/checkpoints/ht-{{system}}-s{{seed}}.json",
    log: f"{R}/logs/train/ht-{{system}}-s{{seed}}.log"
    params:
        profile=lambda wildcards: settings(PROFILE, "ht.adapt", f"ht.systems.{wildcards.system}"),
        device=DEVICE,
        code=code_digest("lib.papers.ht.systems", "lib.corpora.source"),
    threads: ONE_JOB
    resources: **LARGE
    priority: 10
    shell:
        STEP + " train ht {wildcards.system} --profile {NAME} --seed {wildcards.seed}"
        " --device {DEVICE} --threads {threads}"


rule train_notebook:
    message: "HyperTTS: training"
    input: f"{R}/rows/ht-hypertts_d-s0.parquet", f"{R}/manifests/ht-hypertts_d-s0.json", notebook=chapter("01_hypertts_train")
    output: notebook=EXECUTED["01_hypertts_train"]
    log: f"{R}/logs/01_hypertts_train.log"
    params:
        profile=settings(PROFILE, "corpus", "features", "ht"),
        code=code_digest("notebooks/01_hypertts_train.ipynb", "lib.corpora.embedded", prose=True),
    threads: ONE_JOB
    resources: gpu=GPU
    priority: 10
    shell: NOTEBOOK + " system=hypertts_d seed=0"


rule score:
    message: "{wildcards.system}, seed {wildcards.seed}: synthesise and score"
    input:
        f"{R}/corpus.json",
        f"{R}/checkpoints/ht-backbone-s0.safetensors",
        branch(
            lambda wildcards: f"ht-{wildcards.system}-s{wildcards.seed}" in TRAINED,
            then=f"{R}/checkpoints/ht-{{system}}-s{{seed}}.safetensors",
        ),
        OWN_VOCODER,
    output:
        f"{R}/rows/ht-{{system}}-s{{seed}}.parquet",
        f"{R}/manifests/ht-{{system}}-s{{seed}}.json",
    log: f"{R}/logs/score/ht-{{system}}-s{{seed}}.log"
    params:
        profile=lambda wildcards: paper_sections(PROFILE, "ht", wildcards.system),
        device=DEVICE,
        code=code_digest("lib.papers.ht.study", "lib.corpora.source"),
    threads: ONE_JOB
    resources: **LARGE
    priority: 10
    shell:
        STEP + " run ht {wildcards.system} --profile {NAME} --seed {wildcards.seed}"
        " --device {DEVICE} --threads {threads}"


rule vocoder:
    message: "vocoder: train"
    input: f"{R}/corpus.json"
    output: VOCODER, f"{R}/checkpoints/vocoder-s0.json"
    log: f"{R}/logs/train/vocoder-s0.log"
    params:
        profile=settings(PROFILE, "features", "vocoder_training"),
        device=DEVICE,
        code=code_digest("lib.papers.common.vocoder", "lib.corpora.embedded"),
    threads: ALL_CORES
    resources: **LARGE
    shell: STEP + " prepare vocoder --profile {NAME} --device {DEVICE} --threads {threads}"


rule vocoder_chapter:
    message: "vocoder: learning curve and examples"
    input: VOCODER, notebook=chapter(VOCODER_CHAPTER)
    output: notebook=f"{R}/notebooks/{VOCODER_CHAPTER}.ipynb"
    log: f"{R}/logs/{VOCODER_CHAPTER}.log"
    params:
        code=code_digest(f"notebooks/{VOCODER_CHAPTER}.ipynb", "lib.corpora.embedded", prose=True),
    threads: ONE_JOB
    resources: gpu=GPU
    shell: NOTEBOOK


rule generated_parameters:
    message: "HyperTTS: what the hypernetworks generate"
    input: f"{R}/corpus.json", [f"{R}/checkpoints/{run}.safetensors" for run in CLUSTERED]
    output:
        f"{R}/rows/ht-generated_parameters-s0.parquet",
        f"{R}/manifests/ht-generated_parameters-s0.json",
    log: f"{R}/logs/score/ht-generated_parameters-s0.log"
    params:
        profile=paper_sections(PROFILE, "ht"),
        device=DEVICE,
        code=code_digest("lib.papers.ht.study", "lib.corpora.embedded"),
    threads: ONE_JOB
    resources: **LARGE
    priority: 10
    shell:
        STEP + " run ht generated_parameters --profile {NAME} --device {DEVICE} --threads {threads}"


ruleorder: corpus_notebook > backbone > train > generated_parameters > score


rule evaluate:
    message: "HyperTTS: results"
    input:
        f"{R}/corpus.json",
        expand(f"{R}/rows/{{run}}.parquet", run=ROWS),
        expand(f"{R}/manifests/{{run}}.json", run=ROWS),
        notebook=chapter("02_hypertts_evaluate"),
    output: notebook=EXECUTED["02_hypertts_evaluate"]
    log: f"{R}/logs/02_hypertts_evaluate.log"
    params:
        profile=settings(PROFILE, "ht", "statistics"),
        code=code_digest("notebooks/02_hypertts_evaluate.ipynb", "lib.corpora.embedded", prose=True),
    threads: ONE_JOB
    resources: gpu=GPU
    priority: 10
    shell: NOTEBOOK


use rule evaluate as ablations with:
    message: "HyperTTS: ablations"
    input:
        f"{R}/corpus.json",
        expand(f"{R}/rows/{{run}}.parquet", run=ROWS),
        expand(f"{R}/manifests/{{run}}.json", run=ROWS),
        notebook=chapter("03_hypertts_ablations"),
    output: notebook=EXECUTED["03_hypertts_ablations"]
    log: f"{R}/logs/03_hypertts_ablations.log"
    params:
        profile=settings(PROFILE, "ht", "statistics"),
        code=code_digest("notebooks/03_hypertts_ablations.ipynb", "lib.corpora.embedded", prose=True),


rule first_report:
    message: "report: HyperTTS, before the other papers are done"
    input:
        "notebooks/claims.yaml",
        sorted(str(path) for path in Path("lib/study/report/templates").glob("[!.]*.*")),
        expand(f"{R}/rows/{{run}}.parquet", run=ROWS),
        expand(f"{R}/notebooks/{{chapter}}.html", chapter=CHAPTERS[:4]),
    output: f"{R}/ht.html"
    log: f"{R}/logs/first_report.log"
    params:
        code=code_digest("lib.study.report.index"),
    priority: 20
    shell: STEP + " report ht --profile {NAME}"


rule paper_prepare:
    message: "{wildcards.paper}: prepare what its systems share"
    input: f"{R}/corpus.json", OWN_VOCODER, lambda wildcards: of_others(wildcards.paper)
    output: f"{R}/prepared/{{paper}}.json"
    log: f"{R}/logs/{{paper}}/prepare.log"
    params:
        profile=lambda wildcards: paper_sections(PROFILE, wildcards.paper),
        device=DEVICE,
        command=lambda wildcards: command("prepare", wildcards.paper),
        code=lambda wildcards: CODE[wildcards.paper],
    threads: ALL_CORES
    resources: **LARGE
    shell: STEP + " {params.command} --profile {NAME} --device {DEVICE} --threads {threads}"


rule paper_run:
    message: "{wildcards.paper} {wildcards.system}, seed {wildcards.seed}: train and score"
    input:
        f"{R}/corpus.json",
        f"{R}/prepared/{{paper}}.json",
        lambda wildcards: of_others(wildcards.paper, wildcards.system),
    output:
        f"{R}/rows/{{paper}}-{{system}}-s{{seed}}.parquet",
        f"{R}/manifests/{{paper}}-{{system}}-s{{seed}}.json",
    log: f"{R}/logs/{{paper}}/{{system}}-s{{seed}}.log"
    params:
        profile=lambda wildcards: paper_sections(PROFILE, wildcards.paper, wildcards.system),
        device=DEVICE,
        command=lambda wildcards: command("run", wildcards.paper, wildcards.system),
        code=lambda wildcards: CODE[wildcards.paper],
    threads: ONE_JOB
    resources: **LARGE
    shell:
        STEP + " {params.command} --profile {NAME} --seed {wildcards.seed} --device {DEVICE} --threads {threads}"


use rule paper_run as paper_long_run with:
    wildcard_constraints:
        paper="|".join(sorted({run.split("-")[0] for run in LONG})) or "none",
        system="|".join(sorted({run.split("-")[1] for run in LONG})) or "none",
    priority: 1


rule paper_chapter:
    message: "chapter {wildcards.chapter}"
    input:
        lambda wildcards: expand(
            f"{R}/rows/{{run}}.parquet",
            run=[*read_by(wildcards.chapter), *REAL_CHAPTER.get(wildcards.chapter, [])],
        ),
        notebook=lambda wildcards: chapter(wildcards.chapter),
    output: notebook=f"{R}/notebooks/{{chapter}}.ipynb"
    log: f"{R}/logs/{{chapter}}.log"
    wildcard_constraints: chapter="|".join(PAPER_OF) or "none"
    params:
        profile=lambda wildcards: paper_sections(PROFILE, PAPER_OF[wildcards.chapter]),
        statistics=settings(PROFILE, "statistics"),
        code=lambda wildcards: code_digest(
            f"notebooks/{wildcards.chapter}.ipynb", "lib.corpora.source", prose=True
        ),
    threads: ONE_JOB
    resources: gpu=GPU
    shell: NOTEBOOK


rule real_voice:
    message: "real voice: fetch, prepare, align"
    input: f"{R}/corpus.json"
    output: f"{R}/prepared/real.json"
    log: f"{R}/logs/real/prepare.log"
    params:
        profile=settings(PROFILE, "corpus", "features", "real"),
        device=DEVICE,
        found=since(PROFILE, Path(f"{R}/prepared/real.json")),
        code=code_digest("lib.papers.common.real_voice", "lib.corpora.source"),
    threads: ALL_CORES
    resources: **LARGE
    shell: STEP + " prepare real --profile {NAME} --device {DEVICE} --threads {threads}"


rule real_speech:
    message: "real voice: {wildcards.paper}"
    input:
        f"{R}/prepared/real.json",
        lambda wildcards: (
            [f"{R}/checkpoints/{run}.safetensors" for run in ["ht-backbone-s0", *TRANSFERRED]]
            if wildcards.paper == "ht"
            else [f"{R}/rows/{run}.parquet" for run in RECOGNISERS]
        ),
    output:
        f"{R}/rows/{{paper}}-other_corpus-s0.parquet",
        f"{R}/manifests/{{paper}}-other_corpus-s0.json",
    log: f"{R}/logs/real/{{paper}}.log"
    wildcard_constraints: paper="ht|ha"
    params:
        profile=settings(PROFILE, "ht.adapt", "vocoder", "ht.seeds", "ht.headline", "real"),
        device=DEVICE,
        code=lambda wildcards: code_digest(f"lib.papers.{wildcards.paper}.real", "lib.corpora.source"),
    threads: ONE_JOB
    resources: **LARGE
    shell:
        STEP + " run {wildcards.paper} other_corpus --profile {NAME} --device {DEVICE} --threads {threads}"


ruleorder: real_speech > score
ruleorder: real_speech > paper_run
ruleorder: paper_long_run > paper_run


rule real_chapter:
    message: "chapter 04_real_speech"
    input:
        f"{R}/prepared/real.json",
        expand(f"{R}/rows/{{run}}.parquet", run=REAL.values()),
        notebook=chapter("04_real_speech"),
    output: notebook=EXECUTED["04_real_speech"]
    log: f"{R}/logs/04_real_speech.log"
    params:
        profile=settings(PROFILE, "statistics", "real"),
        code=code_digest("notebooks/04_real_speech.ipynb", "lib.corpora.embedded", prose=True),
    threads: ONE_JOB
    resources: gpu=GPU
    shell: NOTEBOOK


rule claims:
    message: "claims: verdicts"
    input:
        "notebooks/claims.yaml",
        [path for name, path in EXECUTED.items() if name != "90_report"],
        expand(f"{R}/rows/{{run}}.parquet", run=[*ROWS, *REAL.values(), *(r for p in PAPERS for r in runs_of(p))]),
    output: f"{R}/claims.json"
    log: f"{R}/logs/claims.log"
    params:
        profile=settings(PROFILE, "statistics", "ht.headline", "ht.seeds"),
        code=code_digest("lib.study.claims"),
    shell: STEP + " claims --profile {NAME}"


rule report_notebook:
    message: "report: all papers beside each other"
    input: f"{R}/claims.json", notebook=chapter("90_report")
    output: notebook=EXECUTED["90_report"]
    log: f"{R}/logs/90_report.log"
    params:
        profile=settings(PROFILE, "statistics"),
        code=code_digest("notebooks/90_report.ipynb", "lib.corpora.embedded", prose=True),
    shell: NOTEBOOK


rule page:
    message: "page: {wildcards.chapter}"
    input: lambda wildcards: EXECUTED[wildcards.chapter]
    output: f"{R}/notebooks/{{chapter}}.html"
    log: f"{R}/logs/page/{{chapter}}.log"
    wildcard_constraints: chapter="|".join(EXECUTED)
    shell:
        STEP + " page {input} {output}"


rule methods_page:
    message: "page: the methods and their equations"
    input:
        "notebooks/claims.yaml",
        sorted(str(path) for path in Path("docs/methods").glob("[!.]*.md")),
        sorted(str(path) for path in Path("lib/study/report/templates").glob("[!.]*.*")),
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
        sorted(str(path) for path in Path("lib/study/report/templates").glob("[!.]*.*")),
        f"{R}/claims.json",
        f"{R}/methods.html",
        expand(f"{R}/notebooks/{{chapter}}.html", chapter=EXECUTED),
    output: f"{R}/index.html"
    log: f"{R}/logs/report.log"
    params:
        code=code_digest("lib.study.report.index"),
    shell: STEP + " report --profile {NAME}"


onstart:
    WARM.start()


onsuccess:
    WARM.stop()
    if os.path.exists(f"{R}/index.html"):
        print(f"The report: {R}/index.html", file=sys.stderr)


onerror:
    WARM.stop()
    print(f"A step failed: its error is above, its log in {R}/logs. The same command goes on.", file=sys.stderr)
