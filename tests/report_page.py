"""What tests of the report share: the page as a parser reads it, and what its script unpacks."""

import re
import zlib
from base64 import b64decode
from html.parser import HTMLParser

import numpy as np

from forecaster.report.packing import MISSING

VOID = {"meta", "img", "input", "link", "br"}


class Page(HTMLParser):
    """What is on a page: every tag with its attributes, the cells of its tables, its words."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.tables, self.words, self.open = [], [], [], []
        self.feed(text)
        self.close()
        self.tables = [table for table in self.tables if table]  # the script fills one

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)
        if tag == "table":
            self.tables.append([])
        if tag == "tr":
            self.tables[-1].append([])
        if tag in ("td", "th"):
            self.tables[-1][-1].append("")

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if not {"style", "script"} & set(self.open):
            self.words.append(data)
        if {"td", "th"} & set(self.open):
            self.tables[-1][-1][-1] += data

    @property
    def said(self):
        return " ".join(" ".join(self.words).split())

    def all(self, tag):
        return [attributes for name, attributes in self.tags if name == tag]


def scripts(text):
    """Each script of a page: its attributes and its text."""
    result = re.findall(r"<script(.*?)>(.*?)</script>", text, flags=re.DOTALL)
    return [(attributes.strip(), body) for attributes, body in result]


def unpacked(packed):
    """The columns of `pack`, by the loop of the page."""
    planes = zlib.decompress(b64decode(packed["text"]))
    rows, columns = packed["rows"], []
    for i, unit in enumerate(packed["units"]):
        values, whole = [], 0
        for row in range(rows):
            at = 4 * rows * i + row
            zigzag = sum(planes[at + rows * k] << 8 * k for k in range(4))
            whole += (zigzag >> 1) ^ -(zigzag & 1)
            whole = (whole + 2**31) % 2**32 - 2**31
            values.append(np.nan if whole == MISSING else whole * unit)
        columns.append(np.array(values))
    return columns
