"""What the figures of the latent diffusion study share: names, colours, and the rows they are about."""

from functools import partial

import pandas as pd

from lib.study import drawing, palette
from lib.study.claims import select
from lib.study.drawing import Dot, estimate

SWEPT = ("palette", "i2sb", "palette_aligned", "i2sb_aligned", "palette_content_removed")
MOVING = (*SWEPT, "palette_trainable_decoder")

label, colour = (partial(each, "LD") for each in (palette.label, palette.colour))
dots = partial(drawing.dots, "LD")
sample = partial(drawing.sample, what="utterances")


def shown(rows: pd.DataFrame, system: str) -> pd.DataFrame:
    """The rows with a changed system's in the place of those of the system that it was made from."""
    listed = set(palette.listed("LD"))
    left_out = set(rows["system"].dropna()) - listed | {palette.origin("LD", system)}
    return rows[~rows["system"].isin(left_out - {system})]


def nominal(profile: dict) -> float:
    return profile["ld"]["evaluate"]["nominal"]


def at_nominal(rows: pd.DataFrame, profile: dict) -> pd.DataFrame:
    """The rows without guidance or at the nominal scale; of a changed system without these, those that it has."""
    at = rows["x"].isna() | (rows["x"] == nominal(profile))
    measured = set(select(rows[at], {"metric": "cer_added"})["system"].dropna())
    elsewhere = set(rows["system"].dropna()) - set(palette.listed("LD")) - measured
    return rows[at | rows["system"].isin(elsewhere)]


def legend(figure, systems, columns: int) -> None:
    drawing.legend(figure, {label(system): colour(system) for system in systems}, ncols=columns)


def dot(table: pd.DataFrame, profile: dict, tone: str, where: dict | None = None, **look) -> Dot:
    """The mean of the rows that are so, in a colour that stands for no system."""
    return Dot(estimate(select(table, where or {}), profile), tone, look)
