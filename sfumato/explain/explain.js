"use strict";
// The closed forms, as in sfumato.theory; then the controls, the sentence, the table and four charts.
const theory = {
  target(k, eps, over) {
    const share = eps / (over === "others" ? k - 1 : k);
    return over === "others" ? [1 - eps, share] : [1 - eps + share, share];
  },
  gap(k, eps, over) {
    if (eps === 0) return Infinity;
    return over === "others" ? Math.log(k - 1) + Math.log1p(-eps) - Math.log(eps)
      : Math.log1p(k * (1 - eps) / eps);
  },
  floor(k, eps, over) {
    const [q, r] = theory.target(k, eps, over);
    return (q > 0 ? -q * Math.log(q) : 0) + (r > 0 ? -(k - 1) * r * Math.log(r) : 0) + 0;
  },
  time(k, eps, over, d) {
    if (d === 0) return 0;
    const q = theory.target(k, eps, over)[0], rest = 1 - q, best = theory.gap(k, eps, over);
    if (Math.sign(d) !== Math.sign(best) || Math.abs(d) >= Math.abs(best)) return Infinity;
    if (eps === 0) return (Math.expm1(d) + (k - 1) * d) / k;
    if (q === 0) return (k - 1) / k * ((k - 1) * Math.expm1(-d) - d);
    return (k - 1) / (k * q) * (d - Math.log1p(-rest * Math.expm1(d) / (q * k - 1)) / rest);
  },
  convert(k, eps, over) {
    return over === "others" ? eps * k / (k - 1) : eps * (k - 1) / k;
  },
};

const el = id => document.getElementById(id);
const state = { k: Number(el("k").value), eps: Number(el("eps").value), over: "others" };
const MAX_SLIDE = 5, WORDS = { others: "the others", all: "all" };

function show(x, digits = 4) {
  if (!Number.isFinite(x)) return x > 0 ? "∞" : "−∞";
  const size = Math.abs(x);
  const text = size !== 0 && (size >= 1e6 || size < 1e-4) ? x.toExponential(2) : String(Number(x.toPrecision(digits)));
  return text.replace("-", "−");
}
function count(x) {
  if (!Number.isFinite(x)) return "for ever";
  return x < 1e6 ? x.toLocaleString("en", { maximumFractionDigits: x < 100 ? 1 : 0 }) : x.toExponential(1);
}

function read() {
  const k = Number(el("k").value), eps = Number(el("eps").value), wrong = [];
  const fineK = el("k").value !== "" && Number.isInteger(k) && k >= 2 && k <= 1e6;
  const fineEps = el("eps").value !== "" && eps >= 0 && eps <= 1;
  el("k").setAttribute("aria-invalid", String(!fineK));
  el("eps").setAttribute("aria-invalid", String(!fineEps));
  if (!fineK) wrong.push("K must be a whole number from 2 to 1,000,000.");
  if (!fineEps) wrong.push("ε must be from 0 to 1.");
  el("wrong").textContent = wrong.join(" ");
  if (fineK) state.k = k;
  if (fineEps) state.eps = eps;
  state.over = document.querySelector("input[name=over]:checked").value;
  slide();
  draw();
}
function slide() {
  el("k-slide").value = Math.round(1000 * Math.log10(state.k / 2) / (MAX_SLIDE - Math.log10(2)));
  el("k-slide").setAttribute("aria-valuetext", `${state.k} classes`);
  el("eps-slide").value = state.eps;
}
el("k-slide").addEventListener("input", event => {
  const exact = 2 * 10 ** (event.target.value / 1000 * (MAX_SLIDE - Math.log10(2)));
  el("k").value = exact < 100 ? Math.round(exact) : Number(exact.toPrecision(2));
  read();
});
el("eps-slide").addEventListener("input", event => { el("eps").value = event.target.value; read(); });
for (const id of ["k", "eps"]) el(id).addEventListener("input", read);
for (const radio of document.querySelectorAll("input[name=over]")) radio.addEventListener("change", read);

function say() {
  const { k, eps, over } = state, best = theory.gap(k, eps, over), [q, r] = theory.target(k, eps, over);
  const other = over === "others" ? "all" : "others", same = theory.convert(k, eps, over);
  const head = `ε = ${show(eps)} over ${WORDS[over]} of ${k.toLocaleString("en")} classes`;
  if (eps === 0) return `${head} is one-hot: there is no finite optimum, and the gap grows for as long as one trains.`;
  const also = same > 1 + 1e-12 ? `No strength over ${WORDS[other]} is the same target.`
    : `Over ${WORDS[other]} that is ε = ${show(same)}.`;
  if (Math.abs(best) < 1e-12) return `${head} is the uniform target: the best logits are all equal. ${also}`;
  const where = best < 0 ? `below each other one: the target favours the wrong classes` : "above each other one";
  return `${head} trains the label's logit to stand ${show(Math.abs(best))} nats ${where}, ` +
    `with ${show(q)} on the label and ${show(r)} on each other class. ${also}`;
}

function table() {
  const { k, eps } = state;
  el("numbers").querySelector("thead .quiet").textContent = `K = ${k.toLocaleString("en")}, ε = ${show(eps)}`;
  for (const over of ["others", "all"]) {
    const [q, r] = theory.target(k, eps, over);
    const values = { true: q, other: r, gap: theory.gap(k, eps, over), floor: theory.floor(k, eps, over) };
    for (const [key, value] of Object.entries(values))
      el("numbers").querySelector(`tr[data-key=${key}] td[data-over=${over}]`).textContent = show(value, 6);
    for (const cell of el("numbers").querySelectorAll(`[data-over=${over}]`))
      cell.classList.toggle("chosen", over === state.over);
  }
}

// A chart is text: a frame with ticks, then paths. One unit is one pixel, so that letters keep their size.
function frame(id, height, x, y, name) {
  const width = Math.max(el(id).clientWidth, 260), left = 46, bottom = 40, top = 24, right = 16;
  const px = v => left + (x.map(v) - x.map(x.low)) / (x.map(x.high) - x.map(x.low)) * (width - left - right);
  const py = v => height - bottom - (v - y.low) / (y.high - y.low) * (height - bottom - top);
  let out = `<path class="axis" d="M${left} ${top}V${height - bottom}H${width - right}"/>`;
  for (const t of x.ticks) out += `<text class="tick" text-anchor="${px(t) > width - 40 ? "end" : "middle"}" x="${Math.min(px(t), width - 4)}" y="${height - bottom + 16}">${x.show(t)}</text>`;
  for (const t of y.ticks) out += `<text class="tick" text-anchor="end" x="${left - 7}" y="${py(t) + 4}">${y.show(t)}</text>` +
    `<path class="axis" d="M${left - 4} ${py(t)}H${left}"/>`;
  out += `<text class="tick" text-anchor="end" x="${width - right}" y="${height - 6}">${x.name}</text>`;
  out += `<text class="tick" text-anchor="start" x="4" y="12">${y.name}</text>`;
  return { px, py, out, left, width, right, height, bottom, top, name };
}
function put(id, f, body, words) {
  el(id).innerHTML = `<svg role="img" aria-label="${words}" viewBox="0 0 ${f.width} ${f.height}" ` +
    `width="${f.width}" height="${f.height}">${f.out}${body}</svg>`;
}
function line(f, points, cls) {
  const kept = points.filter(([x, y]) => Number.isFinite(x) && Number.isFinite(y));
  return kept.length < 2 ? "" : `<path class="${cls}" d="M${kept.map(([x, y]) =>
    `${f.px(x).toFixed(1)} ${f.py(y).toFixed(1)}`).join("L")}"/>`;
}
// A label takes the first of its spots, each [x, y, anchor], whose box lies within the frame and on the fewest pixels
// of curves; a letter is at most 7.5 pixels wide.
function label(f, pixels, spots, text) {
  const wide = 7.5 * text.length, covered = ([x, y, anchor]) => {
    const left = anchor === "start" ? x : x - wide, right = left + wide, top = y - 11, bottom = y + 3;
    const outside = left < f.left + 2 || right > f.width || top < 15 || bottom > f.height - f.bottom;
    return 1e6 * outside + pixels.filter(([px, py]) => px > left - 2 && px < right + 2 && py > top && py < bottom).length;
  };
  const [x, y, anchor] = spots.reduce((best, spot) => covered(spot) < covered(best) ? spot : best);
  return `<text text-anchor="${anchor}" x="${x}" y="${y}">${text}</text>`;
}
function pixels(f, points) {
  return points.map(([x, y]) => [f.px(x), f.py(y)]);
}
function nice(low, high, most) {
  const step = [1, 2, 5].flatMap(m => [m * 1e-3, m * 1e-2, m * 0.1, m, m * 10, m * 100]).sort((a, b) => a - b)
    .find(s => (high - low) / s <= most) || 1000;
  const ticks = [];
  for (let t = Math.ceil(low / step - 1e-9) * step; t <= high + 1e-9; t += step) ticks.push(Number(t.toPrecision(6)));
  return ticks;
}
const linear = (low, high, name, ticks) => ({ low, high, name, ticks, map: v => v, show: t => show(t) });

function drawTarget() {
  const { k, eps, over } = state, [q, r] = theory.target(k, eps, over);
  const wide = el("target").clientWidth > 560, shown = Math.min(k, wide ? 12 : 6), cut = shown < k;
  const f = frame("target", 230, { ...linear(0, shown, "class", []), show: () => "" },
    linear(0, 1, "mass q", [0, 0.5, 1]), "target");
  const room = f.px(1) - f.px(0), bar = Math.min(room * 0.62, 54);
  let body = "";
  for (let i = 0; i < shown; i++) {
    const middle = f.px(i + 0.5), value = i === 0 ? q : r, dots = cut && i === shown - 1;
    if (!dots) {
      body += `<rect class="smoothed" x="${middle - bar / 2}" y="${f.py(value)}" width="${bar}" height="${Math.max(f.py(0) - f.py(value), 0.6)}"/>`;
      if (i === 0) body += `<rect class="one-hot" x="${middle - bar / 2 - 3}" y="${f.py(1)}" width="${bar + 6}" height="${f.py(0) - f.py(1)}"/>`;
    }
    body += `<text class="tick" text-anchor="middle" x="${middle}" y="${f.height - f.bottom + 16}">${dots ? "…" : i === 0 ? "label" : i}</text>`;
  }
  const over_bar = (i, value, text) => `<text class="smoothed" text-anchor="middle" x="${f.px(i + 0.5)}" y="${f.py(value) - 7}">${text}</text>`;
  body += over_bar(0, 1, show(q)) + over_bar(1, Math.max(r, 0), show(r));
  put("target", f, body, `Target of ${k} classes: ${show(q)} on the label and ${show(r)} on each other class; one-hot has 1 on the label.`);
}

function drawAgainstEps(id, value, high, low, words) {
  const { k, eps, over } = state, other = over === "others" ? "all" : "others";
  const f = frame(id, 250, linear(0, 1, "strength ε", [0, 0.25, 0.5, 0.75, 1]), linear(low, high, "nats", nice(low, high, 6)), id);
  const at = Array.from({ length: 401 }, (_, i) => (i / 400) ** 2);
  const curve = which => at.map(e => [e, value(k, e, which)]).filter(([, v]) => v <= high && v >= low);
  let body = low < 0 ? line(f, [[0, 0], [1, 0]], "axis") : "";
  body += line(f, curve(other), "second") + line(f, curve(over), "smoothed");
  const now = value(k, eps, over), drawn = Math.min(Math.max(now, low), high);
  body += line(f, [[eps, low], [eps, drawn]], "form");
  const stem = Array.from({ length: 60 }, (_, i) => [eps, low + (drawn - low) * i / 59]);
  const taken = pixels(f, [...curve(other), ...curve(over), ...stem]), x = f.px(eps), y = f.py(drawn);
  const spots = [9, 20, 34, 60, 90, 130].flatMap(off => [-9, 18, 4].flatMap(down =>
    [[x + off + (down === 4) * 5, y + down, "start"], [x - off - (down === 4) * 5, y + down, "end"]]));
  body += `<circle cx="${f.px(eps)}" cy="${f.py(drawn)}" r="5"/>` + label(f, taken, spots, `${show(now)} nats`);
  put(id, f, body, words(now));
}

function drawTime() {
  const { k, eps, over } = state, best = theory.gap(k, eps, over);
  const near = Number.isFinite(best) && Math.abs(best) > 1e-9 ? theory.time(k, eps, over, best * 0.99) : 0;
  const end = Math.max(3, Math.min(12, Math.ceil(Math.log10(Math.max(near, 1) * 10))));
  const start = -1, last = 10 ** end;
  let top = 0.5;
  while (theory.time(k, 0, over, top) < last) top += 0.05;
  const high = Math.max(top, Number.isFinite(best) ? best : 0) * 1.12, low = Number.isFinite(best) && best < 0 ? Math.max(best * 1.15, -12) : 0;
  const ticks = Array.from({ length: end - start + 1 }, (_, i) => 10 ** (start + i)).filter((_, i) => end <= 6 || i % 2 === 0);
  const x = { low: 10 ** start, high: last, name: "steps", ticks, map: Math.log10, show: t => t < 1e4 ? String(t) : "10" + [...String(Math.round(Math.log10(t)))].map(c => "⁰¹²³⁴⁵⁶⁷⁸⁹"[c]).join("") };
  const f = frame("time", 260, x, linear(low, high, "gap, nats", nice(low, high, 6)), "time");
  const grown = to => Array.from({ length: 400 }, (_, i) => to * (1 - (1 - (i + 1) / 400.0001) ** 3));
  const flow = (e, to) => {
    const points = grown(to).map(d => [theory.time(k, e, over, d), d]).filter(([t]) => t >= x.low && t <= last);
    return e > 0 && points.length ? [...points, [last, to]] : points;
  };
  let body = low < 0 ? line(f, [[x.low, 0], [last, 0]], "axis") : "";
  body += line(f, flow(0, top), "one-hot");
  if (eps > 0 && Number.isFinite(best) && Math.abs(best) > 1e-9) {
    body += line(f, [[x.low, best], [last, best]], "form") + line(f, flow(eps, best), "smoothed");
    const spots = Array.from({ length: 12 }, (_, i) => [-6, 15].map(down => [f.left + 6 + 30 * i, f.py(best) + down, "start"]));
    body += label(f, pixels(f, [...flow(0, top), ...flow(eps, best)]), spots.flat(), `optimum, ${show(best)} nats`);
  }
  const reach = Math.abs(best) > 1e-9 && Number.isFinite(best) ? `; smoothed is within 1 % of ${show(best)} nats after ${count(near)} steps` : "";
  put("time", f, body, `Gap against time: one-hot reaches ${show(top)} nats after ${count(last)} steps and goes on${reach}.`);
}

function draw() {
  const { k, over } = state;
  el("said").textContent = say();
  el("perfect").textContent = show(theory.floor(k, state.eps, over));
  table();
  drawTarget();
  const high = theory.gap(k, 0.002, "all"), deepest = theory.gap(k, 0.998, "others");
  drawAgainstEps("gap", theory.gap, high, Math.max(deepest, -7), now =>
    `Optimal gap against strength: ${show(now)} nats at ε = ${show(state.eps)} over ${WORDS[over]} of ${k} classes.`);
  drawAgainstEps("floor", theory.floor, Math.log(k) * 1.08, 0, now =>
    `Smallest value of the loss against strength: ${show(now)} nats at ε = ${show(state.eps)} over ${WORDS[over]} of ${k} classes.`);
  drawTime();
}
window.sfumato = { theory, state };
let drawnAt = 0;
addEventListener("resize", () => {
  if (document.documentElement.clientWidth !== drawnAt) draw();
  drawnAt = document.documentElement.clientWidth;
});
slide();
draw();
