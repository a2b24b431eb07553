"""What the papers of the project say is so."""

import ast
import inspect
import re
import shlex
from pathlib import Path

import pytest
import typer

import forecaster
from forecaster import api
from forecaster.cli.app import app
from forecaster.data import events
from forecaster.data.prices import COLUMNS
from forecaster.distributions.forecasts import FORECAST_COLUMNS
from forecaster.evaluation.metrics import SCORES
from forecaster.models.registry import REGISTRY

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCS = ROOT / "docs"
PAGES = {path: path.read_text(encoding="utf-8") for path in DOCS.rglob("*.md")}
COMMANDS = PAGES[DOCS / "reference" / "commands.md"]
PYTHON = PAGES[DOCS / "reference" / "python.md"]
FRAMES = PAGES[DOCS / "reference" / "frames.md"]
MADE = {
    DOCS / name for name in ("reference/cli.md", "benchmarks.md", "leaderboard.md", "changelog.md")
}
"""Pages that docs/generate/pages.py makes as the site is built."""

MOST_LINES = 130


def test_readme_is_short_and_has_the_two_commands():
    assert len(README.splitlines()) <= MOST_LINES
    assert "\nmake demo\nmake test\n" in README  # .ci/run reads the second


def test_every_command_and_model_is_documented():
    for text in (README, COMMANDS):
        for command in app.registered_commands:
            assert f"forecast {command.name}" in text
        for group in app.registered_groups:
            assert f"forecast {group.name}" in text
    for model in REGISTRY:
        assert f"`{model}`" in COMMANDS


def commands(app, words="forecast"):
    """Yield the words of every command, and its help."""
    for command in app.registered_commands:
        name = command.name or command.callback.__name__
        yield f"{words} {name}", inspect.getdoc(command.callback)
    for group in app.registered_groups:
        yield from commands(group.typer_instance, f"{words} {group.name}")


def test_every_command_s_help_has_an_example_that_parses():
    found = dict(commands(app))
    assert len(found) > 10
    for words, text in found.items():
        (example,) = re.findall(r"^Example: (.*)$", text, flags=re.MULTILINE)
        assert example.startswith(words), words
        names = words.split()[1:]
        command = typer.main.get_command(app)
        for name in names:
            command = command.commands[name]
        command.make_context(words, shlex.split(example)[1 + len(names) :])


def links(page):
    """Yield what a page links to in this project, as paths."""
    for target in re.findall(r"\]\(([^)#]+)", page.read_text(encoding="utf-8")):
        if not target.startswith("https://"):
            yield (page.parent / target).resolve()


@pytest.mark.parametrize(
    "page", [*ROOT.glob("*.md"), *PAGES], ids=lambda path: str(path.relative_to(ROOT))
)
def test_links_lead_somewhere(page):
    for target in links(page):
        assert target in MADE or target.exists(), target


def test_every_page_is_in_the_site_and_reached_from_its_start():
    nav = (ROOT / "mkdocs.yml").read_text(encoding="utf-8").split("nav:\n")[-1]
    listed = {DOCS / name for name in re.findall(r"[\w/-]+\.md", nav)}
    assert listed == {*PAGES, *MADE}
    assert {*links(DOCS / "index.md"), DOCS / "index.md"} >= listed


def test_the_frames_are_described_column_by_column():
    for columns in (COLUMNS, events.COLUMNS, FORECAST_COLUMNS, SCORES):
        for column in columns:
            assert f"`{column}`" in FRAMES or re.fullmatch(r"q0\.\d+", column), column


def test_every_function_of_the_api_is_documented_with_its_parameters():
    for name in api.__all__:
        (words,) = re.findall(rf"^\| `api\.{name}\((.*?)\)`", PYTHON, flags=re.MULTILINE)
        parameters = inspect.signature(getattr(api, name)).parameters
        for word in words.split(", "):
            assert word.rstrip("=") in parameters, (name, word)
            keyword = parameters[word.rstrip("=")].kind is inspect.Parameter.KEYWORD_ONLY
            assert keyword == word.endswith("="), (name, word)
        for section in ("Parameters", "Returns", "Raises"):
            assert section in inspect.getdoc(getattr(api, name)), (name, section)


def test_python_in_the_docs_names_what_there_is():
    (code,) = re.findall(r"```python\n(.*?)```", PYTHON, flags=re.DOTALL)
    called = [
        (node.func.attr, node)
        for node in ast.walk(ast.parse(code))
        if isinstance(node, ast.Call)
        and isinstance(node.func, ast.Attribute)
        and getattr(node.func.value, "id", "") == "api"
    ]
    assert {name for name, _ in called} == set(api.__all__)
    for name, call in called:
        keywords = {word.arg: None for word in call.keywords}
        inspect.signature(getattr(api, name)).bind(*call.args, **keywords)


def test_the_version_is_one_everywhere():
    changelog = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
    released = re.findall(r"^## \[(\d.*)\] - (\d{4}-\d\d-\d\d)$", changelog, flags=re.MULTILINE)
    citation = (ROOT / "CITATION.cff").read_text(encoding="utf-8")
    assert released[0][0] == forecaster.__version__
    assert f"version: {forecaster.__version__}\ndate-released: {released[0][1]}\n" in citation
    assert released == sorted(released, key=lambda it: it[1], reverse=True)
    assert changelog.index("## [Unreleased]") < changelog.index(f"## [{released[0][0]}]")


def test_constraints_hold_names_and_versions_only():
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line for line in lines if line and not line.startswith("#")]
    assert len(pins) > 50
    assert all(re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!-]+", pin) for pin in pins)
