"""A headless Chromium for the tests of the explorer, or a clear reason why there is none; its pages as fixtures."""

import shutil
import time
from contextlib import contextmanager

import pytest

from sdesam.explorer.library import library_of
from sdesam.explorer.page import config_of, page_html
from sdesam.explorer.presets import PRESETS

CANDIDATES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")


def executable():
    """Path of an installed browser; skips the test with a sentence where the browser or playwright is missing."""
    pytest.importorskip("playwright", reason='no playwright: pip install "sdesam[browser]"')
    found = next((path for name in CANDIDATES if (path := shutil.which(name))), None)
    if found is None:
        pytest.skip("no Chromium on this machine: the browser tests need one (Debian: apt-get install chromium)")
    return found


@contextmanager
def chromium():
    path = executable()
    from playwright.sync_api import sync_playwright

    with sync_playwright() as player:
        browser = player.chromium.launch(executable_path=path, args=["--no-sandbox"])
        try:
            yield browser
        finally:
            browser.close()


@pytest.fixture(scope="module")
def browser():
    """One for the tests of a file."""
    with chromium() as found:
        yield found


@pytest.fixture(scope="module")
def library():
    """The explorer's own landscapes and methods."""
    return library_of()[0]


@pytest.fixture(scope="module")
def file(library, tmp_path_factory):
    """The exported page of the saddle."""
    state = library.checked(PRESETS[0].state)
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(page_html(config_of(state), [library.everything("saddle")]), encoding="utf-8")
    assert path.stat().st_size < 100_000
    return path


class Tab:
    """A page that has booted, with what it said and asked for."""

    def __init__(self, browser, address, **options):
        self.context = browser.new_context(**({"viewport": {"width": 1300, "height": 820}} | options))
        self.page = self.context.new_page()
        self.errors, self.requests = [], []
        self.page.on("console", lambda m: self.errors.append(m.text) if m.type in ("error", "warning") else None)
        self.page.on("pageerror", lambda e: self.errors.append(str(e)))
        self.page.on("request", lambda r: self.requests.append(r.url))
        self.page.goto(address)
        self.until("globalThis.sdesam?.painted > 0")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()

    def ask(self, script, value=None):
        return self.page.evaluate(script, value)

    def state(self):
        return self.ask("sdesam.state")

    def banners(self):
        return self.page.locator(".banner span").all_inner_texts()

    def until(self, script, seconds=20.0):
        """Asked again and again: the page's policy forbids the browser to evaluate strings for playwright."""
        for _ in range(int(20 * seconds)):
            if self.page.evaluate(script):
                return
            time.sleep(0.05)
        raise AssertionError(f"{script} did not become true in {seconds:g} s")


@pytest.fixture
def tab(browser, file):
    """That page, open, without a complaint."""
    with Tab(browser, f"file://{file}") as found:
        yield found
        assert found.errors == []


def opened(browser, file, fragment, **options):
    """A page at an address."""
    return Tab(browser, f"file://{file}#{fragment}", **options)
