"""Files of forecasts as libraries write them: each number ends where a reader of that file expects it."""

import logging

import numpy as np
import pandas as pd
import pytest

from forecaster.backtesting import forecast_files
from forecaster.data.sources.tables import Format
from forecaster.distributions import quantile_grid
from forecaster.errors import ForecastError, SourceError

STORED = ["AAPL", "MSFT", "^GSPC"]
DAYS = ["2024-01-03", "2024-01-04", "2024-01-05"]


@pytest.fixture
def read(tmp_path):
    """A function from the lines of a file to the forecasts in it."""

    def reading(*lines, name="lstm.csv", **options):
        path = tmp_path / name
        path.write_text("\n".join(lines) + "\n")
        return forecast_files.read(path, **{"stored": STORED} | options)

    return reading


def values(table, *columns):
    """The rows of a table as tuples, dates as text."""
    rows = table.rows.assign(date=table.rows["date"].dt.strftime("%Y-%m-%d"))
    return [tuple(row) for row in rows[["ticker", "date", *columns]].to_numpy().tolist()]


def days(*ends):
    return [f"{day},{end}" for day, end in zip(DAYS, ends, strict=True)]


@pytest.mark.parametrize("name", ["prediction", "Predicted Close", "y_pred", "yhat", "forecast"])
def test_a_prediction_by_date_and_ticker(read, name):
    table = read(f"date,ticker,{name}", *days("AAPL,101", "AAPL,102.5", "MSFT,7"))
    assert values(table, "q0.5") == [
        ("AAPL", DAYS[0], 101), ("AAPL", DAYS[1], 102.5), ("MSFT", DAYS[2], 7)
    ]  # fmt: skip
    assert not table.is_frame  # whether the numbers are prices is to be seen
    assert set(table.rows["model"]) == {"lstm"}


def test_one_series_whose_ticker_is_given(read):
    lines = ("ds,yhat", *days(1, 2, 3))
    assert values(read(*lines, ticker="AAPL"), "q0.5")[0] == ("AAPL", DAYS[0], 1)
    with pytest.raises(ForecastError, match="say it with `ticker`"):
        read(*lines)
    only = read("date,my_lstm", *days(1, 2, 3), ticker="MSFT")
    assert values(only, "q0.5")[2] == ("MSFT", DAYS[2], 3)


def test_prophet_s_bounds_are_an_interval_and_its_components_are_nothing(read, caplog):
    lines = (
        "ds,trend,yhat_lower,yhat_upper,trend_lower,trend_upper,additive_terms,yhat",
        *days("9,98,103,8,9,0.1,100", "9,98,104,8,9,0.1,101", "9,98,105,8,9,0.1,102"),
    )
    with caplog.at_level(logging.WARNING):
        table = read(*lines, ticker="AAPL")
    assert "Prophet's 80%" in caplog.text
    assert table.levels == (0.1, 0.5, 0.9)
    assert values(table, "q0.1", "q0.5", "q0.9")[0] == ("AAPL", DAYS[0], 98, 100, 103)
    assert read(*lines, ticker="AAPL", interval=0.95).levels == (0.025, 0.5, 0.975)


def test_bounds_of_an_unknown_level_are_asked_for(read):
    lines = ("date,ticker,pred,lower,upper", *days("AAPL,2,1,3", "AAPL,2,1,3", "AAPL,2,1,3"))
    with pytest.raises(ForecastError, match="does not say the level of the interval of lower"):
        read(*lines)
    assert read(*lines, interval=0.9).levels == (0.05, 0.5, 0.95)
    marked = read("date,ticker,lower_95,upper_95", *days("AAPL,1,3", "AAPL,1,3", "AAPL,1,3"))
    assert marked.levels == (0.025, 0.975)


def test_bounds_of_a_named_model(read):
    table = read(
        "unique_id,ds,M,M_lower,M_upper,N,N_lower,N_upper",
        *[f"AAPL,{day},2,1,3,5,4,6" for day in DAYS],
        interval=0.8,
    )
    assert table.levels == (0.1, 0.5, 0.9)
    rows = table.rows.groupby("model")["q0.1"].first()
    assert rows.to_dict() == {"M": 1, "N": 4}


def test_points_by_date_and_ticker_side_by_side(read):
    table = read("Date,aapl,^GSPC", *days("101,4700", "102,4710", "103,4720"))
    assert values(table, "q0.5")[:1] == [("AAPL", DAYS[0], 101)]
    assert values(table, "q0.5")[-1] == ("^GSPC", DAYS[2], 4720)
    with pytest.raises(ForecastError, match="does not say of which ticker"):
        read("Date,aapl,rsi", *days("101,47", "102,47", "103,47"))


def test_autogluon(read):
    table = read(
        "item_id,timestamp,mean,0.1,0.5,0.9",
        *[f"AAPL,{day} 00:00:00,100.5,98,100,103" for day in DAYS],
    )
    assert table.levels == (0.1, 0.5, 0.9)
    assert values(table, "mean", "q0.1", "q0.9")[0] == ("AAPL", DAYS[0], 100.5, 98, 103)


def test_chronos(read):
    table = read(
        "item_id,timestamp,target_name,predictions,0.1,0.9",
        *[f"msft,{day},target,100,98,103" for day in DAYS],
    )
    assert values(table, "q0.1", "q0.5", "q0.9")[0] == ("MSFT", DAYS[0], 98, 100, 103)


def test_timesfm_and_darts(read):
    timesfm = read(
        "unique_id,ds,timesfm,timesfm-q-0.1,timesfm-q-0.9",
        *[f"AAPL,{day},100,98,103" for day in DAYS],
    )
    darts = read(
        "time,close_q0.100,close_q0.500,close_q0.900",
        *days(*["98,100,103"] * 3),
        ticker="AAPL",
    )
    for table in (timesfm, darts):
        assert values(table, "q0.1", "q0.5", "q0.9")[0] == ("AAPL", DAYS[0], 98, 100, 103)
    assert set(timesfm.rows["model"]) == {"timesfm"}


def test_bars_of_kronos_forecast_their_close(read, caplog):
    table = read(
        "timestamps,open,high,low,close,volume,amount", *days(*["1,3,1,2,9,9"] * 3), ticker="AAPL"
    )
    assert values(table, "q0.5")[0] == ("AAPL", DAYS[0], 2)
    assert "the column close" in caplog.text


def test_sample_paths_are_quantiles(read):
    paths = np.arange(40.0)
    wide = read(
        "date,ticker," + ",".join(f"sample_{k}" for k in range(40)),
        *[f"{day},AAPL," + ",".join(map(str, paths)) for day in DAYS],
    )
    long = read(
        "date,ticker,sample,prediction",
        *[f"{day},AAPL,{k},{x}" for day in DAYS for k, x in enumerate(paths)],
    )
    for table in (wide, long):
        assert table.levels == quantile_grid.LEVELS
        assert len(table.rows) == 3
        assert table.rows["q0.5"].tolist() == [19.5] * 3
        assert table.rows["q0.1"].tolist() == pytest.approx([3.9] * 3)
    with pytest.raises(ForecastError, match=r"20 sample paths or more .* came 2"):
        read("date,ticker,sample_0,sample_1", *days("AAPL,1,2", "AAPL,1,2", "AAPL,1,2"))


def test_a_volatility_alone(read):
    table = read("date,ticker,sigma", *days("AAPL,0.01", "AAPL,0.02", "AAPL,0.03"))
    assert values(table, "volatility")[1] == ("AAPL", DAYS[1], 0.02)
    assert table.levels == ()


def test_semicolons_decimal_commas_and_days_first(read):
    lines = ("date;ticker;prediction", "03/01/2024;aapl;1.021,50", "04/01/2024;aapl;1.022,50")
    table = read(*lines, form=Format(dates="day-first"))
    assert values(table, "q0.5") == [("AAPL", DAYS[0], 1021.5), ("AAPL", DAYS[1], 1022.5)]
    with pytest.raises(SourceError, match="03/01/2024"):
        read(*lines)
    doubtful = ("date;ticker;prediction", "2024-01-03;AAPL;1.021", "2024-01-04;AAPL;1.022")
    assert values(read(*doubtful, form=Format(decimal="comma")), "q0.5")[0][2] == 1021
    assert values(read(*doubtful, form=Format(decimal="point")), "q0.5")[0][2] == 1.021


def test_percent_levels(read):
    table = read("date,ticker,q10,q50,p90", *days("AAPL,1,2,3", "AAPL,1,2,3", "AAPL,1,2,3"))
    assert table.levels == (0.1, 0.5, 0.9)


def test_tickers_differ_from_the_stored_ones_in_capitals_alone(read):
    table = read("date,ticker,pred", *days("aapl,1", "Msft,1", "zzz,1"))
    assert [row[0] for row in values(table)] == ["AAPL", "MSFT", "zzz"]


def test_what_is_no_forecast_is_refused_with_its_columns(read):
    with pytest.raises(ForecastError, match="came rsi, macd"):
        read("date,ticker,rsi,macd", *days("AAPL,1,2", "AAPL,1,2", "AAPL,1,2"))


def test_an_outcome_in_the_file_is_no_forecast(read):
    table = read("unique_id,ds,y,M", *[f"AAPL,{day},7,5" for day in DAYS])
    pd.testing.assert_series_equal(
        table.rows["q0.5"], pd.Series([5.0] * 3, table.rows.index), check_names=False
    )
    assert set(table.rows["model"]) == {"M"}
