import dataclasses
import logging

import numpy as np
import pandas as pd
import pytest
from threadpoolctl import threadpool_limits

from forecaster.backtesting import backtest
from forecaster.config import RecurrentConfig
from forecaster.data import prices
from forecaster.dataset.bars import FLOOR
from forecaster.dataset.panel import Panel
from forecaster.distributions import forecasts, recalibration, student_t
from forecaster.errors import HistoryError, UsageError
from forecaster.models import boosting as trees_module
from forecaster.models import random_walk as naive_module
from forecaster.models.protocol import SESSIONS_TO_FORECAST, ModelState
from forecaster.models.recurrent import head
from forecaster.models.recurrent import model as recurrent_module
from forecaster.models.recurrent import training as training_module
from forecaster.models.registry import REGISTRY, create
from forecaster.parallel import jobs
from forecaster.runs import bundle, forecasting

every_model = pytest.mark.parametrize("name", list(REGISTRY))
SHARED = {*recurrent_module.CELLS, "trees"}
"""Models that are one for all tickers, those they have not seen too."""

per_ticker = pytest.mark.parametrize("name", [name for name in REGISTRY if name not in SHARED])

AFTER = (0, 1, 64, 178)
"""Sessions after the last one fitted: the cutoffs at which promises are checked."""


@pytest.fixture(scope="session")
def cutoffs(world, until):
    later = np.unique(world["date"].to_numpy("datetime64[D]"))
    return later[later >= np.datetime64(until)][list(AFTER)]


@pytest.fixture(scope="session")
def tested(world, trained):
    """A function from a model's name to a backtest of its run."""
    found = {}

    def test(name):
        if name not in found:
            found[name] = backtest.run(world, [name], trained=trained(name)).forecasts
        return found[name]

    return test


def whole(histories):
    """The first block of sessions of each history, which the network reads from its start."""
    return [(h, np.arange(min(len(h.dates), recurrent_module.CONTEXT))) for h in histories]


def known(frame, cutoff):
    """What forecasts up to a cutoff say, without what came to pass."""
    frame = frame[frame["cutoff"] <= pd.Timestamp(cutoff)]
    return frame.drop(columns=["log_return", "date"]).reset_index(drop=True)


def assert_same(one, other):
    pd.testing.assert_frame_equal(one, other, check_exact=True)


def assert_same_state(one, other):
    assert one.settings == other.settings
    assert one.arrays.keys() == other.arrays.keys()
    for name, array in one.arrays.items():
        np.testing.assert_array_equal(array, other.arrays[name])


def refitted(name, frame, until, tiny):
    """A model fitted on a panel that reaches beyond ``until``, and may not be written to."""
    panel = Panel(tuple(Panel.of(frame).histories))
    for history in panel.histories:
        for value in (*vars(history.bars).values(), history.next_dates, history.features):
            if isinstance(value, np.ndarray):
                value.setflags(write=False)
    model = create(name, tiny)
    model.fit(panel, np.datetime64(until))
    model.forecast(panel, np.datetime64(until), panel.sessions[-1])
    return model


# The battery: what holds for every model.


@every_model
def test_fit_twice_and_with_the_future_there_gives_the_same_bits(name, world, tiny, until, trained):
    # The run was fitted on prices that end there. That nothing is written to is tested as well.
    before = world.copy()
    again = refitted(name, world, until, tiny)
    assert_same_state(again.state(), trained(name).model.state())
    assert_same(world, before)


@every_model
def test_fit_does_not_look_ahead(name, world, tiny, until, trained, rewritten):
    other = refitted(name, rewritten(world, until), until, tiny)
    assert_same_state(other.state(), trained(name).model.state())


@every_model
def test_fit_looks_at_the_last_session(name, world, tiny, until, trained, rewritten):
    before = world["date"][world["date"] < pd.Timestamp(until)].max()
    arrays = refitted(name, rewritten(world, before), until, tiny).state().arrays
    ours = trained(name).model.state().arrays
    assert any(not np.array_equal(arrays[key], ours[key]) for key in ours)


@every_model
def test_forecasts_do_not_look_ahead(name, world, trained, rewritten, cutoffs):
    model = trained(name).model
    first, last = cutoffs[0], cutoffs[-1]
    ours = model.forecast(Panel.of(world), first, last)
    for seed, cutoff in enumerate(cutoffs):
        for frame in (
            rewritten(world, cutoff, seed),
            world[world["date"] <= pd.Timestamp(cutoff)],
        ):
            theirs = model.forecast(Panel.of(frame), first, last)
            assert_same(known(theirs, cutoff), known(ours, cutoff))
            calibrated = (recalibration.recalibrate(it) for it in (theirs, ours))
            assert_same(*(known(it, cutoff) for it in calibrated))


@every_model
def test_forecasts_look_at_the_last_session(name, world, trained, rewritten, cutoffs):
    model = trained(name).model
    ours = model.forecast(Panel.of(world), cutoffs[1], cutoffs[-1])
    for cutoff in cutoffs[1:]:
        theirs = model.forecast(
            Panel.of(rewritten(world, cutoff - np.timedelta64(1, "D"))), cutoff, cutoff
        )
        mine = ours[ours["cutoff"] == pd.Timestamp(cutoff)]
        assert len(theirs) == len(mine) == 3
        assert (theirs["scale"].to_numpy() != mine["scale"].to_numpy()).all()


@every_model
def test_predict_says_what_the_backtest_says(name, world, trained, tested, cutoffs):
    table = tested(name)
    everyone = ["CCC", "AAA", "BBB"]
    for cutoff in cutoffs:
        rows = table[table["cutoff"] == pd.Timestamp(cutoff)].set_index("ticker")
        together = forecasting.predict(trained(name), world, tickers=everyone, as_of=cutoff.item())
        assert_same(together, rows.loc[everyone].reset_index())
        for ticker in everyone:
            alone = forecasting.predict(trained(name), world, tickers=[ticker], as_of=cutoff.item())
            assert_same(alone, rows.loc[[ticker]].reset_index())


@pytest.mark.parametrize("name", ["lstm", "gjr", "egarch"])
def test_a_calibrated_prediction_is_the_row_of_a_calibrated_backtest(name, world, trained, cutoffs):
    run = trained(name)
    rows = backtest.run(world, [name], trained=run, calibrate=True).forecasts
    found = forecasting.predict(
        run, world, tickers=["AAA"], as_of=cutoffs[-1].item(), calibrate=True
    )
    row = rows[(rows["ticker"] == "AAA") & (rows["cutoff"] == found["cutoff"][0])]
    assert_same(found, row.reset_index(drop=True))
    plain = forecasting.predict(run, world, tickers=["AAA"], as_of=cutoffs[-1].item())
    assert found["q0.05"][0] != plain["q0.05"][0]


@every_model
def test_predict_does_not_need_the_future_nor_the_backtest_the_others(
    name, world, trained, tested, cutoffs
):
    cutoff = pd.Timestamp(cutoffs[2])
    row = known(tested(name).query("ticker == 'BBB' and cutoff == @cutoff"), cutoff)
    today = forecasting.predict(trained(name), world[world["date"] <= cutoff], tickers=["BBB"])
    assert_same(known(today, cutoff), row)
    alone = backtest.run(world, [name], trained=trained(name), tickers=["BBB"]).forecasts
    assert_same(known(alone[alone["cutoff"] == cutoff], cutoff), row)


@every_model
def test_a_fold_is_a_run_trained_until_then(name, world, tiny, until, trained):
    # Fitted within the backtest, from the same prices, the model is that of the run.
    start = np.datetime64(until) + 1
    folds = backtest.run(world, [name], start=start.item(), refit="never", config=tiny)
    run = backtest.run(world, [name], trained=trained(name))
    assert_same(folds.forecasts, run.forecasts)


@every_model
def test_store_and_load(name, world, trained, tmp_path):
    folder = bundle.save(trained(name), tmp_path)
    assert {"run.json", "weights.safetensors"} <= {path.name for path in folder.iterdir()}
    loaded = bundle.load(tmp_path, trained(name).name)
    assert loaded.summary == trained(name).summary
    assert_same_state(loaded.model.state(), trained(name).model.state())
    everyone = ["AAA", "BBB", "CCC"]
    assert_same(
        forecasting.predict(loaded, world, tickers=everyone),
        forecasting.predict(trained(name), world, tickers=everyone),
    )


@every_model
def test_forecasts_are_sound(name, world, trained, until):
    panel = Panel.of(world)
    frame = trained(name).model.forecast(panel, np.datetime64(until), panel.sessions[-1])
    assert_same(frame, forecasts.check(frame))
    assert set(frame["model"]) == {name}
    assert not frame.duplicated(["ticker", "cutoff"]).any()
    quantiles = frame[forecasts.QUANTILES].to_numpy()
    assert np.isfinite(quantiles).all()
    assert (np.diff(quantiles, axis=1) > 0).all()
    count = (world["date"] >= pd.Timestamp(until)).sum()
    assert len(frame) == count
    # Within an order of magnitude of what there was.
    assert frame["volatility"].between(0.002, 0.1).all()


@every_model
def test_spans_without_a_session_have_no_forecast(name, world, trained):
    panel = Panel.of(world)
    for day in ("2040-01-01", "2017-12-31"):
        frame = trained(name).model.forecast(panel, np.datetime64(day), np.datetime64(day))
        assert_same(frame, forecasts.empty())


@every_model
def test_too_little_history_to_be_fitted(name, world, tiny):
    short = world[world["date"] <= world["date"].iloc[39]]
    with pytest.raises(HistoryError, match=rf"^{name} needs \d+ sessions .* history has 40; ") as e:
        create(name, tiny).fit(Panel.of(short), np.datetime64("2030-01-01"))
    assert "\n" not in str(e.value)


@every_model
def test_too_little_history_to_be_forecast(name, world, newcomer, trained):
    # A newcomer whose sixtieth session is the last.
    days = world["date"].drop_duplicates().sort_values()
    late = newcomer[newcomer["date"] >= days.iloc[-SESSIONS_TO_FORECAST]]
    panel = Panel.of(pd.concat([world, late]), tickers=["NEW"], universe=["AAA", "BBB", "CCC"])
    (history,) = panel.histories
    frame = trained(name).model.forecast(panel, history.dates[0], history.dates[-1])
    assert len(frame) == (1 if name in SHARED else 0)


@every_model
def test_a_ticker_that_was_not_fitted(name, world, newcomer, trained, until):
    both = pd.concat([world, newcomer], ignore_index=True)
    run = trained(name)
    if name in SHARED:
        frame = forecasting.predict(run, both, tickers=["NEW", "AAA"])
        assert frame["ticker"].tolist() == ["NEW", "AAA"]
        assert_same(
            frame[1:].reset_index(drop=True), forecasting.predict(run, world, tickers=["AAA"])
        )
    else:
        with pytest.raises(HistoryError, match="train a run with it"):
            forecasting.predict(run, both, tickers=["NEW", "AAA"])


@every_model
def test_progress_is_told(name, world, trained, tiny, until):
    told = []
    total = {**dict.fromkeys(recurrent_module.CELLS, 2), "trees": 23}.get(name, 3)
    # Epochs, levels or tickers.
    create(name, tiny).fit(Panel.of(world), np.datetime64(until), lambda *news: told.append(news))
    assert [news[:2] for news in told if news[0]] == [(n, total) for n in range(1, total + 1)]
    assert all(text.startswith(name) for _, _, text in told)


@every_model
def test_a_state_of_another_model_is_refused(name, trained):
    for other in REGISTRY:
        if {name, other} not in PAIRS and name != other:
            with pytest.raises((KeyError, ValueError)):
                create(name).restore(trained(other).model.state())


PAIRS = ({"naive", "ewma"}, {"naive", "drift"}, {"drift", "ewma"}, {"garch", "gjr"})
"""Models that differ by their name alone."""


def test_no_such_model():
    with pytest.raises(UsageError, match="no model 'prophet'; there are lstm, gru"):
        create("prophet")


# Random walks.


def history_of(returns, ticker="AAA"):
    """A history of given log returns, the first of which is NaN; without features."""
    frame = prices.check(
        pd.DataFrame(
            {
                "ticker": ticker,
                "date": pd.bdate_range("2000-01-03", periods=len(returns)),
                "close": 20 * np.exp(np.cumsum(np.nan_to_num(returns))),
            }
        )
    )
    return Panel.of(frame).histories[0]


def student_returns(count, df, scale, seed=0):
    rng = np.random.default_rng(seed)
    return np.append(np.nan, scale * rng.standard_t(df, count))


def test_the_naive_width_is_that_of_the_last_250_returns():
    history = history_of(student_returns(600, 4, 0.01))
    r = history.log_returns
    expected = [np.sqrt(np.mean(r[max(1, t - 249) : t + 1] ** 2)) for t in range(1, 601)]
    np.testing.assert_allclose(naive_module.rolling(history)[1:], expected, rtol=1e-9)


@pytest.mark.parametrize("width", list(naive_module.VOLATILITIES.values()))
def test_widths_of_prices_that_do_not_move(width):
    still = history_of(np.append(np.nan, np.zeros(300)))
    np.testing.assert_array_equal(width(still)[1:], FLOOR)


def test_the_naive_spread_is_that_of_the_returns():
    history = history_of(student_returns(4000, 5, 0.01))
    model = create("naive")
    model.fit(Panel((history,)), history.dates[-1])
    frame = model.forecast(Panel((history,)), history.dates[300], history.dates[-1])
    assert frame["location"].eq(0).all()
    np.testing.assert_allclose(frame["df"], 5, rtol=0.15)
    np.testing.assert_allclose(frame["scale"].mean(), 0.01, rtol=0.03)


def test_ewma_follows_the_volatility():
    calm, wild = student_returns(500, 8, 0.005), student_returns(500, 8, 0.02, seed=1)[1:]
    history = history_of(np.append(calm, wild))
    model = create("ewma")
    model.fit(Panel((history,)), history.dates[-1])
    frame = model.forecast(Panel((history,)), history.dates[100], history.dates[-1])
    scale, df = frame["scale"].to_numpy(), frame["df"].iloc[0]
    np.testing.assert_allclose(scale / history.volatility[100:], scale[0] / history.volatility[100])
    r = history.log_returns
    expected = np.std(r[600:]) / np.std(r[100:500])
    assert np.isclose(scale[500:].mean() / scale[:400].mean(), expected, rtol=0.05)
    assert 5 < df < 25


# GARCH.


@pytest.mark.parametrize("name", ["garch", "gjr"])
def test_garch_equals_arch(name, world, until, trained):
    from arch import arch_model

    model = trained(name).model
    (history,) = Panel.of(world, tickers=["BBB"]).histories
    known_sessions = history.count_until(np.datetime64(until))
    with threadpool_limits(1):  # as where it was fitted: the optimiser's path is another on two
        fit = arch_model(
            100 * history.log_returns[1:known_sessions],
            o=int(name == "gjr"),
            dist="t",
            rescale=False,
        ).fit(disp="off")
    # Start our recursion at the first variance of arch's, and run it over the training span.
    state = model.state()
    row = state.arrays["parameters"][state.settings["tickers"].index("BBB")].copy()
    row[-2:] = fit.conditional_volatility[0] ** 2, history.dates[1].astype(int)
    early = create(name)
    early.restore(ModelState({"parameters": row[None]}, {"tickers": ["BBB"]}))
    frame = early.forecast(Panel((history,)), history.dates[1], history.dates[known_sessions - 1])
    expected = np.append(
        fit.conditional_volatility[1:], np.sqrt(fit.forecast(horizon=1).variance.iloc[0])
    )
    np.testing.assert_allclose(100 * frame["volatility"], expected, rtol=1e-6)
    np.testing.assert_allclose(100 * frame["location"], fit.params["mu"], rtol=1e-6)
    np.testing.assert_allclose(frame["df"], fit.params["nu"], rtol=1e-6)
    # As fitted, it goes on where that ends.
    last = model.forecast(Panel((history,)), *[np.datetime64(until)] * 2)
    np.testing.assert_allclose(100 * last["volatility"], expected[-1], rtol=1e-6)


def test_gjr_by_hand():
    # In percent: shocks of -1 and 2 against mu = 0.
    row = [0.0, 0.1, 0.05, 0.2, 0.8, 6.0, 1.5, 0.0]
    model = create("gjr")
    history = history_of(np.array([np.nan, -0.01, 0.02]))
    row[-1] = float(history.dates[1].astype(int))
    model.restore(ModelState({"parameters": np.array([row])}, {"tickers": ["AAA"]}))
    frame = model.forecast(Panel((history,)), history.dates[0], history.dates[2])
    first = 0.1 + (0.05 + 0.2) * 1 + 0.8 * 1.5
    second = 0.1 + 0.05 * 4 + 0.8 * first
    np.testing.assert_allclose(1e4 * frame["volatility"] ** 2, [first, second])


@pytest.mark.parametrize("name", ["garch", "gjr"])
def test_a_history_that_garch_cannot_fit_still_has_forecasts(name, caplog):
    still = history_of(np.append(np.nan, np.zeros(400)))
    model = create(name)
    with caplog.at_level(logging.WARNING):
        model.fit(Panel((still,)), still.dates[300])
    assert f"{name} did not converge on AAA up to {still.dates[300]}" in caplog.text
    frame = model.forecast(Panel((still,)), still.dates[300], still.dates[-1])
    assert len(frame) == 101
    assert model.fallbacks == ("AAA",)
    again = create(name)
    again.restore(model.state())
    assert_same(again.forecast(Panel((still,)), still.dates[300], still.dates[-1]), frame)


def test_riskmetrics_in_place_of_garch_is_ewma():
    history = history_of(student_returns(400, 5, 0.01))
    ewma = create("ewma")
    ewma.fit(Panel((history,)), history.dates[300])
    stand_in = create("garch")
    stand_in.fitted = {"AAA": stand_in.stand_in(history.until(history.dates[300]))}
    span = history.dates[300], history.dates[-1]
    one, other = (
        ewma.forecast(Panel((history,)), *span),
        stand_in.forecast(Panel((history,)), *span),
    )
    np.testing.assert_allclose(one[forecasts.QUANTILES], other[forecasts.QUANTILES], rtol=1e-3)


@pytest.mark.parametrize("last", [1e300, -1e300])
def test_garch_refuses_dates_beyond_all_calendars(last):
    row = np.array([[0.0, 0.1, 0.05, 0.2, 0.8, 6.0, 1.5, last]])
    with pytest.raises(ValueError, match="last session fitted"):
        create("garch").restore(ModelState({"parameters": row}, {"tickers": ["AAA"]}))


@pytest.mark.parametrize("name", ["gjr", "egarch"])
def test_fits_in_other_processes_give_the_same_bits(name, world, until, trained, monkeypatch):
    monkeypatch.setattr(jobs, "LEAST", 2)
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    again = create(name)
    again.fit(Panel.of(world), np.datetime64(until))
    assert_same_state(again.state(), trained(name).model.state())


# EGARCH.


def test_egarch_equals_arch(world, until, trained):
    from arch import arch_model

    (history,) = Panel.of(world, tickers=["BBB"]).histories
    known_sessions = history.count_until(np.datetime64(until))
    returns = 100 * history.log_returns[1:known_sessions]
    with threadpool_limits(1):
        fit = arch_model(
            returns, vol="EGARCH", p=1, o=1, q=1, dist="skewt", rescale=False
        ).fit(disp="off")  # fmt: skip
    model = trained("egarch").model
    state = model.state()
    row = state.arrays["skewed_parameters"][state.settings["tickers"].index("BBB")].copy()
    row[-2:] = 2 * np.log(fit.conditional_volatility[0]), history.dates[1].astype(int)
    early = create("egarch")
    early.restore(ModelState({"skewed_parameters": row[None]}, {"tickers": ["BBB"]}))
    frame = early.forecast(Panel((history,)), history.dates[1], history.dates[known_sessions - 1])
    expected = np.append(
        fit.conditional_volatility[1:], np.sqrt(fit.forecast(horizon=1).variance.iloc[0])
    )
    # A skewed t is known by its quantiles alone, from which the volatility is found again.
    np.testing.assert_allclose(100 * frame["volatility"], expected, rtol=0.03)
    width = (frame["q0.95"] - frame["q0.05"]).to_numpy()
    np.testing.assert_allclose(width / expected, width[0] / expected[0], rtol=1e-6)
    low = fit.model.distribution.ppf(np.array([0.05]), fit.params[["eta", "lambda"]].to_numpy())
    np.testing.assert_allclose(100 * frame["q0.05"], fit.params["mu"] + expected * low, rtol=1e-6)


def test_egarch_by_hand():
    # In percent: shocks of -1 and 2 against mu = 0, from a variance of one.
    history = history_of(np.array([np.nan, -0.01, 0.02]))
    row = [0.0, 0.1, 0.2, -0.1, 0.9, 8.0, 0.0, 0.0, float(history.dates[1].astype(int))]
    model = create("egarch")
    model.restore(ModelState({"skewed_parameters": np.array([row])}, {"tickers": ["AAA"]}))
    frame = model.forecast(Panel((history,)), history.dates[0], history.dates[2])
    typical = (2 / np.pi) ** 0.5
    first = 0.1 + 0.2 * (1 - typical) + 0.1
    z = 2 / np.exp(first / 2)
    second = 0.1 + 0.2 * (z - typical) - 0.1 * z + 0.9 * first
    # Without a skew it is a Student-t of unit variance.
    standard = student_t.quantile(0.0, np.sqrt(6 / 8), 8.0, 0.05)
    np.testing.assert_allclose(
        100 * frame["q0.05"], np.exp(np.array([first, second]) / 2) * standard, rtol=1e-6
    )


def test_a_history_that_egarch_cannot_fit_is_counted_and_has_forecasts(caplog):
    still = history_of(np.append(np.nan, np.zeros(400)))
    model = create("egarch")
    with caplog.at_level(logging.WARNING):
        model.fit(Panel((still,)), still.dates[300])
    assert model.fallbacks == ("AAA",)
    frame = model.forecast(Panel((still,)), still.dates[300], still.dates[-1])
    assert len(frame) == 101
    again = create("egarch")
    again.restore(model.state())
    assert again.fallbacks == ("AAA",)


@pytest.mark.parametrize("name", ["garch", "gjr", "egarch", "har"])
def test_a_history_that_hardly_ever_moved_has_a_forecast_within_reason(name):
    # arch may call the fit of egarch converged, with a mean of a million percent.
    moves = 0.01 * np.random.default_rng(1).standard_normal(242)
    history = history_of(np.concatenate([[np.nan], np.zeros(999), moves]))
    model = create(name)
    model.fit(Panel((history,)), history.dates[1041])
    frame = model.forecast(Panel((history,)), history.dates[1041], history.dates[-1])
    assert frame["q0.5"].abs().max() < 0.05
    assert frame["volatility"].max() < 1.05  # 100% a day is the most


@pytest.mark.parametrize(
    ("at", "value"),
    [(5, 2.0), (6, 1.0), (8, 1e300), (2, np.nan)],
    ids=["df", "skew", "last", "nan"],
)
def test_egarch_refuses_parameters_that_no_fit_gives(at, value):
    row = np.array([[0.0, 0.1, 0.2, -0.1, 0.9, 8.0, 0.0, 0.0, 0.0]])
    row[0, at] = value
    with pytest.raises(ValueError, match=r"must be|finite"):
        create("egarch").restore(ModelState({"skewed_parameters": row}, {"tickers": ["AAA"]}))


# Drift and HAR.


def test_drift_is_the_mean_so_far():
    history = history_of(np.append(np.nan, np.linspace(-0.01, 0.03, 300)))
    model = create("drift")
    model.fit(Panel((history,)), history.dates[200])
    frame = model.forecast(Panel((history,)), history.dates[200], history.dates[-1])
    expected = [history.log_returns[1 : t + 1].mean() for t in range(200, 301)]
    np.testing.assert_allclose(frame["q0.5"], expected, rtol=1e-9)


def test_har_is_least_squares_of_log_volatilities(world, until, trained):
    from sklearn.linear_model import LinearRegression

    (history,) = Panel.of(world, tickers=["BBB"]).histories
    known_sessions = history.count_until(np.datetime64(until))
    variance = history.variance[:known_sessions]
    logs = np.array(
        [
            [np.log(variance[t + 1 - n : t + 1].mean()) / 2 for n in (1, 5, 22)]
            for t in range(22, known_sessions)
        ]
    )
    floor = np.log(0.1 * history.volatility[22:known_sessions])
    logs = np.maximum(logs, floor[:, None])
    fit = LinearRegression().fit(logs[:-1], logs[1:, 0])
    state = trained("har").model.state()
    row = state.arrays["har"][state.settings["tickers"].index("BBB")]
    np.testing.assert_allclose(row[:4], [fit.intercept_, *fit.coef_], rtol=1e-6)
    frame = trained("har").model.forecast(Panel((history,)), *[np.datetime64(until)] * 2)
    expected = row[4] * np.exp(fit.predict(logs[-1:]))
    np.testing.assert_allclose(frame["scale"], expected, rtol=1e-6)


@pytest.mark.parametrize("name", ["har", "drift"])
def test_prices_that_do_not_move_have_forecasts(name):
    still = history_of(np.append(np.nan, np.zeros(400)))
    model = create(name)
    model.fit(Panel((still,)), still.dates[300])
    assert len(model.forecast(Panel((still,)), still.dates[300], still.dates[-1])) == 101


def test_volatilities_that_har_cannot_be_fitted_to_are_counted(caplog):
    still = history_of(np.append(np.nan, np.zeros(400)))
    model, again = create("har"), create("har")
    with caplog.at_level(logging.WARNING):
        model.fit(Panel((still,)), still.dates[300])
    assert f"har did not converge on AAA up to {still.dates[300]}" in caplog.text
    assert model.fallbacks == ("AAA",)
    again.restore(model.state())
    assert again.fallbacks == ("AAA",)


# Trees.


def test_trees_walk_as_scikit_learn_does(world, until, trained):
    from sklearn.ensemble import HistGradientBoostingRegressor

    panel = Panel.of(world)
    parts = [trees_module._known(h, h.count_until(np.datetime64(until))) for h in panel.histories]
    x, y = (np.concatenate(part) for part in zip(*parts, strict=True))
    model = HistGradientBoostingRegressor(
        loss="quantile", quantile=0.05, **trees_module.SETTINGS
    ).fit(x, y)
    arrays = trained("trees").model.state().arrays
    at = forecasts.LEVELS.index(0.05)
    features = np.concatenate([history.features for history in panel.histories])
    assert np.isnan(features).any()
    np.testing.assert_allclose(
        trees_module._evaluated(arrays, features)[:, at], model.predict(features), rtol=1e-9
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


# The recurrent network.


def test_the_exported_network_is_the_one_that_forecasts(world, trained, tmp_path):
    model = trained("lstm").model
    histories = list(Panel.of(world).histories)
    model.export(tmp_path)
    keras = training_module.keras_on_tensorflow()
    exported = keras.models.load_model(tmp_path / "lstm-0.keras", safe_mode=True, compile=False)
    for history, found in zip(histories, model.outputs(whole(histories)), strict=True):
        read = model.inputs(history, slice(len(found)))
        expected = exported.predict(read[None], verbose=0)[0]
        np.testing.assert_allclose(found, expected, atol=1e-5, rtol=0)


def test_the_loss_is_the_density_of_the_forecast():
    rng = np.random.default_rng(0)
    output = rng.normal(size=(3, 50, 3)).astype(np.float32)
    target = rng.standard_t(4, (3, 50)).astype(np.float32)
    target[:, :20] = np.nan
    training_module.keras_on_tensorflow()
    found = float(head.negative_log_likelihood(target, output, np.float32(90)))
    location, scale, df = head.distribution(output.reshape(-1, 3), np.ones(150))
    expected = -np.nanmean(student_t.log_density(target.ravel(), location, scale, df))
    np.testing.assert_allclose(found, expected, rtol=1e-5)


def test_zero_outputs_are_ewma_with_a_student_t():
    found = head.distribution(np.zeros((2, 3)), np.array([0.01, 0.02]))
    np.testing.assert_allclose(found[0], 0)
    np.testing.assert_allclose(found[1], np.exp(-0.15) * np.array([0.01, 0.02]))
    np.testing.assert_allclose(found[2], 2.1 + np.log1p(np.exp(4)))


def test_wild_outputs_are_still_a_student_t():
    for output in (np.full((1, 3), 80.0), np.full((1, 3), -80.0)):
        location, scale, df = head.distribution(output, np.array([0.01]))
        assert np.isfinite(location).all()
        assert (scale > 0).all()
        assert (df > 2).all()
        assert (df <= 200).all()


def test_the_scaler_learns_from_the_training_span(world, trained, until):
    model = trained("lstm").model
    table = np.concatenate(
        [h.features[: h.count_until(np.datetime64(until))] for h in Panel.of(world).histories]
    )
    np.testing.assert_allclose(model.scaler.mean, np.nanmean(table, axis=0), atol=1e-5)
    np.testing.assert_allclose(model.scaler.scale, np.nanstd(table, axis=0), rtol=1e-4)
    scaled = model.scaler.transform(table)
    assert scaled.dtype == np.float32
    assert (scaled[np.isnan(table)] == 0).all()
    assert np.abs(scaled).max() <= model.config.clip


def test_a_scaler_of_many_tables_is_scikit_learn_s_of_one():
    from sklearn.preprocessing import StandardScaler

    rng = np.random.default_rng(0)
    table = (3 + rng.normal(size=(900, 4))).astype(np.float32)
    table[rng.random(table.shape) < 0.1] = np.nan
    table[:300, 1] = np.nan  # the first ticker does not have it, nor the last that one
    table[700:, 0] = np.nan
    table[:, 2] = 0.1
    ours = recurrent_module.Scaler.fit(np.split(table, [300, 301, 700]), clip=5)
    theirs = StandardScaler().fit(table)
    np.testing.assert_allclose(ours.mean, theirs.mean_, rtol=1e-6)
    np.testing.assert_allclose(ours.scale, theirs.scale_, rtol=1e-6)
    assert ours.scale[2] == 1
    unknown = recurrent_module.Scaler.fit([np.full((5, 1), np.nan)] * 2, clip=5)
    assert np.isnan(unknown.mean).all()


def test_features_that_no_ticker_has_are_left_out(world, tiny):
    closes = world[world["ticker"] == "CCC"]
    model = create("lstm", dataclasses.replace(tiny, epochs=1))
    model.fit(Panel.of(closes), np.datetime64("2018-01-01"))
    assert "return" in model.features
    assert not {"range_today", "volume_surprise", "market_dispersion"} & set(model.features)
    assert model.inputs(Panel.of(closes).histories[0], slice(None)).shape[1] == len(model.features)


def test_several_seeds_are_averaged(world, trained):
    model = trained("lstm").model
    histories = list(Panel.of(world).histories)
    other = dataclasses.replace(model.networks[0], head_bias=np.float32([1, 2, 3]))
    both = recurrent_module.Recurrent("lstm", dataclasses.replace(model.config, seeds=2))
    both.features, both.scaler = model.features, model.scaler
    both.training = [*model.training, *({**row, "seed": 1} for row in model.training)]
    both.networks = [model.networks[0], other]
    shift = (np.float32([1, 2, 3]) - model.networks[0].head_bias) / 2
    for one, two in zip(
        model.outputs(whole(histories)), both.outputs(whole(histories)), strict=True
    ):
        np.testing.assert_allclose(two - one, np.tile(shift, (len(one), 1)), atol=1e-6)
    again = create("lstm")
    again.restore(both.state())
    np.testing.assert_array_equal(
        again.outputs(whole(histories))[0], both.outputs(whole(histories))[0]
    )


def test_what_is_held_out_is_not_trained_on(world, tiny, until):
    histories = list(Panel.of(world).histories)
    limit, cut = np.datetime64(until), np.datetime64(until) - 90
    lengths = [h.count_until(limit) for h in histories]
    held = recurrent_module.Windowed.of(
        histories, lambda history, sessions: np.zeros((sessions.stop, 2)), limit, cut, tiny
    )
    date = np.concatenate([h.next_dates[:n] for h, n in zip(histories, lengths, strict=True)])
    trains, validates = np.isfinite(held.train_targets), np.isfinite(held.validation_targets)
    assert date[trains].max() < cut <= date[validates].min()
    assert date[validates].max() <= limit
    # All but the first session of each history (no volatility) and the last (no return).
    assert trains.sum() + validates.sum() == sum(lengths) - 2 * len(lengths)
    for x, y in held.batches(np.random.default_rng(0)):
        assert x.shape == (tiny.batch, tiny.window, 2)
        assert y.shape == (tiny.batch, tiny.window)
        assert np.isnan(y[:, : tiny.warmup]).all()
        assert np.isfinite(y).any(axis=1).all()


def test_nothing_to_hold_out(world, newcomer, tiny):
    # One ticker ended long ago, and the other is too young to be trained on.
    old = world[(world["ticker"] == "AAA") & (world["date"] < "2017-01-01")]
    days = newcomer["date"]
    young = newcomer[(days >= "2017-06-01") & (days < "2017-07-20")]
    config = dataclasses.replace(tiny, validation=30)
    with pytest.raises(HistoryError, match="holds out the sessions from 2017-06"):
        create("lstm", config).fit(Panel.of(pd.concat([old, young])), np.datetime64("2017-08-01"))


def test_training_is_recorded_and_stops_when_it_no_longer_helps(world, tiny, until):
    config = dataclasses.replace(tiny, epochs=6, patience=1, learning_rate=0.5)
    model = create("lstm", config)
    model.fit(Panel.of(world), np.datetime64(until))
    losses = [row["validation_loss"] for row in model.training]
    assert [row["epoch"] for row in model.training] == list(range(1, len(losses) + 1))
    assert len(losses) == 6 or losses[-1] >= min(losses)
    assert model.validation_loss == min(losses)
    assert np.isfinite([row["loss"] for row in model.training]).all()


def test_the_default_is_the_configuration_of_the_dataclass():
    assert create("lstm").config == RecurrentConfig()


def test_a_session_is_read_from_the_same_start_whatever_else_is_asked(trained, world):
    block = recurrent_module.CONTEXT
    model, (history, *_) = trained("lstm").model, Panel.of(world).histories
    assert len(history.dates) > block + 60
    every = np.arange(60, len(history.dates))
    (together,) = model.outputs([(history, every)])
    for session in (60, block - 1, block, block + 1, len(history.dates) - 1):
        (alone,) = model.outputs([(history, np.array([session]))])
        np.testing.assert_array_equal(alone[0], together[session - 60])


def test_spans_begin_a_block_or_two_before_what_is_asked(world):
    block = recurrent_module.CONTEXT
    history = Panel.of(world).histories[0]
    spans = recurrent_module.spans_of(history, np.array([5, block - 1, block, 3 * block + 7]))
    found = [(span.begin, span.end, span.index.tolist()) for span in spans]
    assert found == [
        (0, block, [5, block - 1]),
        (0, block + 1, [block]),
        (2 * block, 3 * block + 8, [3 * block + 7]),
    ]
