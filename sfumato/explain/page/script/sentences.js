// The sentence under the picture, the formulas with their numbers, and the two tables.
function sentence() {
  const { k, eps, over, noise, weight, temperature } = state, best = state.best.smoothed;
  const [q, r] = theory.target(k, eps, over), where = spread(over, k), gap = optimum("smoothed");
  const said = [eps === 0 ? say("head_one_hot") : say("head", { eps: show(eps), over: where, q: show(q), r: show(r) })];
  if (noise > 0) said.push(say("noisy", { noise: show(noise), q: show(best.q), r: show(best.r) }));
  if (weight !== 1 && finite(gap)) said.push(say("weighted", { w: show(weight), q: show(best.p) }));
  const stop = !Number.isFinite(gap) ? (gap > 0 ? "never" : "never_below")
    : Math.abs(gap) < 1e-9 ? "stops_even" : gap < 0 ? "stops_below" : "stops";
  said.push(say(stop, { gap: show(Math.abs(gap)), floor: show(best.floor) }));
  if (eps > 0) {
    const bare = optimum("one-hot");
    said.push(Number.isFinite(bare) ? say("also", { gap: show(bare) }) : say("also_never"));
    const all = theory.strength(k, [q, r], "all");
    said.push(Number.isNaN(all) ? say("same_none")
      : say("same", { all: show(all), others: show(theory.strength(k, [q, r], "others")) }));
  }
  return said.join(language === "zh" ? "" : " ");
}
function formulas() {
  const { k, eps, over, noise, weight, temperature } = state, best = state.best.smoothed;
  const others = (k - 1) * (1 - eps) / eps, all = 1 + k * (1 - eps) / eps;
  const log = (inside, whole, gap) => `${inside} = log ${show(whole)} = <b>${show(gap, 6)}</b>`;
  el("f-others").innerHTML = `log((K − 1)(1 − ε)/ε) = ${log(`log(${show(k - 1, 7)} × ${show(1 - eps)}/${show(eps)})`, others, theory.gap(k, eps, "others"))}`;
  el("f-all").innerHTML = `log(1 + K(1 − ε)/ε) = ${log(`log(1 + ${show(k, 7)} × ${show(1 - eps)}/${show(eps)})`, all, theory.gap(k, eps, "all"))}`;
  const moved = noise > 0 || weight !== 1 || temperature !== 1;
  el("f-moved-row").hidden = !moved;
  el("f-moved").innerHTML = `T · log(w (K − 1) q/(1 − q)) = ${show(temperature)} × log(${show(weight)} × ${show(k - 1, 7)} × ` +
    `${show(best.q)}/${show(best.r * (k - 1))}) = <b>${show(optimum("smoothed"), 6)}</b>`;
  for (const each of ["others", "all"]) el(`f-${each}-row`).classList.toggle("chosen", each === over);
}
function tables() {
  const { k, eps } = state, target = theory.target(k, eps, state.over);
  write(el("at"), say("at", { k: count(k), eps: show(eps) }));
  for (const over of ["others", "all"]) {
    const [q, r] = theory.target(k, eps, over);
    const values = { true: q, other: r, gap: theory.gap(k, eps, over), floor: theory.floor(k, eps, over) };
    for (const key in values) write(el(`t-${key}-${over}`), show(values[key], 6));
    for (const cell of document.querySelectorAll(`#numbers [data-over=${over}]`)) cell.classList.toggle("chosen", over === state.over);
  }
  for (const cell of document.querySelectorAll("#frameworks td[data-to]")) {
    const eps = theory.strength(k, target, cell.dataset.to);
    write(cell, Number.isNaN(eps) ? say("no_value") : show(eps, 6));
    cell.classList.toggle("none", Number.isNaN(eps));
  }
}
function after() {
  const { k, eps, over } = state;
  const exact = (e, t) => show(theory.gapAfter(k, theory.pulled(k, e, over, 0, 1), t), 4);
  const c = exact(eps, 1e3), d = exact(eps, 1e4);
  write(el("after"), say(c === d ? "after_same" : "after", { k: count(k), eps: show(eps), over: spread(over, k),
    a: exact(0, 1e3), b: exact(0, 1e4), c, d }));
}
