"""Docstrings of this package as Markdown: MkDocs reads them with this extension of griffe.

``name : what it is`` is a parameter and its description, where numpydoc would have a type, which the
signature says already; and ``:func:`name``` is a name.
"""

import re
import textwrap
from typing import Any

import griffe


class Plain(griffe.Extension):
    """Takes roles for names, and what follows a parameter's colon for its description."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Rewrite the docstring of one object before it is parsed."""
        if obj.docstring:
            returned = str(getattr(obj, "returns", "")).strip("\"'")
            obj.docstring.value = plain(obj.docstring.value, returned)


def plain(text: str, returned: str) -> str:
    """Return a docstring whose sections numpydoc understands, without roles."""
    text = re.sub(r":\w+:`~?([^`]+)`", r"`\1`", text)
    text = re.sub(r"``([^`]+)``", r"`\1`", text)
    head, *sections = re.split(r"^(Parameters|Returns|Raises)\n-+\n", text, flags=re.MULTILINE)
    parts = [head]
    for title, body in zip(sections[::2], sections[1::2], strict=True):
        body, *rest = re.split(r"(?m)^(?=\w+\n-+\n)", body, maxsplit=1)
        if title == "Returns":
            body = f"{returned}\n{textwrap.indent(body, '    ')}"
        else:
            body = re.sub(r"(?m)^([\w, ]+) : (.*)$", r"\1\n    \2", body)
        parts += [f"{title}\n{'-' * len(title)}\n{body}", *rest]
    return "".join(parts)
