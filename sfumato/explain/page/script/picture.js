// The row: z, p, q and p − q of each class, one-hot beside smoothed. Nodes are made once for a width and a K, and moved
// after that. The bars of z are sliders.
const LANES = [["z", 138], ["p", 62], ["q", 62], ["g", 92]], LANE_TOP = 22, GAP = 10, EDGE = 34;
const picture = { made: "", columns: [], low: -4, high: 8 };

function className(i) {
  const last = i === state.count.length - 1 && state.count[i] > 1;
  return i === 0 ? say("label") : last ? say("rest_long", { n: count(state.count[i]) }) : say("class", { i });
}
function groupsThatFit() {
  const width = widthOf("row");
  return Math.max(3, Math.min(MOST_GROUPS, Math.floor((width - EDGE) / 54)));
}

function makePicture() {
  const width = widthOf("row"), groups = state.count.length;
  const made = [width, groups, state.k, language].join();
  if (picture.made === made) return;
  const wide = (width - EDGE) / groups, height = LANES.reduce((sum, [, tall]) => sum + tall + LANE_TOP + GAP, 20);
  write(el("row"), "");
  const svg = node(el("row"), "svg", { role: "group", viewBox: `0 0 ${width} ${height}`, width, height });
  let top = 0;
  picture.lanes = {};
  for (const [name, tall] of LANES) {
    const lane = { top: top + LANE_TOP, bottom: top + LANE_TOP + tall };
    lane.title = node(svg, "text", { class: "lane", x: EDGE + 2, y: top + 13, "aria-hidden": true });
    lane.zero = node(svg, "path", { class: "axis" });
    lane.ticks = [0, 1, 2].map(() => node(svg, "text", { class: "tick", "text-anchor": "end", "aria-hidden": true, x: EDGE - 6 }));
    picture.lanes[name] = lane;
    top += tall + LANE_TOP + GAP;
  }
  picture.svg = svg;
  picture.columns = state.count.map((n, i) => makeColumn(svg, i, EDGE + wide * i, wide, height - 5, n));
  const z = picture.lanes.z, hint = node(svg, "text", { class: "hint", "text-anchor": "middle", "aria-hidden": true });
  change(hint, { x: EDGE + (width - EDGE + wide) / 2, y: z.top + 30 });
  hint.textContent = say("hint");
  Object.assign(picture, { made, width, wide, hint });
}
function makeColumn(svg, i, left, wide, foot, n) {
  const bar = Math.min(wide * 0.3, 22), middle = left + wide / 2, z = picture.lanes.z;
  const g = node(svg, "g", { class: "column" });
  const column = { middle, bar, g, bars: {}, arrows: {} };
  column.slider = node(g, "g", { role: "slider", tabindex: 0, "aria-orientation": "vertical" });
  column.hit = node(column.slider, "rect", { class: "hit", x: left + 1, width: wide - 2, y: z.top, height: z.bottom - z.top, rx: 3 });
  for (const [name] of LANES) column.bars[name] = ARMS.map((arm, a) =>
    node(name === "z" ? column.slider : g, "rect", { class: arm, x: middle - bar + a * bar + (a ? 1 : -1), width: bar }));
  column.arrows = ARMS.map(() => node(column.slider, "path", { class: "arrow" }));
  column.knobs = ARMS.map((arm, a) => node(column.slider, "circle", { class: `${arm} knob`, r: 4.5, cx: middle - bar / 2 + a * bar + (a ? 1 : -1) }));
  column.best = node(column.slider, "path", { class: "form" });
  const name = i === 0 ? say("label") : n > 1 ? `× ${count(n)}` : String(i);
  column.name = node(g, "text", { class: i === 0 ? "tick label" : "tick", "text-anchor": n > 9999 ? "end" : "middle", x: n > 9999 ? left + wide : middle, y: foot, "aria-hidden": true });
  column.name.textContent = name;
  column.slider.addEventListener("keydown", event => keyOnBar(event, i));
  column.slider.addEventListener("focus", () => { state.chosen = i || 1; redraw(); });
  return column;
}

function rangeOfZ() {
  const seen = ARMS.flatMap(arm => [...state.z[arm]]), best = optimum("smoothed"), part = (state.k - 1) / state.k;
  if (Number.isFinite(best)) seen.push(best * part, -best / state.k);
  const low = Math.min(-4, 1.12 * Math.min(...seen)), high = Math.max(8, 1.12 * Math.max(...seen));
  if (!picture.dragging) Object.assign(picture, { low, high });
  return [picture.low, picture.high];
}
function drawPicture() {
  makePicture();
  const { temperature, weight, count: groups } = state, [low, high] = rangeOfZ();
  const plain = temperature === 1 && weight === 1, values = valuesOfRow();
  const most = Math.max(1, ...values.g.flat().map(Math.abs));
  const ranges = { z: [low, high], p: [0, 1], q: [0, 1], g: [-most, most] };
  const titles = { z: say("lane_z"), p: say(temperature === 1 ? "lane_p" : "lane_p_hot"), q: say("lane_q"),
    g: say(plain ? "lane_g" : "lane_g_full") };
  for (const [name] of LANES) {
    const lane = picture.lanes[name], [from, to] = ranges[name];
    lane.y = v => lane.bottom - (v - from) / (to - from) * (lane.bottom - lane.top);
    write(lane.title, titles[name]);
    change(lane.zero, { d: `M${EDGE} ${lane.y(0).toFixed(1)}H${picture.width}` });
    const marks = name === "z" ? [0, low, high].map(v => Math.trunc(v)) : name === "g" ? [0, -most, most] : [0, 1];
    lane.ticks.forEach((tick, i) => {
      const shown = i < marks.length && (i === 0 || Math.abs(lane.y(marks[i]) - lane.y(0)) > 14);
      write(tick, shown ? show(marks[i], 2) : "");
      if (shown) change(tick, { y: lane.y(marks[i]) + 4 });
    });
  }
  change(picture.hint, { visibility: state.mode === "fresh" ? "visible" : "hidden" });
  const mean = state.z.smoothed.reduce((sum, z, i) => sum + groups[i] * z, 0) / state.k;
  picture.columns.forEach((column, i) => drawColumn(column, i, values, mean));
  const [a, b, c, d] = ["z", "p", "q", "g"].map(name => show(values[name][0][0], 3));
  const [e, f, g, h] = ["z", "p", "q", "g"].map(name => show(values[name][1][0], 3));
  change(picture.svg, { "aria-label": say("row_alt", { k: count(state.k), a, b, c, d, e, f, g, h }) });
}
function valuesOfRow() {
  const values = { z: [], p: [], q: [], g: [] };
  ARMS.forEach((arm, a) => {
    const z = state.z[arm], best = state.best[arm];
    values.z[a] = z;
    values.p[a] = row.probabilities(z, state.count, state.temperature).p;
    values.q[a] = state.count.map((_, i) => i === 0 ? best.q : best.r);
    values.g[a] = values.p[a].map((p, i) =>
      (best.mass * p - (i === 0 ? state.weight * best.q : best.r)) / state.temperature);
  });
  return values;
}
function drawColumn(column, i, values, mean) {
  for (const [name] of LANES) {
    const lane = picture.lanes[name], zero = lane.y(0);
    ARMS.forEach((_, a) => {
      const y = lane.y(values[name][a][i]);
      change(column.bars[name][a], { y: Math.min(y, zero).toFixed(1), height: Math.max(Math.abs(y - zero), 0.6).toFixed(1) });
    });
  }
  const lane = picture.lanes.z;
  ARMS.forEach((_, a) => {
    const force = -values.g[a][i], length = Math.sign(force) * Math.min(Math.abs(force) * 42, 60);
    const x = column.middle - column.bar / 2 + a * column.bar + (a ? 1 : -1), y = lane.y(values.z[a][i]);
    const head = Math.abs(length) > 6 ? `M${x - 3.5} ${y - length + 4.5 * Math.sign(length)}L${x} ${y - length}L${x + 3.5} ${y - length + 4.5 * Math.sign(length)}` : "";
    change(column.knobs[a], { cy: y.toFixed(1) });
    change(column.arrows[a], { d: `M${x} ${y.toFixed(1)}V${(y - length).toFixed(1)}${head}` });
  });
  const best = optimum("smoothed"), at = mean + (i === 0 ? best * (state.k - 1) / state.k : -best / state.k);
  change(column.best, { d: Number.isFinite(best)
    ? `M${column.middle - column.bar - 4} ${lane.y(at).toFixed(1)}H${column.middle + column.bar + 4}` : "" });
  change(column.slider, { "aria-label": say("slider", { name: className(i) }), "aria-valuemin": picture.low.toFixed(1),
    "aria-valuemax": picture.high.toFixed(1), "aria-valuenow": values.z[1][i].toFixed(2),
    "aria-valuetext": say("slider_text", { a: still(values.z[0][i], 2), b: still(values.z[1][i], 2),
      c: still(values.g[0][i], 2), d: still(values.g[1][i], 2) }) });
}

// The numbers of the label and of the class that was touched last.
function drawReadout() {
  const values = valuesOfRow(), chosen = Math.min(state.chosen, state.count.length - 1);
  const plain = state.temperature === 1 && state.weight === 1;
  write(el("chosen-name"), className(chosen));
  el("readout").parentElement.setAttribute("aria-label", say("readout", { name: className(chosen) }));
  for (const name of ["z", "p", "q", "g"])
    [0, chosen].forEach((i, place) => ARMS.forEach((arm, a) => {
      write(el(`n-${name}-${place}-${a}`), still(values[name][a][i], name === "z" ? 3 : 4));
    }));
  write(el("n-g"), plain ? "p − q" : say("gradient"));
  ARMS.forEach((arm, a) => { write(el(`n-loss-${a}`), still(lossNow(arm), 4)); });
}
