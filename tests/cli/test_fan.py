"""Fans in characters: where a price is drawn, and what is drawn over what."""

import re

from hypothesis import given
from hypothesis import strategies as st

from forecaster.cli import fan

PRICES = st.lists(st.floats(1e-6, 1e9), min_size=5, max_size=5).map(sorted)


def test_prices_lie_where_the_scale_puts_them():
    # 43 characters of 1 from 100 to 143, each end included.
    one, two = fan.bars([[118.0, 120.0, 121.0, 122.0, 124.0], [100.0, 110.0, 120.0, 130.0, 143.0]])
    assert one == " " * 18 + "──━┃━──"
    assert two == "─" * 10 + "━" * 10 + "┃" + "━" * 10 + "─" * 13


def test_a_price_that_cannot_move_is_its_median():
    assert fan.bars([[7.0] * 5]) == ["┃"]


@given(st.lists(PRICES, min_size=1, max_size=21))
def test_every_bar_has_its_median_within_and_fits(intervals):
    lines = fan.bars(intervals)
    assert max(map(len, lines)) <= fan.WIDTH
    assert min(len(it) - len(it.lstrip()) for it in lines) == 0
    for line in lines:
        assert re.fullmatch(r" *─*━*┃━*─*", line), line
