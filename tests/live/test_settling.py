import logging
from math import log

import numpy as np
import pandas as pd
import pytest

from forecaster import api
from forecaster.data import calendars, prices
from forecaster.data.store import Store
from forecaster.distributions import forecasts
from forecaster.live import database, ledger, settling
from forecaster.live.ledger import Origin
from forecaster.live.settling import Settled
from forecaster.runs import bundle

DAYS = calendars.sessions_between("AAPL", pd.Timestamp("2024-01-02"), pd.Timestamp("2024-04-30"))
AT = 20
"""The place of the session from which forecasts are made."""


def history(ticker, count, **changed):
    """Prices of the first sessions, which rise by a dollar each, but for what is given by place."""
    close = 100.0 + np.arange(count)
    adj_close = np.array([changed.get(f"at{at}", value) for at, value in enumerate(close)])
    return pd.DataFrame(
        {"ticker": ticker, "date": DAYS[:count], "close": close, "adj_close": adj_close}
    )


def record(home, tickers=("AAPL",), steps=(1, 3), dates=DAYS, model="lstm"):
    made = forecasts.concat(
        forecasts.from_student_t(
            ticker=list(tickers), model=model, cutoff=[DAYS[AT]] * len(tickers),
            date=dates[AT + step], last_close=120.0, log_return=np.nan, location=0.0, scale=0.01,
            df=5.0, step=step,
        )
        for step in steps
    )  # fmt: skip
    origins = {model: Origin(model, "mine", "ab" * 32, "2023-12-29", {})}
    evening = DAYS[AT].tz_localize("UTC") + pd.Timedelta(hours=21)
    assert not ledger.record(home, made, origins, dict.fromkeys(tickers, ""), made=evening).late


def store(home, *frames):
    it = Store(home)
    it.write(prices.check(pd.concat(frames)), source="test", refresh=True)
    return it


def settle(home, after):
    """Settle on the evening of the session so many after the one from which forecasts were made."""
    now = DAYS[AT + after].tz_localize("UTC") + pd.Timedelta(hours=22)
    return settling.settle(home, Store(home), now)


def outcomes(home, column="log_return"):
    read = ledger.read(home)
    assert ledger.verify(home).problems == []
    return dict(zip(read["step"], read[column], strict=True))


def test_each_step_is_settled_once_its_session_is_over(tmp_path):
    record(tmp_path)
    store(tmp_path, history("AAPL", AT + 1))
    assert settle(tmp_path, 0) == Settled({}, [])
    store(tmp_path, history("AAPL", AT + 2))
    assert settle(tmp_path, 1) == Settled({"settled": 1}, [])
    assert outcomes(tmp_path) == {
        1: pytest.approx(log(121 / 120)),
        3: pytest.approx(np.nan, nan_ok=True),
    }
    store(tmp_path, history("AAPL", AT + 4))
    assert settle(tmp_path, 3) == Settled({"settled": 1}, [])
    assert settle(tmp_path, 4) == Settled({}, [])
    assert outcomes(tmp_path) == {
        1: pytest.approx(log(121 / 120)),
        3: pytest.approx(log(123 / 120)),
    }
    assert outcomes(tmp_path, "settled_date") == {1: DAYS[AT + 1], 3: DAYS[AT + 3]}


def test_a_session_that_is_not_over_settles_nothing_whatever_is_stored(tmp_path):
    """A file may have the price of the afternoon, which is no close."""
    record(tmp_path, steps=[1])
    noon = store(tmp_path, history("AAPL", AT + 2, **{f"at{AT + 1}": 90.0}))
    afternoon = DAYS[AT + 1].tz_localize("UTC") + pd.Timedelta(hours=19)
    assert settling.settle(tmp_path, noon, afternoon) == Settled({}, [])
    store(tmp_path, history("AAPL", AT + 2))
    assert settle(tmp_path, 1) == Settled({"settled": 1}, [])
    assert outcomes(tmp_path) == {1: pytest.approx(log(121 / 120))}


def test_one_return_of_several_models_is_settled_once(tmp_path):
    record(tmp_path)
    record(tmp_path, model="gjr", steps=[1])
    store(tmp_path, history("AAPL", AT + 10))
    assert settle(tmp_path, 9) == Settled({"settled": 2}, [])
    read = ledger.read(tmp_path, steps=[1])
    assert read["log_return"].nunique() == 1
    assert read["status"].tolist() == ["settled"] * 2


def test_a_split_after_the_forecast_is_in_both_prices(tmp_path):
    """Two for one on the next session: the stored cutoff of 120 has become 60, and 60.5 is a rise."""
    record(tmp_path, steps=[1])
    before = {f"at{at}": (100 + at) / 2 for at in range(AT + 1)}
    store(tmp_path, history("AAPL", AT + 2, **before, **{f"at{AT + 1}": 60.5}))
    settle(tmp_path, 1)
    assert outcomes(tmp_path) == {1: pytest.approx(log(60.5 / 60))}


def test_a_dividend_after_the_forecast_is_part_of_the_return(tmp_path):
    """Of 3 dollars at 120, so that all earlier prices are adjusted by 1 - 3/120; the close falls to 119."""
    record(tmp_path, steps=[1])
    before = {f"at{at}": (100 + at) * (1 - 3 / 120) for at in range(AT + 1)}
    store(tmp_path, history("AAPL", AT + 2, **before, **{f"at{AT + 1}": 119.0}))
    settle(tmp_path, 1)
    assert outcomes(tmp_path) == {1: pytest.approx(log(119 / 117))}
    with database.writing(tmp_path) as file:
        row = file.execute("SELECT adj_close_cutoff, adj_close_date FROM settlements").fetchone()
    assert row == (117.0, 119.0)


def test_another_session_than_forecast_settles_once_the_missing_one_is_no_longer_awaited(tmp_path):
    record(tmp_path, steps=[1, 2, 5])
    store(tmp_path, history("AAPL", len(DAYS)).drop(index=AT + 1))
    assert settle(tmp_path, 15) == Settled({}, [])
    assert settle(tmp_path, 16) == Settled({"moved": 1}, [])
    assert settle(tmp_path, 21) == Settled({"moved": 2}, [])
    assert outcomes(tmp_path) == {
        step: pytest.approx(log((121 + step) / 120)) for step in (1, 2, 5)
    }
    assert outcomes(tmp_path, "settled_date")[5] == DAYS[AT + 6]
    assert outcomes(tmp_path, "date")[5] == DAYS[AT + 5]


def test_a_hole_that_was_filled_in_time_is_none(tmp_path):
    record(tmp_path, steps=[1])
    store(tmp_path, history("AAPL", AT + 12).drop(index=AT + 1))
    assert settle(tmp_path, 10) == Settled({}, [])
    store(tmp_path, history("AAPL", AT + 12))
    assert settle(tmp_path, 10) == Settled({"settled": 1}, [])


def test_a_ticker_without_prices_has_vanished_and_is_named(tmp_path):
    record(tmp_path, ["AAPL", "GONE", "OLD"], steps=[1])
    store(tmp_path, history("AAPL", len(DAYS)), history("OLD", AT + 1))
    assert settle(tmp_path, 15) == Settled({"settled": 1}, [])
    assert settle(tmp_path, 16) == Settled({"vanished": 2}, ["GONE", "OLD"])
    assert settle(tmp_path, 17) == Settled({}, [])
    read = ledger.read(tmp_path).set_index("ticker")
    assert read["status"].to_dict() == {"AAPL": "settled", "GONE": "vanished", "OLD": "vanished"}
    assert read["log_return"].isna().tolist() == [False, True, True]
    assert read["settled_date"].isna().tolist() == [False, True, True]


def test_prices_that_come_after_all_settle_what_vanished(tmp_path):
    record(tmp_path, steps=[1])
    store(tmp_path, history("AAPL", AT + 1))
    assert settle(tmp_path, 16) == Settled({"vanished": 1}, ["AAPL"])
    store(tmp_path, history("AAPL", AT + 20))
    assert settle(tmp_path, 19) == Settled({"settled": 1}, [])
    assert outcomes(tmp_path, "status") == {1: "settled"}
    assert outcomes(tmp_path) == {1: pytest.approx(log(121 / 120))}
    assert ledger.head(tmp_path).settlements == 2
    assert settle(tmp_path, 30) == Settled({}, [])


def test_without_the_price_it_was_made_from_a_forecast_has_no_outcome(tmp_path):
    record(tmp_path, steps=[1])
    store(tmp_path, history("AAPL", len(DAYS)).drop(index=AT))
    assert settle(tmp_path, 15) == Settled({}, [])
    assert settle(tmp_path, 16) == Settled({"vanished": 1}, ["AAPL"])


def test_over_a_gap_of_weeks_there_is_no_return(tmp_path):
    record(tmp_path, steps=[1])
    store(tmp_path, history("AAPL", len(DAYS)).drop(index=range(AT + 1, AT + 13)))
    assert settle(tmp_path, 16) == Settled({"vanished": 1}, ["AAPL"])


def test_a_damaged_price_file_leaves_its_forecasts_open(tmp_path, caplog):
    record(tmp_path, ["AAPL", "MSFT"], steps=[1])
    store(tmp_path, history("AAPL", len(DAYS)), history("MSFT", len(DAYS)))
    (tmp_path / "prices" / "MSFT.parquet").write_bytes(b"rubbish")
    with caplog.at_level(logging.WARNING):
        assert settle(tmp_path, 30) == Settled({"settled": 1}, [])
    assert "the forecasts of MSFT stay open" in caplog.text


def test_without_a_ledger_there_is_nothing_to_settle(tmp_path):
    assert settle(tmp_path, 1) == Settled({}, [])
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_an_evening_after_the_other_the_ledger_says_what_the_backtest_says(
    tmp_path, forecast, trained, world, monkeypatch
):
    """The same numbers, bit for bit: what is backtested is what is run live."""
    run, steps = trained("lstm"), [1, 2, 5]
    bundle.save(run, tmp_path)
    days = [day for day in sorted(world["date"].unique()) if day > pd.Timestamp(run.until)][3:13]
    stored = Store(tmp_path)
    for day in days:
        evening = day.tz_localize("UTC") + pd.Timedelta(hours=22)
        monkeypatch.setattr(calendars, "now", lambda evening=evening: evening)
        stored.write(world[world["date"] <= day], source="test")
        settling.settle(tmp_path, stored, evening)
        words = ["--run", run.name, "--steps", "1,2,5", "--record", "--home", tmp_path]
        result = forecast("predict", *words, "--json")
        assert result.code == 0
        assert result.json["recorded"] == {"rows": 9, "late": 0, "over": 0}
    read = ledger.read(tmp_path)
    assert not read["late"].any()
    assert set(read["status"].dropna()) == {"settled"}
    tested = api.backtest(
        stored.read(), [run.model.name], run=run, steps=steps, start=days[0], end=days[-1]
    ).forecasts
    tested = tested[tested["cutoff"].isin(days)]
    keys = ["cutoff", "step", "ticker"]
    live = read[read["status"] == "settled"].sort_values(keys)[forecasts.FORECAST_COLUMNS]
    tested = tested[tested["log_return"].notna()].sort_values(keys)
    assert len(live) == len(tested) == 3 * (9 + 8 + 5)
    pd.testing.assert_frame_equal(
        live.reset_index(drop=True), tested.reset_index(drop=True), check_exact=True
    )
