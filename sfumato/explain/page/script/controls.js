// The boxes and sliders. A slider that runs over several sizes is logarithmic, and says its value in words.
const LOGARITHMIC = ["k", "temperature", "weight"];
const MOST_SLIDE = { k: 1e5 };

function slideOf(name, value) {
  const [low, high] = [RANGES[name][0], MOST_SLIDE[name] || RANGES[name][1]];
  return LOGARITHMIC.includes(name) ? 1000 * Math.log(Math.min(value, high) / low) / Math.log(high / low) : value;
}
function valueOf(name, at) {
  const [low, high] = [RANGES[name][0], MOST_SLIDE[name] || RANGES[name][1]];
  if (!LOGARITHMIC.includes(name)) return Number(at);
  const exact = low * (high / low) ** (at / 1000);
  if (name === "k") return exact < 100 ? Math.round(exact) : Number(exact.toPrecision(2));
  return Math.abs(exact - 1) < 0.02 ? 1 : Number(exact.toPrecision(2));
}
function slide() {
  for (const name in RANGES) {
    const slider = el(`${name}-slide`);
    if (!slider) continue;
    if (document.activeElement !== slider || Math.abs(valueOf(name, slider.value) - state[name]) > 1e-9)
      slider.value = slideOf(name, state[name]);
    slider.setAttribute("aria-valuetext", show(state[name], 7));
  }
}
function read() {
  const wrong = [], before = targetNow();
  for (const name in RANGES) {
    const box = el(name), value = Number(box.value), [low, high] = RANGES[name];
    const fine = box.value !== "" && value >= low && value <= high && (name !== "k" || Number.isInteger(value));
    box.setAttribute("aria-invalid", String(!fine));
    if (fine) state[name] = value; else wrong.push(say(`wrong_${name}`));
  }
  el("wrong").textContent = wrong.join(" ");
  state.over = document.querySelector("input[name=over]:checked").value;
  regroup(groupsThatFit());
  settle();
  follow(before);
  slide();
  redraw();
}
function putValue(name, value) {
  el(name).value = value;
  read();
}
// Values for several controls, as in "eps=0.1 over=all"; a button's work.
function putAll(words) {
  for (const [name, value] of words.split(" ").map(each => each.split("="))) {
    if (name === "over") document.querySelector(`input[name=over][value=${value}]`).checked = true;
    else el(name).value = value;
  }
  read();
}
function listen() {
  for (const name in RANGES) {
    el(name).addEventListener("input", read);
    const slider = el(`${name}-slide`);
    if (slider) slider.addEventListener("input", () => putValue(name, valueOf(name, slider.value)));
  }
  for (const radio of document.querySelectorAll("input[name=over]")) radio.addEventListener("change", read);
  for (const button of document.querySelectorAll("button[data-put]")) button.addEventListener("click", () => {
    putAll(button.dataset.put);
    if (button.closest("section") && !button.closest("#picture")) {
      const calm = matchMedia("(prefers-reduced-motion: reduce)").matches;
      el("picture").scrollIntoView({ behavior: calm ? "auto" : "smooth" });
    }
  });
  for (const which of ["en", "zh"]) el(`lang-${which}`).addEventListener("change", () => { speak(which); pause(); redraw(); });
  el("train").addEventListener("click", train);
  el("step").addEventListener("click", oneStep);
  el("again").addEventListener("click", again);
}
