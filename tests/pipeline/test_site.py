"""The site builds with every link checked, and its pages load nothing from a network."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

from benchmarks.project import ROOT
from tests.page.test_in_browser import CHROMIUM, DRIVER, QUIETLY

pytest.importorskip("material", reason="the extra `docs` is not installed")
pytest.importorskip("mkdocstrings", reason="the extra `docs` is not installed")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    done = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return folder


def test_no_page_loads_anything_from_the_network(site: Path):
    loads = re.compile(
        r"<(?:script|img|iframe|source|video|audio)[^>]* src=[\"']?(?:https?:)?//|<link(?![^>]*rel=[\"']?canonical)"
        r"[^>]* href=[\"']?(?:https?:)?//|@import|url\([\"']?(?:https?:)?//"
    )
    texts = [path for path in site.rglob("*.*") if path.suffix in (".html", ".css")]
    assert len(texts) > 30
    assert [path.name for path in texts if loads.search(path.read_text(encoding="utf-8"))] == []


def test_the_reference_has_what_the_code_has(site: Path):
    pages = {path.stem: path.read_text(encoding="utf-8") for path in (site / "reference").glob("*.html")}
    for page, names in {
        "library": ("ssl_pipeline.library.pretraining.pretrain", "ssl_pipeline.library.embedding.embed"),
        "contracts": ("ssl_pipeline.types.Loss", "ssl_pipeline.types.PretextTask.compare"),
        "losses": ("ssl_pipeline_plugins.losses.info_nce.InfoNCE",),
        "testing": ("ssl_pipeline.testing.check_loss",),
        "commands": ("linear_eval", "drift"),
    }.items():
        assert all(f'id="{name}"' in pages[page] for name in names), page
    assert "max_reject_fraction" in pages["params"]


def test_the_search_finds_words_of_guides_and_of_docstrings(site: Path):
    index = (site / "search" / "search_index.json").read_text(encoding="utf-8")
    assert "near copies" in index
    assert "NT-Xent" in index


@pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="needs Chromium: apt-get install chromium chromium-driver")
def test_the_search_works_from_the_disk_and_pages_fit_a_phone(site: Path, tmp_path: Path):
    options = ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*QUIETLY, f"user-data-dir={tmp_path}"):
        options.add_argument(f"--{flag}")
    options.set_capability("goog:loggingPrefs", {"performance": "ALL"})
    browser = Chrome(options=options, service=Service(str(DRIVER)))
    try:
        browser.get("about:blank")
        browser.get_log("performance")
        browser.get((site / "index.html").as_uri())
        browser.find_element(By.CSS_SELECTOR, "[data-md-component=search-query]").send_keys("over-clustered")
        first = (By.CSS_SELECTOR, ".md-search-result__item")
        found = WebDriverWait(browser, 20).until(lambda driver: driver.find_elements(*first))
        assert "When classes merge or split" in [item.text.partition("\n")[0] for item in found]
        size = {"width": 390, "height": 900, "deviceScaleFactor": 1, "mobile": True}
        browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        for name in ("index", "choosing", "reference/contracts"):
            browser.get((site / f"{name}.html").as_uri())
            assert browser.execute_script("return document.documentElement.scrollWidth <= innerWidth"), name
        messages = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    finally:
        browser.quit()
    asked = [each["params"]["request"]["url"] for each in messages if each["method"] == "Network.requestWillBeSent"]
    assert asked
    assert [url for url in asked if not url.startswith(("file:", "data:", "about:", "blob:"))] == []
