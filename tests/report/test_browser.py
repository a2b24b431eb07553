"""The report as a reader has it: opened from disk in Chromium, pointed at, printed.

`make test-browser` runs these tests; `make test` leaves them out, because they need a browser.
Pictures of what they saw are left in the folder that SCREENSHOTS names, if it names one.
"""

import os
from pathlib import Path

import pytest
from simulated import HOSTILE, simulated

from forecaster.report import html

FLAGS = [
    *("--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
]
DESKTOP = {"viewport": {"width": 1200, "height": 900}}
PHONE = {
    "viewport": {"width": 390, "height": 844},
    "device_scale_factor": 2,
    "has_touch": True,
    "is_mobile": True,
}
CHARTS = 14
PATIENCE = 120_000
"""Milliseconds that a browser on a busy machine is waited for."""

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
def backtest():
    return simulated(("AAPL", "MSFT", HOSTILE), sessions=400)


@pytest.fixture(scope="module")
def file(backtest, tmp_path_factory):
    path = tmp_path_factory.mktemp("report") / "report.html"
    path.write_text(html.page(backtest), encoding="utf-8")
    return path


@pytest.fixture
def opened(browser, file):
    """A function that opens the report; what it asked for and complained of is checked at the end."""
    contexts, asked, complaints = [], [], []

    def open_(**options):
        context = browser.new_context(**options)
        context.set_default_timeout(PATIENCE)
        contexts.append(context)
        page = context.new_page()
        page.on("request", lambda it: asked.append(it.url))
        page.on("pageerror", lambda it: complaints.append(str(it)))
        page.on("console", lambda it: it.type == "error" and complaints.append(it.text))
        page.goto(file.as_uri())
        page.wait_for_selector("html[data-ready]", state="attached")
        names = page.locator(".canvas").evaluate_all("all => all.map(it => it.id.slice(6))")
        assert len(names) == CHARTS
        for name in names:
            until(page, lambda name=name: inked(page, name) > 10)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert complaints == []
    assert asked == [file.as_uri()] * len(contexts)


def until(page, holds):
    """Waits until it does; not for a time in which most machines get there."""
    for _ in range(PATIENCE // 50):
        if holds():
            return
        page.wait_for_timeout(50)
    assert holds()


def keep(page, name, **options):
    if folder := os.environ.get("SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        page.screenshot(path=Path(folder) / f"{name}.png", **options)


def frame_of(page, chart):
    """Where a chart is on the screen."""
    place = page.locator(f"#chart-{chart} .bk-events").first
    place.scroll_into_view_if_needed()
    return place.bounding_box()


def told(page):
    """The words of the tooltip that is shown, once it tells an interval."""

    def words():
        return " ".join(page.locator(".bk-tooltip-content").first.inner_text().split())

    until(page, lambda: "80%: " in words())
    return words()


def inked(page, chart):
    """How many different colours a chart has on the screen: more than ten once it is drawn."""
    return page.locator(f"#chart-{chart} canvas").first.evaluate(
        """(canvas) => {
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          return new Set(new Uint32Array(data.buffer)).size;
        }"""
    )


def test_every_chart_is_drawn(opened):
    keep(opened(**DESKTOP), "desktop", full_page=True)


def test_the_picker_shows_another_ticker(opened, backtest):
    page = opened(**DESKTOP)
    assert page.locator("#tickers-known option").count() == 3
    page.fill("#ticker", "msft")
    page.keyboard.press("Enter")
    page.locator("[data-ticker]", has_text="MSFT").first.wait_for()
    assert "lstm on MSFT: the 80% interval held" in page.text_content("#picked")
    page.click("text=The sessions in view as a table")
    rows = backtest.forecasts.query("ticker == 'MSFT' and model == 'lstm'")
    cells = page.locator("#in-view tbody tr").last.locator("th, td").all_inner_texts()
    last = rows.iloc[-1]
    assert cells[0] == f"{last['date']:%Y-%m-%d}"
    close = last["last_close"] * 2.718281828459045 ** last["log_return"]
    assert float(cells[1]) == pytest.approx(close, rel=1e-5)
    page.fill("#ticker", "NOPE")
    page.keyboard.press("Tab")
    assert page.text_content("#picked").startswith("No ticker NOPE is in this backtest")
    page.fill("#ticker", HOSTILE)
    page.keyboard.press("Enter")
    page.locator("[data-ticker]", has_text=HOSTILE).first.wait_for()


def test_a_chart_tells_the_day_under_the_pointer(opened, backtest):
    page = opened(**DESKTOP)
    box = frame_of(page, "price")
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.move(box["x"] + box["width"] / 2 + 3, box["y"] + box["height"] / 2)
    words = told(page)
    day = words.split()[1]
    rows = backtest.forecasts.query("ticker == 'AAPL' and model == 'lstm'")
    row = rows[rows["date"] == day].iloc[0]
    close = row["last_close"] * 2.718281828459045 ** row["log_return"]
    assert float(words.rsplit("Actual: ", 1)[1]) == pytest.approx(close, rel=1e-5)
    low = row["last_close"] * 2.718281828459045 ** row["q0.1"]
    assert float(words.split("80%: ")[1].split()[0]) == pytest.approx(low, rel=1e-4)
    keep(page, "hover")


def test_charts_zoom_by_dates_buttons_and_wheel(opened, backtest):
    page = opened(**DESKTOP)
    page.get_by_role("button", name="All", exact=True).click()
    whole = f"{backtest.forecasts['date'].min():%Y-%m-%d}"
    until(page, lambda: page.input_value("#from") == whole)
    page.click("text=Last quarter")
    until(page, lambda: page.input_value("#from") > whole)
    page.fill("#from", "2018-03-01")
    page.keyboard.press("Tab")
    page.wait_for_timeout(400)  # in which the charts may tell another
    assert page.input_value("#from") == "2018-03-01"
    box = frame_of(page, "price")
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    before = page.input_value("#from"), page.input_value("#to")
    page.keyboard.down("Control")
    page.mouse.wheel(0, -300)
    page.keyboard.up("Control")
    until(page, lambda: before[0] < page.input_value("#from") < page.input_value("#to") < before[1])


def test_a_key_hides_what_it_names(opened):
    page = opened(**DESKTOP)
    before = page.locator("#chart-price canvas").first.evaluate("it => it.toDataURL()")
    page.locator("#price .keys label", has_text="95% band").click()
    until(
        page,
        lambda: (
            page.locator("#chart-price canvas").first.evaluate("it => it.toDataURL()") != before
        ),
    )


def test_a_phone_scrolls_down_only_and_a_tap_tells_the_day(opened):
    page = opened(**PHONE)
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    box = frame_of(page, "price")
    page.touchscreen.tap(box["x"] + 0.8 * box["width"], box["y"] + box["height"] / 2)
    assert "80%:" in told(page)
    keep(page, "tap")
    keep(page, "phone", full_page=True)


def test_the_dark_has_charts_in_light_ink_on_dark_and_paper_the_other_way(opened, tmp_path):
    page = opened(color_scheme="dark", **DESKTOP)
    corner = (
        """(canvas) => [...canvas.getContext("2d").getImageData(2, 2, 1, 1).data.slice(0, 3)]"""
    )
    count = """(canvas, ink) => {
      const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
      let pixels = 0;
      for (let i = 0; i < data.length; i += 4) pixels += data.slice(i, i + 3).join() === ink;
      return pixels;
    }"""
    canvas = page.locator("#chart-price canvas").first
    assert max(canvas.evaluate(corner)) < 60
    light, dark = "230,232,234", "28,30,33"
    on_screen = canvas.evaluate(count, light)
    assert on_screen > 100
    keep(page, "dark", full_page=True)
    page.evaluate("window.dispatchEvent(new Event('beforeprint'))")
    assert page.locator(".printed").count() == CHARTS
    printed = page.locator(".printed").first
    assert min(printed.evaluate(corner)) > 250
    assert printed.evaluate(count, dark) > 100
    # A few pixels between ink and a band have the colour too.
    assert printed.evaluate(count, light) < 0.02 * on_screen
    page.evaluate("window.dispatchEvent(new Event('afterprint'))")
    assert page.locator(".printed").count() == 0
    pdf = Path(os.environ.get("SCREENSHOTS", tmp_path)) / "report.pdf"
    page.pdf(
        path=pdf, format="A4", margin=dict.fromkeys(["top", "bottom", "left", "right"], "1.5cm")
    )
    assert pdf.stat().st_size > 100_000


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("device", [DESKTOP, PHONE], ids=["desktop", "phone"])
def test_nothing_on_it_keeps_anybody_out(opened, scheme, device):
    """No rule of axe-core is broken, with everything that can be opened open."""
    from axe_playwright_python.sync_playwright import Axe

    page = opened(color_scheme=scheme, **device)
    page.evaluate("for (const it of document.querySelectorAll('details')) it.open = true")
    page.wait_for_timeout(300)
    broken = Axe().run(page).response["violations"]
    assert [(it["id"], [node["html"][:120] for node in it["nodes"][:3]]) for it in broken] == []


def test_the_first_screen_has_the_answer(opened):
    page = opened(viewport={"width": 1400, "height": 900})
    for place in (".verdict", ".tiles", "#chart-price"):
        box = page.locator(place).bounding_box()
        assert box["y"] + box["height"] < 900, place
    assert page.locator(".tiles div").count() == 4


@pytest.mark.parametrize("width", [1400, 1000, 390])
def test_the_last_heading_of_a_table_can_be_read(opened, width):
    page = opened(viewport={"width": width, "height": 900})
    page.evaluate("for (const it of document.querySelectorAll('details')) it.open = true")
    cut = page.evaluate(
        """() => [...document.querySelectorAll(".wide")].filter((box) => {
          box.scrollLeft = box.scrollWidth;
          const heading = box.querySelector("thead th:last-child").getBoundingClientRect();
          return heading.right > box.getBoundingClientRect().right + 1;
        }).map((box) => box.getAttribute("aria-label"))"""
    )
    assert cut == []
    if width >= 1000:  # the tables that are read first need no scrolling
        for place in ("#verdict", "#scores"):
            wide = page.locator(f"{place} .wide").first
            assert wide.evaluate("(box) => box.scrollWidth <= box.clientWidth"), place


def test_without_scripts_words_and_tables_remain(browser, file, backtest):
    context = browser.new_context(java_script_enabled=False, **DESKTOP)
    page = context.new_page()
    page.goto(file.as_uri())
    said = backtest.verdict
    assert page.locator(".verdict p").all_inner_texts() == [said.headline, said.advice]
    assert page.locator("#verdict tbody tr").count() == len(said.rows)
    assert page.locator("noscript").is_visible()
    assert page.locator("#scores table tbody tr").count() > 3
    context.close()


def test_earnings_are_ringed_and_named_under_the_pointer(browser, tmp_path):
    earnings = simulated(("AAPL",), sessions=60, reactions=(30,))
    path = tmp_path / "report.html"
    path.write_text(html.page(earnings), encoding="utf-8")
    context = browser.new_context(**DESKTOP)
    page = context.new_page()
    page.goto(path.as_uri())
    page.wait_for_selector("html[data-ready]", state="attached", timeout=PATIENCE)
    assert page.locator(".canvas").count() == CHARTS + 1
    until(page, lambda: inked(page, "coverage-around-earnings") > 10)
    box = frame_of(page, "price")
    words = set()
    for at in range(30, 70):
        page.mouse.move(box["x"] + box["width"] * at / 100, box["y"] + box["height"] / 2)
        words.add(told(page).split("Median")[0])
    day = earnings.tables["reactions"]["date"].iloc[0]
    assert f"Session: {day:%Y-%m-%d}, earnings " in words
    assert sum("earnings" in it for it in words) == 1
    keep(page, "earnings", full_page=True)
    page.click("text=The sessions in view as a table")
    table = page.locator("#in-view tbody tr", has_text=f"{day:%Y-%m-%d}")
    assert "reaction" in table.inner_text()
    context.close()
