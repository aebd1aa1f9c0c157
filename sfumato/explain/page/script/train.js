// Gradient descent on the free logits of both arms: tenfold steps in equal times, and at once where motion is unwelcome.
const SECONDS_A_DECADE = 2.2;
const training = { running: false, began: 0, from: 0 };

function train() {
  if (training.running) return pause();
  if (state.steps >= LAST_STEP || state.mode === "trained") startAgain();
  state.mode = "running";
  if (matchMedia("(prefers-reduced-motion: reduce)").matches) {
    while (state.steps < LAST_STEP) advance(Math.max(1, Math.min(Math.ceil(state.steps * 0.1), LAST_STEP - state.steps)));
    return finish();
  }
  Object.assign(training, { running: true, began: performance.now(), from: Math.log10(state.steps + 1) });
  el("train").textContent = say("pause");
  requestAnimationFrame(run);
}
function run(now) {
  if (!training.running) return;
  const decades = training.from + Math.max(0, now - training.began) / 1000 / SECONDS_A_DECADE;
  const due = Math.min(Math.round(10 ** decades) - 1, LAST_STEP);
  if (due > state.steps) { advance(due - state.steps); draw(); }
  if (state.steps >= LAST_STEP) return finish();
  requestAnimationFrame(run);
}
function finish() {
  pause();
  const equal = state.path["one-hot"][0][1] === 0 && state.z.smoothed.slice(1).every(z => Math.abs(z - state.z.smoothed[1]) < 1e-6);
  state.mode = equal ? "trained" : "pulled";
  redraw();
}
function pause() {
  training.running = false;
  el("train").textContent = say("train");
}
function oneStep() {
  pause();
  if (state.mode === "fresh" || state.mode === "trained") state.mode = "running";
  advance(1);
  redraw();
}
function again() {
  pause();
  startAgain();
  redraw();
}
// What the training did so far, in a sentence.
function sayTraining() {
  const a = still(gapNow("one-hot")), b = still(gapNow("smoothed")), eta = show(state.rate), n = count(state.steps);
  const over = tooLarge() ? ` ${say("too_large")}` : "";
  if (state.steps === 0) return say(state.mode === "pulled" ? "pulled" : "at_start");
  return say(state.steps === 1 ? "stepped_one" : "stepped", { n, eta, a, b }) + over;
}
// Whether the steps left the exact curve by more than half a nat, from equal logits.
function tooLarge() {
  return ARMS.some(arm => {
    const path = state.path[arm], [steps, gap] = path[path.length - 1] || [0, 0];
    return path.length > 1 && path[0][1] === 0 && Math.abs(gap - exactGap(arm, steps)) > 0.5;
  });
}
