"""Tickers in whatever capitals they are typed."""

from collections.abc import Collection, Iterable

from forecaster.errors import UsageError


def matched(tickers: Iterable[str], known: Collection[str]) -> list[str]:
    """Return tickers, each once, in the capitals of those that are known.

    A ticker that is known as it is typed is that one, whatever others differ from it by capitals.

    Raises
    ------
    UsageError
        A ticker could be any of several, which differ by capitals alone.

    Examples
    --------
    >>> matched(["aapl", "BRK.b", "new"], ["AAPL", "BRK.B", "BRK.b"])
    ['AAPL', 'BRK.b', 'new']
    """
    spelled: dict[str, list[str]] = {}
    for ticker in known:
        spelled.setdefault(ticker.casefold(), []).append(ticker)
    names = []
    for ticker in tickers:
        near = spelled.get(ticker.casefold(), [])
        if ticker not in near and len(near) > 1:
            raise UsageError(
                f"{ticker} could be {' or '.join(near)}; write it in the capitals that it has"
            )
        names.append(near[0] if ticker not in near and near else ticker)
    return list(dict.fromkeys(names))
