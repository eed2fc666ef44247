"""A headless Chromium for the tests of the explorer, or a clear reason why there is none."""

import shutil
from contextlib import contextmanager

import pytest

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
