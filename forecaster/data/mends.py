"""Tables of what cleaning did: its findings, rule by rule, and each value that it changed.

A finding is a run of neighbouring rows; a mend is one cell. A row that was rejected is a mend of its
close to nothing.
"""

import base64
import functools

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

_STORED = pa.schema(
    {
        "date": pa.timestamp("us"),
        "column": pa.string(),
        "before": pa.float64(),
        "after": pa.float64(),
        "rule": pa.string(),
    }
)

FINDINGS = ("ticker", "rule", "action", "first", "last", "rows")
MENDS = ("ticker", "date", "column", "before", "after", "rule")


@functools.cache
def no_findings() -> pd.DataFrame:
    """Return the one table of findings without rows."""
    return pd.DataFrame(columns=list(FINDINGS))


@functools.cache
def no_mends() -> pd.DataFrame:
    """Return the one table of mends without rows."""
    dtypes = {"date": "datetime64[us]", "before": "float64", "after": "float64"}
    return pd.DataFrame(columns=list(MENDS), dtype="str").astype(dtypes)


def joined(old: pd.DataFrame, new: pd.DataFrame, dates: pd.Series) -> pd.DataFrame:
    """Return the mends of a stored history and of the newly fetched sessions ``dates``, in order.

    Within the span of the new sessions, only what was done to them counts.
    """
    outside = (old["date"] < dates.iloc[0]) | (old["date"] > dates.iloc[-1])
    both = [part for part in (old[outside], new) if len(part)]
    if not both:
        return no_mends()
    together: pd.DataFrame = pd.concat(both)
    return together.sort_values("date", kind="stable", ignore_index=True)


def packed(mends: pd.DataFrame) -> bytes:
    """Return the mends of one ticker in letters and digits: a Parquet table, for a file's footer."""
    sink = pa.BufferOutputStream()
    table = pa.Table.from_pandas(mends[_STORED.names], schema=_STORED, preserve_index=False)
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return base64.b64encode(sink.getvalue().to_pybytes())


def unpacked(letters: bytes, ticker: str) -> pd.DataFrame:
    """Return the mends that :func:`packed` packed; ValueError or ArrowException if it did not."""
    source = pa.BufferReader(base64.b64decode(letters, validate=True))
    table = pq.read_table(source, page_checksum_verification=True)
    frame: pd.DataFrame = table.cast(_STORED).to_pandas()
    frame.insert(0, "ticker", pd.Series(ticker, index=frame.index, dtype="str"))
    return frame


def words(findings: pd.DataFrame) -> str:
    """Return the findings of a ticker in a line: ``3 rows rejected (frozen 3 from 2018-01-02)``."""
    parts = []
    for action, group in findings.groupby("action", sort=False):
        rules = ", ".join(
            f"{rule} {int(its['rows'].sum()):,} from {its['first'].min():%Y-%m-%d}"
            for rule, its in group.groupby("rule", sort=False)
        )
        parts.append(f"{int(group['rows'].sum()):,} rows {action} ({rules})")
    return "; ".join(parts)
