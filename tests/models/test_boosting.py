import numpy as np
import pytest

from forecaster.dataset.features import EVENTS
from forecaster.dataset.panel import Panel
from forecaster.distributions import quantile_grid
from forecaster.models import boosting
from forecaster.models.protocol import ModelState
from forecaster.models.registry import create


@pytest.mark.parametrize(("step", "of_step"), [(1, ""), (5, ".5")])
def test_trees_walk_as_scikit_learn_does(step, of_step, world, until, trained):
    from sklearn.ensemble import HistGradientBoostingRegressor

    panel = Panel.of(world)
    x, y = boosting._examples(panel, np.datetime64(until), step)
    own = slice(boosting.READ - len(EVENTS))  # no ticker has announcements
    x = x[:, own]
    model = HistGradientBoostingRegressor(loss="quantile", quantile=0.05, **boosting.SETTINGS).fit(
        x, y
    )
    stored = trained("trees").model.state().arrays
    arrays = {name: stored[f"{name}{of_step}"] for name in (*boosting.NODES, "roots", "start")}
    at = quantile_grid.LEVELS.index(0.05)
    features = np.concatenate([history.features[:, own] for history in panel.histories])
    assert np.isnan(features).any()
    np.testing.assert_allclose(
        boosting._evaluated(arrays, features)[:, at], model.predict(features), rtol=1e-9
    )


@pytest.mark.parametrize(
    ("name", "value"),
    [("left", -1), ("right", 10**6), ("feature", 99), ("roots", 10**6), ("value", np.nan)],
)
def test_trees_that_lead_nowhere_are_refused(name, value, trained):
    state = trained("trees").model.state()
    arrays = {key: array.copy() for key, array in state.arrays.items()}
    arrays[name].flat[0] = value
    with pytest.raises(ValueError, match="expected"):
        create("trees").restore(ModelState(arrays, state.settings))
