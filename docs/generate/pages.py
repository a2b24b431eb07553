"""Pages of the site that are made as it is built, from what they are about: MkDocs calls these hooks."""

import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from forecaster.cli.app import app

# MkDocs runs this file by its path, without its folder.
sys.path.insert(0, str(Path(__file__).parent))
from leaderboard import leaderboard

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that are made, and the pictures of the benchmarks."""
    benchmarks = (ROOT / "benchmarks" / "README.md").read_text(encoding="utf-8")
    benchmarks = re.sub(r"\[([^\]]+)\]\(results\)", r"\1", benchmarks)
    made = {
        "reference/cli.md": "".join(cli()),
        "benchmarks.md": benchmarks,
        "leaderboard.md": "".join(leaderboard()),
        "changelog.md": (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"),
    }
    for path, content in made.items():
        files.append(File.generated(config, path, content=content))
    for picture in re.findall(r"\]\(results/([^)]+)\)", benchmarks):
        source = str(RESULTS / picture)
        files.append(File.generated(config, f"results/{picture}", abs_src_path=source))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Show below a command what it printed, where README.md has it."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")

    def shown(marked: re.Match[str]) -> str:
        block = re.search(rf"<!-- demo: {marked[1]} -->\n(.*?)<!-- end -->", readme, re.DOTALL)
        if block is None:
            raise KeyError(f"README.md has no demo of {marked[1]}, which {page.file.src_uri} shows")
        return block[1]

    return re.sub(r"<!-- output: (\w+) -->\n```\n.*?\n```\n", shown, markdown, flags=re.DOTALL)


def cli() -> Iterator[str]:
    """Yield the reference of the command line, from the commands themselves."""
    yield (
        "# Every option\n\nMade from the commands, in the words of `forecast COMMAND --help`. "
        "[The commands](commands.md) shows them at work.\n"
    )
    for words, command in commands(typer.main.get_command(app), "forecast"):
        context = command.context_class(command, info_name=words)
        yield f"\n## `{words}`\n\n{explained(command.help)}\n\n"
        rows = [record for it in command.params if (record := it.get_help_record(context))]
        yield "| option | meaning |\n| --- | --- |\n"
        for option, meaning in rows:
            yield f"| `{cell(option)}` | {cell(meaning)} |\n"


def commands(group: Any, words: str) -> Iterator[tuple[str, Any]]:
    """Yield the words of every command, and it, in the order of the help."""
    for name, command in group.commands.items():
        if hasattr(command, "commands"):
            if command.invoke_without_command:
                yield f"{words} {name}", command
            yield from commands(command, f"{words} {name}")
        else:
            yield f"{words} {name}", command


def explained(text: str) -> str:
    """Return a command's help, its example as code."""
    return re.sub(r"^Example: (.*)$", r"```\n\1\n```", text, flags=re.MULTILINE)


def cell(text: str) -> str:
    """Return text that stays within its cell of a table."""
    return text.replace("|", "\\|").replace("\n", " ")
