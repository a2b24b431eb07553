"""Which exchange a ticker trades on, by Yahoo's names.

A suffix names the exchange (``VOD.L``), ``^`` an index, ``=X`` a currency pair, ``=F`` a future; a
name without any of them is of the United States. Other sources write pairs as ``BTC/USDT``,
``BTCUSDT`` or ``EURUSD``.
"""

import re
from collections.abc import Mapping
from functools import lru_cache

NEW_YORK = "XNYS"
CRYPTO = "24/7"
CURRENCIES = "24/5"
FUTURES = "CMES"

_UNKNOWN = "?"

_SUFFIXES: Mapping[str, str] = {
    "ASEX": "AT",
    "BVMF": "SA",
    "CMES": "CBT CME CMX NYM",
    "IEPA": "NYB",
    "XAMS": "AS",
    "XASX": "AX",
    "XBKK": "BK",
    "XBOG": "CL",
    "XBOM": "BO NS",
    "XBRU": "BR",
    "XBSE": "RO",
    "XBUD": "BD",
    "XBUE": "BA",
    "XCSE": "CO",
    "XDUB": "IR",
    "XDUS": "DU",
    "XETR": "DE",
    "XFRA": "BE BM F MU",
    "XHAM": "HA HM",
    "XHEL": "HE",
    "XHKG": "HK",
    "XICE": "IC",
    "XIDX": "JK",
    "XIST": "IS",
    "XJSE": "JO",
    "XKAR": "KA",
    "XKLS": "KL",
    "XKRX": "KQ KS",
    "XLIS": "LS",
    "XLIT": "VS",
    "XLON": "IL L",
    "XMAD": "MC",
    "XMEX": "MX",
    "XMIL": "MI TI",
    "XMOS": "ME",
    "XNYS": "US",
    "XNZE": "NZ",
    "XOSL": "OL",
    "XPAR": "NX PA",
    "XPHS": "PS",
    "XPRA": "PR",
    "XRIS": "RG",
    "XSAU": "SAU SR",
    "XSES": "SI",
    "XSGO": "SN",
    "XSHG": "SS SZ",
    "XSTO": "ST",
    "XSTU": "SG",
    "XSWX": "SW",
    "XTAE": "TA",
    "XTAI": "TW TWO",
    "XTAL": "TL",
    "XTKS": "T",
    "XTSE": "CN NE TO V",
    "XWAR": "WA",
    "XWBO": "VI",
}
"""Suffixes by calendar, of exchanges whose calendar ``exchange_calendars`` has.

It has none of Cairo (CA), Qatar (QA), Kuwait (KW), the Emirates (AE), Caracas (CR) and Vietnam (VN).
"""

_INDICES: Mapping[str, str] = {
    "BVMF": "^BVSP",
    "XAMS": "^AEX",
    "XASX": "^AORD ^AXJO ^AXKO ^AXVI",
    "XBOM": "^INDIAVIX",
    "XBRU": "^BFX",
    "XBUE": "^MERV",
    "XCSE": "^OMXC25",
    "XDUB": "^ISEQ",
    "XETR": "^CDAXI ^GDAXI ^MDAXI ^SDAXI ^STOXX ^STOXX50E ^TECDAX",
    "XHEL": "^OMXH25",
    "XHKG": "^HSCE ^HSI ^VHSI",
    "XICE": "^OMXIPI",
    "XIDX": "^JKLQ45 ^JKSE",
    "XIST": "^XU100",
    "XKAR": "^KSE",
    "XKLS": "^KLSE",
    "XKRX": "^KQ11 ^KS11 ^KS200",
    "XLIT": "^OMXVGI",
    "XLON": "^FTAS ^FTMC ^FTSE",
    "XMAD": "^IBEX",
    "XMEX": "^MXX",
    "XNYS": "^BKX ^DJA ^DJI ^DJT ^DJU ^DWCF ^EVZ ^FVX ^GSPC ^GVZ ^HGX ^IRX ^IXIC ^KRX ^MID ^NBI ^NDX "
    "^NYA ^OEX ^OSX ^OVX ^RUA ^RUI ^RUT ^RVX ^SKEW ^SOX ^SP100 ^SP400 ^SP500TR ^SP600 ^SPX "
    "^TNX ^TYX ^VIX ^VIX1D ^VIX3M ^VIX6M ^VIX9D ^VVIX ^VXD ^VXEEM ^VXN ^W5000 ^XAU ^XAX ^XMI "
    "^XNDX ^XOI",
    "XNZE": "^NZ50",
    "XOSL": "^OSEAX",
    "XPAR": "^FCHI ^N100",
    "XRIS": "^OMXRGI",
    "XSES": "^STI",
    "XSGO": "^IPSA",
    "XSTO": "^OMX ^OMXS30 ^OMXSPI",
    "XSWX": "^SSMI",
    "XTAI": "^TWII",
    "XTAL": "^OMXTGI",
    "XTKS": "^N225 ^N300 ^TPX",
    "XTSE": "^GSPTSE ^TX60",
    "XWBO": "^ATX",
}

_FAMILIES: Mapping[str, str] = {
    "^BSE": "XBOM",
    "^CNX": "XBOM",
    "^NSE": "XBOM",
    "^SP500-": NEW_YORK,
}
"""Beginnings of the names of an exchange's many indices."""

_KINDS: Mapping[str, str] = {CRYPTO: "coin", CURRENCIES: "currency", FUTURES: "future"}
"""Kinds by calendar, where all of a calendar are of one."""

_VOLATILITIES = frozenset(
    ["^AXVI", "^EVZ", "^GVZ", "^INDIAVIX", "^OVX", "^RVX", "^VHSI", "^VIX", "^VIX1D", "^VIX3M"]
) | frozenset(["^VIX6M", "^VIX9D", "^VVIX", "^VXD", "^VXEEM", "^VXN"])
_RATES = frozenset(["^FVX", "^IRX", "^TNX", "^TYX"])

_FIAT = (
    "USD|EUR|GBP|JPY|CHF|CAD|AUD|NZD|CNY|CNH|HKD|SGD|INR|KRW|TWD|BRL|MXN|RUB|TRY|ZAR|SEK|NOK|DKK|PLN|"
    "CZK|HUF|ILS|THB|IDR|MYR|PHP|CLP|COP"
)
_METALS = "XAU|XAG|XPT|XPD"
_STABLE = "USDT|USDC|BUSD|TUSD|FDUSD"
_COINS = (
    "BTC|XBT|ETH|XRP|LTC|BCH|BNB|SOL|ADA|DOGE|DOT|AVAX|LINK|TRX|XLM|XMR|ETC|SHIB|MATIC|UNI|ATOM|"
    "FIL|NEAR|ALGO|DASH|ZEC|EOS"
)

_CURRENCY_PAIR = re.compile(rf"({_FIAT}|{_METALS})[-/_]?({_FIAT})")
# A dash and a letter or two is a class of shares (BRK-B), a dash and a currency a crypto pair.
_CRYPTO_PAIR = re.compile(
    rf"[A-Z0-9]+[-/_]({_FIAT}|{_STABLE}|BTC|ETH)|[A-Z0-9]{{2,}}({_STABLE})|"
    rf"({_COINS})({_FIAT}|BTC|ETH)"
)

_CALENDAR_OF_SUFFIX = {name: it for it, names in _SUFFIXES.items() for name in names.split()}
_CALENDAR_OF_INDEX = {name: it for it, names in _INDICES.items() for name in names.split()}


@lru_cache(maxsize=2**15)
def exchange(ticker: str) -> str:
    """Return the exchange of a ticker, by the name that its calendar has in ``exchange_calendars``.

    Parameters
    ----------
    ticker : in upper or lower case.

    Returns
    -------
    ``24/7`` for crypto pairs, ``24/5`` for currencies. Where there is no calendar, the suffix or
    the index after a question mark: ``?CA``.
    """
    ticker = ticker.upper()
    if ticker.endswith("=F"):
        return FUTURES
    if ticker.endswith("=X") or _CURRENCY_PAIR.fullmatch(ticker):
        return CURRENCIES
    if _CRYPTO_PAIR.fullmatch(ticker):
        return CRYPTO
    name, dot, suffix = ticker.rpartition(".")
    if dot and suffix in _CALENDAR_OF_SUFFIX:
        return _CALENDAR_OF_SUFFIX[suffix]
    if ticker.startswith("^"):
        return _of_index(ticker)
    share_class = len(suffix) == 1 and suffix.isalpha() and bool(name)  # BRK.B
    return NEW_YORK if not dot or share_class else _UNKNOWN + suffix


def kind(ticker: str) -> str:
    """Return what sort of instrument a ticker is, as far as its name says.

    Returns
    -------
    ``share`` (of a company or a fund: their names do not differ), ``index``, ``volatility`` (an index
    of implied volatility), ``rate`` (an index of yields), ``currency``, ``coin`` or ``future``.
    """
    market = exchange(ticker)
    if market in _KINDS:
        return _KINDS[market]
    if ticker.upper() in _VOLATILITIES:
        return "volatility"
    if ticker.upper() in _RATES:
        return "rate"
    return "index" if ticker.startswith("^") else "share"


def _of_index(ticker: str) -> str:
    family = next((it for it in _FAMILIES if ticker.startswith(it)), None)
    return _FAMILIES[family] if family else _CALENDAR_OF_INDEX.get(ticker, _UNKNOWN + ticker)


def has_calendar(exchange: str) -> bool:
    """Return whether the days and hours of an exchange are known."""
    return not exchange.startswith(_UNKNOWN)


@lru_cache(maxsize=2**15)
def is_assumed(ticker: str) -> bool:
    """Return whether nothing but a bare name, or the look of a pair, says where a ticker trades.

    ``FOO`` may come from a file of any country, so a history that contradicts New York's week
    outweighs the name.
    """
    return exchange(ticker) in (NEW_YORK, CRYPTO, CURRENCIES) and not re.search(
        r"^\^|=|\.US$", ticker.upper()
    )
