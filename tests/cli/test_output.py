"""What a terminal shows, and what a pipe gets."""

import io
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from forecaster.cli import output

COLUMNS = ["ticker", "last close", "of", "80% interval", "volatility", "last 60 sessions"]
ROWS = [
    ["^GSPC", "2,506.85", "2018-12-31", "2,439.48 – 2,573.44", "2.25%/day", "▁▂▃▄▅▆" * 10],
    ["[red]", "6,635.28", "2018-12-31", "6,413.79 – 6,856.91", "2.80%/day", "▆▅▄▃▂▁" * 10],
]


@pytest.fixture
def terminal(monkeypatch):
    """A function that makes stdout and stderr terminals of so many columns."""

    def make(columns):
        for name, value in {"COLUMNS": columns, "TTY_COMPATIBLE": 1, "TERM": "xterm"}.items():
            monkeypatch.setenv(name, str(value))
        monkeypatch.setenv("NO_COLOR", "1")

    return make


def printed(capsys, **options):
    output.table(COLUMNS, ROWS, **options)
    text = capsys.readouterr().out.replace("\x1b[1m", "").replace("\x1b[0m", "")
    return [line.rstrip() for line in text.splitlines()]


def test_a_pipe_gets_every_column_on_one_line(capsys):
    head, _, first, second = printed(capsys)
    for line, row in ((head, COLUMNS), (first, ROWS[0]), (second, ROWS[1])):
        assert [line.find(cell) for cell in row] == sorted(line.find(cell) for cell in row)
        assert -1 not in [line.find(cell) for cell in row]


@pytest.mark.parametrize("width", [72, 80, 100, 120, 200])
def test_a_terminal_has_every_cell_whole_and_no_line_too_long(capsys, terminal, width):
    terminal(width)
    lines = printed(capsys)
    assert max(map(len, lines)) <= width
    for row in (COLUMNS, *ROWS):
        for cell in row:
            assert sum(cell in line for line in lines) >= 1, cell
    # Each part says whose numbers it has.
    parts = "\n".join(lines).split("\n\n")
    for part in parts:
        assert [line.split()[0] for line in part.splitlines()][::2] == ["ticker", "^GSPC"]
    assert (len(parts) == 1) == (width >= 144)


def test_columns_move_closer_before_they_go_below(capsys, terminal):
    table = ["a", "bb", "cc"], [["1", "22", "33"]]
    for width, line in ((13, " 1   22   33"), (10, " 1  22  33"), (8, " 1 22 33"), (7, " 1  22")):
        terminal(width)
        output.table(*table)
        assert line in capsys.readouterr().out.splitlines(), width


@given(st.lists(st.integers(1, 30), min_size=2, max_size=12), st.integers(1, 120))
def test_every_column_is_in_one_part_in_order(widths, room):
    _, parts = output._layout(widths, room)
    assert all(part[0] == 0 and len(part) > 1 for part in parts)
    assert [i for part in parts for i in part[1:]] == list(range(1, len(widths)))


def test_prose_runs_over_several_lines(capsys, terminal):
    words = "of 3,546 forecasts, when all prices after 9 cutoffs were rewritten"
    terminal(50)
    output.table(["check", "what it means"], [["look-ahead", words]], left=2, prose=True)
    lines = capsys.readouterr().out.splitlines()
    assert max(len(line) for line in lines[1:]) <= 50
    assert " ".join(" ".join(lines[2:]).replace("look-ahead", "").split()) == words


def test_a_picture_never_splits_a_table(capsys, terminal):
    table = ["ticker", "last", "closes"], [["AAPL", "36.71", "▁▂█"], ["MSFT", "101.57", "█▁"]]
    terminal(30)
    output.table(*table, picture=True)
    assert " MSFT     101.57   █▁" in capsys.readouterr().out.splitlines()
    terminal(18)
    output.table(*table, picture=True)
    narrow = capsys.readouterr().out
    assert "closes" not in narrow
    assert "101.57" in narrow
    assert len(narrow.splitlines()) == 4


def test_paragraphs_are_broken_between_words_in_a_terminal_only(capsys, terminal):
    text = "a verdict of some words " * 20
    output.say(text)
    output.error(text)
    piped = capsys.readouterr()
    assert piped.out == text + "\n"
    assert piped.err.count("\n") == 1
    terminal(40)
    output.say(text)
    output.error(text)
    shown = capsys.readouterr()
    for stream in (shown.out, shown.err):
        assert all(len(line) <= 40 for line in stream.splitlines())
        assert " ".join(stream.split()).removeprefix("error: ") == text.strip()


def test_a_sparkline_goes_from_the_lowest_to_the_highest():
    assert output.sparkline([1, 2, 3, 4, 5, 6, 7, 8]) == "▁▂▃▄▅▆▇█"
    assert output.sparkline([10.0, 20.0, 10.0]) == "▁█▁"
    assert output.sparkline([5.0]) == "▁"


def test_what_an_encoding_cannot_say_is_spelled_in_plain_letters(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    output.spell()
    output.table(["ticker", "interval", "closes"], [["é", "1 – 2", "▁▂▃▄▅▆▇█"]])
    output.say("✓ ✗ –")
    sys.stdout.flush()
    _, rule, row, marks = raw.getvalue().decode("ascii").splitlines()
    assert set(rule.strip()) == {"-"}
    assert row.split() == ["?", "1", "-", "2", "__..--''"]
    assert marks == "+ x -"


def test_a_dumb_terminal_gets_a_line_for_each_step(capsys, terminal, monkeypatch):
    terminal(80)
    monkeypatch.setenv("TERM", "dumb")
    with output.progress(quiet=False) as progress:
        progress(1, 2, "fit")
        progress(2, 2, "forecast")
    assert capsys.readouterr().err == "1/2 fit\n2/2 forecast\n"


def test_a_picture_that_goes_below_keeps_its_blanks(capsys, terminal):
    table = (
        ["step", "last", "fan       "],
        [["1", "36.71", "  ━━━┃━   "], ["2", "37", "━━━━━┃━━━━"]],
    )
    terminal(80)
    output.table(*table, left=0, picture=True, below=True)
    assert "    1   36.71     ━━━┃━" in capsys.readouterr().out.splitlines()
    terminal(18)
    output.table(*table, left=0, picture=True, below=True)
    lines = capsys.readouterr().out.splitlines()
    assert "    1    ━━━┃━" in lines
    assert "    2  ━━━━━┃━━━━" in lines


CELL = st.text(st.sampled_from("aZ09 .,–▁█日é[]%"), max_size=8).map(lambda text: f"x{text}x")


@given(
    st.integers(1, 4).flatmap(
        lambda width: st.lists(
            st.lists(CELL, min_size=width, max_size=width), min_size=1, max_size=5
        )
    ),
    st.integers(1, 3),
    st.integers(0, 4),
)
def test_a_pipe_gets_what_a_terminal_has(cells, gap, left):
    aligned = ["left" if i < left else "right" for i in range(len(cells[0]))]
    widths = [max(map(cell_len, column)) for column in zip(*cells, strict=True)]
    needed = 1 + sum(widths) + gap * (len(widths) - 1)
    # With words that may go on below, rich draws the table.
    drawn = output._drawn(cells, aligned, gap=gap, width=needed, wraps=True)
    assert output._drawn(cells, aligned, gap=gap, width=needed, wraps=False) == drawn
