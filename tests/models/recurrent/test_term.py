"""The longer steps: what is learnt from hidden states is what was put there."""

import numpy as np
import pytest

from forecaster.models.recurrent import head
from forecaster.models.recurrent.term import WIDEST, Examples, Term


def examples(sessions=20_000, width=1.0, seed=0):
    """Returns of Student-t with a scale that one of two units tells, wider where they are held out."""
    rng = np.random.default_rng(seed)
    hidden = rng.uniform(-1, 1, (sessions, 1, 2)).astype(np.float32)
    held_out = np.arange(sessions) >= sessions // 2
    scale = np.exp(0.5 * hidden[:, 0, 0]) * np.where(held_out, width, 1.0)
    target = 0.1 + scale * rng.standard_t(6, sessions)
    return Examples(hidden, target[:, None], held_out)


def test_location_scale_and_tails_are_recovered():
    term = Term.fit(examples(), [2], "student")
    at = np.array([[[-1.0, 0.3]], [[1.0, -0.8]]], np.float32)
    mean, scale, df, _ = head.distribution(term.output(at, 0), np.ones(2))
    assert mean == pytest.approx([0.1, 0.1], abs=0.03)
    assert (
        0.6 < np.log(scale[1] / scale[0]) < 1.0
    )  # the ridge takes a third of what varies so little
    assert np.log(scale).mean() == pytest.approx(0, abs=0.05)
    assert df == pytest.approx([6, 6], abs=1.5)


@pytest.mark.parametrize(("width", "expected"), [(0.9, 1.0), (1.1, 1.1), (2.0, WIDEST)])
def test_what_is_held_out_widens_and_never_narrows(width, expected):
    wide, same = (Term.fit(examples(width=it), [2], "student") for it in (width, 1.0))
    factor = np.exp(wide.bias[0, 1] - same.bias[0, 1])
    assert factor == pytest.approx(expected, abs=0.03)


def test_a_normal_stays_a_normal():
    term = Term.fit(examples(), [5], "normal")
    df = head.distribution(term.output(np.zeros((1, 1, 2), np.float32), 0), np.ones(1)).df
    assert df == pytest.approx(200)


def test_nothing_to_learn_from_is_ewma():
    none = Examples(np.ones((5, 3, 2), np.float32), np.full((5, 1), np.nan), np.zeros(5, bool))
    term = Term.fit(none, [21], "skewed")
    assert term.kernel.shape == (1, 3, 2)
    np.testing.assert_allclose(term.output(none.hidden, 0), 0, atol=1e-4)
