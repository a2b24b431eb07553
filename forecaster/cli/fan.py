"""Forecasts of several sessions ahead as tables, each with a fan drawn in characters."""

from collections.abc import Sequence
from typing import Any

from forecaster.cli import output
from forecaster.display import number, price

WIDTH = 44
"""Characters from the lowest to the highest price of a fan: an announcement is as long."""

LIGHT, HEAVY, MEDIAN = "─━┃"

LEGEND = f"The fan: {LIGHT} 95%, {HEAVY} 80%, {MEDIAN} median."


def bars(intervals: Sequence[Sequence[float]]) -> list[str]:
    """Return a line for each forecast, all to one scale: light, heavy, median, heavy, light.

    Parameters
    ----------
    intervals : of each forecast the ends of the 95% interval, those of the 80% interval between them,
        and the median in the middle, ascending.
    """
    low, high = scale(intervals)
    unit = (WIDTH - 1) / (high - low) if high > low else 0.0
    lines = []
    for prices in intervals:
        first, second, middle, fourth, last = (round((it - low) * unit) for it in prices)
        line = " " * first + LIGHT * (last - first + 1)
        line = line[:second] + HEAVY * (fourth - second + 1) + line[fourth + 1 :]
        lines.append(line[:middle] + MEDIAN + line[middle + 1 :])
    return lines


def scale(intervals: Sequence[Sequence[float]]) -> tuple[float, float]:
    """Return the lowest and the highest price of some intervals."""
    return min(it[0] for it in intervals), max(it[-1] for it in intervals)


def table(rows: Sequence[dict[str, Any]], reports: str | None, *, annualised: bool) -> None:
    """Print the forecasts of a ticker, by step.

    Parameters
    ----------
    rows : as ``predict --json`` has them.
    reports : what to say of the announcement that the next event is.
    """
    last = rows[0]["last_close"]

    def shown(value: float) -> str:
        return price(value, beside=last)

    intervals = [_five(row) for row in rows]
    low, high = map(shown, scale(intervals))
    spread = "annualised_volatility" if annualised else "volatility_per_day"
    lines = [
        [
            str(row["step"]),
            row["date"] + ("?" if row["date_is_guess"] else ""),
            shown(row["median"]),
            *(" – ".join(map(shown, ends)) for ends in row["intervals"].values()),
            *(number(row[name], ".2%", digits=2) for name in ("volatility", spread)),
            f"{row['p_up']:.1%}",
            bar,
        ]
        for row, bar in zip(rows, bars(intervals), strict=True)
    ]
    if reports:
        day = rows[0]["next_event"]["reaction_session"]
        before = sum(row["date"] < day for row in rows)
        if before < len(rows):
            lines.insert(before, [""] * (len(lines[0]) - 1) + [reports])
    columns = ["step", "date", "median", "80% interval", "95% interval", "volatility"]
    columns += ["a year" if annualised else "a day", "P(rise)"]
    columns.append(low + high.rjust(WIDTH - len(low)))
    output.table(columns, lines, left=0, picture=True, below=True)


def _five(row: dict[str, Any]) -> list[float]:
    inner, outer = row["intervals"]["80"], row["intervals"]["95"]
    return [outer[0], inner[0], row["median"], inner[1], outer[1]]
