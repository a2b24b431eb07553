"""Companions: the indices that a forecast wants beside its ticker.

They are the index of its exchange, which says what the market does, and the index of implied volatility
that fits it. They are stored apart from what the user asked for, and are in no list of it; a ticker that
he stores himself serves in their place.
"""

import logging
from collections.abc import Collection, Iterable, Iterator, Mapping
from datetime import date
from pathlib import Path

import pandas as pd

from forecaster.data import prices
from forecaster.data.exchanges import CRYPTO, NEW_YORK, exchange, kind
from forecaster.data.store import Store
from forecaster.errors import StoreError

log = logging.getLogger(__name__)

_MARKETS: Mapping[str, str] = {
    CRYPTO: "BTC-USD",
    "ASEX": "GD.AT",
    "BVMF": "^BVSP",
    "XAMS": "^AEX",
    "XASX": "^AXJO",
    "XBKK": "^SET.BK",
    "XBOM": "^BSESN",
    "XBRU": "^BFX",
    "XBUD": "^BUX.BD",
    "XBUE": "^MERV",
    "XCSE": "^OMXC25",
    "XDUB": "^ISEQ",
    "XDUS": "^GDAXI",
    "XETR": "^GDAXI",
    "XFRA": "^GDAXI",
    "XHAM": "^GDAXI",
    "XHEL": "^OMXH25",
    "XHKG": "^HSI",
    "XICE": "^OMXIPI",
    "XIDX": "^JKSE",
    "XIST": "XU100.IS",
    "XJSE": "^J203.JO",
    "XKAR": "^KSE",
    "XKLS": "^KLSE",
    "XKRX": "^KS11",
    "XLIS": "PSI20.LS",
    "XLIT": "^OMXVGI",
    "XLON": "^FTSE",
    "XMAD": "^IBEX",
    "XMEX": "^MXX",
    "XMIL": "FTSEMIB.MI",
    "XMOS": "IMOEX.ME",
    "XNYS": "^GSPC",
    "XNZE": "^NZ50",
    "XOSL": "^OSEAX",
    "XPAR": "^FCHI",
    "XPHS": "PSEI.PS",
    "XRIS": "^OMXRGI",
    "XSAU": "^TASI.SR",
    "XSES": "^STI",
    "XSGO": "^IPSA",
    "XSHG": "000001.SS",
    "XSTO": "^OMX",
    "XSTU": "^GDAXI",
    "XSWX": "^SSMI",
    "XTAE": "^TA125.TA",
    "XTAI": "^TWII",
    "XTAL": "^OMXTGI",
    "XTKS": "^N225",
    "XTSE": "^GSPTSE",
    "XWAR": "WIG20.WA",
    "XWBO": "^ATX",
}
"""The best known index of each exchange at Yahoo; the largest coin stands for those."""

_IMPLIED: Mapping[str, str] = {
    NEW_YORK: "^VIX",
    "XASX": "^AXVI",
    "XBOM": "^INDIAVIX",
    "XHKG": "^VHSI",
}
"""The index of implied volatility of an exchange's shares and indices."""

_SPECIAL: Mapping[str, str] = {
    "^EVZ": "EURUSD EURUSD=X FXE",
    "^GVZ": "GC=F MGC=F GLD IAU",
    "^OVX": "BZ=F CL=F MCL=F BNO USO",
    "^RVX": "^RUT IWM",
    "^VXD": "^DJI DIA",
    "^VXEEM": "EEM",
    "^VXN": "^IXIC ^NDX ^XNDX ONEQ QQQ QQQM",
}
"""Tickers with an index of implied volatility of their own."""

_SPECIAL_OF = {name: it for it, names in _SPECIAL.items() for name in names.split()}


def market_index(ticker: str) -> str | None:
    """Return the index of a ticker's exchange, the ticker itself if it is that.

    None for currencies, futures, rates and indices of volatility, and where there is none.
    """
    if kind(ticker) in ("share", "index", "coin"):
        return _MARKETS.get(exchange(ticker))
    return None


def implied_index(ticker: str, among: Collection[str] | None = None) -> str | None:
    """Return the index of implied volatility that fits a ticker; None if there is none.

    Parameters
    ----------
    among : those that there are. If the ticker's own is not among them, its exchange's serves.
    """
    fitting = _implied(ticker)
    return next((it for it in fitting if among is None or it in among), None)


def _implied(ticker: str) -> list[str]:
    """Return the indices of implied volatility that fit a ticker, the best first."""
    special = _SPECIAL_OF.get(ticker.upper())
    general = _IMPLIED.get(exchange(ticker)) if kind(ticker) in ("share", "index") else None
    return [it for it in (special, general) if it]


def of(tickers: Iterable[str]) -> list[str]:
    """Return the companions of some tickers, sorted."""
    names = {it for ticker in tickers for it in (market_index(ticker), *_implied(ticker)) if it}
    return sorted(names)


def store(home: Path) -> Store:
    """Return the store of the companions that were fetched along."""
    return Store(home / "companions")


def frames(home: Path, names: Iterable[str]) -> Iterator[pd.DataFrame]:
    """Yield the prices frame of each companion that is stored, by the user himself or along.

    One whose file is damaged is a warning, as forecasts can do without.

    Parameters
    ----------
    names : those that are wanted, as :func:`of` returns them.
    """
    own, along = Store(home), store(home)
    stored, fetched = set(own.tickers()), set(along.tickers())
    for name in names:
        if name not in stored and name not in fetched:
            continue
        try:
            yield (own if name in stored else along).read([name])
        except StoreError as error:
            log.warning("forecasts do without %s: %s", name, error)


def read(home: Path, tickers: Iterable[str]) -> pd.DataFrame:
    """Return the prices frame of the companions of some tickers, as far as they are stored."""
    each = list(frames(home, of(tickers)))
    return pd.concat(each, ignore_index=True) if each else pd.DataFrame(columns=prices.COLUMNS)


def digest(frame: pd.DataFrame | None, until: date | None = None) -> str | None:
    """Return :func:`forecaster.data.prices.digest` of companions up to a date; None where there are none."""
    if frame is not None and until is not None:
        frame = frame[frame["date"] <= pd.Timestamp(until)]
    return None if frame is None or frame.empty else prices.digest(frame)
