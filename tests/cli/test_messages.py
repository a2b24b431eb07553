"""Messages of the library speak of parameters; the command line spells them as its options."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer

import forecaster
from forecaster.cli import output
from forecaster.cli.app import app

PACKAGE = Path(forecaster.__file__).parent
LIBRARY = sorted(set(PACKAGE.rglob("*.py")) - set((PACKAGE / "cli").rglob("*.py")))
OPTION = re.compile(r"(?<![\w-])--[a-z][a-z-]*")


def messages(path: Path) -> Iterator[tuple[int, str]]:
    """Yield the line and the text of each string in a module but docstrings, its values as ``X``."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inner = {
        id(it)
        for node in ast.walk(tree)
        if isinstance(node, ast.JoinedStr | ast.Expr)
        for it in ast.iter_child_nodes(node)
    }
    for node in ast.walk(tree):
        if id(node) in inner:
            continue
        if isinstance(node, ast.JoinedStr):
            parts = (it.value if isinstance(it, ast.Constant) else "X" for it in node.values)
            yield node.lineno, "".join(map(str, parts))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def library() -> Iterator[tuple[str, str]]:
    """Yield where each message outside ``cli/`` stands, and the message."""
    for path in LIBRARY:
        for line, text in messages(path):
            yield f"{path.relative_to(PACKAGE)}:{line}", text


def options(command) -> set[str]:
    """The options of a command and of all below it."""
    of_groups = [options(it) for it in getattr(command, "commands", {}).values()]
    return {name for it in command.params for name in it.opts}.union(*of_groups)


def test_no_module_of_the_library_names_an_option():
    assert len(LIBRARY) > 50
    assert [path for path in LIBRARY if OPTION.search(path.read_text(encoding="utf-8"))] == []


def test_every_parameter_in_a_message_is_an_option_of_the_command_line():
    known = options(typer.main.get_command(app))
    shown = {where: OPTION.findall(output.with_options(text)) for where, text in library()}
    named = {where: names for where, names in shown.items() if names}
    assert len(named) > 20
    assert {where: names for where, names in named.items() if not set(names) <= known} == {}


@pytest.mark.parametrize(
    ("message", "shown"),
    [
        ("give a later `end`", "give a later --end"),
        ('say `values="prices"`', "say --values prices"),
        ("`max_windows` must be 0", "--max-windows must be 0"),
        ("`forecast train` makes one", "`forecast train` makes one"),
        ("expected lines such as `units = 32`", "expected lines such as `units = 32`"),
    ],
)
def test_parameters_become_options(message, shown):
    assert output.with_options(message) == shown
