"""What the pages tell a reader to type works: every block of README.md and docs/ is run, page by page.

A page begins in an empty folder and an empty home, and its blocks follow each other. Trainings get
small settings, backtests few models and the sample half its years, where the page names none. These
comments stand before a block:

- ``<!-- parse only: why -->``: its commands are understood, and not run;
- ``<!-- file: NAME -->``: it is the file of that name.
"""

import re
import shlex
from pathlib import Path

import pytest
import typer

from forecaster.cli import ledger
from forecaster.cli.app import app, main

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
RUN_ELSEWHERE = {
    "README.md": "make demo",
    "reference/commands.md": "make demo, and tests/cli for the rest",
    "reference/python.md": "the notebook quickstart.ipynb",
    "how-to/ledger.md": "tests/live/test_ledger.py",
    "how-to/add-a-model.md": "tests/models/test_every_model.py",
    "developers/upstream-exchange-calendars.md": "the package that it is about",
}
"""Pages whose commands are run by others, at full size: here they are understood."""

SMALL = "units = 4\nwindow = 80\nwarmup = 40\nsteps = 2\nepochs = 1\nseeds = 1\n"
_BLOCK = re.compile(
    r"(?:<!-- (?P<kind>parse only|file|demo): (?P<word>.+?) -->\n)?"
    r"^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.DOTALL | re.MULTILINE,
)


def name(page):
    return str(page.relative_to(ROOT)).removeprefix("docs/")


def commands(text):
    """Yield the words of the ``forecast`` commands in a block, those with a prompt or all."""
    for line in text.splitlines():
        if line.removeprefix("$ ").startswith("forecast "):
            yield shlex.split(line.removeprefix("$ "))[1:]


def parse(words):
    """Raise if the command line does not understand the words."""
    command, said = typer.main.get_command(app), ["forecast"]
    while words and hasattr(command, "commands"):
        if isinstance(command, ledger.Group) and words[0] not in command.commands:
            words = [ledger.SHOW, *words]
        command, said, words = command.commands[words[0]], [*said, words[0]], words[1:]
    with command.make_context(" ".join(said), list(words), resilient_parsing=False):
        pass


def small(words):
    """Return the words of a command with what makes it quick, where it leaves that open."""
    if words[0] == "fetch" and "sample" in words and "--start" not in words:
        return [*words, "--start", "2009-01-02"]
    if words[0] == "train" and "--config" not in words:
        return [*words, "--config", "small.toml"]
    if words[0] == "backtest" and "--models" not in words:
        return [*words, "--models", "lstm,naive,gjr"]
    return words


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_commands_of_a_page_are_understood(page, tmp_path, monkeypatch):
    monkeypatch.setenv("FORECAST_HOME", str(tmp_path / "home"))
    for block in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        for words in commands(block["text"]):
            parse(words)


@pytest.mark.parametrize(
    "page",
    [it for it in PAGES if name(it) not in RUN_ELSEWHERE and _BLOCK.search(it.read_text("utf-8"))],
    ids=name,
)
def test_the_blocks_of_a_page_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("FORECAST_HOME", str(tmp_path / "home"))
    Path("small.toml").write_text(SMALL, encoding="utf-8")
    for block in _BLOCK.finditer(page.read_text(encoding="utf-8")):
        if block["kind"] == "file":
            text = SMALL if block["word"] == "small.toml" else block["text"]
            Path(block["word"]).write_text(text, encoding="utf-8")
        elif block["kind"] is None and block["language"] == "python":
            exec(compile(block["text"], name(page), "exec"), {})
        elif block["kind"] is None:
            for words in commands(block["text"]):
                with pytest.raises(SystemExit) as stop:
                    main(small(words))
                assert stop.value.code == 0, words


def test_a_block_that_is_not_run_says_why():
    for page in PAGES:
        for block in _BLOCK.finditer(page.read_text(encoding="utf-8")):
            runs = [
                line for line in block["text"].splitlines() if re.match(r"(pip|dask|ray) ", line)
            ]
            assert not runs or block["kind"] or name(page) == "README.md", runs
