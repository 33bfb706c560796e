"""The page in Debian's Chromium: the map reacts to its reader, and the page loads nothing and logs no error."""

import json
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import ActionChains, Chrome, ChromeOptions, Keys
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.remote.webelement import WebElement
from selenium.webdriver.support.select import Select
from selenium.webdriver.support.wait import WebDriverWait

from tests.page.small_run import IMAGES, MARKUP

CHROMIUM, DRIVER = (shutil.which(name) for name in ("chromium", "chromedriver"))
QUIETLY = (
    *("headless=new", "no-sandbox", "disable-gpu", "disable-quic", "no-first-run", "hide-scrollbars"),
    *("disable-background-networking", "disable-component-update", "disable-sync", "disable-dev-shm-usage"),
)

pytestmark = pytest.mark.skipif(
    not (CHROMIUM and DRIVER), reason="needs Chromium: apt-get install chromium chromium-driver"
)


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Chrome]:
    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*QUIETLY, f"user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(f"--{flag}")
    options.add_argument("about:blank")  # the page of a new tab would load hundreds of files
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    driver = Chrome(options=options, service=Service(str(DRIVER)))
    yield driver
    driver.quit()


@pytest.fixture
def opened(browser: Chrome, page: Path) -> Iterator[Chrome]:
    """The page just opened in a desktop window; after the test, no error was logged and nothing was loaded."""
    show(browser, page)
    yield browser
    # warnings about rendering are caused by the tests, which read pixels
    assert [entry for entry in browser.get_log("browser") if entry["source"] != "rendering"] == []
    own = {event["request"]["url"] for event in events(browser) if event["documentURL"] == page.as_uri()}
    assert {url for url in own if not url.startswith("data:")} == {page.as_uri()}


def show(browser: Chrome, page: Path, width: int = 1280, scheme: str = "light") -> None:
    browser.get_log("browser")
    events(browser)
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 600}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    wishes = {"prefers-color-scheme": scheme, "prefers-reduced-motion": "reduce"}
    features = [{"name": name, "value": value} for name, value in wishes.items()]
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})
    browser.get(page.as_uri())
    browser.execute_script("document.getElementById('map').scrollIntoView({block: 'center', behavior: 'instant'})")


def events(browser: Chrome) -> list[dict[str, Any]]:
    """Return the browser's network requests since the previous call."""
    messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    return [message["params"] for message in messages if message["method"] == "Network.requestWillBeSent"]


def the(browser: Chrome, name: str) -> WebElement:
    return browser.find_element(By.ID, name)


def data_of(browser: Chrome) -> dict[str, Any]:
    return json.loads(str(the(browser, "map-data").get_attribute("textContent")))


def places(browser: Chrome) -> list[tuple[int, int]]:
    """Return the positions of all images, as `place` does for one."""
    factor = min(the(browser, "map").size[side] for side in ("width", "height")) - 48
    return [(round((x - 0.5) * factor), round((y - 0.5) * factor)) for x, y in data_of(browser)["places"]]


def place(browser: Chrome, number: int) -> tuple[int, int]:
    """Return the position of an image on the whole map, in px from its centre."""
    return places(browser)[number]


def paths(browser: Chrome) -> list[str]:
    return [line for line in str(the(browser, "map-paths").get_attribute("value")).split("\n") if line]


def colours(browser: Chrome) -> int:
    """Count the different colours on the map, approximately."""
    count = """
        const canvas = document.getElementById("map");
        const pixels = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height).data;
        const found = new Set();
        for (let i = 0; i < pixels.length; i += 4) if (pixels[i + 3] === 255) found.add(pixels[i] * 65536 + pixels[i + 1] * 256 + pixels[i + 2]);
        return found.size;
    """
    return int(browser.execute_script(count))


def test_a_point_tells_what_it_is(opened: Chrome):
    data = data_of(opened)
    ActionChains(opened).move_to_element_with_offset(the(opened, "map"), *place(opened, 5)).perform()
    tip = the(opened, "map-tip")
    assert tip.is_displayed()
    told = tip.text
    assert any(path.replace("\n", " ") in told.replace("\n", " ") for path in data["paths"])
    assert "Split: " in told
    drawn = "return [...arguments[0].getContext('2d').getImageData(0, 0, 96, 96).data].some((value, n) => n % 4 < 3 && value > 60)"
    assert opened.execute_script(drawn, tip.find_element(By.TAG_NAME, "canvas"))
    ActionChains(opened).move_to_element(the(opened, "map-h")).perform()
    assert not tip.is_displayed()


def test_a_click_shows_an_image_and_its_neighbours(opened: Chrome):
    ActionChains(opened).move_to_element_with_offset(the(opened, "map"), *place(opened, 5)).click().perform()
    assert the(opened, "map-picked").is_displayed()
    near = the(opened, "map-picked-near").find_elements(By.TAG_NAME, "button")
    assert len(near) == 8
    wanted = str(near[0].get_attribute("title"))
    near[0].click()
    assert the(opened, "map-picked-text").text.replace("\n", " ").startswith(wanted.replace("\n", " "))


def test_a_lasso_gives_the_paths_of_what_it_surrounds(opened: Chrome):
    the(opened, "map-lasso").click()
    canvas = the(opened, "map")
    width, height = canvas.size["width"] // 2 - 4, canvas.size["height"] // 2 - 4
    around = ActionChains(opened, duration=20).move_to_element_with_offset(canvas, -width, -height).click_and_hold()
    for x, y in ((2 * width, 0), (0, 2 * height), (-2 * width, 0)):
        around.move_by_offset(x, y)
    around.release().perform()
    assert the(opened, "map-count").text == f"{IMAGES} images selected"
    listed = paths(opened)
    assert len(listed) == IMAGES
    assert {path for path in data_of(opened)["paths"] if "\n" not in path} <= set(listed)
    assert json.dumps("plain/two\nlines.png") in listed or any("two\\nlines" in path for path in listed)
    the(opened, "map-clear").click()
    assert not the(opened, "map-selection").is_displayed()


def test_a_lasso_leaves_out_what_lies_beside_it(opened: Chrome):
    x, y = min(places(opened), key=lambda point: math.hypot(*point))  # keeps the whole lasso on the map
    inside = {n for n, (left, top) in enumerate(places(opened)) if max(abs(left - x), abs(top - y)) < 60}
    the(opened, "map-lasso").click()
    around = ActionChains(opened, duration=20).move_to_element_with_offset(the(opened, "map"), x - 60, y - 60)
    around.click_and_hold()
    for right, down in ((120, 0), (0, 120), (-120, 0)):
        around.move_by_offset(right, down)
    around.release().perform()
    assert 0 < len(inside) < IMAGES
    told = [data_of(opened)["paths"][number] for number in sorted(inside)]
    assert paths(opened) == [json.dumps(path) if "\n" in path else path for path in told]


def test_what_is_filtered_out_is_not_selected(opened: Chrome):
    keys = the(opened, "map-legend").find_elements(By.CSS_SELECTOR, "[aria-pressed]")
    assert [key.get_attribute("title") for key in keys] == data_of(opened)["ways"][0]["names"]
    hidden = next(key for key in keys if key.get_attribute("title") == MARKUP)
    hidden.click()
    assert hidden.get_attribute("aria-pressed") == "false"
    the(opened, "map-all").click()
    assert len(paths(opened)) == IMAGES // 2
    assert all(path.startswith("plain/") for path in paths(opened))
    the(opened, "map-find").send_keys("031")
    the(opened, "map-all").click()
    assert paths(opened) == ["plain/031.png"]


def test_colours_follow_what_is_chosen(opened: Chrome):
    Select(the(opened, "map-way")).select_by_visible_text("Split")
    names = [key.get_attribute("title") for key in the(opened, "map-legend").find_elements(By.CLASS_NAME, "key")]
    assert names[:3] == ["test", "train", "val"]


def test_keys_pan_zoom_and_pick(opened: Chrome):
    canvas, status = the(opened, "map"), the(opened, "map-status")
    opened.execute_script("arguments[0].focus()", canvas)
    canvas.send_keys("+")
    assert "nearest to the centre" in status.text
    for _ in range(12):
        canvas.send_keys("+")
    few = int(status.text.split()[0])
    assert few < IMAGES
    WebDriverWait(opened, 5).until(lambda _: few == 0 or colours(opened) > 50)  # points have been replaced by images
    canvas.send_keys(Keys.ENTER)
    assert the(opened, "map-picked").is_displayed()
    canvas.send_keys("0")
    assert status.text.startswith(f"{IMAGES} images in view")
    for _ in range(20):
        canvas.send_keys(Keys.ARROW_RIGHT)
    assert not status.text.startswith(f"{IMAGES} images in view")


def test_the_wheel_zooms_a_map_that_has_the_focus_and_else_the_page_scrolls(opened: Chrome):
    canvas, (x, y) = the(opened, "map"), place(opened, 5)
    before = opened.execute_script("return scrollY")
    wheel = f"""
        const box = arguments[0].getBoundingClientRect();
        const where = {{clientX: box.x + box.width / 2 + {x}, clientY: box.y + box.height / 2 + {y}}};
        return arguments[0].dispatchEvent(new WheelEvent("wheel", {{deltaY: -900, cancelable: true, ...where}}));
    """
    assert opened.execute_script(wheel, canvas)  # not prevented, so the page would scroll
    opened.execute_script("arguments[0].focus({preventScroll: true})", canvas)
    assert not opened.execute_script(wheel, canvas)
    assert opened.execute_script("return scrollY") == before
    the(opened, "map-all").click()  # selects what is in view; the image under the pointer still is
    assert data_of(opened)["paths"][5] in paths(opened)
    assert len(paths(opened)) < IMAGES


def test_buttons_zoom_and_the_mouse_pans(opened: Chrome):
    status = the(opened, "map-status")
    for _ in range(4):
        the(opened, "map-in").click()
    assert int(status.text.split()[0]) < IMAGES
    the(opened, "map-out").click()
    the(opened, "map-reset").click()
    assert status.text.startswith(f"{IMAGES} images in view")
    drag = ActionChains(opened, duration=20).move_to_element(the(opened, "map")).click_and_hold()
    drag.move_by_offset(200, 0).move_by_offset(150, 0).release().perform()
    assert not the(opened, "map-picked").is_displayed()  # dragging is not a click
    the(opened, "map-all").click()
    assert 0 < len(paths(opened)) < IMAGES


def test_every_control_is_reached_by_tab(opened: Chrome):
    opened.execute_script("document.getElementById('map-way').focus()")
    reached = []
    for _ in range(8):
        reached.append(opened.switch_to.active_element.get_attribute("id"))
        ActionChains(opened).send_keys(Keys.TAB).perform()
    order = ["map-way", "map-find", "map-lasso", "map-in", "map-out", "map-reset", "map-all", "map"]
    assert reached == order


def test_the_images_are_there_as_a_table(opened: Chrome):
    the(opened, "map-list").find_element(By.TAG_NAME, "summary").click()
    rows = "#map-list tbody tr"
    WebDriverWait(opened, 5).until(lambda browser: len(browser.find_elements(By.CSS_SELECTOR, rows)) == IMAGES)
    assert not the(opened, "map-more").is_displayed()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_needs_no_scrolling_sideways_and_dark_is_dark(browser: Chrome, page: Path, scheme: str):
    show(browser, page, 390, scheme)
    for name in browser.find_elements(By.TAG_NAME, "summary"):
        browser.execute_script("arguments[0].parentElement.open = true", name)
    assert browser.execute_script("return document.documentElement.scrollWidth") == 390
    paper, ink = browser.execute_script(
        "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
    )
    light = [sum(map(int, colour.strip("rgb()").split(","))) > 380 for colour in (paper, ink)]
    assert light == ([True, False] if scheme == "light" else [False, True])
    assert browser.get_log("browser") == []


def test_hostile_names_run_nothing(opened: Chrome):
    assert opened.execute_script("return document.querySelectorAll('img[onerror], img[src=x]').length") == 0
    opened.execute_script(
        "const s = document.createElement('script'); s.textContent = 'window.ran = 1'; document.body.append(s)"
    )
    assert opened.execute_script("return window.ran === undefined")  # the content security policy blocks it
    assert "Content Security Policy" in opened.get_log("browser")[0]["message"]


def test_a_legend_of_many_names_ends_and_says_so(browser: Chrome, page: Path, tmp_path: Path):
    text = page.read_text(encoding="utf-8")
    assert '"most_keys":200' in text
    (tmp_path / "page.html").write_text(text.replace('"most_keys":200', '"most_keys":1'), encoding="utf-8")
    show(browser, tmp_path / "page.html")
    legend = the(browser, "map-legend")
    assert len(legend.find_elements(By.CSS_SELECTOR, "[aria-pressed]")) == 1
    assert "The first 1 of 2" in legend.text


@pytest.mark.parametrize(
    ("copied", "said"), [("true", "Copied the paths to the clipboard"), ("false", "denied access to the clipboard")]
)
def test_a_copy_that_fails_is_told(opened: Chrome, copied: str, said: str):
    opened.execute_script(
        f"navigator.clipboard.writeText = () => Promise.reject(); document.execCommand = () => {copied};"
        "document.getElementById('map-all').click(); document.getElementById('map-copy').click()"
    )
    WebDriverWait(opened, 5).until(lambda _: said in the(opened, "map-status").text)
