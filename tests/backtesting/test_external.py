import logging
from datetime import date
from functools import cached_property

import numpy as np
import pandas as pd
import pytest

from forecaster.backtesting import backtest, external, forecast_files
from forecaster.backtesting.spec import BacktestSpec
from forecaster.backtesting.walk_forward import forecast_history
from forecaster.distributions import forecasts, quantile_grid
from forecaster.errors import ForecastError, HistoryError, UnknownTickerError, UsageError
from forecaster.evaluation import metrics

MODELS = ["naive", "gjr"]
START, END = date(2018, 6, 1), date(2018, 9, 28)


@pytest.fixture(scope="module")
def ours(world):
    """What our own models forecast over the days that the files are of."""
    spec = BacktestSpec(("har", *MODELS), start=START, end=END)
    result = forecast_history(world, spec).forecasts
    return result[result["log_return"].notna()].reset_index(drop=True)


@pytest.fixture(scope="module")
def har(ours):
    return ours[ours["model"] == "har"].drop(columns="log_return").reset_index(drop=True)


class Deferred:
    """What is scored, evaluated once somebody asks for more than the forecasts."""

    def __init__(self, made, parts, **others):
        self.forecasts = parts.whole()
        self._evaluate = lambda: backtest.evaluated(made, parts, **others)

    @cached_property
    def _whole(self):
        return self._evaluate()

    def __getattr__(self, name):
        return getattr(self._whole, name)


@pytest.fixture
def score(world, tmp_path, monkeypatch):
    """A function from a table to what the referee says of it, by way of a CSV file."""
    monkeypatch.setattr(external, "evaluated", Deferred)

    def scored(table, models=("naive",), **options):
        path = tmp_path / "mine.csv"
        table.to_csv(path, index=False)
        return external.score(forecast_files.read(path), world, models=models, **options)

    return scored


def told(result, model):
    rows = result.forecasts[result.forecasts["model"] == model]
    return rows.sort_values(["ticker", "date"]).reset_index(drop=True)


def crps(result, model):
    scores = metrics.scores(result.forecasts)
    return scores.loc[(scores["ticker"] == "(all)") & (scores["model"] == model), "crps"].item()


def nixtla(har):
    """Prices, as a library that forecasts prices would give them."""

    def price(column):
        return har["last_close"] * np.exp(har[column])

    return pd.DataFrame(
        {
            "unique_id": har["ticker"], "ds": har["date"], "cutoff": har["cutoff"], "y": 1.0,
            "AutoX": price("q0.5"), "AutoX-lo-80": price("q0.1"), "AutoX-hi-80": price("q0.9"),
            "AutoX-lo-95.0": price("q0.025"), "AutoX-hi-95.0": price("q0.975"),
        }
    )  # fmt: skip


def test_a_whole_frame_is_scored_as_a_backtest_scores_it(score, har, ours):
    result = score(har.assign(model="mine"), models=MODELS)
    expected = ours[ours["model"] == "har"].sort_values(["ticker", "date"])
    np.testing.assert_allclose(
        told(result, "mine")[forecasts.QUANTILES], expected[forecasts.QUANTILES], rtol=1e-12
    )
    np.testing.assert_array_equal(told(result, "mine")["log_return"], expected["log_return"])
    assert set(result.tables["scores"]["model"]) == {"mine", *MODELS}
    assert "mine" in result.verdict.text
    assert result.provenance.file.name == "mine.csv"


def test_what_happened_is_never_taken_from_the_file(score, har):
    honest, liar = score(har), score(har.assign(log_return=har["q0.5"], y=1.0))
    assert crps(honest, "har") == crps(liar, "har")


def test_quantiles_of_the_price_say_what_those_of_the_return_do(score, har):
    names = ["q0.1", "q0.5", "q0.9"]
    part = har[["ticker", "cutoff", "date", *names]]
    dear = part.assign(**{name: har["last_close"] * np.exp(part[name]) for name in names})
    one, other = score(part), score(dear, values="prices")
    np.testing.assert_allclose(
        told(one, "mine")[forecasts.QUANTILES], told(other, "mine")[forecasts.QUANTILES], atol=1e-12
    )


def test_with_some_quantiles_all_are_cut_alike(score, har):
    """The forecasts of a baseline, in a file, are worth what that baseline is worth."""
    result = score(
        har[["ticker", "cutoff", "date", "q0.1", "q0.5", "q0.9"]], models=[*MODELS, "har"]
    )
    assert crps(result, "mine") == pytest.approx(crps(result, "har"), rel=1e-9)
    assert result.forecasts["df"].isna().all()  # no log score of what has no density


def quantiles_of(rows, levels):
    return rows[KEYS].assign(**{f"q{level:g}": rows[f"q{level:g}"] for level in levels})


KEYS = ["ticker", "cutoff", "date"]
LAYOUTS = {
    "frame": lambda rows: rows.drop(columns=["model", "log_return"]),
    "quantiles": lambda rows: quantiles_of(rows, quantile_grid.LEVELS),
    "three quantiles": lambda rows: quantiles_of(rows, (0.1, 0.5, 0.9)),
    "ends": lambda rows: quantiles_of(rows, (0.025, 0.975)),
    "quantiles and moments": lambda rows: quantiles_of(rows, (0.1, 0.5, 0.9)).assign(
        mean=rows["mean"], volatility=rows["volatility"]
    ),
    "moments": lambda rows: rows[[*KEYS, "mean", "volatility"]],
    "volatility": lambda rows: rows[[*KEYS, "volatility"]],
    "point": lambda rows: rows[KEYS].assign(point=rows["q0.5"]),
    "mean": lambda rows: rows[[*KEYS, "mean"]],
    "nixtla": lambda rows: (
        rows[KEYS]
        .assign(**{"M-lo-80": rows["q0.1"], "M": rows["q0.5"], "M-hi-80": rows["q0.9"]})
        .rename(columns={"ticker": "unique_id", "date": "ds"})
    ),
}


@pytest.fixture(scope="module")
def every_model(world):
    """A function from a model to what it forecasts over the days that the files are of."""
    names = ("naive", "drift", "ewma", "garch", "gjr", "egarch", "har")
    spec = BacktestSpec(names, tickers=("AAA", "BBB"), start=START, end=END)
    table = forecast_history(world, spec).forecasts
    return {name: rows[rows["log_return"].notna()] for name, rows in table.groupby("model")}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_no_model_beats_itself_in_any_layout(layout, every_model, tmp_path):
    """What a layout lacks is taken from all in the same way: no loss differs."""
    ours = forecasts.concat(every_model.values())
    for name, rows in every_model.items():
        if layout == "frame" and rows["df"].isna().any():
            continue  # known by its quantiles alone
        path = tmp_path / "mine.csv"
        LAYOUTS[layout](rows).to_csv(path, index=False)
        file = forecast_files.read(path)
        placed = file.rows.merge(rows[[*KEYS, "last_close"]], on=KEYS)
        theirs = external.completed(external.beside_naive(placed, ours), file)
        own = external.as_the_file_gives(ours, file)
        own = own[own["model"] == name]
        losses = [
            metrics.losses(it.assign(model=name))
            .sort_values(["ticker", "date"])
            .reset_index(drop=True)
            for it in (theirs, own)
        ]
        assert len(losses[0]) == len(rows)
        pd.testing.assert_frame_equal(*losses, check_exact=True)


@pytest.mark.parametrize("layout", ["moments", "three quantiles", "ends"])
def test_gjr_ties_with_itself(layout, score, ours):
    rows = ours[ours["model"] == "gjr"]
    table = score(LAYOUTS[layout](rows), models=MODELS).tables["significance"]
    against = table[(table["model"] == "mine") & (table["against"] == "gjr")]
    assert len(against) > 1
    assert (against["difference"] == 0).all()
    assert (against["p_value"] == 1).all()


def test_nixtla_is_read_as_it_is(score, har):
    result = score(nixtla(har))
    for level in ("q0.025", "q0.1", "q0.5", "q0.9", "q0.975"):
        expected = har.sort_values(["ticker", "date"])[level]
        np.testing.assert_allclose(told(result, "AutoX")[level], expected, atol=1e-12)


def test_several_models_of_nixtla_are_compared_on_the_levels_that_all_have(score, har, caplog):
    table = nixtla(har)
    table["Theta"] = table["AutoX"]
    table["Theta-lo-80"], table["Theta-hi-80"] = table["AutoX-lo-80"], table["AutoX-hi-80"]
    with caplog.at_level(logging.WARNING):
        result = score(table)
    assert "different levels" in caplog.text
    assert crps(result, "AutoX") == pytest.approx(crps(result, "Theta"), rel=1e-12)


def test_mean_and_volatility_have_the_shape_of_naive(score, har, ours):
    result = score(har[["ticker", "cutoff", "date", "mean", "volatility"]])
    mine, naive = told(result, "mine"), told(result, "naive")
    np.testing.assert_allclose(
        mine["volatility"], har.sort_values(["ticker", "date"])["volatility"]
    )
    np.testing.assert_array_equal(mine["df"], naive["df"])


def test_a_point_has_the_spread_of_naive(score, har):
    """So zero, which is naive's own point, is worth what naive is."""
    result = score(har[["ticker", "cutoff", "date"]].assign(point=0.0))
    assert crps(result, "mine") == crps(result, "naive")
    assert "no better than naive" in result.verdict.text


def test_a_student_t_without_quantiles(score, har):
    result = score(har[["ticker", "cutoff", "date", "location", "scale", "df"]])
    np.testing.assert_allclose(
        told(result, "mine")["q0.05"], har.sort_values(["ticker", "date"])["q0.05"], atol=1e-12
    )


def test_without_a_cutoff_it_is_the_session_before(score, har, caplog):
    with caplog.at_level(logging.WARNING):
        result = score(har.drop(columns="cutoff"))
    assert "nothing shows that the forecast was made by then" in caplog.text
    pd.testing.assert_series_equal(
        told(result, "har")["cutoff"],
        har.sort_values(["ticker", "date"])["cutoff"].reset_index(drop=True),
    )


def test_a_name_of_ours_stays_ours(score, har):
    result = score(har.assign(model="naive"), models=MODELS)
    assert set(result.forecasts["model"]) == {"naive (file)", *MODELS}


def test_rows_that_cannot_be_scored_are_left_out_and_counted(score, har, caplog):
    stranger = har[:3].assign(ticker="ZZZ")
    holiday = har[:1].assign(date=pd.Timestamp("2018-07-04"), cutoff=pd.Timestamp("2018-07-03"))
    later = har[1:2].assign(cutoff=har["cutoff"].iloc[0])
    with caplog.at_level(logging.WARNING):
        result = score(pd.concat([har[1:], stranger, holiday, later]))
    assert "1 tickers are not stored, and left out: ZZZ" in caplog.text
    assert "1 rows are of days without a stored session" in caplog.text
    assert "1 rows have a step that is not the number of stored sessions" in caplog.text
    assert len(told(result, "har")) == len(har) - 1


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda t: t.assign(cutoff=t["date"]), "cutoff that is not before their date"),
        (lambda t: t.assign(**{"q0.9": -1.0}), "quantiles that cross, the first row 1, AAA"),
        (lambda t: pd.concat([t, t]), "say a second time"),
        (lambda t: t.assign(date="soon"), "expected dates in date, came 'soon' in row 1"),
        (lambda t: t.assign(**{"q0.5": "high"}), "expected a number in q0.5, came 'high' in row 1"),
        (lambda t: t[:5].assign(ticker="ZZZ"), "none of the file's tickers is stored"),
        (lambda t: t[["ticker", "cutoff", "date"]], "no forecast that can be scored"),
        (lambda t: t[["ticker", "cutoff", "date", "q0.9"]], "no forecast that can be scored"),
        (lambda t: t.rename(columns={"ticker": "name"}), "does not say of which ticker"),
        (lambda t: t.rename(columns={"date": "x"}), "expected ticker, date and cutoff"),
        (lambda t: t.assign(**{"q.99": 0.5, "q0.999": 9.0})[::-1], "percent"),
        (lambda t: t.assign(**{"q1.5": 1.0}), "of the levels 0.1, 0.5, 0.9, 1.5: each lies between 0 and 1"),
        (lambda t: t.assign(q0=-1.0), "of the levels 0.0, 0.1, 0.5, 0.9: each lies between"),
        (lambda t: t.assign(**{"q0.50": 0.0}), "has q0.5 twice"),
        (lambda t: t.assign(date=t["date"].dt.strftime("0%w/01/2018")), "cannot tell whether 0"),
        (
            lambda t: t.assign(**{name: 100 * t[name] for name in ("q0.1", "q0.5", "q0.9")}),
            "if they are percent, divide by 100",
        ),
        (
            lambda t: t.assign(**{q: 50 * np.exp(t[q]) for q in ("q0.1", "q0.5", "q0.9")}),
            'these look like prices: say `values="prices"`',
        ),
    ],
)  # fmt: skip
def test_bad_files_are_explained_in_one_line(score, har, spoil, words):
    table = har[["ticker", "cutoff", "date", "q0.1", "q0.5", "q0.9"]].copy()
    with pytest.raises((ForecastError, UnknownTickerError), match=words) as e:
        score(spoil(table))
    assert "\n" not in str(e.value)


def test_a_bad_cell_is_told_by_the_names_and_rows_of_the_file(score, har):
    table = nixtla(har)
    table["Theta"], table["Theta-lo-80"] = table["AutoX"], table["AutoX-lo-80"]
    table["Theta-hi-80"] = table["AutoX-hi-80"]
    crossed, empty = table.copy(), table.copy()
    crossed.loc[6, "Theta-hi-80"] = 1.0
    empty.loc[4, "Theta-hi-80"] = np.nan
    with pytest.raises(ForecastError, match="cross, the first row 7, AAA by Theta"):
        score(crossed)
    with pytest.raises(ForecastError, match="number in Theta-hi-80, came nothing in row 5"):
        score(empty)


@pytest.mark.parametrize("level", ["0", "100", "150"])
def test_intervals_of_impossible_levels_are_refused(score, har, level):
    table = nixtla(har).assign(**{f"AutoX-hi-{level}": 1e6})
    with pytest.raises(ForecastError, match="the level of an interval lies between 0 and 100"):
        score(table)


def test_prices_of_a_penny_stock_are_not_taken_for_returns(world, tmp_path):
    names = ["open", "high", "low", "close", "adj_close"]
    penny = world[world["ticker"] == "AAA"].assign(**{n: world[n] / 400 for n in names})
    days = penny.iloc[600:640]
    table = days[["ticker", "date"]].assign(point=days["close"].to_numpy())
    table.to_csv(tmp_path / "penny.csv", index=False)
    assert days["close"].max() < external.NEAR
    with pytest.raises(ForecastError, match="if they are prices, say so"):
        external.score(forecast_files.read(tmp_path / "penny.csv"), penny)


def test_days_that_the_baselines_cannot_forecast_are_counted(score, world, caplog):
    days = world["date"].unique()[120:124]  # CCC has begun 30 sessions before
    table = world.loc[world["date"].isin(days), ["ticker", "date"]].assign(point=0.0)
    with caplog.at_level(logging.WARNING):
        result = score(table)
    assert "4 rows are of days that the baselines could not forecast" in caplog.text
    assert set(result.forecasts["ticker"]) == {"AAA", "BBB"}


def test_a_median_made_up_from_symmetric_quantiles_has_no_sign(score, har):
    result = score(har[["ticker", "cutoff", "date", "q0.1", "q0.9"]])
    assert (told(result, "mine")["q0.5"] == 0).all()
    assert (told(result, "naive")["q0.5"] == 0).all()
    assert "its median never changes its sign" in result.verdict.text


def test_one_day_can_be_scored_though_little_can_be_said(score, har):
    result = score(har[["ticker", "cutoff", "date", "q0.1", "q0.5", "q0.9"]][:1])
    assert "Nothing can be said of mine" in result.verdict.text


def test_another_file_of_the_same_name_is_another_trial(score, har):
    table = har[["ticker", "cutoff", "date"]]
    one, other = (backtest.experiments(score(table.assign(point=x))) for x in (0.0, 0.001))
    keys = [{trial.model: trial.key for trial in its} for its in (one, other)]
    assert keys[0]["mine"] != keys[1]["mine"]
    assert keys[0]["naive"] == keys[1]["naive"]
    again = score(table.assign(point=0.0), earlier=[*one, *other])
    assert again.provenance.tried == 1  # the other file


def test_returns_called_prices_are_refused(score, har):
    with pytest.raises(ForecastError, match='look like returns: say `values="returns"`'):
        score(har[["ticker", "cutoff", "date", "q0.1", "q0.9"]], values="prices")


def test_naive_must_be_there(score, har):
    with pytest.raises(UsageError, match="naive must be among the `models`"):
        score(har, models=["gjr"])


def test_days_before_the_baselines_can_forecast_are_refused(score, world):
    early = world[world["ticker"] == "AAA"].iloc[5:9]
    table = pd.DataFrame({"ticker": "AAA", "date": early["date"], "point": 0.0})
    with pytest.raises((HistoryError, ForecastError)):
        score(table)


def test_the_verdict_reads_what_the_file_gives_and_nothing_that_was_filled_in(score, har):
    point = score(LAYOUTS["point"](har), models=MODELS).verdict
    assert (point.intervals, point.tails, point.pits) == ((), (), ())
    assert not [it for it in point.claims if it.subject == "volatility"]
    assert "Intervals: not given." in point.text
    assert "Lower tail: not given." in point.text
    ends = score(LAYOUTS["ends"](har), models=MODELS).verdict
    assert {it.nominal for it in ends.intervals} == {0.95}
    assert not ends.tails
    moments = score(LAYOUTS["moments"](har), models=MODELS).verdict
    assert not moments.intervals
    assert [it for it in moments.claims if it.subject == "volatility"]
    whole = score(har, models=MODELS).verdict
    assert {it.nominal for it in whole.intervals} == {0.8, 0.95}
    assert whole.tails
