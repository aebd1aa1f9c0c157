"""Write the picture of the README, the page of ``sfumato explain`` after training: ``python docs/make_picture.py``.

A headless Chromium opens the page as it is, trains at K = 10 and ε = 0.1, and what it then shows is the picture.
"""

from __future__ import annotations

import io
import shutil
import tempfile
from pathlib import Path

from PIL import Image
from playwright.sync_api import sync_playwright

from sfumato.explain import page

PICTURE = Path(__file__).with_name("explain.png")
WIDTH, MARGIN = 1000, 16
MOST = 150_000  # bytes


def shot() -> bytes:
    """The controls and the row with its caption after 10,000 steps, twice as sharp as on the page."""
    browser_path = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))))
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=browser_path, args=["--no-sandbox", "--disable-gpu"])
        view = browser.new_page(
            viewport={"width": WIDTH, "height": 900}, device_scale_factor=2, reduced_motion="reduce"
        )
        view.goto(page.write(Path(folder) / "page.html", 10, 0.1).as_uri())
        view.click("#train")
        print(view.text_content("#status"))
        stage, told = view.locator("#picture").bounding_box(), view.locator("#picture figcaption").first.bounding_box()
        top, bottom = stage["y"] - MARGIN, told["y"] + told["height"] + MARGIN
        clip = {"x": 0, "y": top, "width": WIDTH, "height": bottom - top}
        taken = view.screenshot(clip=clip, full_page=True)
        browser.close()
    return taken


def main() -> None:
    """Write the picture with a palette, which its few colours fit into."""
    picture = Image.open(io.BytesIO(shot())).convert("RGB").quantize(64)
    picture.save(PICTURE, optimize=True)
    if PICTURE.stat().st_size > MOST:
        raise SystemExit(f"{PICTURE.name} has {PICTURE.stat().st_size:,} bytes, and at most {MOST:,} are wanted")
    print(f"{PICTURE.name}: {picture.width} × {picture.height}, {PICTURE.stat().st_size:,} bytes")


if __name__ == "__main__":
    main()
