"""Audits pass the honest and catch the others, each by the check that is there for it."""

import dataclasses
import json

import numpy as np
import pandas as pd
import pytest
from documents import validated

from forecaster.backtesting import alternative_histories, leakage_audit
from forecaster.cli.app import main
from forecaster.config import RecurrentConfig
from forecaster.data import prices, simulation
from forecaster.dataset.bars import ewma
from forecaster.dataset.panel import Panel
from forecaster.distributions import forecasts
from forecaster.errors import HistoryError, UsageError
from forecaster.model_selection.splits import walk_forward_folds
from forecaster.models import registry
from forecaster.models.random_walk import RandomWalk

NAMES = [
    "look-ahead of forecasts",
    "look-ahead of fits",
    "shuffled returns",
    "lag",
    "simulated coverage",
    "simulated CRPS",
    "parity",
    "seeds",
]


def failed(checks):
    assert [check.name for check in checks] == NAMES
    return {check.name for check in checks if not check.passed}


# Models that are not honest. They go by the name of an honest one, which they are otherwise.


class Dishonest(RandomWalk):
    def __init__(self, config=None):
        super().__init__("ewma")
        self.seed = config.seed if config else 0

    def forecast(self, panel, first, last, steps=(1,)):
        frame = super().forecast(panel, first, last, steps)
        # What each forecast has no right to, and what happened last.
        history = pd.concat(
            pd.DataFrame(
                {
                    "ticker": h.ticker,
                    "cutoff": h.dates.astype("datetime64[us]"),
                    "last_return": np.nan_to_num(h.log_returns),
                    "next_return": np.nan_to_num(h.next_returns),
                    "whole_spread": np.nanstd(h.log_returns),
                }
            )
            for h in panel.histories
        )
        known = frame[["ticker", "cutoff"]].merge(history, on=["ticker", "cutoff"], how="left")
        location, scale = self.lie(frame, known)
        columns = ["ticker", "model", "cutoff", "date", "last_close", "log_return", "df"]
        return forecasts.from_student_t(
            location=np.asarray(location), scale=np.asarray(scale), **frame[columns]
        )

    def lie(self, frame, known):
        return frame["location"], frame["scale"]


class PeeksAtTheSize(Dishonest):
    def lie(self, frame, known):
        return frame["location"], 0.5 * frame["scale"] + 0.5 * known["next_return"].abs()


class PeeksAtTheSign(Dishonest):
    def lie(self, frame, known):
        return 0.1 * known["next_return"], frame["scale"]


class FitsOnEverything(Dishonest):
    def fit(self, panel, until, *others):
        super().fit(panel, panel.sessions[-1], *others)


class StandardisesByTheWholeSample(Dishonest):
    def lie(self, frame, known):
        return frame["location"], 0.9 * frame["scale"] + 0.1 * known["whole_spread"]


class YesterdaysPrice(Dishonest):
    def lie(self, frame, known):
        return -known["last_return"], frame["scale"]


class TooSure(Dishonest):
    def lie(self, frame, known):
        return frame["location"], 0.75 * frame["scale"]


class AnotherLive(Dishonest):
    def forecast(self, panel, first, last, steps=(1,)):
        self.live = first == last
        return super().forecast(panel, first, last, steps)

    def lie(self, frame, known):
        return frame["location"], frame["scale"] * (1 + 1e-9 * self.live)


class LosesItsState(Dishonest):
    def restore(self, state):
        super().restore(
            dataclasses.replace(state, arrays={"shapes": 0 * state.arrays["shapes"] + 4})
        )


class LuckyFirstSeed(Dishonest):
    def lie(self, frame, known):
        return frame["location"], frame["scale"] * (1 + self.seed)


class Monthly(RandomWalk):
    """Of a horizon of a month, and honest about all of it but, in what is made of it, its last step."""

    def __init__(self, config=None):
        super().__init__("ewma", (config or RecurrentConfig()).horizon)


class PeeksAtTheMonth(Monthly):
    def forecast(self, panel, first, last, steps=(1,)):
        frame = super().forecast(panel, first, last, steps)
        after = pd.concat(
            pd.DataFrame(
                {
                    "ticker": h.ticker,
                    "cutoff": h.dates.astype("datetime64[us]"),
                    "month": np.nan_to_num(h.ahead(21)),
                }
            )
            for h in panel.histories
        )
        month = frame[["ticker", "cutoff"]].merge(after, on=["ticker", "cutoff"], how="left")
        shift = np.where(frame["step"] == 21, 0.1 * month["month"].to_numpy(), 0.0)
        moved = ["location", "mean", *forecasts.QUANTILES]
        return frame.assign(**{name: frame[name] + shift for name in moved})


class FitsTheMonthAfter(Monthly):
    """Learns the month from returns that end after the last session it may know."""

    def fit(self, panel, until, *others):
        super().fit(panel, until, *others)
        for history in panel.histories:
            if self.horizon == 21 and history.ticker in self.fitted:
                sessions = history.dates[history.dates > until][:21]
                later = history.until(sessions[-1] if len(sessions) else until)
                self.fitted[history.ticker][-1] = self.fit_one(later, 21)


class AnotherMonthLive(Monthly):
    def forecast(self, panel, first, last, steps=(1,)):
        frame = super().forecast(panel, first, last, steps)
        wider = 1 + 1e-9 * ((frame["step"] == 21) & (first == last))
        return frame.assign(scale=frame["scale"] * wider)


# The honest pass.


@pytest.mark.parametrize("name", ["naive", "ewma", "gjr"])
def test_honest_models_pass(name, world):
    before, told = world.copy(), []
    result = leakage_audit.audit(world, name, seeds=2, progress=lambda *news: told.append(news))
    assert failed(result) == set(), result
    pd.testing.assert_frame_equal(world, before)
    assert [done for done, _, _ in told] == sorted(done for done, _, _ in told)
    assert told[0][0] == 0
    assert told[-1][:2] == (leakage_audit.STEPS, leakage_audit.STEPS)


def test_a_network_passes(world, tiny):
    # Of closes alone, which the simulated market has too, so one compiled network does.
    closes = prices.check(world[["ticker", "date", "close", "adj_close"]])
    result = leakage_audit.audit(
        closes, "lstm", config=dataclasses.replace(tiny, epochs=1), seeds=2
    )
    assert failed(result) == set(), result
    # Its seeds differ, and the number of forecasts compared is not zero.
    assert "over 2 seeds" in result[-1].words
    assert not any(f"of 0 {what}" in c.words for c in result for what in ("fore", "pred"))


# The others do not.


@pytest.mark.parametrize(
    ("model", "caught"),
    [
        (
            PeeksAtTheSize,
            {"look-ahead of forecasts", "shuffled returns", "simulated CRPS", "parity"},
        ),
        (
            PeeksAtTheSign,
            {"look-ahead of forecasts", "shuffled returns", "simulated CRPS", "parity"},
        ),
        (FitsOnEverything, {"look-ahead of fits"}),
        (StandardisesByTheWholeSample, {"look-ahead of forecasts", "parity"}),
        (YesterdaysPrice, {"lag", "seeds"}),
    ],
)
def test_dishonest_models_are_caught(model, caught, world):
    one = world[world["ticker"] == "AAA"]  # a leak shows in one
    result = failed(leakage_audit.audit(one, "ewma", make=model, seeds=1))
    assert caught <= result
    # Nothing is failed that is in order: only a leak or worse than naive touches the others.
    assert result - caught <= {"simulated coverage", "simulated CRPS"}


@pytest.mark.parametrize(
    ("model", "caught"),
    [
        (Monthly, set()),
        (PeeksAtTheMonth, {"look-ahead of forecasts", "parity"}),
        (FitsTheMonthAfter, {"look-ahead of fits"}),
        (AnotherMonthLive, {"parity"}),
    ],
)
def test_models_that_are_dishonest_about_a_month_alone_are_caught(model, caught, world):
    one = world[world["ticker"] == "AAA"]
    result = leakage_audit.audit(one, "ewma", make=model, seeds=1)
    assert failed(result) == caught
    words = {check.name: check.words for check in result}
    for name in ("look-ahead of forecasts", "look-ahead of fits", "parity"):
        assert "up to 21 sessions ahead" in words[name]


def test_an_audit_of_the_next_session_looks_no_farther(world):
    one = world[world["ticker"] == "AAA"]
    config = RecurrentConfig(horizon=1)
    result = leakage_audit.audit(one, "ewma", make=PeeksAtTheMonth, seeds=1, config=config)
    assert failed(result) == set()
    assert not any("sessions ahead" in check.words for check in result)


def test_a_horizon_between_two_steps_is_audited_too(world):
    one = world[world["ticker"] == "AAA"]
    week, more = (
        leakage_audit.audit(one, "ewma", seeds=1, config=RecurrentConfig(horizon=horizon))
        for horizon in (5, 7)
    )
    assert failed(more) == set()
    compared = [int(it[0].words.split()[1].replace(",", "")) for it in (week, more)]
    assert compared[1] == compared[0] // 4 * 5  # 1, 2, 3, 5, and 7


@pytest.fixture(scope="module")
def folds(world):
    sessions = Panel.of(world).sessions
    return list(walk_forward_folds(sessions, start=sessions[500], end=sessions[-1], refit="never"))


@pytest.mark.parametrize("model", [AnotherLive, LosesItsState])
def test_what_is_run_live_must_be_what_is_backtested(model, world, folds):
    for made, same in ((model(), False), (registry.create("ewma"), True)):
        made.fit(Panel.of(world), folds[0].until)
        result = leakage_audit.parity(
            made, type(made)(made.name) if same else model(), world, folds
        )
        assert result.passed == same
        assert (result.number == 0) == same


def test_intervals_that_are_too_narrow_are_found():
    coverage, crps = leakage_audit.simulated(TooSure)
    assert not coverage.passed
    assert coverage.number > 5
    assert "not what is promised" in coverage.words
    assert crps.number > 0


def test_a_seed_that_was_lucky_is_found(world, folds):
    def seeded(number):
        return LuckyFirstSeed(RecurrentConfig(seed=number))

    first = seeded(0)
    first.fit(Panel.of(world), folds[0].until)
    result = leakage_audit.seed_luck(first, seeded, 2, world, folds)
    assert not result.passed
    assert "over 2 seeds" in result.words
    assert leakage_audit.seed_luck(first, seeded, 1, world, folds).passed


class KnowsTheWorld(RandomWalk):
    """Forecasts what the simulated market is made of."""

    def __init__(self):
        super().__init__("ewma")

    def forecast(self, panel, first, last, steps=(1,)):
        frame = super().forecast(panel, first, last, steps).drop(columns=forecasts.PARAMETERS)
        truth = simulation.world().truth
        columns = ["ticker", "model", "cutoff", "date", "last_close", "log_return"]
        known = frame[columns].merge(truth, on=["ticker", "date"])
        return forecasts.from_student_t(**known)


def test_better_than_the_truth_is_a_leak():
    _, crps = leakage_audit.simulated(PeeksAtTheSign)
    assert not crps.passed
    assert crps.number < -5
    assert "better than the truth" in crps.words
    coverage, crps = leakage_audit.simulated(KnowsTheWorld)
    assert coverage.passed
    assert crps.passed
    assert crps.number == 0


@pytest.mark.parametrize("seed", range(6))
def test_shuffled_returns_fail_no_honest_model(seed):
    frame = simulation.world(tickers=3, sessions=700, seed=seed).prices
    sessions = Panel.of(frame).sessions
    folds = list(walk_forward_folds(sessions, start=sessions[450], end=sessions[-1], refit="never"))
    for name in ("naive", "ewma"):
        assert leakage_audit.shuffled_returns(
            lambda name=name: registry.create(name), frame, folds
        ).passed
    assert not leakage_audit.shuffled_returns(PeeksAtTheSign, frame, folds).passed


# The lag test by itself.


def medians(location, returns):
    """Forecasts of the returns (sessions,) of one ticker by a Student-t of these locations."""
    days = pd.bdate_range("2000-01-03", periods=len(returns) + 1)
    return forecasts.from_student_t(
        ticker="AAA", model="some", cutoff=days[:-1], date=days[1:],
        last_close=100 * np.exp(np.cumsum(returns) - returns), log_return=returns,
        location=location, scale=0.01, df=5,
    )  # fmt: skip


def lagged(returns, by=1):
    return np.append(np.zeros(by), returns[:-by])


def independent(seed=0):
    return 0.01 * np.random.default_rng(seed).standard_normal(1000)


DISGUISES = {
    "yesterday's price": lambda r: -lagged(r),
    "the price of two days ago": lambda r: -lagged(r) - lagged(r, 2),
    "the trend of yesterday": lagged,
    "the mean of five prices": lambda r: -sum((5 - k) / 5 * lagged(r, k) for k in range(1, 5)),
    "a smoothed price": lambda r: (
        np.nan_to_num(ewma(np.cumsum(lagged(r)), 0.7)) - np.cumsum(lagged(r))
    ),
    "the mean price of all time": lambda r: -np.cumsum(lagged(r)),
    "today's price and noise": lambda r: independent(seed=1),
}


@pytest.mark.parametrize("disguise", DISGUISES.values(), ids=DISGUISES.keys())
def test_old_prices_are_found_in_any_disguise(disguise):
    returns = independent()
    result = leakage_audit.lag(medians(disguise(returns), returns))
    assert not result.passed
    assert result.number > 1
    assert "in disguise" in result.words


def test_the_lag_test_in_numbers():
    # Of independent normal returns, the error of -r[t] is sqrt(2) times that of zero.
    returns = independent()
    result = leakage_audit.lag(medians(-lagged(returns), returns))
    assert result.number == pytest.approx(np.sqrt(2), rel=0.03)
    assert (
        "the median moves 100% of what returns do, 100% of it explained by the last five"
        in result.words
    )
    assert leakage_audit.lag(medians(0.0, returns)).number == pytest.approx(1)


def test_who_claims_little_or_is_right_passes_the_lag_test():
    returns = independent()
    assert leakage_audit.lag(medians(0.0, returns)).passed
    assert leakage_audit.lag(medians(0.0005, returns)).passed
    assert leakage_audit.lag(medians(-0.05 * lagged(returns), returns)).passed
    # Returns that do reverse, and a model that knows it.
    reversing = np.zeros(1000)
    for t in range(1, 1000):
        reversing[t] = -0.5 * reversing[t - 1] + independent()[t]
    result = leakage_audit.lag(medians(-0.5 * lagged(reversing), reversing))
    assert result.passed
    assert result.number < 0.95
    assert "right often enough" in result.words


def test_the_lag_test_needs_no_student_and_no_outcome(world):
    frame = medians(-lagged(independent()), independent())
    frame[forecasts.PARAMETERS] = np.nan
    frame.loc[frame.index[-1], "log_return"] = np.nan
    assert not leakage_audit.lag(frame).passed


# Pasts and futures.


class ReadsTheDateElsewhere(Dishonest):
    """Scales by the last return of all tickers of the same date, whenever their exchanges close."""

    def lie(self, frame, known):
        mean = known.groupby("cutoff")["last_return"].transform("mean").abs()
        return frame["location"], frame["scale"] * (1 + mean)


def test_a_date_is_not_an_instant(world):
    """In one market the model is honest; where New York closes after Tokyo, it is not."""
    names = {
        "one": {"AAA": "AAA", "BBB": "BBB", "CCC": "CCC"},
        "two": {"AAA": "7203.T", "BBB": "BBB", "CCC": "CCC"},
    }
    passed = {}
    for markets, tickers in names.items():
        frame = prices.check(world.assign(ticker=world["ticker"].map(tickers)))
        sessions = Panel.of(frame).sessions
        folds = list(
            walk_forward_folds(sessions, start=sessions[520], end=sessions[-1], refit="never")
        )
        model = ReadsTheDateElsewhere()
        model.fit(Panel.of(frame), folds[0].until)
        passed[markets] = leakage_audit.forecast_look_ahead(model, frame, folds).passed
    assert passed == {"one": True, "two": False}


def test_the_future_begins_when_the_observer_has_closed(world):
    frame = prices.check(world.assign(ticker=world["ticker"].replace("AAA", "7203.T")))
    day = world["date"].iloc[300]
    for observer, new_york_moves in (("XTKS", True), ("XNYS", False)):
        other = alternative_histories.rewritten(
            frame, np.datetime64(day, "D"), observers=[observer]
        )
        moved = frame[(other["close"] != frame["close"]).to_numpy()]
        first = moved.groupby("ticker")["date"].min()
        assert (first["BBB"] == day) == new_york_moves
        assert first["7203.T"] > day


def test_the_future_is_rewritten_and_the_past_is_not(world):
    after = np.datetime64("2017-06-30")
    other = alternative_histories.rewritten(world, after)
    pd.testing.assert_frame_equal(prices.check(other), other)
    past = world["date"] <= pd.Timestamp(after)
    pd.testing.assert_frame_equal(other[past], world[past])
    values = list(prices.COLUMNS[2:])
    same = other.loc[~past, values] == world.loc[~past, values]
    assert not same.to_numpy().any()
    assert other[values].isna().equals(world[values].isna())
    keys = ["ticker", "date"]
    pd.testing.assert_frame_equal(other[keys], world[keys])
    assert (
        other["high"].dropna() >= other[["open", "close"]].max(axis=1)[other["high"].notna()] - 1e-9
    ).all()
    assert not alternative_histories.rewritten(world, after, seed=1)["close"].equals(other["close"])
    pd.testing.assert_frame_equal(
        alternative_histories.rewritten(world, world["date"].max().to_datetime64()), world
    )


def test_shuffled_sessions_are_a_tickers_own_and_forget_the_past():
    frame = simulation.world(tickers=3, sessions=2000).prices
    rng = np.random.default_rng(0)
    frame["open"] = frame["close"] * np.exp(rng.normal(0, 0.01, len(frame)))
    frame["volume"] = rng.integers(1, 10**9, len(frame)).astype(float)
    other = alternative_histories.shuffled(frame)
    pd.testing.assert_frame_equal(prices.check(other), other)
    pd.testing.assert_frame_equal(other[["ticker", "date"]], frame[["ticker", "date"]])
    for (_, before), (_, after) in zip(
        frame.groupby("ticker"), other.groupby("ticker"), strict=True
    ):
        r, s = (np.log(f["adj_close"]).diff().to_numpy()[1:] for f in (before, after))
        # Volumes, here all different, say which session each one was.
        place = pd.Index(before["volume"]).get_indexer(after["volume"])[1:] - 1
        assert (place >= 0).all()
        np.testing.assert_allclose(s, r[place], atol=1e-12)
        shape = [(f["open"] / f["close"]).to_numpy()[1:] for f in (before, after)]
        np.testing.assert_allclose(shape[1], shape[0][place])
        assert len(set(place)) == pytest.approx((1 - np.exp(-1)) * 1999, rel=0.05)
        sizes = [np.corrcoef(np.abs(x[1:]), np.abs(x[:-1]))[0, 1] for x in (r, s)]
        assert sizes[0] > 0.1 > 2 / np.sqrt(2000) > abs(sizes[1])


def test_too_little_to_audit(world):
    short = world[world["date"] < "2017-01-01"]
    with pytest.raises(HistoryError, match="needs 400 sessions, and there are 252"):
        leakage_audit.audit(short, "naive")
    with pytest.raises(UsageError, match="no model 'prophet'"):
        leakage_audit.audit(world, "prophet")


# The command.


def create(name, config):
    """What a registry that leads here makes."""
    return YesterdaysPrice(config)


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("audit")
    with pytest.raises(SystemExit) as stop:
        main(["fetch", "--source", "sample", "--end", "2001-06-29", "--home", str(home), "--quiet"])
    assert stop.value.code == 0
    return home


@pytest.fixture
def run(home, capsys):
    def run(*words):
        capsys.readouterr()
        with pytest.raises(SystemExit) as stop:
            main(["audit", *words, "--home", str(home)])
        captured = capsys.readouterr()
        return stop.value.code, captured.out, captured.err

    return run


def test_the_command_exits_0_for_an_honest_model(run):
    code, out, _ = run("--model", "ewma", "--seeds", "1")
    assert code == 0
    for name in NAMES:
        assert f" {name} " in out
    assert "FAILED" not in out
    assert out.splitlines()[-1].startswith("ewma passed 8 of 8 checks")


def test_the_command_exits_1_for_another(run, monkeypatch):
    monkeypatch.setitem(registry.REGISTRY, "ewma", __name__)
    code, out, err = run("^GSPC", "--model", "ewma", "--seeds", "1", "--json", "--quiet")
    assert code == 1
    assert err == ""
    result = validated(json.loads(out))["checks"]
    assert [check["name"] for check in result] == NAMES
    assert all(set(check) == {"name", "passed", "number", "unit", "words"} for check in result)
    assert "lag" in {check["name"] for check in result if not check["passed"]}


@pytest.fixture
def asked(monkeypatch):
    """What the library was asked to audit, once the command has run."""
    seen = {}

    def remembered(frame, model, **others):
        seen.update(others, model=model, tickers=sorted(frame["ticker"].unique()), frame=frame)
        return [leakage_audit.Check("lag", True, np.nan, "relMAE", "nothing was checked")]

    monkeypatch.setattr(leakage_audit, "audit", remembered)
    return seen


def test_the_command_takes_the_model_of_a_run(run, home, asked):
    words = ["train", "^IXIC", "--model", "naive", "--run", "mine", "--horizon", "5", "--quiet"]
    with pytest.raises(SystemExit):
        main([*words, "--home", str(home)])
    code, out, _ = run("--run", "mine", "--seeds", "4", "--until", "2001-04-30", "--json")
    assert code == 0
    assert json.loads(out)["checks"][0]["number"] is None
    assert (asked["model"], asked["tickers"], asked["seeds"]) == ("naive", ["^IXIC"], 4)
    assert asked["frame"]["date"].max() == pd.Timestamp("2001-04-30")
    assert asked["config"].horizon == 5
    code, _, err = run("--run", "mine", "--model", "naive")
    assert code == 2
    assert "drop --run" in err


def test_the_command_takes_settings(run, asked, tmp_path):
    file = tmp_path / "settings.toml"
    file.write_text("units = 4\nepochs = 3\n")
    assert run("--config", str(file), "--epochs", "2")[0] == 0
    assert asked["model"] == "lstm"
    assert asked["config"] == RecurrentConfig(units=4, epochs=2)


def test_the_command_says_whom_it_leaves_out(run, asked, monkeypatch):
    monkeypatch.setattr("forecaster.cli.audit.MOST_TICKERS", 1)
    code, _, err = run("--model", "naive")
    assert code == 0
    assert "auditing the first 1 of 2 stored tickers" in err
    assert asked["tickers"] == ["^GSPC"]
    assert run("^IXIC", "^GSPC")[2] == ""
    assert asked["tickers"] == ["^GSPC", "^IXIC"]


def test_the_command_needs_prices_enough(run):
    code, _, err = run("--until", "1999-12-31", "--model", "naive")
    assert code == 1
    assert "error: an audit needs 400 sessions" in err
    code, _, err = run("--until", "1990-12-31", "--model", "naive")
    assert code == 1
    assert "error: --until must lie" in err
