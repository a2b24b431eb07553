import dataclasses
import json
import os
import pickle
import shutil
import struct
import subprocess
import sys
from datetime import date, timedelta
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from safetensors.numpy import load, save

from forecaster.backtesting import backtest
from forecaster.backtesting.spec import BacktestSpec
from forecaster.backtesting.walk_forward import forecast_history
from forecaster.config import RecurrentConfig
from forecaster.data import prices
from forecaster.errors import BundleError, HistoryError, UsageError
from forecaster.runs import bundle, forecasting, training
from forecaster.runs.run import checked_name

EVERYONE = ["AAA", "BBB", "CCC"]


@pytest.fixture(scope="module")
def stored(trained, tmp_path_factory):
    """A home with a run of a network and one of a random walk."""
    home = tmp_path_factory.mktemp("home")
    for name in ("lstm", "naive"):
        bundle.save(dataclasses.replace(trained(name), name=name), home)
    return home


@pytest.fixture
def home(stored, tmp_path):
    """A copy of that home, to be damaged."""
    shutil.copytree(stored / "runs", tmp_path / "runs")
    return tmp_path


def refused(home, name):
    with pytest.raises(BundleError) as caught:
        bundle.load(home, name)
    message = str(caught.value)
    assert "\n" not in message
    assert f"runs/{name} is damaged or not a bundle" in Path(message).as_posix()
    return message


# Training and forecasting.


def test_a_run_knows_where_it_comes_from(world, until, trained):
    run = trained("naive")
    span = world[world["date"] <= pd.Timestamp(until)]
    assert run.name == f"naive-{until}"
    assert run.tickers == EVERYONE
    assert run.first == date(2016, 1, 4)
    assert run.until == until
    assert run.prices_sha256 == prices.digest(span)
    assert {"forecaster", "numpy", "pandas"} <= run.versions.keys()
    json.dumps(run.summary, allow_nan=False)


def test_a_date_that_is_no_session_is_that_of_the_one_before(world):
    run = training.train(world, model="naive", until=date(2017, 7, 4))  # a holiday, a Tuesday
    assert run.until == date(2017, 7, 3)


@pytest.mark.parametrize("until", [date(2015, 12, 31), date(2019, 1, 1)])
def test_a_date_outside_the_prices(world, until):
    with pytest.raises(HistoryError, match=f"from 2016-01-04 to 2018-.*got {until}"):
        training.train(world, model="naive", until=until)


def test_predictions_come_in_the_order_asked(world, trained):
    frame = forecasting.predict(trained("naive"), world, tickers=["CCC", "AAA"])
    assert frame["ticker"].tolist() == ["CCC", "AAA"]
    assert frame["log_return"].isna().all()
    assert frame["cutoff"].eq(world["date"].max()).all()


def test_each_ticker_is_forecast_from_its_own_last_session(world, trained):
    last = world["date"].max()
    stale = world[~((world["ticker"] == "BBB") & (world["date"] == last))]
    frame = forecasting.predict(trained("lstm"), stale, tickers=["AAA", "BBB"])
    assert frame["cutoff"].tolist() == [last, world["date"].drop_duplicates().nlargest(2).min()]
    assert frame["date"].iloc[1] == last


@pytest.mark.parametrize("name", ["naive", "gjr", "har", "trees"])
def test_steps_are_by_ticker_as_asked_and_ascend(world, trained, name):
    run = trained(name)
    table = forecasting.predict(run, world, tickers=["BBB", "AAA"], steps=(10, 1, 4))
    keys = table[["ticker", "step"]].to_numpy().tolist()
    assert keys == [[ticker, step] for ticker in ("BBB", "AAA") for step in (1, 4, 10)]
    alone = forecasting.predict(run, world, tickers=["BBB", "AAA"])
    first = table[table["step"] == 1].reset_index(drop=True)
    pd.testing.assert_frame_equal(first, alone, check_exact=True)
    every = forecasting.predict(run, world, tickers=["AAA"], steps=range(1, 11))
    assert every["volatility"].is_monotonic_increasing
    assert every["date"].is_monotonic_increasing


@pytest.mark.parametrize("calibrate", [False, True])
def test_steps_say_what_a_backtest_of_the_run_does(world, trained, calibrate):
    run, steps = trained("gjr"), (1, 5)
    spec = BacktestSpec(
        models=("gjr",), tickers=("AAA", "BBB"), steps=steps, calibrate=calibrate, refit="never"
    )
    made = backtest.run if calibrate else forecast_history
    rows = made(world, spec, trained=run).forecasts
    for cutoff in rows["cutoff"].unique()[[0, 1, 7, -6]]:
        made = forecasting.predict(
            run,
            world,
            tickers=["AAA", "BBB"],
            as_of=cutoff.date(),
            calibrate=calibrate,
            steps=steps,
        )
        assert len(made) == 4
        its = rows[rows["cutoff"] == cutoff].sort_values(["ticker", "step"], ignore_index=True)
        pd.testing.assert_frame_equal(made, its, check_exact=True)


@pytest.mark.parametrize("steps", [(), (0,), (22,), (1, 30)])
def test_steps_that_there_are_not(world, trained, steps):
    with pytest.raises(UsageError, match="expected steps of 1 to 21"):
        forecasting.predict(trained("naive"), world, tickers=["AAA"], steps=steps)


def test_a_run_is_asked_no_further_than_it_was_trained_for(world, until):
    config = RecurrentConfig(horizon=3)
    run = training.train(world, model="ewma", until=until, config=config)
    assert len(forecasting.predict(run, world, tickers=["AAA"], steps=(1, 2, 3))) == 3
    with pytest.raises(UsageError, match="up to 3 sessions ahead, got a step of 4; train a run"):
        forecasting.predict(run, world, tickers=["AAA"], steps=(1, 4))


def test_what_was_trained_on_cannot_be_forecast(world, trained, until):
    run = trained("naive")
    forecasting.predict(run, world, tickers=["AAA"], as_of=until)
    with pytest.raises(HistoryError, match=f"trained on sessions up to {until}.*later date"):
        forecasting.predict(run, world, tickers=["AAA"], as_of=until - timedelta(days=1))


def test_a_ticker_that_had_no_session_yet(world, trained):
    with pytest.raises(HistoryError, match="CCC has 0 sessions up to 2016-01-10"):
        forecasting.predict(trained("naive"), world, tickers=["CCC"], as_of=date(2016, 1, 10))


def test_the_market_is_that_of_the_run_and_not_of_what_is_stored(world, newcomer, trained):
    both = pd.concat([world, newcomer], ignore_index=True)
    pd.testing.assert_frame_equal(
        forecasting.predict(trained("lstm"), both, tickers=["AAA"]),
        forecasting.predict(trained("lstm"), world, tickers=["AAA"]),
        check_exact=True,
    )


def test_prices_and_tickers_are_left_alone(world, trained):
    before, tickers = world.copy(), ["BBB", "AAA"]
    forecasting.predict(trained("lstm"), world, tickers=tickers)
    pd.testing.assert_frame_equal(world, before, check_exact=True)
    assert tickers == ["BBB", "AAA"]


# Names.


@pytest.mark.parametrize("name", ["a", "lstm-2012-12-31", "A.b_c-9", "x" * 80])
def test_names(name):
    assert checked_name(name) == name


@pytest.mark.parametrize(
    "name",
    ["", ".", "..", ".hidden", "a/b", "../up", "a\\b", "a b", "é", "x" * 81, "-x", "a.", "a\n"],
)
def test_names_that_are_not_allowed(name, world, stored):
    for attempt in (
        lambda: checked_name(name),
        lambda: bundle.load(stored, name),
        lambda: training.train(world, model="naive", name=name or "."),
    ):
        with pytest.raises(UsageError, match="a run's name takes letters") as caught:
            attempt()
        assert "\n" not in str(caught.value)


def test_names_of_nothing(tmp_path):
    assert bundle.names(tmp_path) == []
    with pytest.raises(BundleError, match=r"no run in .* yet; `forecast train` makes one"):
        bundle.load(tmp_path)
    with pytest.raises(BundleError, match="no run 'a'; there is only base"):
        bundle.load(tmp_path, "a")


def test_a_name_that_is_not_there(stored):
    with pytest.raises(BundleError, match="no run 'mine'; there are lstm, naive"):
        bundle.load(stored, "mine")


# Saving and loading.


def test_a_run_takes_the_place_of_one_of_its_name(home, trained):
    garch = dataclasses.replace(trained("garch"), name="lstm")
    bundle.save(garch, home)
    assert bundle.load(home, "lstm").model.name == "garch"
    assert bundle.names(home) == ["lstm", "naive"]
    left = {path.name for path in (home / "runs" / "lstm").iterdir()}
    assert left == {"run.json", "weights.safetensors"}


def test_the_run_trained_last_is_the_default(home, trained):
    for name, created in (("b", "2031-01-01T00:00:00"), ("a", "2030-01-01T00:00:00")):
        bundle.save(dataclasses.replace(trained("naive"), name=name, created=created), home)
    assert bundle.load(home).name == "b"
    (home / "runs" / "b" / "run.json").write_text("{")
    assert bundle.load(home).name == "a"
    assert "b" not in [run.name for run in bundle.readable(home)]


def test_of_damaged_runs_alone_the_default_says_so(home):
    for name in ("lstm", "naive"):
        (home / "runs" / name / "run.json").unlink()
    with pytest.raises(BundleError, match="lstm is damaged"):
        bundle.load(home)


def test_a_save_that_fails_leaves_the_old_run(home, trained, world):
    broken = dataclasses.replace(trained("naive"), versions={"numpy": float("nan")})
    before = forecasting.predict(bundle.load(home, "naive"), world, tickers=EVERYONE)
    with pytest.raises(ValueError, match="JSON"):
        bundle.save(dataclasses.replace(broken, name="naive"), home)
    after = forecasting.predict(bundle.load(home, "naive"), world, tickers=EVERYONE)
    pd.testing.assert_frame_equal(before, after, check_exact=True)
    assert list((home / "runs").glob(".*.tmp")) == []


def test_a_network_forecasts_the_same_in_another_process_without_its_trainer(
    stored, world, trained, tmp_path
):
    world.to_parquet(tmp_path / "prices.parquet")
    program = """
import sys
from pathlib import Path
import pandas as pd
from forecaster.data import prices
from forecaster.runs import bundle, forecasting
unpickled = []
sys.addaudithook(lambda event, _: event == "pickle.find_class" and unpickled.append(event))
frame = prices.check(pd.read_parquet(sys.argv[2]))
run = bundle.load(Path(sys.argv[1]), "lstm")
found = forecasting.predict(run, frame, tickers=["AAA", "BBB", "CCC"])
found.to_parquet(sys.argv[3])
heavy = {"tensorflow", "keras", "sklearn", "arch", "matplotlib"} & set(sys.modules)
print(sorted(heavy), unpickled)
"""
    files = [tmp_path / "prices.parquet", tmp_path / "found.parquet"]
    done = subprocess.run(
        [sys.executable, "-c", program, stored, *files], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["[]", "[]"]
    pd.testing.assert_frame_equal(
        pd.read_parquet(files[1]),
        forecasting.predict(trained("lstm"), world, tickers=EVERYONE),
        check_exact=True,
    )


# Bundles from strangers.


@pytest.mark.parametrize("file", ["run.json", "weights.safetensors"])
@pytest.mark.parametrize("share", [0.0, 0.01, 0.5, 0.99])
def test_truncated_files(home, file, share):
    path = home / "runs" / "lstm" / file
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    refused(home, "lstm")


@pytest.mark.parametrize("file", ["run.json", "weights.safetensors"])
def test_missing_files(home, file):
    (home / "runs" / "lstm" / file).unlink()
    assert "is not a file" in refused(home, "lstm")
    (home / "runs" / "lstm" / file).mkdir()
    refused(home, "lstm")


@pytest.mark.parametrize("file", ["run.json", "weights.safetensors"])
@pytest.mark.parametrize("name", ["lstm", "naive"])
def test_flipped_bits_are_refused_or_harmless(home, world, name, file):
    path = home / "runs" / name / file
    whole = path.read_bytes()
    rng = np.random.default_rng(0)
    for _ in range(60):
        damaged = bytearray(whole)
        damaged[rng.integers(min(len(whole), 3000))] ^= 1 << rng.integers(8)
        path.write_bytes(damaged)
        try:
            run = bundle.load(home, name)
        except BundleError:
            continue
        assert run.model.name in ("lstm", "naive", "ewma")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "3",
        '"run"',
        "{}",
        '{"format": 1}',
        '{"format": 2, "model": "lstm"}',
        '{"format": 1, "model": ["lstm"]}',
        '{"name": "something", "version": "1.0.0", "scripts": {}}',
        "[" * 100_000,
        "\ud800".encode("utf-8", "surrogatepass"),
        b"\x80\x04\x95",
    ],
)
def test_foreign_json(home, text):
    path = home / "runs" / "lstm" / "run.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    refused(home, "lstm")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("format", 99),
        ("format", None),
        ("model", "prophet"),
        ("model", "os.system"),
        ("model", "forecaster.models.recurrent.model"),
        ("model", "garch"),
        ("tickers", 5),
        ("until", "yesterday"),
        ("until", 20121231),
        ("first", None),
        ("versions", ["numpy"]),
        ("settings", None),
        ("settings", []),
        ("settings", {}),
    ],
)
def test_words_of_run_json_that_cannot_be(home, key, value):
    path = home / "runs" / "lstm" / "run.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    path.write_text(json.dumps(document | {key: value}), encoding="utf-8")
    refused(home, "lstm")
    path.write_text(json.dumps({k: v for k, v in document.items() if k != key}), encoding="utf-8")
    refused(home, "lstm")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("features", ["__class__"]),
        ("features", []),
        ("features", 7),
        ("features", ["return"]),
        ("training", None),
        ("config", None),
        ("config", {"units": 5}),
        ("config", {"units": 1e9}),
        ("config", {"units": float("inf")}),
        ("config", {"seeds": 2}),
        ("config", {"learning_rate": 10**400}),
        ("config", {"layers": 3}),
        ("config", {"window": "; import os"}),
    ],
)
def test_settings_of_a_network_that_cannot_be(home, key, value):
    path = home / "runs" / "lstm" / "run.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    if isinstance(value, dict):
        value = document["settings"]["config"] | value
    document["settings"][key] = value
    path.write_text(json.dumps(document), encoding="utf-8")
    refused(home, "lstm")


def test_a_run_from_before_there_were_heads_and_groups_is_read(home, world, trained):
    path = home / "runs" / "lstm" / "run.json"
    document = json.loads(path.read_text(encoding="utf-8"))
    for name in ("head", "groups"):
        del document["settings"]["config"][name]
    path.write_text(json.dumps(document), encoding="utf-8")
    found = forecasting.predict(bundle.load(home, "lstm"), world, tickers=["AAA"])
    expected = forecasting.predict(trained("lstm"), world, tickers=["AAA"])
    pd.testing.assert_frame_equal(found, expected)


def without(arrays, name):
    return {key: value for key, value in arrays.items() if key != name}


@pytest.mark.parametrize(
    "change",
    [
        lambda a: {},
        lambda a: without(a, "head_bias"),
        lambda a: without(a, "scaler_mean"),
        lambda a: a | {"kernel": a["kernel"][:, :-1]},
        lambda a: a | {"kernel": a["kernel"][0]},
        lambda a: a | {"recurrent": a["recurrent"].transpose(0, 2, 1).copy()},
        lambda a: a | {"bias": np.zeros((1, 0), np.float32)},
        lambda a: a | {"scaler_scale": a["scaler_scale"][:-1]},
        lambda a: a | {"head_bias": np.full_like(a["head_bias"], np.nan)},
        lambda a: a | {"head_bias": np.full_like(a["head_bias"], np.inf)},
        lambda a: a | {"head_bias": a["head_bias"].astype(np.int64)},
        lambda a: a | {"head_bias": a["head_bias"].astype(np.float16)},
    ],
)
def test_weights_that_cannot_be(home, change):
    path = home / "runs" / "lstm" / "weights.safetensors"
    path.write_bytes(save(change(load(path.read_bytes()))))
    refused(home, "lstm")


@pytest.mark.parametrize(
    "shapes",
    [np.zeros((3, 2)) - 1, np.zeros((2, 2)), np.ones((3, 3)), np.ones(6), np.full((3, 2), np.nan)],
)
def test_shapes_of_a_random_walk_that_cannot_be(home, shapes):
    path = home / "runs" / "naive" / "weights.safetensors"
    path.write_bytes(save({"shapes": shapes}))
    refused(home, "naive")


@pytest.mark.parametrize(
    "header",
    [
        {"kernel": {"dtype": "F32", "shape": [10**9, 10**9], "data_offsets": [0, 4]}},
        {"kernel": {"dtype": "F32", "shape": [2**62, 2**62], "data_offsets": [0, 4]}},
        {"kernel": {"dtype": "F32", "shape": [1], "data_offsets": [0, 2**60]}},
        {"kernel": {"dtype": "F32", "shape": [-1], "data_offsets": [0, 4]}},
        {"kernel": {"dtype": "O", "shape": [1], "data_offsets": [0, 4]}},
        {"kernel": {"dtype": "BF16", "shape": [2], "data_offsets": [0, 4]}},
        {"kernel": {"dtype": "F8_E4M3", "shape": [4], "data_offsets": [0, 4]}},
    ],
)
def test_headers_that_promise_too_much(home, header):
    text = json.dumps(header).encode()
    path = home / "runs" / "lstm" / "weights.safetensors"
    path.write_bytes(struct.pack("<Q", len(text)) + text + bytes(4))
    refused(home, "lstm")


@pytest.mark.parametrize("length", [0, 2**31, 2**63, 2**64 - 1])
def test_headers_of_any_length(home, length):
    path = home / "runs" / "lstm" / "weights.safetensors"
    path.write_bytes(struct.pack("<Q", length) + b"{}")
    refused(home, "lstm")


def test_a_file_too_large_is_not_read(home):
    with (home / "runs" / "lstm" / "weights.safetensors").open("r+b") as file:
        file.truncate(bundle.MAX_BYTES + 1)  # sparse: it takes no room
    assert "is larger than" in refused(home, "lstm")


class Payload:
    """Makes a file when unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return open, (self.path, "w")


def pickled(payload):
    return pickle.dumps(payload)


def numpy_archive(payload):
    buffer = BytesIO()
    np.savez(buffer, kernel=np.array([payload], dtype=object))
    return buffer.getvalue()


@pytest.mark.parametrize("made", [pickled, numpy_archive])
@pytest.mark.parametrize("file", ["run.json", "weights.safetensors"])
def test_nothing_in_a_bundle_is_run(home, tmp_path, made, file):
    trap = tmp_path / "trap"
    content = made(Payload(trap))
    (home / "runs" / "lstm" / file).write_bytes(content)
    refused(home, "lstm")
    assert not trap.exists()
    pickle.loads(pickled(Payload(trap))).close()  # it would have
    assert trap.exists()


def test_what_the_trainer_left_is_never_read(home, world, trained):
    (home / "runs" / "lstm" / "lstm-0.keras").write_bytes(b"not a network")
    (home / "runs" / "lstm" / "readme.txt").write_text("hello")
    pd.testing.assert_frame_equal(
        forecasting.predict(bundle.load(home, "lstm"), world, tickers=EVERYONE),
        forecasting.predict(trained("lstm"), world, tickers=EVERYONE),
        check_exact=True,
    )


def test_a_bundle_that_never_ends_is_refused(trained, tmp_path):
    folder = bundle.save(trained("naive"), tmp_path)
    for never_ending in (lambda path: path.symlink_to("/dev/zero"), os.mkfifo):
        (folder / "run.json").unlink()
        never_ending(folder / "run.json")
        with pytest.raises(BundleError, match="not a file"):
            bundle.read(folder)


def test_no_bundle_speaks_to_the_terminal(trained, tmp_path):
    folder = bundle.save(trained("naive"), tmp_path)
    document = json.loads((folder / "run.json").read_text())
    for change in ({"tickers": ["\x1b]0;x\x07"]}, {"created": "\x1b[31m2099"}):
        (folder / "run.json").write_text(json.dumps(document | change))
        with pytest.raises(BundleError) as refused:
            bundle.read(folder)
        assert str(refused.value).isprintable()


def test_a_stray_folder_is_no_run(trained, tmp_path):
    bundle.save(trained("naive"), tmp_path)
    (tmp_path / "runs" / "backup copy").mkdir()
    assert bundle.names(tmp_path) == [trained("naive").name]


def test_a_universe_that_is_not_stored_has_no_market(trained, newcomer):
    with pytest.raises(HistoryError, match="is its market"):
        forecasting.predict(trained("lstm"), newcomer, tickers=["NEW"])


def test_tickers_that_a_run_does_not_know_fail_in_the_order_given(world, trained):
    strangers = list("ZQXYKJ")
    own = world[world["ticker"] == "AAA"]
    prices = pd.concat([world, *(own.assign(ticker=it) for it in strangers)])
    given = forecasting.predict_each(trained("gjr"), prices, tickers=["AAA", *strangers])
    assert list(given.failed) == strangers
    assert list(given.table["ticker"]) == ["AAA"]


def test_one_ticker_that_cannot_be_forecast_does_not_hide_the_others(trained, world):
    short = world[
        (world["ticker"] != "CCC") | (world["date"] > world["date"].max() - pd.Timedelta("30D"))
    ]
    found, failed, *_ = forecasting.predict_each(trained("lstm"), short, tickers=["AAA", "CCC"])
    assert list(found["ticker"]) == ["AAA"]
    assert list(failed) == ["CCC"]
    assert "CCC has" in str(failed["CCC"])


def test_a_garch_whose_last_session_is_gone_gives_no_forecast(trained, world, until):
    later = world[world["date"] > pd.Timestamp(until)]
    with pytest.raises(HistoryError, match="train a run with it"):
        forecasting.predict(trained("gjr"), later, tickers=["AAA"])


SAVER = """
import sys
from pathlib import Path
from forecaster.runs import bundle

home = Path(sys.argv[1])
runs = [bundle.load(home, name) for name in ("old", "new")]
for number in range(100):
    run = runs[number % 2]
    bundle.save(type(run)(**vars(run) | {"name": "both"}), home)
"""


def test_a_run_is_loaded_while_it_is_saved_again(trained, tmp_path):
    """Each load is of one of two runs, whole, with its own verdict or none."""
    for name, model in (("old", "naive"), ("new", "ewma"), ("both", "naive")):
        run = dataclasses.replace(trained(model), name=name, created=f"2020-01-0{len(name)}")
        bundle.save(run, tmp_path)
    said = bundle.RunVerdict("naive is naive", "2018-01-02", "2018-06-29")
    saver, loads = subprocess.Popen([sys.executable, "-c", SAVER, str(tmp_path)]), 0
    while saver.poll() is None:
        run = bundle.load(tmp_path, "both")
        assert run.model.name in ("naive", "ewma")
        bundle.record_verdict(run.summary, tmp_path, said)
        assert bundle.last_verdict(run, tmp_path) in (said, None)
        assert bundle.names(tmp_path) == ["both", "new", "old"]
        loads += 1
    assert saver.returncode == 0
    assert loads > 20


def test_what_moves_against_the_others_is_named_in_training(world, until, caplog):
    mirror = world[world["ticker"] == "AAA"].assign(ticker="SHORT")
    for column in ("open", "high", "low", "close", "adj_close"):
        mirror[column] = 1000 / mirror[column]
    mirror[["high", "low"]] = mirror[["low", "high"]].to_numpy()
    copy = world[world["ticker"] == "AAA"].assign(ticker="COPY")
    frame = prices.check(pd.concat([world, mirror, copy], ignore_index=True))
    training.train(frame, model="naive", until=until)
    (record,) = [it for it in caplog.records if "in no market" in it.getMessage()]
    assert "SHORT" in record.getMessage()
    assert "COPY" not in record.getMessage()
