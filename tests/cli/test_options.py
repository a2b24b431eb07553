"""Options are declared once, and their defaults are those of the functions behind the commands."""

import inspect
from collections import defaultdict

import pytest
import typer

from forecaster.backtesting import external, leakage_audit
from forecaster.cli.app import app
from forecaster.config import RecurrentConfig
from forecaster.model_selection import search
from forecaster.parallel.jobs import Engine
from forecaster.runs import training


def every_command(group=None, words=()):
    """Yield the words of each command, and the command."""
    for name, command in (group or typer.main.get_command(app)).commands.items():
        if hasattr(command, "commands"):
            yield from every_command(command, (*words, name))
        else:
            yield " ".join((*words, name)), command


COMMANDS = dict(every_command())


def default(function, name):
    return inspect.signature(function).parameters[name].default


@pytest.mark.parametrize(
    ("command", "option", "value"),
    [
        ("train", "model", default(training.train, "model")),
        ("tune", "model", default(search.Objective.of, "model")),
        ("tune", "seed", default(search.Objective.of, "seed")),
        ("tune", "engine", Engine().name),
        ("audit", "seeds", default(leakage_audit.audit, "seeds")),
        ("backtest", "engine", Engine().name),
        ("backtest", "cost", default(external.score, "cost_bp")),
        ("score", "cost", default(external.score, "cost_bp")),
        ("score", "models", ",".join(default(external.score, "models"))),
    ],
)
def test_a_default_is_that_of_the_function_behind(command, option, value):
    (parameter,) = (it for it in COMMANDS[command].params if it.name == option)
    assert parameter.default == value


def test_defaults_that_the_help_says_are_those_of_the_settings():
    settings = RecurrentConfig()
    words = {it.name: it.help for it in COMMANDS["train"].params if hasattr(it, "help")}
    assert f"{settings.seeds} by default" in words["seeds"]
    assert f"{settings.epochs} by default" in words["epochs"]


def test_an_option_of_many_commands_is_the_same_in_all():
    seen = defaultdict(set)
    for command in COMMANDS.values():
        for parameter in command.params:
            if parameter.param_type_name == "option":
                seen[parameter.opts[0]].add((parameter.help, parameter.metavar))
    for name in (
        "home",
        "json",
        "quiet",
        "verbose",
        "until",
        "epochs",
        "cost",
        "engine",
        "address",
    ):
        assert len(seen[f"--{name}"]) == 1, name


def test_every_command_takes_the_common_options():
    for words, command in COMMANDS.items():
        names = {name for parameter in command.params for name in parameter.opts}
        assert {"--home", "--quiet", "--verbose"} <= names, words
