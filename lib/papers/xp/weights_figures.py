"""The figure of generated weights: both sides' hypernetworks on a map each, with silhouettes below."""

import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib.papers.ha.style import COHORTS
from lib.papers.xp.effects import of_paper
from lib.study.claims import select
from lib.study.drawing import Dot, PlotError, canvas, describe, estimate, intervals, legend, whiskers
from lib.study.palette import BLACK, BLUE, GREEN, GREY, RED

SIDES = {"weights_tts": "HyperTTS: adapters of the TTS", "weights_asr": "LoRA of the recogniser"}
TARGETS = ("speaker", "voice", "cohort", "severity")
ROLES = {"adaptation": "training speakers", "never_seen": "never-seen speakers"}
VARIANTS = {"weights": ("generated weights", BLUE, "o"), "embedding": ("the embedding put in", GREY, "s")}
TONES = {"stuttering": BLUE, "dysarthria": RED, "parkinsons": GREEN}
SEVERITIES = {"mild": ".", "moderate": "o", "severe": "D"}


def clusters(rows: pd.DataFrame, profile: dict) -> Figure:
    """Maps of what the hypernetworks of both sides generate, and silhouettes by speaker, cohort and severity."""
    mine = of_paper(rows, "XP")
    sides = [side for side in SIDES if not select(mine, {"system": side, "metric": "map_x"}).empty]
    if not sides:
        raise PlotError("no hypernetwork's weights have been generated: python -m lib run xp")
    figure, axes = canvas(len(sides), 6.0 * len(sides), 8.2, rows=2, height_ratios=[3, 2], squeeze=False)
    numbers, total = [], 0
    for (upper, lower), side in zip(axes.T, sides, strict=True):
        places = _places(select(mine, {"system": side}))
        (_speakers if side == "weights_tts" else _cohorts)(upper, places)
        upper.set(title=SIDES[side], xticks=[], yticks=[])
        _silhouettes(lower, select(mine, {"system": side, "metric": "silhouette"}), profile)
        size = select(mine, {"system": side, "metric": "generated_parameters"})["value"].mean()
        total += len(places)
        numbers.append(
            f"{SIDES[side].split(':')[0]} {size:,.0f} weights for each of {len(places)} utterances of "
            f"{places['speaker'].nunique()} speakers"
        )
    legend(axes[1, 0], {text: (t, shape) for text, t, shape in VARIANTS.values()}, fontsize=8.5, loc="best", ncols=1)
    missing = [SIDES[side].split(":")[0] for side in SIDES if side not in sides]
    caption = (
        f"What the hypernetworks generate: {'; '.join(numbers)} (n = {total} in all). Above: t-SNE maps of the "
        "weights, cosine distance; hollow: never-seen speakers. Below: silhouettes in the full space, centred, cosine "
        f"distance, within each role; {whiskers(profile)}. A speaker of the recogniser is a voice with one simulated "
        "disorder and severity. Its training speakers' sentences are those that it was trained on, HyperTTS's are not."
        + (f" {' and '.join(missing)} not generated yet." if missing else "")
    )
    return describe(figure, caption, "Maps and silhouettes of generated weights, TTS beside recogniser.", total)


def _places(rows: pd.DataFrame) -> pd.DataFrame:
    """One line per utterance with its place on the map."""
    table = rows[rows["metric"].isin(["map_x", "map_y"])]
    facts = table.drop_duplicates(["seed", "utterance"]).set_index("utterance")[
        ["speaker", "role", "cohort", "severity"]
    ]
    return facts.join(table.pivot_table(index="utterance", columns="metric", values="value"))


def _speakers(axis: Axes, places: pd.DataFrame) -> None:
    import seaborn as sns

    names = sorted(places["speaker"].unique())
    tones = sns.color_palette("colorblind", len(names)) if len(names) <= 10 else sns.husl_palette(len(names))
    for number, (name, tone) in enumerate(zip(names, tones, strict=True)):
        mine = places[places["speaker"] == name]
        fill = "none" if mine["role"].iloc[0] == "never_seen" else tone
        look = {"color": tone, "markerfacecolor": fill, "linestyle": "", "markersize": 5}
        axis.plot(mine["map_x"], mine["map_y"], marker="os^vD<>pPX"[number % 10], label=name, **look)
    axis.legend(fontsize=7, loc="best", frameon=True, framealpha=0.85, ncols=2, handletextpad=0.1)


def _cohorts(axis: Axes, places: pd.DataFrame) -> None:
    for (cohort, severity, role), mine in places.groupby(["cohort", "severity", "role"]):
        tone = TONES.get(cohort, BLACK)
        look = {"color": tone, "markerfacecolor": "none" if role == "never_seen" else tone, "linestyle": ""}
        axis.plot(mine["map_x"], mine["map_y"], marker=SEVERITIES.get(severity, "x"), markersize=5, alpha=0.8, **look)
    there = set(places["cohort"])
    named = {COHORTS[cohort]: tone for cohort, tone in TONES.items() if cohort in there}
    named |= {severity: ("0.3", shape) for severity, shape in SEVERITIES.items()}
    legend(axis, named, fontsize=8, loc="best", frameon=True, framealpha=0.85, ncols=1)


def _silhouettes(axis: Axes, rows: pd.DataFrame, profile: dict) -> None:
    groups = [(t, r) for t in TARGETS for r in ROLES if not select(rows, {"target": t, "role": r}).empty]
    lines = []
    for target, role in groups:
        mine = select(rows, {"target": target, "role": role})
        dots = ((select(mine, {"variant": variant}), tone, shape) for variant, (_, tone, shape) in VARIANTS.items())
        lines.append([Dot(estimate(table, profile), tone, {"fmt": shape}) for table, tone, shape in dots])
    names = [f"by {target}, {ROLES[role]}" for target, role in groups]
    intervals(axis, names, lines, "Silhouette", zero=True, step=0.3)
    axis.set_xlim(right=1.05)
