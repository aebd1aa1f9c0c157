// What is pulled: K, ε and its convention, T, noise, weight, step size; and the logits of both arms in groups.
const RANGES = {
  k: [2, 1e6], eps: [0, 1], temperature: [0.2, 5], noise: [0, 0.9], weight: [0.1, 10], rate: [0.01, 2],
};
const MOST_GROUPS = 10, ARMS = ["one-hot", "smoothed"];
const state = { over: "others", chosen: 1, mode: "fresh", steps: 0, count: [], z: {}, best: {}, path: {} };
for (const name of Object.keys(RANGES)) state[name] = Number(el(name).value);

// Groups of classes: the label, some classes of their own, and the rest together.
function regroup(most) {
  const k = state.k, groups = Math.min(k, most), old = state.z, before = state.count;
  state.count = Array.from({ length: groups }, (_, i) => i === groups - 1 ? k - groups + 1 : 1);
  for (const arm of ARMS) {
    const was = old[arm] || [0, 0], rest = was[was.length - 1];
    state.z[arm] = state.count.map((_, i) => i < was.length ? was[i] : rest);
  }
  if (before.length > groups) state.chosen = Math.min(state.chosen, groups - 1);
}
function settle() {
  const { k, eps, over, noise, weight } = state;
  state.best["one-hot"] = theory.pulled(k, 0, over, noise, weight);
  state.best.smoothed = theory.pulled(k, eps, over, noise, weight);
}
// Steps of size 1 on z/T that stand for one step of size η on z, with the weighted mass S.
function pace(arm) {
  return state.rate * state.best[arm].mass / state.temperature ** 2;
}
function exactGap(arm, steps) {
  return state.temperature * theory.gapAfter(state.k, state.best[arm], steps * pace(arm));
}
function optimum(arm) {
  return state.temperature * state.best[arm].gap;
}
// After training, a pull at the target moves the logits to where the same number of steps would have led. A pull at T
// leaves them, as dividing the logits of a trained model does.
function targetNow() {
  return [state.k, state.eps, state.over, state.noise, state.weight].join();
}
function follow(before) {
  if (state.mode !== "trained" || before === targetNow()) return;
  for (const arm of ARMS) {
    state.z[arm] = row.ofGap(state.count, state.k, exactGap(arm, state.steps));
    state.path[arm] = [];
  }
}
function startAgain() {
  state.mode = "fresh";
  state.steps = 0;
  for (const arm of ARMS) { state.z[arm] = state.count.map(() => 0); state.path[arm] = [[0, 0]]; }
}
function advance(steps) {
  const { count, weight, temperature, rate } = state;
  for (const arm of ARMS)
    for (let i = 0; i < steps; i++) row.step(state.z[arm], count, state.best[arm], weight, temperature, rate);
  state.steps += steps;
  for (const arm of ARMS) state.path[arm].push([state.steps, row.gap(state.z[arm], count)]);
}
