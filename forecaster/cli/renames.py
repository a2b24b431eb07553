"""Options that had another name once: the old one works, is not in the help, and says the new one."""

from collections.abc import Iterator
from typing import Any

from typer.core import TyperCommand

from forecaster.cli import output

OLD_NAMES = {
    "explain": {"--date": "--as-of"},
    "predict": {"--csv": "--out"},
    "tune": {"--save": "--out"},
}
"""New names of options by command and old name."""


class Command(TyperCommand):
    """A command that takes its options by their old names too."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Parse words in which old names have become new ones."""
        quiet = ctx.resilient_parsing or "--quiet" in args
        renames = OLD_NAMES.get(self.name or "", {})
        return super().parse_args(ctx, list(_renamed(args, renames, quiet=quiet)))


def _renamed(words: list[str], renames: dict[str, str], *, quiet: bool) -> Iterator[str]:
    """Yield words with old names replaced, up to ``--``, which ends the options."""
    end = words.index("--") if "--" in words else len(words)
    for word in words[:end]:
        old, equals, value = word.partition("=")
        if old in renames:
            if not quiet:
                output.note(f"{old} is now {renames[old]}")
            yield f"{renames[old]}{equals}{value}"
        else:
            yield word
    yield from words[end:]
