"""Whatever a text is written in, its cells are found; and what is damaged is refused."""

import bz2
import io
import lzma
import zipfile

import pandas as pd
import pytest
from bars import assert_bars, bars

A = bars()
TEXT = A.to_csv(index=False)
EURO = A.assign(volume=A["volume"].map("{:,}".format).str.replace(",", ".")).to_csv(
    index=False, sep=";", decimal=","
)


def zipped(**members):
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        for name, text in members.items():
            archive.writestr(name, text)
    return file.getvalue()


FORMS = {
    "semicolons": A.to_csv(index=False, sep=";"),
    "tabs": A.to_csv(index=False, sep="\t"),
    "bars": A.to_csv(index=False, sep="|"),
    "blanks": A.to_csv(index=False, sep=" "),
    "columns of blanks": A.to_string(index=False),
    "sep=": "sep=;\n" + A.to_csv(index=False, sep=";"),
    "decimal commas": EURO,
    "quotes": A.to_csv(index=False, quoting=1),
    "blanks after commas": A.to_csv(index=False, quoting=1).replace(",", ", "),
    "Windows lines": TEXT.replace("\n", "\r\n"),
    "old Macintosh lines": TEXT.replace("\n", "\r"),
    "no line end": TEXT.rstrip(),
    "a mark": b"\xef\xbb\xbf" + TEXT.encode(),
    "UTF-16": TEXT.encode("utf-16"),
    "UTF-16, big end first": b"\xfe\xff" + TEXT.encode("utf-16-be"),
    "UTF-16 without a mark": TEXT.encode("utf-16-le"),
    "UTF-32": TEXT.encode("utf-32"),
    "a line before": "https://www.example.org/data\n" + TEXT,
    "lines before": '"AAPL prices"\n\nfrom,2024-01-02\n' + TEXT,
    "a title cell": "AAPL history,,,,,\n,,,,,\n" + TEXT,
    "a comment": "# made up\n" + TEXT,
    "notes below": TEXT + "\n*Close price adjusted for splits.\nSource: nobody at all\n",
    "a note in the table": TEXT + "*Close price adjusted for splits.,,,,,\n",
    "blank rows": TEXT.replace("\n", "\n,,,,,\n") + ",,,,,\n\n",
    "a comma at each end": TEXT.replace("\n", ",\n"),
    "a comma at each end but the headings'": TEXT.replace("\n", ",\n").replace("volume,", "volume", 1),
    "row names of R": TEXT.replace("date,", "", 1),
    "an end of DOS": TEXT.encode() + b"\r\n\x1a",
    "bz2": bz2.compress(TEXT.encode()),
    "xz": lzma.compress(TEXT.encode()),
    "zip": zipped(**{"a.csv": TEXT, "__MACOSX/._a.csv": "x"}),
}  # fmt: skip


@pytest.mark.parametrize("content", FORMS.values(), ids=FORMS)
def test_every_form_of_a_table(read, content):
    assert_bars(read(content, "AAPL.txt")["AAPL"], A)


@pytest.mark.parametrize(
    ("encoding", "names"),
    [
        ("cp1252", "Datum,Eröffnung,Hoch,Tief,Schluß,Stücke"),
        ("cp1250", "Data,Otwarcie,Najwyższy,Najniższy,Zamknięcie,Wolumen"),
        ("cp1251", "Дата,Открытие,Максимум,Минимум,Закрытие,Объем"),
        ("cp1254", "Tarih,Açılış,Yüksek,Düşük,Kapanış,Hacim"),
        ("gb18030", "日期,开盘,最高,最低,收盘,成交量"),
        ("big5", "日期,開盤價,最高價,最低價,收盤價,成交股數"),
        ("cp932", "日付,始値,高値,安値,終値,出来高"),
        ("cp949", "날짜,시가,고가,저가,종가,거래량"),
    ],
)
def test_older_encodings_are_known_by_their_headings(read, encoding, names):
    content = A.to_csv(index=False, header=names.split(",")).encode(encoding)
    assert_bars(read(content)["AAPL"], A)


def test_dividends_and_splits_in_words_go_to_their_day(read):
    rows = TEXT.splitlines()
    rows.insert(6, "2024-01-08,0.71 Dividend,,,,")
    rows.insert(20, "2024-01-25,4:1 Stock Splits,,,,")
    frame = read("\n".join(rows))["AAPL"]
    assert len(frame) == len(A)
    paid = frame[frame["dividends"] > 0]
    assert (paid["date"].tolist(), paid["dividends"].tolist()) == (
        [pd.Timestamp("2024-01-08")],
        [0.71],
    )
    split = frame[frame["splits"] > 0]
    assert (split["date"].tolist(), split["splits"].tolist()) == (
        [pd.Timestamp("2024-01-25")],
        [4.0],
    )


def test_a_file_cut_in_the_middle_of_a_row_is_refused(refusal):
    """Wherever the cut is, but in the last cell, where nobody can see it."""
    end = len(TEXT.rstrip())
    last_comma, last_row = TEXT.rfind(","), TEXT.rstrip().rfind("\n") + 1
    for cut in (*range(last_row + 1, last_comma), last_comma - 60):
        assert cut < end
        assert "ends in the middle of a row" in refusal(TEXT[:cut]), TEXT[:cut][-30:]
    assert "ends in the middle" in refusal(A.to_csv(index=False, quoting=1).rstrip()[:-1])
    named = A.assign(ticker="AAPL")[["ticker", *A]].to_csv(index=False).rstrip()
    assert "ends in the middle" in refusal(named[: named.rfind("AAPL") + 3])


def test_rows_of_other_lengths_are_refused_and_shown(refusal):
    rows = TEXT.splitlines()
    rows[7] = rows[7].rpartition(",")[0]
    assert f"6 columns and 5 cells in the row '{rows[7]}'" in refusal("\n".join(rows))
    rows[7] += ",1,2"
    assert "6 columns and 7 cells" in refusal("\n".join(rows))


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (zipped(**{"[Content_Types].xml": "x", "xl/workbook.xml": "x"}), "it is an Excel workbook"),
        (b"\xd0\xcf\x11\xe0 and so on", "it is an Excel workbook"),
        (zipped(**{"a.csv": TEXT, "b.csv": TEXT}), "an archive of 2 files"),
        (b"<!DOCTYPE html><html><body>no</body></html>", "it is a web page"),
        (b'{"chart": {"result": []}}', "it is JSON"),
        (b"%PDF-1.4 and so on", "a PDF document"),
        (b"date,close\n2024-01-02,\x00\xff\xfe\x01", "it is no text"),
        (b"\x81\x8d,\x8f\x90\n2024-01-02,1\n", "UTF-8"),
        (b"\x1a\n", "is empty"),
    ],
)  # fmt: skip
def test_what_is_no_table_is_called_what_it_is(refusal, content, words):
    line = refusal(content)
    assert "cannot read" in line
    assert words in line


def test_flipped_bits_of_a_parquet_file_are_noticed_where_it_has_checksums(tmp_path, refusal):
    pa = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "x.parquet"
    table = pa.Table.from_pandas(A)
    parquet.write_table(
        table, path, write_page_checksum=True, compression="none", use_dictionary=False
    )
    content = bytearray(path.read_bytes())
    spot = content.find(A["close"].to_numpy().tobytes()[:16])
    assert spot > 0
    content[spot + 6] ^= 1
    assert "cannot read" in refusal(bytes(content), "x.parquet")


def test_a_cell_of_400_digits_is_no_price(read, refusal):
    rows = TEXT.splitlines()
    cells = rows[5].split(",")
    rows[5] = ",".join([*cells[:4], "9" * 400, cells[5]])
    assert len(read("\n".join(rows))["AAPL"]) == len(A) - 1
    whole = pd.DataFrame({"date": ["2024-01-02"], "close": ["9" * 400]}).to_csv(index=False)
    assert "no row of the source can be used" in refusal(whole)
