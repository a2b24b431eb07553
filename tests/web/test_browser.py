"""The pages as a reader has them: in Chromium, by mouse, finger and keyboard.

`make test-browser` runs these tests. Pictures of what they saw are left in the folder that SCREENSHOTS
names, if it names one.
"""

import os
from pathlib import Path
from urllib.parse import quote

import pytest
from living import NOW, announced, kept, recorded, stored
from serving import served
from simulated import HOSTILE, simulated

from forecaster.data import calendars
from forecaster.data.store import Store
from forecaster.live import settling
from forecaster.report import html
from forecaster.web import pages, snapshot

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
DESKTOP = {"viewport": {"width": 1280, "height": 900}}
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "has_touch": True,
    "is_mobile": True,
}
PATIENCE = 120_000
"""Milliseconds that a browser on a busy machine is waited for."""
LONG = "L" * 40
TICKERS = ["AAA", HOSTILE, LONG, "שלום.TA", 'it\'s "q" & <b>']
PATHS = {
    "watchlist": "/",
    "ticker": "/tickers/AAA",
    "hostile": f"/tickers/{quote(HOSTILE, safe='')}",
    "long": f"/tickers/{LONG}",
    "ledger": "/ledger",
    "backtests": "/backtests",
    "missing": "/tickers/NOPE",
}
CHARTS = ("fan", "term", "record")

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as play:
        chromium = play.chromium.launch(
            executable_path=os.environ["CHROMIUM"], args=FLAGS, timeout=PATIENCE
        )
        yield chromium
        chromium.close()


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    home = tmp_path_factory.mktemp("home")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calendars, "now", lambda: NOW)
        days = stored(home, TICKERS)
        announced(home, "AAA", "2026-08-27", "2026-12-03")
        for day in days[-30:]:
            recorded(home, day)
            recorded(home, day, model="gjr", steps=(1,))
        settling.settle(home, Store(home), NOW)
        kept(home, "lstm-gjr", "<!DOCTYPE html><title>A report</title><p>A report</p>")
        yield home


@pytest.fixture(scope="module")
def server(home):
    with pytest.MonkeyPatch.context() as patch, served(home) as server:
        patch.setattr(snapshot, "PATIENCE", 60.0)  # of a busy machine
        yield server


@pytest.fixture
def opened(browser, server):
    """A function that opens a page; what it asked for and complained of is checked at the end."""
    contexts, asked, complaints = [], [], []

    def open_(path, **options):
        context = browser.new_context(**options)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda it: asked.append(it.url))
        page.on("pageerror", lambda it: complaints.append(str(it)))
        page.on(
            "console",
            lambda it: (
                it.type == "error"
                and "404 (Not Found)" not in it.text
                and complaints.append(it.text)
            ),
        )
        page.on("dialog", lambda it: (complaints.append(it.message), it.dismiss()))
        page.goto(server.url + path)
        if page.locator(".canvas").count():
            ready(page)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []
    own = ("http://127.0.0.1:", "data:", "blob:", "about:")
    assert all(url.startswith(own) for url in asked), asked


def ready(page):
    """Wait until every chart is drawn."""
    page.wait_for_selector("html[data-ready]", state="attached")
    for name in CHARTS:
        until(page, lambda name=name: inked(page, name) > 10)


def until(page, holds):
    for _ in range(PATIENCE // 50):
        if holds():
            return
        page.wait_for_timeout(50)
    assert holds()


def inked(page, chart):
    """How many different colours a chart has on the screen: more than ten once it is drawn."""
    return page.locator(f"#chart-{chart} canvas").first.evaluate(
        """(canvas) => {
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return new Set(new Uint32Array(data.buffer)).size;
        }"""
    )


def keep(page, name):
    if folder := os.environ.get("SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png", full_page=True)


@pytest.mark.parametrize("name", PATHS)
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_nothing_on_it_keeps_anybody_out(opened, name, scheme, device):
    """No rule of axe-core is broken, and nothing but tables is wider than the screen."""
    from axe_playwright_python.sync_playwright import Axe

    page = opened(PATHS[name], color_scheme=scheme, **device)
    keep(page, f"{name}-{scheme}-{device['viewport']['width']}")
    width = page.evaluate("document.documentElement.scrollWidth")
    assert width <= device["viewport"]["width"]
    broken = Axe().run(page).response["violations"]
    assert [(it["id"], [node["html"][:120] for node in it["nodes"][:3]]) for it in broken] == []


def test_a_reader_goes_from_the_list_to_a_ticker_and_back(opened):
    page = opened("/", **DESKTOP)
    assert page.locator("tbody tr").count() == len(TICKERS)
    page.get_by_role("link", name="AAA", exact=True).click()
    ready(page)
    assert page.title() == "AAA"
    assert page.locator("#record tbody tr").count() == 29
    page.get_by_role("link", name="Watchlist").click()
    page.wait_for_url("**/")
    page.get_by_role("link", name="Backtests").click()
    page.get_by_role("link", name="report of lstm-gjr").click()
    page.get_by_text("A report").wait_for()


def test_a_keyboard_reaches_everything_in_order(opened):
    page = opened("/", **DESKTOP)
    names = []
    for _ in range(7):
        page.keyboard.press("Tab")
        names.append(page.evaluate("document.activeElement.innerText.trim().split('\\n')[0]"))
    assert names[:4] == ["Skip to the content", "Watchlist", "Ledger", "Backtests"]
    assert names[4].startswith("5 tickers, closes of 2026-11-25")  # a table that can be scrolled
    assert set(names[5:]) < set(TICKERS)
    page = opened("/", **DESKTOP)
    page.keyboard.press("Tab")
    skip = page.locator(".skip").bounding_box()
    assert skip["x"] >= 0  # it shows once it has the focus
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    page.keyboard.press("Tab")
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.wait_for_url("**/tickers/**")


@pytest.mark.parametrize("ticker", TICKERS)
def test_any_name_is_shown_as_it_is_and_runs_nothing(opened, ticker):
    page = opened("/", **DESKTOP)
    link = page.get_by_role("link", name=ticker, exact=True)
    assert link.evaluate("it => it.textContent") == ticker
    link.click()
    ready(page)
    assert page.title() == ticker
    assert page.locator("h1").evaluate("it => it.textContent") == ticker
    assert page.locator("b").count() == 0


def test_the_fan_tells_the_interval_of_the_day_under_the_pointer(opened, server):
    page = opened("/tickers/AAA", **DESKTOP)
    forecast = server.ask("/api/v1/tickers/AAA").json["ticker"]["ahead"][-1]
    place = page.locator("#chart-fan .bk-events").first
    place.scroll_into_view_if_needed()
    box = place.bounding_box()
    said = set()
    for share in range(850, 1000, 4):  # the last day is near the right end
        page.mouse.move(box["x"] + box["width"] * share / 1000, box["y"] + box["height"] / 2)
        page.wait_for_timeout(50)
        said |= {
            " ".join(it.split()) for it in page.locator(".bk-tooltip-content").all_inner_texts()
        }
    words = next(it for it in said if forecast["date"] in it)
    low, high = words.split("80%: ")[1].split(" 95%")[0].split(" to ")
    assert float(low) == pytest.approx(forecast["low_80"], rel=1e-4)
    assert float(high) == pytest.approx(forecast["high_80"], rel=1e-4)


def test_the_dark_has_charts_on_dark(opened):
    page = opened("/tickers/AAA", color_scheme="dark", **DESKTOP)
    corner = """(it) => [...it.getContext("2d").getImageData(2, 2, 1, 1).data.slice(0, 3)]"""
    for name in CHARTS:
        assert max(page.locator(f"#chart-{name} canvas").first.evaluate(corner)) < 60


def test_without_scripts_words_and_tables_remain(browser, server):
    context = browser.new_context(java_script_enabled=False, **DESKTOP)
    page = context.new_page()
    page.goto(f"{server.url}/tickers/AAA")
    assert page.locator("noscript").is_visible()
    assert page.locator("tbody").first.locator("tr").count() == 6
    context.close()


def test_the_charts_of_a_report_are_drawn_within_its_sandbox(opened, home):
    backtest = simulated(("AAPL",), {"lstm": 0.01, "gjr": 0.011, "naive": 0.02}, sessions=60)
    kept(home, "drawn", html.page(backtest))
    with served(home) as server:
        page = opened("/", **DESKTOP)
        page.goto(f"{server.url}/backtests/drawn/report")
        page.wait_for_selector("html[data-ready]", state="attached")
        until(page, lambda: inked(page, "price") > 10)
        assert page.evaluate("window.origin") == "null"  # it can read no other page
        page.goto("about:blank")


@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_the_file_that_daily_writes_needs_nothing_else(browser, home, device):
    from axe_playwright_python.sync_playwright import Axe

    path = pages.write(home)
    context = browser.new_context(**device)
    page = context.new_page()
    asked, complaints = [], []
    page.on("request", lambda it: asked.append(it.url))
    page.on("console", lambda it: it.type == "error" and complaints.append(it.text))
    page.goto(path.as_uri())
    keep(page, f"file-{device['viewport']['width']}")
    assert page.locator("tbody tr").count() == len(TICKERS)
    paper = page.evaluate("getComputedStyle(document.body).backgroundColor")
    assert paper == "rgb(255, 255, 255)"  # its style is taken
    assert [it["id"] for it in Axe().run(page).response["violations"]] == []
    context.close()
    assert (asked, complaints) == ([path.as_uri()], [])


def test_a_token_is_the_password_that_the_browser_asks_for(browser, home):
    with served(home, hosts=None, token="a-token-that-nobody-knows") as server:
        context = browser.new_context(
            http_credentials={"username": "me", "password": "a-token-that-nobody-knows"}
        )
        context.set_default_timeout(PATIENCE)
        page = context.new_page()
        page.goto(f"{server.url}/tickers/AAA")
        ready(page)
        context.close()
