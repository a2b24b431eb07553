"""What messages are made of."""

from forecaster.errors import did_you_mean, first_few, one_line


def test_a_list_ends_where_a_reader_would_stop():
    assert first_few([]) == ""
    assert first_few(["A", "B"]) == "A, B"
    assert first_few("ABCDE") == "A, B, C, D, E"
    assert first_few("ABCDEFGH") == "A, B, C, D, E and 3 more"
    assert first_few(range(2000), most=2) == "0, 1 and 1,998 more"


def test_an_error_of_another_package_becomes_one_line():
    assert one_line(ValueError("first\n  second\tthird ")) == "first second third"
    assert one_line(KeyError()) == "KeyError"
    assert one_line("x" * 160) == "x" * 160
    assert one_line("x" * 161) == "x" * 158 + " …"


def test_what_was_meant_is_the_nearest_name_in_any_capitals():
    assert did_you_mean("lsmt", ["lstm", "gjr"]) == "did you mean lstm? "
    assert did_you_mean(["aapl", "MSFX"], ["AAPL", "MSFT"]) == "did you mean AAPL or MSFT? "
    assert did_you_mean("zzz", ["lstm"]) == ""
