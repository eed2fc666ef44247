"""Frames a second, work of a frame and time to the first picture of the explorer, in a headless Chromium.

python benchmarks/explorer_frames.py page.html          a page written by sdesam explore --export page.html
"""

from __future__ import annotations

import shutil
import sys
import time
from pathlib import Path

from playwright.sync_api import sync_playwright

SECONDS = 6.0
WANTED = 50  # painted pictures a second with 2 x 2,000 particles on two cores
COUNTS = "[performance.now(), sdesam.painted, sdesam.work, sdesam.pair.k]"
IDLE = """() => new Promise((done) => { let n = 0; const start = performance.now();
  const tick = () => performance.now() - start > 2000 ? done(n / 2) : (n++, requestAnimationFrame(tick)); tick(); })"""


def main(page: Path) -> None:
    browser = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with sync_playwright() as player:
        chromium = player.chromium.launch(executable_path=browser, args=["--no-sandbox"])
        tab = chromium.new_page(viewport={"width": 1300, "height": 820})
        print(f"empty page: {tab.evaluate(IDLE):.0f} frames a second, the most this machine shows now")
        tab.goto(page.resolve().as_uri())
        while not tab.evaluate("globalThis.sdesam?.painted > 0"):
            time.sleep(0.01)
        first = tab.evaluate("sdesam.firstPicture")
        print(f"{page.name}: {page.stat().st_size / 1000:.0f} kB, first picture after {first:.0f} ms")
        for method in ("sgd", "usam", "sam"):
            for n in (2000, 5000):
                tab.evaluate("c => { sdesam.speed = 1; sdesam.set(c); }", {"method": method, "n": n, "horizon": 1000})
                tab.evaluate("sdesam.set({absorb: false, sigma: 0.1, eta: 0.02}); sdesam.speed = 0.02")
                before = tab.evaluate(COUNTS)
                time.sleep(SECONDS)
                after = tab.evaluate(COUNTS)
                rate = 1000 * (after[1] - before[1]) / (after[0] - before[0])
                said = f"{rate:5.1f} pictures a second, {after[2]:5.1f} ms of work each, {after[3] - before[3]} steps"
                wanted = f", {'as' if rate >= WANTED else 'less than the'} {WANTED} wanted" if n == 2000 else ""
                print(f"{method:>5}, 2 x {n:>5}: {said}{wanted}")
        chromium.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
