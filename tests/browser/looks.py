"""A page at one size and in one scheme, and scripts that find what is wrong with how it looks."""

from __future__ import annotations

import pytest

# By day the widest and the narrowest, and each scheme, once; each night the widths between them, and all pairs.
DAILY = [(1280, "light"), (360, "dark")]
NIGHTLY = [(1280, "dark"), (360, "light"), (500, "light"), (800, "light")]
VIEWS = [
    pytest.param(view, id=f"{view[0]}-{view[1]}", marks=[pytest.mark.nightly] if view in NIGHTLY else [])
    for view in (*DAILY, *NIGHTLY)
]


def opened(browser, page_file, width=1280, scheme="light"):
    """The page, offline, with everything that it logs and asks for."""
    context = browser.new_context(viewport={"width": width, "height": 900}, color_scheme=scheme, offline=True)
    page = context.new_page()
    page.wrong, page.asked = [], []
    page.on("console", lambda message: page.wrong.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: page.wrong.append(str(error)))
    page.on("request", lambda request: page.asked.append(request.url))
    page.goto(page_file.as_uri(), wait_until="load")
    return page


FITS = "document.documentElement.scrollWidth <= document.documentElement.clientWidth"

STICKING_OUT = """() => [...document.querySelectorAll('main *')].filter(e =>
    !e.closest('.wide, pre, svg') && e.getBoundingClientRect().right > innerWidth + 1).map(e => e.outerHTML)"""

CUT = """() => [...document.querySelectorAll('.wide, pre, .cards li, dd, td, th')]
    .filter(e => e.scrollWidth > e.clientWidth + 1)
    .map(e => e.tagName + '.' + e.className + ': ' + e.textContent.trim().slice(0, 80))"""

TEXTS_OF_FIGURES = """selector => [...document.querySelectorAll(selector)].flatMap(svg => {
    const frame = svg.getBoundingClientRect();
    const boxes = [...svg.querySelectorAll('text')].map(t => [t.textContent.trim(), t.getBoundingClientRect()]);
    const out = boxes.filter(([t, b]) => t && (b.left < frame.left - 2 || b.right > frame.right + 2 ||
        b.top < frame.top - 2 || b.bottom > frame.bottom + 2)).map(([t]) => 'outside: ' + t);
    for (let i = 0; i < boxes.length; i++) for (let j = i + 1; j < boxes.length; j++) {
        const [s, a] = boxes[i], [t, b] = boxes[j];
        const width = Math.min(a.right, b.right) - Math.max(a.left, b.left);
        const height = Math.min(a.bottom, b.bottom) - Math.max(a.top, b.top);
        if (s && t && width > 1 && height > 0.35 * Math.min(a.height, b.height)) out.push(s + ' on ' + t);
    }
    return out;
})"""

SCROLLING = """() => [...document.querySelectorAll('body *')].filter(e =>
    !e.closest('.wide, svg') && (e.scrollWidth > innerWidth || e.getBoundingClientRect().right > innerWidth + 1))
    .map(e => e.tagName + '.' + e.className + ': ' + e.textContent.trim().slice(0, 80))"""

LABELS_ON_POINTS = """selector => [...document.querySelectorAll(selector)].flatMap(svg => {
    const marks = [...svg.querySelectorAll('use, circle')].filter(e => !e.closest('[id*=xtick], [id*=ytick]'))
        .map(e => e.getBoundingClientRect());
    return [...svg.querySelectorAll('text')].map(t => [t.textContent.trim(), t.getBoundingClientRect()])
        .filter(([text, box]) => text && marks.some(mark => mark.right > box.left && mark.left < box.right &&
            mark.bottom > box.top + 0.15 * box.height && mark.top < box.bottom - 0.15 * box.height))
        .map(([text]) => text + ' in: ' + svg.getAttribute('aria-label').slice(0, 60));
})"""

LABELS_ON_CURVES = """selector => [...document.querySelectorAll(selector)].flatMap(svg => {
    const curves = [...svg.querySelectorAll('path.smoothed, path.second, path.one-hot')];
    const points = curves.flatMap(p => Array.from({ length: Math.ceil(p.getTotalLength()) }, (_, i) =>
        p.getPointAtLength(i).matrixTransform(p.getScreenCTM())));
    return [...svg.querySelectorAll('text:not(.tick)')].map(t => [t.textContent, t.getBoundingClientRect()])
        .filter(([, box]) => points.some(p => p.x > box.left && p.x < box.right &&
            p.y > box.top + 0.2 * box.height && p.y < box.bottom - 0.2 * box.height))
        .map(([text]) => text + ' in: ' + svg.getAttribute('aria-label').slice(0, 60));
})"""

SAME_NAME = """() => { const names = [...document.querySelectorAll('[role=region], nav, section[aria-label]')]
    .map(e => e.getAttribute('aria-label')); return names.filter((name, i) => !name || names.indexOf(name) !== i); }"""

BLOCKS = """() => [...document.querySelectorAll('section > *, figure > *')].flatMap(e => {
    const next = e.nextElementSibling;
    if (!next || getComputedStyle(e.parentElement).display === 'grid') return [];
    return next.getBoundingClientRect().top < e.getBoundingClientRect().bottom - 1 ? [next.outerHTML] : [];
})"""

CONTRASTS = """names => {
    const style = getComputedStyle(document.documentElement);
    const light = name => {
        const hex = style.getPropertyValue(name).trim();
        const part = i => { const v = parseInt(hex.slice(i, i + 2), 16) / 255;
            return v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4; };
        return 0.2126 * part(1) + 0.7152 * part(3) + 0.0722 * part(5);
    };
    const ratio = name => { const [a, b] = [light(name), light('--paper')].sort((x, y) => y - x);
        return (a + 0.05) / (b + 0.05); };
    return names.map(n => [n, ratio(n)]);
}"""


def too_faint(page, names):
    """Colours that do not stand out from the paper: by 4.5 what is read, by 3 what is drawn."""
    return [
        (name, ratio)
        for name, ratio in page.evaluate(CONTRASTS, names)
        if ratio < (4.5 if name in ("--ink", "--faint") else 3)
    ]
