import json
import logging

import numpy as np
import pandas as pd
import pytest

from forecaster.backtesting.spec import BacktestSpec
from forecaster.backtesting.walk_forward import forecast_history
from forecaster.data import prices
from forecaster.dataset.panel import Panel
from forecaster.distributions import forecasts
from forecaster.live import baselines

EVENINGS = pd.to_datetime(["2017-12-28", "2017-12-29", "2018-01-02", "2018-01-03"])
KEY = ["ticker", "model", "cutoff"]


@pytest.fixture(autouse=True)
def without_other_processes(monkeypatch):
    """Few fits are not worth the start of other processes."""
    from forecaster.models.garch import Garch

    monkeypatch.setattr(Garch, "slow", False)


def evening(home, frame, day):
    """What is forecast on an evening, from the last session of each ticker."""
    panel = Panel.of(frame[frame["date"] <= day])
    return baselines.forecast(home, panel, {it.ticker: it.dates[-1] for it in panel.histories})


def together(made):
    table = forecasts.concat(part.table for part in made)
    return table.sort_values(KEY, ignore_index=True)


def test_evenings_over_new_year_forecast_what_a_backtest_does_bit_for_bit(world, tmp_path):
    live = together(part for day in EVENINGS for part in evening(tmp_path, world, day))
    spec = BacktestSpec(
        baselines.MODELS,
        start=pd.Timestamp("2017-01-01").date(),
        end=pd.Timestamp("2018-01-04").date(),
        refit="yearly",
    )
    backtest = forecast_history(world, spec).forecasts
    backtest = backtest[backtest["cutoff"].isin(EVENINGS)].sort_values(KEY, ignore_index=True)
    # CCC had too few sessions when 2017 began, so gjr forecasts it from the end of the year on.
    assert len(live) == len(backtest) == 23
    pd.testing.assert_frame_equal(
        live.drop(columns="log_return"), backtest.drop(columns="log_return"), check_exact=True
    )


def test_an_evening_fits_only_what_was_not_fitted(world, newcomer, tmp_path, monkeypatch):
    evening(tmp_path, world, EVENINGS[2])
    fitted = []
    fit = baselines._fit

    def counted(name, until, histories, progress):
        fitted.extend((name, it.ticker) for it in histories)
        return fit(name, until, histories, progress)

    monkeypatch.setattr(baselines, "_fit", counted)
    first = together(evening(tmp_path, world, EVENINGS[3]))
    assert fitted == []
    both = prices.check(pd.concat([world, newcomer]))
    again = together(evening(tmp_path, both, EVENINGS[3]))
    assert fitted == [("gjr", "NEW"), ("naive", "NEW")]
    pd.testing.assert_frame_equal(
        again[again["ticker"] != "NEW"].reset_index(drop=True), first, check_exact=True
    )


def test_a_new_past_is_fitted_again_and_a_new_present_is_not(world, tmp_path, rewritten):
    def parameters():
        document = json.loads((tmp_path / "live" / "gjr-2018.json").read_text())
        return {ticker: it["parameters"] for ticker, it in document["tickers"].items()}

    evening(tmp_path, world, EVENINGS[3])
    before = parameters()
    evening(tmp_path, rewritten(world, "2017-12-29"), EVENINGS[3])
    assert parameters() == before
    # A dividend: the closes before it are smaller, and their returns are the same but for rounding.
    paid = world.copy()
    old = (paid["ticker"] == "AAA") & (paid["date"] <= pd.Timestamp("2018-01-02"))
    paid.loc[old, "adj_close"] = (paid.loc[old, "adj_close"] * 0.993).round(4)
    live = together(evening(tmp_path, paid, EVENINGS[3]))
    after = parameters()
    assert after["AAA"] != before["AAA"]
    assert {**after, "AAA": None} == {**before, "AAA": None}
    np.testing.assert_allclose(after["AAA"], before["AAA"], rtol=0.05, atol=0.01)
    spec = BacktestSpec(baselines.MODELS, start=pd.Timestamp("2018-01-01").date())
    backtest = forecast_history(paid, spec).forecasts
    backtest = backtest[backtest["cutoff"] == EVENINGS[3]].sort_values(KEY, ignore_index=True)
    pd.testing.assert_frame_equal(
        live.drop(columns="log_return"), backtest.drop(columns="log_return"), check_exact=True
    )


def test_a_ticker_too_short_at_new_year_is_named_once(world, tmp_path, caplog):
    for day in (pd.Timestamp("2017-12-27"), EVENINGS[0]):
        made = together(evening(tmp_path, world, day))
        gjr = made[made["model"] == "gjr"]
        assert list(gjr["ticker"]) == ["AAA", "BBB"]
    assert sum("CCC had too few sessions when 2017 began" in it for it in caplog.messages) == 1


def test_a_damaged_file_is_a_warning_and_its_tickers_are_fitted_again(world, tmp_path, caplog):
    first = together(evening(tmp_path, world, EVENINGS[2]))
    path = tmp_path / "live" / "gjr-2018.json"
    sound = path.read_text()
    document = json.loads(sound)
    document["tickers"]["AAA"]["parameters"] = [1.0, 2.0]
    for text in ("{", json.dumps(document)):
        path.write_text(text)
        with caplog.at_level(logging.WARNING):
            again = together(evening(tmp_path, world, EVENINGS[2]))
        pd.testing.assert_frame_equal(again, first, check_exact=True)
        assert "gjr-2018.json is damaged" in caplog.text
        assert path.read_text() == sound


def test_fits_of_other_packages_do_not_count(world, tmp_path, monkeypatch):
    evening(tmp_path, world, EVENINGS[2])
    path = tmp_path / "live" / "naive-2018.json"
    document = json.loads(path.read_text())
    document["versions"]["arch"] = "0.1"
    document["tickers"]["AAA"]["parameters"] = [1.0, 2.0]
    path.write_text(json.dumps(document))
    evening(tmp_path, world, EVENINGS[2])
    assert json.loads(path.read_text())["versions"] != document["versions"]


def test_the_digest_is_of_the_parameters_alone(world, tmp_path):
    made = evening(tmp_path, world, EVENINGS[2])
    again = evening(tmp_path, world, EVENINGS[3])
    assert [it.sha256 for it in made] == [it.sha256 for it in again]
    assert len({it.sha256 for it in made}) == 2
    assert [(it.model, it.year, it.until) for it in made] == [
        ("gjr", 2018, "2017-12-31"),
        ("naive", 2018, "2017-12-31"),
    ]
