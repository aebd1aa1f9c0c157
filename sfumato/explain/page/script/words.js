// Both languages of every sentence, and numbers as sentences write them.
const WORDS = JSON.parse(document.getElementById("sentences").textContent);
const el = id => document.getElementById(id);
let language = "en";

function say(key, values = {}) {
  return WORDS[key][language].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}
function show(x, digits = 4) {
  if (Number.isNaN(x)) return "–";
  if (!Number.isFinite(x)) return x > 0 ? "∞" : "−∞";
  const size = Math.abs(x) < 1e-15 ? 0 : Math.abs(x);  // what is left of rounding is nothing
  if (size === 0) return "0";
  const text = size >= 1e6 || size < 1e-4 ? x.toExponential(digits - 1).replace(/\.?0*e/, "e") : String(Number(x.toPrecision(digits)));
  return text.replace("-", "−");
}
// A number that changes while one looks: a fixed count of decimals, so that nothing jumps.
function still(x, decimals = 3) {
  if (!Number.isFinite(x)) return show(x);
  const text = Math.abs(x) >= 1000 ? x.toExponential(1) : x.toFixed(decimals);
  return (Number(text) === 0 ? text.replace("-", "") : text).replace("-", "−");
}
const grouped = new Intl.NumberFormat("en");  // made once: making one takes longer than drawing a chart
function count(n) {
  return grouped.format(n);
}
function spread(over, k) {
  return say(over, { n: count(k - 1), k: count(k) });
}

// The text of both languages stands on the page; the style shows that of the chosen one.
function speak(which) {
  language = which;
  document.documentElement.lang = which === "zh" ? "zh-Hans" : "en";
  document.documentElement.dataset.language = which;
  el(`lang-${which}`).checked = true;
  for (const each of document.querySelectorAll("[data-label]")) each.setAttribute("aria-label", say(each.dataset.label));
  for (const each of document.querySelectorAll("[data-say]")) each.textContent = say(each.dataset.say);
}
// Text that changes only where it differs.
function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}
