"""The watchlist says what is stored and what was recorded, and nothing else."""

import numpy as np
import pandas as pd
import pytest
from living import KNOTS, LAST, NOW, RUN, announced, recorded, stored

from forecaster.data import calendars
from forecaster.data.event_store import EventStore
from forecaster.data.filenames import filename
from forecaster.data.store import Store
from forecaster.dataset.bars import Bars
from forecaster.live import ledger, settling, watchlist


@pytest.fixture(autouse=True)
def _clock(monkeypatch):
    monkeypatch.setattr(calendars, "now", lambda: NOW)


def rows(home, now=NOW):
    return {it.ticker: it for it in watchlist.rows(home, Store(home), EventStore(home), now)}


def test_a_home_without_anything_has_no_rows(tmp_path):
    assert rows(tmp_path / "none") == {}
    assert not (tmp_path / "none").exists()


def test_prices_alone_are_quoted_by_the_volatility_that_features_read(tmp_path):
    stored(tmp_path, ["AAA", "BBB"], sessions=400)
    stored(tmp_path, ["NEW"], sessions=30, seed=1)
    its = rows(tmp_path)
    for ticker in ("AAA", "BBB", "NEW"):
        history = Store(tmp_path).read([ticker])
        bars = Bars.of(history)
        quote = its[ticker].quote
        assert (quote.date, quote.close) == ("2026-11-25", history["close"].iloc[-1])
        assert quote.log_return == pytest.approx(bars.log_returns[-1], rel=1e-12)
        assert quote.volatility == pytest.approx(bars.volatility[-1], rel=1e-9)
        assert quote.closes == history["close"].tolist()[-60:]
        assert its[ticker].forecast is its[ticker].last is its[ticker].next_event is None
    year = Bars.of(Store(tmp_path).read(["AAA"])).volatility[-250:]
    assert its["AAA"].quote.volatility_rank == np.mean(year <= year[-1])
    assert its["NEW"].quote.volatility_rank is None  # thirty sessions are no year


def test_a_history_that_ended_years_ago_is_shown_by_its_end(tmp_path):
    stored(tmp_path, ["AAA"])
    later = LAST + pd.Timedelta(days=2000)
    quote = rows(tmp_path, later.tz_localize("UTC"))["AAA"].quote
    assert quote.date == "2026-11-25"


def test_the_last_forecast_in_time_is_shown_and_a_late_one_is_not(tmp_path):
    days = stored(tmp_path, ["AAA"])
    recorded(tmp_path, days[-2])
    shown = rows(tmp_path)["AAA"]
    assert (shown.forecast.cutoff, shown.forecast.date) == ("2026-11-24", "2026-11-25")
    assert shown.is_over  # the session of that day is stored
    recorded(tmp_path, days[-1], hours=72)
    assert rows(tmp_path)["AAA"].forecast == shown.forecast
    its = ledger.read(tmp_path, steps=[1])
    assert its["late"].tolist() == [False, True]


def test_a_forecast_is_in_prices_and_settles_inside_or_outside(tmp_path):
    days = stored(tmp_path, ["AAA", "BBB"])
    for day in days[-5:]:
        recorded(tmp_path, day)
    settling.settle(tmp_path, Store(tmp_path), NOW)
    closes = Store(tmp_path).read().set_index(["ticker", "date"])["close"]
    for ticker, row in rows(tmp_path).items():
        forecast, last = row.forecast, row.last
        assert (forecast.run, forecast.date, forecast.status) == (RUN, "2026-11-27", None)
        assert not row.is_over
        frame = ledger.read(tmp_path, tickers=[ticker], steps=[1]).iloc[-1]
        assert forecast.low_80 == pytest.approx(forecast.last_close * np.exp(frame["q0.1"]))
        assert forecast.high_95 == pytest.approx(forecast.last_close * np.exp(frame["q0.975"]))
        assert (last.cutoff, last.settled_date) == ("2026-11-24", "2026-11-25")
        assert last.price == pytest.approx(closes[ticker, days[-1]])
        assert last.inside_80 == (last.low_80 <= last.price <= last.high_80)
        assert last.inside_95 == (last.low_95 <= last.price <= last.high_95)


def test_the_next_announcement_is_the_first_that_stands(tmp_path, monkeypatch):
    stored(tmp_path, ["AAA", "BBB"])
    announced(tmp_path, "AAA", "2026-08-27", "2026-12-03")
    assert rows(tmp_path)["AAA"].next_event == watchlist.Announcement(
        "2026-12-03", "earnings", "post"
    )
    assert rows(tmp_path)["BBB"].next_event is None
    monkeypatch.setattr(calendars, "now", lambda: NOW + pd.Timedelta(hours=1))
    announced(tmp_path, "AAA", "2026-12-10")  # it was moved
    assert rows(tmp_path)["AAA"].next_event.date == "2026-12-10"


def test_a_damaged_file_is_its_own_ticker_s_problem(tmp_path):
    stored(tmp_path, ["AAA", "BBB"])
    (tmp_path / "prices" / filename("AAA")).write_bytes(b"PAR1 nothing")
    its = rows(tmp_path)
    assert "cannot read" in its["AAA"].problem
    assert its["AAA"].quote is None
    assert (its["BBB"].problem, its["BBB"].quote.date) == (None, "2026-11-25")


def test_a_ticker_that_is_no_longer_stored_keeps_its_record(tmp_path):
    days = stored(tmp_path, ["AAA", "BBB"])
    recorded(tmp_path, days[-2])
    settling.settle(tmp_path, Store(tmp_path), NOW)
    Store(tmp_path).remove(["AAA"])
    row = rows(tmp_path)["AAA"]
    assert row.quote is None
    assert row.last.settled_date == "2026-11-25"
    details = watchlist.details(tmp_path, Store(tmp_path), row, [], NOW)
    assert [it.date for it in details.record] == ["2026-11-25"]


def test_a_ticker_s_page_has_the_steps_of_the_last_forecast_and_its_record(tmp_path):
    days = stored(tmp_path, ["AAA", "BBB"])
    announced(tmp_path, "AAA", "2026-08-27", "2026-12-03")
    for day in days[-30:]:
        recorded(tmp_path, day)
        recorded(tmp_path, day, model="gjr", steps=(1,))
    settling.settle(tmp_path, Store(tmp_path), NOW)
    store = Store(tmp_path)
    found = watchlist.look(tmp_path, store, EventStore(tmp_path), NOW)
    details = watchlist.details(tmp_path, store, found.rows[0], found.events["AAA"], NOW)
    assert [it.step for it in details.ahead] == list(KNOTS)
    assert {it.cutoff for it in details.ahead} == {"2026-11-25"}
    assert details.ahead[-1].volatility == pytest.approx(details.ahead[0].volatility * np.sqrt(21))
    assert [it.settled_date for it in details.record] == [
        f"{day:%Y-%m-%d}" for day in days[:-30:-1]
    ]
    assert {it.model for it in details.record} == {"lstm"}  # not the baselines beside it
    assert [it.date for it in details.events] == ["2026-08-27", "2026-12-03"]
    assert details.currency == "USD"
