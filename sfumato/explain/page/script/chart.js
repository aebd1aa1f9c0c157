// A chart is a list of shapes, [tag, attributes, text], in a frame with ticks. One unit is one pixel, so that letters keep
// their size. Widths are read once for a window, since reading one makes the browser lay out the page.
const widths = new Map();
function widthOf(id) {
  if (!widths.has(id)) widths.set(id, Math.max(el(id).clientWidth, 240));
  return widths.get(id);
}
function frame(id, height, x, y) {
  const width = widthOf(id), left = 40, bottom = 38, top = 22, right = 14;
  const low = x.map(x.low), wide = (width - left - right) / (x.map(x.high) - low);
  const tall = (height - bottom - top) / (y.high - y.low);
  const px = v => left + (x.map(v) - low) * wide, py = v => height - bottom - (v - y.low) * tall;
  const marks = y.ticks.map(t => `M${left - 4} ${py(t)}H${left}`).join("");
  const shapes = [["path", { class: "axis", d: `M${left} ${top}V${height - bottom}H${width - right}${marks}` }]];
  for (const t of x.ticks) {
    const end = px(t) > width - 30;
    shapes.push(letters("tick", end ? "end" : "middle", end ? width - 2 : px(t), height - bottom + 19, x.show(t)));
  }
  for (const t of y.ticks) shapes.push(letters("tick", "end", left - 7, py(t) + 4, y.show(t)));
  shapes.push(letters("tick", "end", width - right, height - 5, x.name), letters("tick", "start", 4, 12, y.name));
  return { left, width, right, height, bottom, top, px, py, shapes };
}
function letters(cls, anchor, x, y, text) {
  return ["text", { class: cls, "text-anchor": anchor, x: Number(x.toFixed(1)), y: Number(y.toFixed(1)) }, text];
}
// The nodes of the last drawing are used again, and only what differs is set.
const drawn = new Map();
function put(id, f, words) {
  if (!drawn.has(id)) drawn.set(id, { svg: node(el(id), "svg", { role: "img" }), old: [] });
  const { svg, old } = drawn.get(id), shapes = f.shapes.filter(Boolean);
  change(svg, { viewBox: `0 0 ${f.width} ${f.height}`, width: f.width, height: f.height, "aria-label": words });
  shapes.forEach(([tag, attributes, text], i) => {
    if (!old[i] || old[i].tagName !== tag) {
      const made = document.createElementNS(SVG, tag);
      if (old[i]) old[i].replaceWith(made); else svg.appendChild(made);
      old[i] = made;
    }
    change(old[i], attributes);
    if (text !== undefined && old[i].textContent !== text) old[i].textContent = text;
  });
  for (const left of old.splice(shapes.length)) left.remove();
}
const SVG = "http://www.w3.org/2000/svg", held = new WeakMap();
function change(node, attributes) {
  if (!held.has(node)) held.set(node, {});
  const was = held.get(node);
  for (const name in attributes) if (was[name] !== attributes[name]) node.setAttribute(name, was[name] = attributes[name]);
}
function node(parent, tag, attributes) {
  const made = document.createElementNS(SVG, tag);
  change(made, attributes);
  return parent.appendChild(made);
}
function line(f, points, cls) {
  let d = "";
  for (const [x, y] of points) if (Number.isFinite(x) && Number.isFinite(y))
    d += `${d ? "L" : "M"}${f.px(x).toFixed(1)} ${f.py(y).toFixed(1)}`;
  return d && ["path", { class: cls, d }];
}
function dot(f, [x, y], cls, size = 5) {
  return ["circle", { class: cls, cx: f.px(x).toFixed(1), cy: f.py(y).toFixed(1), r: size }];
}
// A label takes the first of its spots, each [x, y, anchor], whose box lies within the frame and on the fewest pixels
// of curves; a Latin letter is at most 7 pixels wide and a Chinese one 12.
function label(f, pixels, spots, text) {
  const wide = [...text].reduce((sum, letter) => sum + (letter > "\u2e80" ? 12.5 : 7), 0);
  const covered = ([x, y, anchor]) => {
    const left = anchor === "start" ? x : x - wide, right = left + wide, top = y - 11, bottom = y + 3;
    const outside = left < f.left + 2 || right > f.width || top < 15 || bottom > f.height - f.bottom;
    return 1e6 * outside + pixels.filter(([px, py]) => px > left - 2 && px < right + 2 && py > top && py < bottom).length;
  };
  let best = spots[0], least = Infinity;
  for (const spot of spots) {
    const on = covered(spot);
    if (on < least) [best, least] = [spot, on];
    if (on === 0) break;
  }
  return letters("", best[2], best[0], best[1], text);
}
function pixels(f, points) {
  return points.map(([x, y]) => [f.px(x), f.py(y)]);
}
function nice(low, high, most) {
  const step = [1e-3, 1e-2, 0.1, 1, 10, 100].flatMap(m => [m, 2 * m, 5 * m]).find(s => (high - low) / s <= most) || 1000;
  const ticks = [];
  for (let t = Math.ceil(low / step - 1e-9) * step; t <= high + 1e-9; t += step) ticks.push(Number(t.toPrecision(6)));
  return ticks;
}
const linear = (low, high, name, ticks) => ({ low, high, name, ticks, map: v => v, show: t => show(t) });
