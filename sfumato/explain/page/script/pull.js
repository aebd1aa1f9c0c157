// Pulling: bars of z by pointer and by keys, and the point of the chart of ε.
function pullTo(i, value) {
  const z = Math.min(Math.max(value, picture.low), picture.high);
  pause();
  if (state.mode !== "pulled") { state.mode = "pulled"; state.steps = 0; }
  state.chosen = i || state.chosen;
  for (const arm of ARMS) { state.z[arm][i] = z; state.path[arm] = [[0, row.gap(state.z[arm], state.count)]]; }
  redraw();
}
function keyOnBar(event, i) {
  const by = { ArrowUp: 0.25, ArrowRight: 0.25, ArrowDown: -0.25, ArrowLeft: -0.25, PageUp: 1, PageDown: -1 }[event.key];
  const to = { Home: picture.low, End: picture.high }[event.key];
  if (by === undefined && to === undefined) return;
  event.preventDefault();
  pullTo(i, to === undefined ? state.z.smoothed[i] + by : to);
}
function columnAt(clientX) {
  const x = clientX - picture.svg.getBoundingClientRect().left - EDGE;
  return Math.min(Math.max(Math.floor(x / picture.wide), 0), state.count.length - 1);
}
function zAt(clientY) {
  const lane = picture.lanes.z, y = clientY - picture.svg.getBoundingClientRect().top;
  return picture.low + (lane.bottom - y) / (lane.bottom - lane.top) * (picture.high - picture.low);
}
function startPulling() {
  let held = null;
  const box = el("row");
  box.addEventListener("pointerdown", event => {
    const lane = picture.lanes.z, y = event.clientY - picture.svg.getBoundingClientRect().top;
    if (event.button !== 0 || y < lane.top - 6 || y > lane.bottom + 6) return;
    held = columnAt(event.clientX);
    picture.dragging = true;
    box.setPointerCapture(event.pointerId);
    picture.columns[held].slider.focus({ preventScroll: true });
    pullTo(held, zAt(event.clientY));
    event.preventDefault();
  });
  box.addEventListener("pointermove", event => { if (held !== null) pullTo(held, zAt(event.clientY)); });
  for (const end of ["pointerup", "pointercancel"]) box.addEventListener(end, () => {
    if (held !== null) { held = null; picture.dragging = false; redraw(); }
  });
  const chart = el("gaps");
  let pulling = false;
  const move = event => putValue("eps", Number(drawEps.at(event.clientX).toFixed(3)));
  chart.addEventListener("pointerdown", event => {
    if (event.button !== 0) return;
    pulling = true;
    chart.setPointerCapture(event.pointerId);
    move(event);
  });
  chart.addEventListener("pointermove", event => { if (pulling) move(event); });
  for (const end of ["pointerup", "pointercancel"]) chart.addEventListener(end, () => { pulling = false; });
}
