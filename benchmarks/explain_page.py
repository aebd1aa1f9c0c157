"""How long the script of the explain page takes in a frame while something is pulled, in Chromium.

    python benchmarks/explain_page.py --out benchmarks/explain_page.jsonl

A real mouse pulls the slider of ε, a bar of z and the point of the chart, and training runs, at K = 1000. Chromium
traces its own threads meanwhile. A frame's time is that of all calls of the page's functions from the end of one
animation frame to the end of the next: those of its events, and those of drawing. Each row has median, 95th percentile
and largest of all frames that called any, by the clock, and as ``cpu`` what the thread itself worked: where other
programs share the cores, the clock counts them too. Layout and painting have a median of their own.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hardware import environment
from playwright.sync_api import Browser, Page, sync_playwright

from sfumato.explain.page import write

WAYS = ("slider", "bar", "chart", "train")
CATEGORIES = ["devtools.timeline", "v8.execute"]
LAYOUT = ("UpdateLayoutTree", "Layout", "PrePaint", "Paint")


def pull(page: Page, selector: str, share: tuple[float, float], by: tuple[float, float], moves: int) -> None:
    """Hold the mouse at a place of an element, and move it to and fro."""
    box = page.locator(selector).bounding_box()
    assert box is not None
    x, y = box["x"] + share[0] * box["width"], box["y"] + share[1] * box["height"]
    page.mouse.move(x, y)
    page.mouse.down()
    for i in range(moves):
        part = i / 20 % 2
        part = min(part, 2 - part)
        page.mouse.move(x + by[0] * part, y + by[1] * part)
        page.wait_for_timeout(12)
    page.mouse.up()


def train(page: Page) -> None:
    """The whole of a training."""
    page.click("#train")
    page.wait_for_function("sfumato.state.mode === 'trained'", timeout=60_000)


def acted(way: str, moves: int) -> Callable[[Page], None]:
    """What one row does with the page."""
    return {
        "slider": lambda page: pull(page, "#eps-slide", (0.15, 0.5), (60, 0), moves),
        "bar": lambda page: pull(page, "#row [role=slider] >> nth=0", (0.5, 0.6), (0, -60), moves),
        "chart": lambda page: pull(page, "#gaps", (0.2, 0.5), (200, 0), moves),
        "train": train,
    }[way]


def events(browser: Browser, path: Path, way: str, moves: int) -> list[dict[str, Any]]:
    """The trace of one way, at K = 1000."""
    page = browser.new_page(viewport={"width": 1280, "height": 1000})
    page.goto(path.as_uri())
    if way == "chart":
        page.locator("#gaps").scroll_into_view_if_needed()
    page.wait_for_timeout(500)
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "trace.json"
        browser.start_tracing(page=page, path=file, categories=CATEGORIES)
        acted(way, moves)(page)
        browser.stop_tracing()
        found = json.loads(file.read_text())["traceEvents"]
    page.close()
    return found


def frames(trace: list[dict[str, Any]], clock: str) -> tuple[list[float], list[float]]:
    """Milliseconds of script, and of layout and painting, of each frame that ran any; by ``"dur"`` or ``"tdur"``."""
    whole = [e for e in trace if e.get("ph") == "X" and "dur" in e]
    fired = [e for e in whole if e["name"] == "FireAnimationFrame"]
    threads = [(e["pid"], e["tid"]) for e in fired]
    thread = max(set(threads), key=threads.count)
    ours = sorted((e for e in whole if (e["pid"], e["tid"]) == thread), key=lambda e: (e["ts"], -e["dur"]))
    ends = sorted(e["ts"] + e["dur"] for e in ours if e["name"] == "FireAnimationFrame")
    scripts, layouts = [0.0] * (len(ends) + 1), [0.0] * (len(ends) + 1)
    until = 0.0
    for e in ours:
        frame = sum(end < e["ts"] for end in ends)
        if e["name"] in LAYOUT:
            layouts[frame] += e.get(clock, 0) / 1000
        if e["name"] == "FunctionCall" and e["ts"] >= until:  # calls within calls are counted once
            scripts[frame] += e.get(clock, 0) / 1000
            until = e["ts"] + e["dur"]
    ran = [i for i in range(len(ends)) if scripts[i] > 0]
    return [scripts[i] for i in ran], [layouts[i] for i in ran]


def main() -> None:
    """Measure each way, print its row, and add it to a file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--classes", type=int, default=1000)
    parser.add_argument("--moves", type=int, default=200)
    parser.add_argument("--out", type=Path)
    options = parser.parse_args()
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        path = write(Path(folder) / "page.html", options.classes, 0.1)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        for way in WAYS:
            trace = events(browser, path, way, options.moves)
            (scripts, layouts), (cpu, _) = frames(trace, "dur"), frames(trace, "tdur")
            row = {
                "what": "explain page", "way": way, "classes": options.classes, "frames": len(scripts),
                "script_ms": round(statistics.median(scripts), 3),
                "script_ms_p95": round(statistics.quantiles(scripts, n=20)[-1], 3),
                "script_ms_max": round(max(scripts), 3),
                "cpu_ms": round(statistics.median(cpu), 3), "cpu_ms_p95": round(statistics.quantiles(cpu, n=20)[-1], 3),
                "cpu_ms_max": round(max(cpu), 3), "load": round(os.getloadavg()[0], 1),
                "layout_ms": round(statistics.median(layouts), 3),
                "page_kb": round(path.stat().st_size / 1000, 1), "browser": f"Chromium {browser.version}",
                **environment(("playwright",)),
            }  # fmt: skip
            print(json.dumps(row, ensure_ascii=False))
            if options.out:
                with options.out.open("a", encoding="utf-8") as file:
                    file.write(json.dumps(row, ensure_ascii=False) + "\n")
        browser.close()


if __name__ == "__main__":
    main()
