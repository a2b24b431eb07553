"""What ``alerts.toml`` may say, and what is said of what it may not."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from forecaster.errors import UsageError
from forecaster.live import conditions

TARGETS = """
[targets.phone]
url = "env:NTFY_URL"

[targets.desk]
command = ["notify-send", "{title}", "{text}"]
"""
SECRET = "ntfys://tk_VerySecretToken@ntfy.example/topic"


def read(tmp_path, text):
    (tmp_path / conditions.FILE).write_text(text, encoding="utf-8")
    return conditions.read(tmp_path)


def refused(tmp_path, text):
    with pytest.raises(UsageError) as error:
        read(tmp_path, text)
    message = str(error.value)
    assert "\n" not in message
    return message


def test_a_home_without_the_file_has_no_conditions(tmp_path):
    assert conditions.read(tmp_path) == conditions.Settings((), {})


def test_each_condition_has_its_limit_tickers_and_targets(tmp_path):
    settings = read(
        tmp_path,
        TARGETS
        + """
[[alert]]
when = "expected_move"
above = 0.05
tickers = ["AAPL"]
to = ["phone"]

[[alert]]
when = "surprise"

[[alert]]
when = "coverage"
""",
    )
    move, surprise, coverage = settings.conditions
    assert (move.name, move.limit, move.tickers) == ("expected_move above 0.05", 0.05, ("AAPL",))
    assert move.to == ("phone",)
    assert (surprise.name, surprise.tickers) == ("surprise level 0.01", None)
    assert surprise.to == coverage.to == ("phone", "desk")
    assert coverage.name == "coverage"
    assert settings.targets["phone"].way == "env:NTFY_URL"
    assert settings.targets["desk"].way == "notify-send"


def test_a_condition_keeps_its_name_wherever_it_stands(tmp_path):
    first = '[[alert]]\nwhen = "var"\nabove = 0.05\n'
    second = '[[alert]]\nwhen = "stale"\nsessions = 3\n'
    one, other = (read(tmp_path, TARGETS + its) for its in (first + second, second + first))
    assert {it.name for it in one.conditions} == {it.name for it in other.conditions}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('[[alert]]\nwhen = "var"\nabove = 0.05', "there is no target to send alerts to"),
        (TARGETS + '[[alert]]\nwhen = "vat"', "alert 1 (line 7): when must be"),
        (TARGETS + '[[alert]]\nwhen = "vat"', "did you mean var?"),
        (TARGETS + "[[alert]]\nabove = 0.05", "and it is missing"),
        (TARGETS + '[[alert]]\nwhen = "var"', "above must be a fraction above 0 and below 1"),
        (TARGETS + '[[alert]]\nwhen = "var"\nabove = 5', "such as 0.05 for 5%, got 5"),
        (TARGETS + '[[alert]]\nwhen = "var"\nabove = true', "got True"),
        (TARGETS + '[[alert]]\nwhen = "var"\nabove = nan', "got nan"),
        (TARGETS + '[[alert]]\nwhen = "earnings"\ndays = 3', "unknown 'days'"),
        (TARGETS + '[[alert]]\nwhen = "earnings"\nsession = 3', "did you mean sessions?"),
        (TARGETS + '[[alert]]\nwhen = "stale"\nsessions = 2.5', "a whole number from 1 to 250"),
        (TARGETS + '[[alert]]\nwhen = "surprise"\nlevel = 0.02', "one of 0.01, 0.025, 0.05"),
        (TARGETS + '[[alert]]\nwhen = "coverage"\nabove = 0.1', "unknown 'above'"),
        (TARGETS + '[[alert]]\nwhen = "coverage"\nto = ["phne"]', "did you mean phone?"),
        (TARGETS + '[[alert]]\nwhen = "coverage"\nto = "phone"', "list of texts"),
        (TARGETS + '[[alert]]\nwhen = "coverage"\ntickers = []', "list of texts"),
        (TARGETS + "[alert]\nwhen = 1", "in two pairs of brackets"),
        ("[[alerts]]\n", "did you mean alert"),
        ("[targets.x]\n", "either a url or a command"),
        ('[targets.x]\nurl = "env:A"\ncommand = ["b"]', "either a url or a command"),
        ("[targets.x]\ncommand = []", "list of texts"),
        ('[targets.x]\ncommand = "notify-send {text}"', "list of texts"),
        ('[targets.x]\ncommand = ["{text}"]', "must begin with a program"),
        ('[targets.x]\ncommand = ["tell.BAT", "{text}"]', "must not be a batch file"),
        ('[targets."a b"]\nurl = "env:A"', "up to 40 letters"),
        ("[targets]\nx = 1", "must be a table"),
        ("alert = 1 2", "is not TOML at line 1, column 11"),
        ("x = " + "[" * 5000, "is not TOML"),
    ],
)
def test_what_is_wrong_is_named_with_its_place(tmp_path, text, said):
    assert said in refused(tmp_path, text)


@pytest.mark.parametrize(
    "text",
    [
        f'[targets.phone]\nurl = "{SECRET}"',
        f'[targets."{SECRET}"]\nurl = "env:A"',
        f'[targets.phone]\n"{SECRET}" = 1',
        f'"{SECRET}" = 1',
        f'[targets]\nphone = "{SECRET}"',
        f'[targets.phone]\ncommand = "{SECRET}"',
        f'{TARGETS}[[alert]]\nwhen = "{SECRET}"',
        f'{TARGETS}[[alert]]\nwhen = "coverage"\nto = ["{SECRET}"]',
        f'{TARGETS}[[alert]]\nwhen = "coverage"\nto = "{SECRET}"',
        f'{TARGETS}[[alert]]\nwhen = "var"\nabove = "{SECRET}"',
        '[targets]\nphone = "VerySecretToken"',
        '[targets.phone]\nurl = "VerySecretToken"',
        """[targets.desk]\ncommand = "curl -H 'Authorization: VerySecretToken'" """,
        '[targets.desk]\ncommand = ["VerySecretToken", 1]',
        f'x = "{SECRET}\n',
        f"x = {SECRET}",
        f'x = 1\n"{SECRET}" = 2\n"{SECRET}" = 3\n',
    ],
)
def test_a_secret_in_the_file_is_refused_and_not_repeated(tmp_path, text):
    message = refused(tmp_path, text)
    assert "VerySecretToken" not in message


@pytest.mark.parametrize(
    "text",
    [
        "[targets.phone]\ncommand = \"curl -H 'Authorization: Bearer hush' example.com\"",
        '[targets.phone]\ncommand = ["curl", "--user", "me:hush", 1]',
        '[targets]\nphone = "hush"',
        'targets = "hush"',
    ],
)
def test_what_stands_at_a_target_is_not_repeated(tmp_path, text):
    with pytest.raises(UsageError, match=r"must be a (list of texts|table)") as raised:
        read(tmp_path, text)
    assert "hush" not in str(raised.value)


def test_a_literal_url_is_refused_with_what_to_do(tmp_path):
    message = refused(tmp_path, f'[targets.my-phone]\nurl = "{SECRET}"')
    assert 'url = "env:MY_PHONE_URL"' in message
    assert "export MY_PHONE_URL=" in message


def test_a_file_of_windows_is_read(tmp_path):
    (tmp_path / conditions.FILE).write_bytes(b'\xef\xbb\xbf[targets.x]\r\nurl = "env:A"\r\n')
    assert conditions.read(tmp_path).targets["x"].variable == "A"


def test_what_is_no_text_is_one_line(tmp_path):
    (tmp_path / conditions.FILE).write_bytes(b"\xff\xfe\0")
    with pytest.raises(UsageError, match="is not TOML"):
        conditions.read(tmp_path)


@given(st.text(max_size=80))
def test_any_text_is_read_or_refused_in_a_line_that_prints(tmp_path_factory, text):
    home = tmp_path_factory.mktemp("home")
    (home / conditions.FILE).write_text(text, encoding="utf-8", errors="replace")
    said = ""
    try:
        conditions.read(home)
    except UsageError as error:
        said = str(error)
    assert said.isprintable()
