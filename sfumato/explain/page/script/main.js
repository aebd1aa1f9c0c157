// Everything is drawn from the state, at most once a frame; a screen reader hears a sentence when the hand rests.
let waiting = false, resting = 0;

function draw() {
  drawPicture();
  drawReadout();
  drawBowl();
  drawTime();
  const { k, eps, over, noise, weight, temperature } = state;
  const asked = [k, eps, over, noise, weight, temperature, language, widthOf("gaps")].join();
  if (asked !== draw.last) {
    draw.last = asked;
    write(el("said"), sentence());
    formulas();
    tables();
    after();
    drawEps();
  }
  write(el("status"), sayTraining());
  clearTimeout(resting);
  resting = setTimeout(announce, 700);
}
function redraw() {
  if (waiting) return;
  waiting = true;
  requestAnimationFrame(() => { waiting = false; draw(); });
}
function announce() {
  document.title = say("title", { eps: show(state.eps) });
  const words = state.steps > 0 && state.mode !== "trained" ? sayTraining() : sentence();
  if (!training.running && announce.last !== words) el("heard").textContent = words;
  announce.last = words;
}
let drawnAt = 0;
addEventListener("resize", () => {
  if (document.documentElement.clientWidth === drawnAt) return;
  drawnAt = document.documentElement.clientWidth;
  widths.clear();
  regroup(groupsThatFit());
  draw();
});
// What is tested reads these: the closed forms, the state, and a drawing that does not wait for the next frame.
window.sfumato = { theory, row, state, draw, exactGap, optimum };

speak((navigator.languages || [navigator.language]).map(each => each.slice(0, 2)).find(each => each === "zh" || each === "en") || "en");
regroup(groupsThatFit());
settle();
startAgain();
slide();
listen();
startPulling();
draw();
announce.last = sentence();
