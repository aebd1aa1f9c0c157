// The three charts beside the row: loss against gap, gap against steps, and optimum against ε.
function lossAt(arm, d) {
  const { k, weight, temperature } = state, best = state.best[arm], u = d / temperature;
  const lse = u > 0 ? u + Math.log1p((k - 1) * Math.exp(-u)) : Math.log(k - 1 + Math.exp(u));
  return best.mass * lse - weight * best.q * u;
}
function lossNow(arm) {
  return row.loss(state.z[arm], state.count, state.best[arm], state.weight, state.temperature);
}
function gapNow(arm) {
  return row.gap(state.z[arm], state.count);
}
const finite = x => Number.isFinite(x) && Math.abs(x) > 1e-9;

function drawBowl() {
  const best = optimum("smoothed"), floor = state.best.smoothed.floor, now = ARMS.map(gapNow);
  const reach = [...now, ...ARMS.map(optimum).filter(Number.isFinite)];
  const low = Math.min(-2, ...reach.map(d => 1.2 * d)), high = Math.max(12, ...reach.map(d => 1.2 * d));
  const top = 1.05 * Math.max(...ARMS.flatMap(arm => [lossAt(arm, low), lossNow(arm)]), lossAt("smoothed", high));
  const f = frame("bowl", 250, linear(low, high, say("bowl_x"), nice(low, high, 7)),
    linear(0, top, say("bowl_y"), nice(0, top, 5)));
  const at = Array.from({ length: 61 }, (_, i) => low + (high - low) * i / 60);
  const curves = ARMS.map(arm => at.map(d => [d, lossAt(arm, d)]));
  let taken = curves.flatMap(points => pixels(f, points));
  if (Number.isFinite(best)) {
    f.shapes.push(line(f, [[low, floor], [best, floor]], "form"), line(f, [[best, 0], [best, floor]], "form"));
    const spots = [[8, 22], [8, 40], [-8, 22], [-8, 40], [8, 60], [8, -14], [-8, -14], [8, 80], [8, 110], [8, 140]];
    const text = say("optimum", { gap: show(best) });
    taken = [...taken, ...ARMS.map((arm, i) => [f.px(now[i]), f.py(lossNow(arm))])];
    f.shapes.push(label(f, taken, spots.map(([x, y]) => [f.px(best) + x, f.py(floor) - y, x > 0 ? "start" : "end"]), text));
  }
  f.shapes.push(...ARMS.map((arm, i) => line(f, curves[i], arm)));
  f.shapes.push(...ARMS.map((arm, i) => dot(f, [now[i], lossNow(arm)], arm, i === 0 ? 7 : 4.5)));
  put("bowl", f, say("bowl_alt", { a: show(lossNow("one-hot")), b: show(now[0]), c: show(lossNow("smoothed")),
    d: show(now[1]), floor: show(floor), gap: show(best) }));
}

const LAST_STEP = 10000;
function drawTime() {
  const grid = Array.from({ length: 49 }, (_, i) => 10 ** (i / 12));
  const curves = ARMS.map(arm => grid.map(t => [t, exactGap(arm, t)]));
  const best = optimum("smoothed"), paths = ARMS.map(arm => state.path[arm].filter(([t]) => t >= 1));
  const seen = [...curves.flat(), ...paths.flat()].map(([, d]) => d).concat(finite(best) && Math.abs(best) < 60 ? [best] : []);
  const high = 1.12 * Math.max(0.5, ...seen), low = 1.12 * Math.min(0, ...seen);
  const x = { low: 1, high: LAST_STEP, name: say("time_x"), ticks: [1, 10, 100, 1000, 10000], map: Math.log10, show: count };
  const f = frame("time", 250, x, linear(low, high, say("bowl_x"), nice(low, high, 6)));
  if (low < 0) f.shapes.push(line(f, [[1, 0], [LAST_STEP, 0]], "axis"));
  if (finite(best) && best <= high && best >= low) {
    f.shapes.push(line(f, [[1, best], [LAST_STEP, best]], "form"));
    const spots = [-6, 15, -20, -36, 30, -60].map(down =>
      Array.from({ length: 24 }, (_, i) => [f.left + 6 + 20 * i, f.py(best) + down, "start"]));
    const dots = pixels(f, paths.flat()).flatMap(([x, y]) => [-5, 0, 5].map(off => [Math.min(x, f.width - f.right), y + off]));
    f.shapes.push(label(f, [...dots, ...curves.flatMap(points => pixels(f, points))], spots.flat(), say("optimum", { gap: show(best) })));
  }
  ARMS.forEach((arm, i) => f.shapes.push(line(f, curves[i], arm), ...stepsOf(f, paths[i], arm)));
  const [a, b, c, d] = [1000, LAST_STEP].flatMap(t => ARMS.map(arm => show(exactGap(arm, t))));
  put("time", f, say("time_alt", { eta: show(state.rate), a, b, c, d }));
}
// Dots that are at least 7 pixels apart, and the last.
function stepsOf(f, path, arm) {
  let at = -Infinity;
  const out = [];
  path.forEach((point, i) => {
    const x = f.px(Math.min(point[0], LAST_STEP));
    if (x - at < 7 && i < path.length - 1) return;
    at = x;
    out.push(dot(f, [Math.min(point[0], LAST_STEP), point[1]], arm, i === path.length - 1 ? 5 : 2.2));
  });
  return out;
}

function drawEps() {
  const { k, eps, over } = state, other = over === "others" ? "all" : "others";
  const high = theory.gap(k, 0.002, "all"), low = Math.max(theory.gap(k, 0.998, "others"), -7);
  const f = frame("gaps", 250, linear(0, 1, say("eps_x"), [0, 0.25, 0.5, 0.75, 1]),
    linear(low, high, say("bowl_x"), nice(low, high, 6)));
  const at = Array.from({ length: 161 }, (_, i) => (i / 160) ** 2);
  const curve = which => at.map(e => [e, theory.gap(k, e, which)]).filter(([, v]) => v <= high && v >= low);
  const curves = { [over]: curve(over), [other]: curve(other) };
  if (low < 0) f.shapes.push(line(f, [[0, 0], [1, 0]], "axis"));
  f.shapes.push(line(f, curves[other], "second"), line(f, curves[over], "smoothed"));
  const now = theory.gap(k, eps, over), drawn = Math.min(Math.max(now, low), high);
  f.shapes.push(line(f, [[eps, low], [eps, drawn]], "form"));
  const stem = Array.from({ length: 40 }, (_, i) => [eps, low + (drawn - low) * i / 39]);
  const taken = pixels(f, [...curves[other], ...curves[over], ...stem]), x = f.px(eps), y = f.py(drawn);
  const spots = [12, 22, 36, 60, 90, 130].flatMap(off => [-9, 18, 4].flatMap(down =>
    [[x + off, y + down, "start"], [x - off, y + down, "end"]]));
  f.shapes.push(dot(f, [eps, drawn], "smoothed handle", 7), label(f, taken, spots, show(now)));
  put("gaps", f, say("eps_alt", { gap: show(now), eps: show(eps), over: spread(over, k) }));
  drawEps.at = clientX => {
    const [from, to] = [f.px(0), f.px(1)], box = el("gaps").getBoundingClientRect();
    return Math.min(Math.max((clientX - box.left - from) / (to - from), 0), 1);
  };
}
