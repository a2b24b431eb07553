"""Two thousand damaged files of prices and of forecasts: each is read, or refused in one line."""

import random

import numpy as np
import pandas as pd
import pytest
from bars import bars

from forecaster.backtesting import forecast_files
from forecaster.data import prices
from forecaster.data.sources import files, loading
from forecaster.errors import ForecastError

A, B = bars(count=9), bars(count=9, seed=2, level=1_000.0)
LONG = pd.concat([A.assign(ticker="AAA"), B.assign(ticker="BBB")])
PRICES = [
    A.to_csv(index=False),
    A.to_csv(index=False, header=False),
    A.to_csv(index=False, sep=";", decimal=","),
    A.to_csv(index=False, sep="\t", date_format="%m/%d/%Y"),
    A.to_csv(index=False, header=["Data", "Otwarcie", "Maks", "Min", "Zamknięcie", "Wolumen"]),
    A.assign(close=A["close"].map("${:,.2f}".format), volume="1.2M").to_csv(index=False),
    A.assign(date=A["date"].astype("int64") // 10**6).to_csv(index=False),
    A.assign(date=A["date"].dt.strftime("%Y-%m-%d 09:30:00-05:00")).to_csv(index=False),
    LONG.to_csv(index=False),
    LONG.assign(dividends=0.1, splits=0).to_csv(index=False, sep="|"),
    LONG.pivot(index="date", columns="ticker", values="close").to_csv(),
    LONG.pivot(index="date", columns="ticker").to_csv(),
    LONG.pivot(index="date", columns="ticker").reset_index().to_csv(index=False),
    "https://example.org\n" + A.to_csv(index=False) + "*a note below the table\n",
]

DAYS = pd.bdate_range("2024-01-02", periods=8)
KEYS = pd.DataFrame({"ticker": "AAA", "cutoff": DAYS[:-1], "date": DAYS[1:]})
NIXTLA = KEYS.rename(columns={"ticker": "unique_id", "date": "ds"}).assign(M=100.0)
FORECASTS = [
    KEYS.assign(**{"q0.05": -0.02, "q0.25": -0.01, "q0.5": 0.0, "q0.75": 0.01}).to_csv(index=False),
    KEYS.assign(model="mine", mean=0.001, volatility=0.01).to_csv(index=False),
    KEYS.assign(location=0.001, scale=0.01, df=5).to_csv(index=False, sep=";", decimal=","),
    KEYS.assign(point=0.0).to_csv(index=False, date_format="%d/%m/%Y"),
    NIXTLA.assign(**{"M-lo-80": 99.0, "M-hi-80": 101.0}).to_csv(index=False),
    NIXTLA.assign(**{"M-median": 100.0, "M-lo-90.0": 98.5, "M-hi-90.0": 101.5}).to_csv(index=False),
]  # fmt: skip

HOSTILE = [
    *(
        "",
        " ",
        "0",
        "-1",
        "7",
        "101.5",
        "1e400",
        "9" * 400,
        "nan",
        "inf",
        "-inf",
        "1e-320",
        "1,5",
        "1.021",
    ),
    *(
        '"',
        '""',
        "'",
        "\x00",
        "\x1b]0;\x07",
        "\u202e",
        "\ud7ff",
        "\ufeff",
        "=cmd()",
        "sep=;",
        "(",
        "価格",
    ),
    *("\u0663", "1_0", "0x10", "True", "1.2M", "$", "AAA", "A" * 50, "NA", "12:30", "1704153600"),
    *("2024-01-05", "2018-02-30", "0000-00-00", "2999-01-01", "99999-01-01", "03/04/2017"),
    *(
        "2024-01-02 25:61:00",
        "2024-01-02T00:00:00+99:99",
        "٢٠٢٤",
        "date",
        "close",
        "Close",
        "ticker",
    ),
    *("Volume", "cutoff", "q0.5", "q0", "M-lo-150"),
]
ENCODINGS = ["utf-16", "utf-8-sig", "utf-32", "cp1252", "utf-16-le", "utf-7"]


def damaged(text, rng):
    """A file with one to three things wrong with it, seldom in its bytes."""
    for _ in range(rng.randint(1, 3)):
        text = rng.choice(FAULTS)(text, rng)
    content = text.encode(rng.choice(ENCODINGS) if rng.random() < 0.05 else "utf-8", "replace")
    if rng.random() < 0.05 and content:
        content = bytearray(content)
        for _ in range(rng.randint(1, 3)):
            content[rng.randrange(len(content))] = rng.randrange(256)
    return bytes(content)


def _rows(text):
    """The delimiter and the cells of each line."""
    mark = max(",;\t|", key=text.count)
    return mark, [line.split(mark) for line in text.strip("\n").split("\n")]


def _in_a_cell(text, rng):
    mark, rows = _rows(text)
    row = rng.choice(rows)
    row[rng.randrange(len(row))] = rng.choice(HOSTILE)
    return "\n".join(map(mark.join, rows))


def _in_a_column(text, rng):
    mark, rows = _rows(text)
    place, value = rng.randrange(max(map(len, rows))), rng.choice(HOSTILE)
    for row in rows[rng.randint(0, 1) :]:
        if len(row) > place:
            row[place] = value
    return "\n".join(map(mark.join, rows))


def _of_a_column(text, rng):
    """One column goes, comes twice, or changes its place."""
    mark, rows = _rows(text)
    first, second, kind = rng.randrange(len(rows[0])), rng.randrange(len(rows[0])), rng.randrange(3)
    for row in rows:
        if max(first, second) < len(row):
            if kind == 0:
                del row[first]
            elif kind == 1:
                row.insert(second, row[first])
            else:
                row[first], row[second] = row[second], row[first]
    return "\n".join(map(mark.join, rows))


def _among_lines(text, rng):
    lines = text.split("\n")
    row = rng.randrange(len(lines))
    kind = rng.randrange(4)
    if kind == 0:
        del lines[row]
    elif kind == 1:
        lines.insert(row, lines[rng.randrange(len(lines))])
    elif kind == 2:
        lines.insert(row, rng.choice(HOSTILE) * rng.randint(1, 3))
    else:
        rng.shuffle(lines)
    return "\n".join(lines)


def _among_characters(text, rng):
    if not text:
        return text
    first = rng.randrange(len(text))
    last = min(len(text), first + rng.randint(1, 12))
    return text[:first] + rng.choice(["", text[first:last] * 2, rng.choice(HOSTILE)]) + text[last:]


def _cut(text, rng):
    return text[: rng.randrange(len(text) + 1)]


FAULTS = [
    *[_in_a_cell] * 5,
    _in_a_column,
    _in_a_column,
    _of_a_column,
    _among_lines,
    _among_characters,
    _cut,
]


def checked_prices(path, case):
    """The errors of a file of prices. Every third goes on through cleaning, to prices that are checked."""
    try:
        outcomes = list(loading.load(str(path)) if case % 3 == 0 else files.load(path))
    except ForecastError as refusal:
        return str(refusal)
    frames = {ticker: it for ticker, it in outcomes if not isinstance(it, ForecastError)}
    for ticker, frame in frames.items():
        assert set(frame["ticker"]) == {ticker}
        if case % 3 == 0:
            require_sound(frame)
    return " ".join(str(it) for ticker, it in outcomes if ticker not in frames)


def require_sound(frame):
    assert frame["date"].is_monotonic_increasing
    assert frame["date"].is_unique
    assert np.isfinite(frame[["close", "adj_close"]]).all(axis=None)
    assert not (frame[list(prices.COLUMNS[2:])] < 0).any(axis=None)
    assert not (frame["high"] < frame["low"] * (1 - 1e-6)).any()


def checked_forecasts(path, case):
    """The error of a file of forecasts; without one it holds forecasts, each number of which is one."""
    try:
        rows = forecast_files.read(path).rows
    except ForecastError as refusal:
        return str(refusal)
    assert rows["date"].notna().all()
    assert (rows["cutoff"].isna() | (rows["cutoff"] < rows["date"])).all()
    assert np.isfinite(rows.drop(columns=forecast_files.KEYS).to_numpy(float)).all()
    return ""


@pytest.mark.parametrize("part", range(10))
@pytest.mark.parametrize(
    ("corpus", "check"), [(PRICES, checked_prices), (FORECASTS, checked_forecasts)]
)
def test_every_damaged_file_is_read_or_refused_in_a_line(tmp_path, corpus, check, part):
    path = tmp_path / "AAPL.csv"
    for case in range(100 * part, 100 * (part + 1)):
        rng = random.Random(case)
        path.write_bytes(damaged(rng.choice(corpus), rng))
        try:
            refusal = check(path, case)
        except Exception as error:
            raise AssertionError(f"case {case}: {path.read_bytes()!r}") from error
        assert "\n" not in refusal, case
