import sys

import pytest

from forecaster import imports


def test_a_package_is_absent_meanwhile_and_there_again_afterwards(monkeypatch):
    monkeypatch.delitem(sys.modules, "colorsys", raising=False)
    with imports.without("colorsys"), pytest.raises(ImportError):
        import colorsys
    import colorsys

    assert colorsys.hsv_to_rgb(0, 0, 1) == (1, 1, 1)


def test_a_package_that_was_imported_before_stays():
    import json

    with imports.without("json"):
        import json as same
    assert same is json
    assert sys.modules["json"] is json
