"""Tables in files: one contract of columns, and the same values in every format."""

import json
import re
from datetime import date
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow
import pytest

from forecaster import exports
from forecaster.dataset.announcements import NextEvent
from forecaster.distributions import forecasts
from forecaster.errors import StoreError, UsageError

ODD = ["=CMD()", "../x", "BRK.B", "^GSPC", "005930", "NA"]


REPORTS = {
    "BRK.B": NextEvent(date(2019, 1, 5), None, date(2019, 1, 7), 0.03),
    "NA": NextEvent(date(2019, 1, 8), "post", date(2019, 1, 9), 0.05),
}


@pytest.fixture
def frame():
    """Forecasts of odd tickers by two models, for one day that came and one that has not."""
    days = pd.to_datetime(["2018-12-28", "2018-12-31"])
    rows = len(ODD)

    def one(model, cutoff, date, log_return):
        return forecasts.from_student_t(
            ticker=ODD,
            model=model,
            cutoff=np.repeat(cutoff, rows),
            date=date,
            last_close=np.linspace(90, 110, rows),
            log_return=log_return,
            location=0.001,
            scale=np.linspace(0.01, 0.02, rows),
            df=5.0,
        )

    models = ("lstm", "=m()")
    known = [one(it, days[0], days[1], 0.01) for it in models]
    unknown = [one(it, days[1], pd.Timestamp("2019-01-02"), np.nan) for it in models]
    return forecasts.concat([*known, *unknown])


def read(path: Path) -> pd.DataFrame:
    """Read an exported table as its users do, by each format's usual reader."""
    texts = dict.fromkeys(("ticker", "model", "unique_id", "currency"), "str")
    if path.suffix == ".csv":
        return pd.read_csv(path, dtype=texts, keep_default_na=False, na_values=[""])
    if path.suffix == ".json":
        return pd.DataFrame(json.loads(path.read_text(encoding="utf-8"))["rows"])
    if path.suffix == ".parquet":
        return pd.read_parquet(path)
    return pd.read_excel(path, keep_default_na=False, na_values=[""])


def workbook(path: Path):
    from openpyxl import load_workbook

    return load_workbook(path)


def plain(table: pd.DataFrame) -> pd.DataFrame:
    """Without what the formats may differ in: a day's type, and the apostrophe of a CSV file."""
    table = table.rename(columns=lambda name: name.removeprefix("'"))
    cells = {}
    for name, column in table.items():
        if name in ("cutoff", "date", "ds", "next_event_date", "reaction_session"):
            cells[name] = pd.to_datetime(column).dt.strftime("%Y-%m-%d")
        elif column.dtype in ("object", "str") and column.notna().any():
            cells[name] = column.map(lambda it: it.removeprefix("'") if isinstance(it, str) else it)
        elif pd.api.types.is_bool_dtype(column):
            cells[name] = column.astype(bool)
        else:
            cells[name] = column.astype("float64")
    return pd.DataFrame(cells)


@pytest.mark.parametrize("layout", exports.LAYOUTS)
def test_the_four_formats_hold_the_same_values(frame, layout, tmp_path, monkeypatch):
    monkeypatch.setattr(exports, "ROWS_AT_ONCE", 7)
    table = exports.of_forecasts(
        frame,
        currencies={"BRK.B": "USD"},
        sessions_behind=dict.fromkeys(ODD, 2),
        guesses=[("../x", 1)],
        announced=REPORTS,
    )
    table, name = exports.laid_out(table, layout)
    for suffix in exports.FORMATS:
        path = tmp_path / f"file{suffix}"
        exports.write(table, path, name)
        pd.testing.assert_frame_equal(
            plain(read(path)), plain(table), check_dtype=False, rtol=1e-14, atol=0
        )
    assert sorted(it.suffix for it in tmp_path.iterdir()) == sorted(exports.FORMATS)


def test_columns_are_what_their_names_say(frame):
    table = exports.of_forecasts(frame)
    assert list(table) == exports.COLUMNS
    row, close = table.iloc[0], table["last_close"].iloc[0]
    assert row["price"] == pytest.approx(close * np.exp(0.01))
    assert row["price_q0.5"] == pytest.approx(close * np.exp(0.001))
    assert row["var_95"] == pytest.approx(1 - row["price_q0.05"] / close)
    assert row["var_99"] == pytest.approx(1 - row["price_q0.01"] / close)
    assert row["var_95"] < row["es_95"] < row["es_99"]
    assert 0.5 < row["p_up"] < 0.6  # a Student-t of scale 0.01 about 0.001
    assert pd.isna(table["sessions_behind"]).all()
    assert table["price"].isna().sum() == len(table) / 2


def test_the_next_announcement_is_that_of_the_ticker(frame):
    table = exports.of_forecasts(frame, announced=REPORTS).set_index("ticker")
    names = ["next_event_date", "next_event_time", "reaction_session", "expected_move"]
    first = table.loc["NA", names].iloc[0].tolist()
    assert first == [pd.Timestamp("2019-01-08"), "post", pd.Timestamp("2019-01-09"), 0.05]
    assert table.loc["BRK.B", "next_event_time"].isna().all()
    assert table.loc["^GSPC", names].isna().all(axis=None)


def test_nixtla_s_layout_has_a_row_a_session_and_the_models_side_by_side(frame):
    wide = exports.nixtla(exports.of_forecasts(frame))
    assert len(wide) == len(frame) / 2
    assert list(wide)[:6] == ["unique_id", "ds", "cutoff", "y", "lstm", "lstm-lo-98"]
    first = forecasts.prices(frame).iloc[0]
    assert wide.loc[0, ["lstm-lo-80", "lstm", "lstm-hi-80"]].tolist() == pytest.approx(
        first[["q0.1", "q0.5", "q0.9"]].tolist()
    )
    assert wide.loc[0, ["lstm-lo-95", "lstm-hi-95"]].tolist() == pytest.approx(
        first[["q0.025", "q0.975"]].tolist()
    )
    ends = wide.filter(regex="^lstm-").to_numpy()
    assert (np.diff(ends, axis=1) > 0).all()  # from the lowest end to the highest
    assert wide["y"].isna().sum() == len(ODD)


@pytest.fixture
def ahead():
    """Forecasts of two tickers, each of one session and of five sessions ahead."""
    days = pd.to_datetime(["2019-01-02", "2019-01-08"])
    return forecasts.from_student_t(
        ticker=["A", "A", "B", "B"],
        model="lstm",
        cutoff=np.repeat(pd.Timestamp("2018-12-31"), 4),
        date=[*days, *days],
        step=[1, 5, 1, 5],
        last_close=100.0,
        log_return=np.nan,
        location=0.0,
        scale=[0.01, 0.02, 0.01, 0.03],
        df=5.0,
    )


def test_whether_a_date_is_a_guess_is_said_of_each_step(ahead):
    table = exports.of_forecasts(ahead, guesses=[("B", 5)])
    assert table["date_is_guess"].tolist() == [False, False, False, True]
    assert table["step"].tolist() == [1, 5, 1, 5]
    assert not exports.of_forecasts(ahead)["date_is_guess"].any()


def test_nixtla_s_layout_has_a_row_for_each_step(ahead):
    wide = exports.nixtla(exports.of_forecasts(ahead))
    assert wide[["unique_id", "ds", "cutoff"]].astype(str).to_numpy().tolist() == [
        [ticker, day, "2018-12-31"] for ticker in "AB" for day in ("2019-01-02", "2019-01-08")
    ]
    width = wide["lstm-hi-80"] - wide["lstm-lo-80"]
    assert width.rank().tolist() == [1.5, 3, 1.5, 4]


def test_a_session_that_a_model_did_not_forecast_is_empty(frame):
    wide = exports.nixtla(exports.of_forecasts(frame.drop(index=0)))
    assert wide["lstm"].isna().sum() == 1
    assert wide["=m()"].notna().all()


@pytest.mark.parametrize("layout", exports.LAYOUTS)
def test_no_rows_are_a_head_alone(frame, layout, tmp_path):
    table, name = exports.laid_out(exports.of_forecasts(frame.iloc[:0]), layout)
    for suffix in exports.FORMATS:
        exports.write(table, tmp_path / f"file{suffix}", name)
        result = read(tmp_path / f"file{suffix}")
        assert len(result) == 0
        assert suffix == ".json" or list(result) == list(table)


def test_text_is_no_formula_in_a_spreadsheet(frame, tmp_path):
    for layout in exports.LAYOUTS:
        table, name = exports.laid_out(exports.of_forecasts(frame), layout)
        exports.write(table, tmp_path / "file.xlsx", name)
        exports.write(table, tmp_path / "file.csv", name)
        sheet = workbook(tmp_path / "file.xlsx").active
        cells = [cell for row in sheet.iter_rows() for cell in row]
        assert "=CMD()" in {cell.value for cell in cells}
        assert {cell.data_type for cell in cells} <= {"s", "n", "d", "b"}
        text = (tmp_path / "file.csv").read_text(encoding="utf-8")
        assert not [
            it for line in text.splitlines() for it in line.split(",") if it[:1] in ("=", "@")
        ]
        assert re.search(r"'=CMD\(\)", text)


def test_days_are_days_and_unknown_or_infinite_numbers_are_empty(tmp_path):
    table = pd.DataFrame({"model": ["a", "b"], "df": [np.inf, 3.0], "crps": [np.nan, 0.5]})
    table["date"] = pd.to_datetime(["2018-12-31", "2019-01-02"])
    for suffix in exports.FORMATS:
        exports.write(table, tmp_path / f"t{suffix}", "scores")
        result = read(tmp_path / f"t{suffix}")
        assert result["df"].tolist()[1] == 3
        assert result[["df", "crps"]].isna().to_numpy().tolist() == [[True, True], [False, False]]
    document = json.loads((tmp_path / "t.json").read_text())
    assert document["rows"][0] == {"model": "a", "df": None, "crps": None, "date": "2018-12-31"}
    sheet = workbook(tmp_path / "t.xlsx").active
    assert (sheet.title, sheet["D2"].number_format) == ("scores", "yyyy-mm-dd")


def test_what_cannot_be_written_is_said_before_any_work(tmp_path):
    (tmp_path / "x.csv").mkdir()
    (tmp_path / "file").write_text("x")
    with pytest.raises(UsageError, match=r"\.csv, \.json, \.parquet or \.xlsx, got 'x\.txt'"):
        exports.check(Path("x.txt"))
    with pytest.raises(UsageError, match="got 'x'"):
        exports.check(Path("x"))
    with pytest.raises(StoreError, match="is a folder"):
        exports.check(tmp_path / "x.csv")
    with pytest.raises(StoreError, match="is no folder"):
        exports.check(tmp_path / "file" / "new" / "x.csv")
    exports.check(tmp_path / "new" / "folder" / "x.CSV")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_nobody_may_write_to_is_refused(tmp_path, monkeypatch):
    monkeypatch.setattr(exports.os, "access", lambda place, mode: False)  # root may write anywhere
    with pytest.raises(StoreError, match="may not be written to"):
        exports.check(tmp_path / "x.csv")


def test_a_file_that_cannot_be_finished_leaves_the_old_one(frame, tmp_path, monkeypatch):
    excel, parquet = tmp_path / "x.xlsx", tmp_path / "x.parquet"
    for path in (excel, parquet):
        path.write_text("old")
    monkeypatch.setattr(exports, "EXCEL_ROWS", len(frame))
    table = exports.of_forecasts(frame)
    with pytest.raises(UsageError, match="a sheet holds"):
        exports.write(table, excel, "forecasts")
    with pytest.raises(pyarrow.ArrowInvalid):
        exports.write(table.assign(step=object()), parquet, "forecasts")
    assert sorted(tmp_path.iterdir()) == [parquet, excel]
    assert {it.read_text() for it in tmp_path.iterdir()} == {"old"}
