import re
from importlib.resources import files

import pandas as pd
import pytest

from forecaster.config import REFERENCES
from forecaster.models.registry import REGISTRY
from forecaster.plots import style
from forecaster.report import sessions

STYLE = (files("forecaster.report") / "page.css").read_text(encoding="utf-8")
PAPER = re.findall(r"--paper: (#\w+)", STYLE)[1]
"""The page in the dark."""


def looks(*models):
    return style.looks(pd.DataFrame({"model": models}))


def test_a_model_looks_the_same_whatever_is_beside_it():
    together = looks("lstm", *REFERENCES)
    for name in ("lstm", *REFERENCES):
        assert looks(name, "gru")[name] == looks("theirs", name)[name] == together[name]
    assert looks("theirs") == {"theirs": looks("gjr", "theirs")["theirs"]}


def test_all_models_and_six_more_can_be_told_apart():
    names = [*REGISTRY, *(f"theirs {i}" for i in range(6))]
    result = looks(*names)
    assert list(result) == names
    assert len({tuple(it.values()) for it in result.values()}) == len(names)
    assert looks(*reversed(names)) == result


@pytest.mark.parametrize("color", style.PALETTE)
def test_bands_show_in_the_dark(color):
    """Each is three times as bright as the paper, and so as the line of paper between it and the next."""
    bands = [
        dark
        for name, (_, dark) in sessions.colors(style.Look(color=color, linestyle="-")).items()
        if name.startswith("band")
    ]
    assert len(bands) == 3
    assert all(style.contrast(band, PAPER) >= 3 for band in bands)
    assert [style.luminance(band) for band in bands] == pytest.approx([0.13, 0.2, 0.29], abs=0.01)


def test_contrast_is_that_of_the_guidelines():
    assert style.contrast("#000000", "#FFFFFF") == pytest.approx(21)
    assert style.contrast("#767676", "#FFFFFF") == pytest.approx(4.54, abs=0.005)
