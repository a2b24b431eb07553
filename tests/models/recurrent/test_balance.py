"""How much each history counts in training."""

import numpy as np
import pytest

from forecaster.models.recurrent import balance


@pytest.mark.parametrize("power", [0.0, 0.5, 1.0])
def test_histories_of_one_length_and_kind_count_as_they_are(power):
    np.testing.assert_allclose(balance.weights(["AAPL", "KO", "^GSPC"], [700] * 3, power), 1)


def test_a_long_history_counts_as_the_usual_one():
    lengths = [500, 500, 4000]
    counts = balance.weights(["AAPL", "KO", "GE"], lengths, 0.0) * lengths
    np.testing.assert_allclose(counts, [500, 500, 500])


def test_a_rare_kind_fades_in_one_s_own_network():
    counts = balance.weights(["^GSPC", "^IXIC", "^VIX"], [600, 600, 6000], 0.0)
    np.testing.assert_allclose(
        counts, [1, 1, 0.1 * 0.5]
    )  # a tenth of its sessions, one of two tickers
    many = balance.weights(["BTC-USD", *["KO"] * 99], [600] * 100, 0.0)
    np.testing.assert_allclose(many[0], balance.LEAST)


def test_rare_kinds_and_exchanges_count_for_more_in_a_base():
    tickers, lengths = ["AAPL", "KO", "GE", "IBM", "VOD.L", "BTC-USD"], [900] * 6
    alike = balance.weights(tickers, lengths, 1.0) * lengths
    np.testing.assert_allclose(alike[:4].sum(), alike[4])
    np.testing.assert_allclose(alike[4], alike[5])
    half = balance.weights(tickers, lengths, 0.5)
    np.testing.assert_allclose(half[4] / half[0], 2)  # the root of four
    np.testing.assert_allclose((half * lengths).sum(), sum(lengths))
