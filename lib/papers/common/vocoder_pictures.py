"""The vocoder's learning curve."""

import pandas as pd
from matplotlib.figure import Figure

from lib.study.drawing import canvas, describe

PANELS = {
    "mel": "Log-mel distance (L1)",
    "critics": "Discriminators (least squares)",
    "adversarial": "Generator against them",
    "features": "Features (L1)",
}


def learning_curve(history: pd.DataFrame) -> Figure:
    """Losses by step, one panel each; `history` as `lib.papers.common.vocoder.fit` returns it."""
    figure, axes = canvas(len(PANELS), 2.7 * len(PANELS), 2.7, squeeze=False)
    for axis, (name, title) in zip(axes[0], PANELS.items(), strict=True):
        axis.plot(history["step"], history[name], color="0.8", lw=1)
        smooth = history[name].rolling(max(1, len(history) // 15), min_periods=1, center=True).mean()
        axis.plot(history["step"], smooth, color="#0072B2", lw=1.8)
        axis.set(title=title, xlabel="Step", ylim=(0, None))
    caption = "Learning curve of the vocoder: losses of the batches (grey) and their running mean."
    return describe(figure, caption, "Losses of the vocoder by training step.", int(history["step"].max()))
