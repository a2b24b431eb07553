"""Figures look as they did when somebody last looked at them.

The references in ``tests/plots/figures`` are small (240 pixels wide) and without text, so that neither
fonts nor the way their edges are smoothed matters. To draw them anew, and then look at them:
``python tests/plots/test_figures.py``.
"""

import io
from pathlib import Path

import numpy as np
import pytest
from pictures import simulated
from PIL import Image

from forecaster.plots import evaluation, network, style

FOLDER = Path(__file__).parent / "figures"
DPI = 30
BLOCK = 3
"""Pixels on a side whose mean is compared."""
TOLERANCE = 3.0
"""Root mean square difference of colours from 0 to 255."""

EPOCHS = [
    {
        "seed": 0,
        "epoch": n + 1,
        "loss": 1.45 - 0.01 * n,
        "validation_loss": 1.43 + 0.002 * (n - 3) ** 2,
    }
    for n in range(10)
]
FIGURES = {
    "forecast": lambda frame: evaluation.forecast(frame, "^GSPC", "lstm"),
    "volatility": lambda frame: evaluation.volatility(frame, "^GSPC"),
    "calibration": lambda frame: evaluation.calibration(frame),
    "skill": lambda frame: evaluation.skill(frame, "lstm"),
    "training": lambda frame: network.training(EPOCHS),
}


def rendered(figure):
    """Return the figure as a small image, its text and legends left out of it and of its layout."""
    from matplotlib.text import Text

    for legend in list(figure.legends):
        legend.remove()
    figure.draw_without_rendering()
    for text in figure.findobj(Text):
        text.set_visible(False)
        text.set_in_layout(False)
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=DPI)
    return Image.open(file).convert("RGB")


def distance(image, other):
    """Return the root mean square difference of two images, or infinity for different sizes."""
    if image.size != other.size:
        return np.inf
    arrays = (np.asarray(it, float) for it in (image, other))
    return float(np.sqrt(np.mean((blocks(next(arrays)) - blocks(next(arrays))) ** 2)))


def blocks(pixels):
    """Return the means of square blocks of pixels, (rows, columns, 3); what is left over is cut."""
    rows, columns = (size // BLOCK for size in pixels.shape[:2])
    cut = pixels[: rows * BLOCK, : columns * BLOCK]
    return cut.reshape(rows, BLOCK, columns, BLOCK, 3).mean(axis=(1, 3))


@pytest.fixture(scope="module")
def frame():
    return simulated()


@pytest.mark.parametrize("name", FIGURES)
def test_a_figure_looks_like_its_reference(frame, name):
    reference = Image.open(FOLDER / f"{name}.png").convert("RGB")
    assert distance(rendered(FIGURES[name](frame)), reference) < TOLERANCE
    assert (FOLDER / f"{name}.png").stat().st_size < 20_000


def test_fonts_do_not_matter(frame):
    import matplotlib

    with matplotlib.rc_context({"font.family": "DejaVu Serif", "font.size": 13}):
        for name, draw in FIGURES.items():
            reference = Image.open(FOLDER / f"{name}.png").convert("RGB")
            assert distance(rendered(draw(frame)), reference) < TOLERANCE, name


def test_a_wrong_figure_does_not(frame, monkeypatch):
    """What a mistake would draw is further from the reference than what fonts could change."""
    quantiles = [name for name in frame if name[0] == "q"]
    wider = frame.assign(**{name: 1.5 * frame[name] for name in quantiles})
    doubled = frame.assign(volatility=frame["volatility"].where(frame["model"] != "gjr", 0.02))
    late = frame[frame["date"] > frame["date"].median()]
    for name, wrong in (
        ("forecast", wider),
        ("volatility", doubled),
        ("calibration", wider),
        ("skill", late),
        ("volatility", late),
    ):
        reference = Image.open(FOLDER / f"{name}.png").convert("RGB")
        assert distance(rendered(FIGURES[name](wrong)), reference) > TOLERANCE, name
    of_others = dict(zip(style._LOOKS, reversed(style._LOOKS.values()), strict=True))
    monkeypatch.setattr(style, "_LOOKS", of_others)
    reference = Image.open(FOLDER / "calibration.png").convert("RGB")
    assert distance(rendered(evaluation.calibration(frame)), reference) > TOLERANCE


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    for name, draw in FIGURES.items():
        rendered(draw(simulated())).save(FOLDER / f"{name}.png", optimize=True)
