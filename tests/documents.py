"""JSON documents of the commands, held to the schemas that are published."""

import json
from functools import cache
from pathlib import Path

SCHEMAS = Path(__file__).parents[1] / "docs" / "reference" / "schemas"


@cache
def validator(name):
    """The validator of a schema by its name, such as ``predict``."""
    from jsonschema import Draft202012Validator

    schema = json.loads((SCHEMAS / f"{name}.json").read_text(encoding="utf-8"))
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


def validated(document):
    """Return a document that is what the schema it names says."""
    _, name, _ = document["schema"].split("/")
    validator(name).validate(document)
    return document
