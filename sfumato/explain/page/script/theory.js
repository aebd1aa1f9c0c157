// The closed forms, as in sfumato.theory. A target after noise and class weights is again one pair, q of the label and
// δ = 1 − q: with weight w on the label's class the optimum is p = w·q/S, S = w·q + δ.
const theory = {
  // The target over the others or over all, [label, each other class].
  target(k, eps, over) {
    const share = eps / (over === "others" ? k - 1 : k);
    return over === "others" ? [1 - eps, share] : [1 - eps + share, share];
  },
  gap(k, eps, over) {
    if (eps === 0) return Infinity;
    return over === "others" ? Math.log(k - 1) + Math.log1p(-eps) - Math.log(eps) : Math.log1p(k * (1 - eps) / eps);
  },
  floor(k, eps, over) {
    return theory.pulled(k, eps, over, 0, 1).floor;
  },
  // A share of `noise` rows with wrong labels, and weight w of the label's class: q and r are the mean target, S its
  // weighted mass, p and wrong the probabilities at the optimum, gap that of z/T there.
  pulled(k, eps, over, noise, w) {
    const [q0, r0] = theory.target(k, eps, over), moved = over === "others" ? eps : eps * (k - 1) / k;
    const q = noise === 0 ? q0 : (1 - noise) * q0 + noise * r0;
    const delta = noise === 0 ? moved : (1 - noise) * moved + noise * (1 - r0), r = delta / (k - 1);
    const mass = w === 1 ? q + delta : w * q + delta, p = w * q / mass, wrong = delta / mass;
    const gap = noise === 0 && w === 1 ? theory.gap(k, eps, over)
      : Math.log(k - 1) + (delta < 0.5 ? Math.log1p(-delta) : Math.log(q)) - Math.log(delta) + Math.log(w);
    const term = (share, value) => share > 0 ? -share * Math.log(value) : 0;
    return { q, r, mass, p, wrong, gap, floor: term(w * q, p) + term(delta, wrong / (k - 1)) + 0 };
  },
  // Time of gradient flow on free logits from gap 0 to gap d, for steps of size 1.
  time(k, { p, wrong, gap }, d) {
    if (d === 0) return 0;
    if (Math.sign(d) !== Math.sign(gap) || Math.abs(d) >= Math.abs(gap)) return Infinity;
    const up = d > 0, small = up ? wrong : p, large = up ? p : wrong;
    const growth = up ? Math.expm1(d) / (p * k - 1) : (k - 1) * Math.expm1(-d) / (1 - p * k), x = small * growth;
    if (!(x < 1)) return Infinity;
    return (k - 1) / (k * large) * (Math.abs(d) + (small > 0 ? -Math.log1p(-x) / small : growth));
  },
  // The gap after a time: bisection, since Newton's steps could overflow.
  gapAfter(k, best, time) {
    let low = 0, high = Math.min(Math.abs(best.gap), time, 700);
    const sign = Math.sign(best.gap);
    for (let i = 0; i < 60; i++) {
      const middle = (low + high) / 2;
      if (theory.time(k, best, sign * middle) > time) high = middle; else low = middle;
    }
    return sign * low + 0;
  },
  // ε that another convention needs for a target, or NaN.
  strength(k, [q, r], to) {
    const eps = to === "others" ? r * (k - 1) : to === "all" ? r * k : r * k / (1 - r * k);
    return q < r * (1 - 1e-9) && to !== "others" || !(eps <= 1 + 1e-12) && to !== "classy" ? NaN
      : to === "classy" && !(r * k < 1 - 1e-12) ? NaN : to === "classy" ? eps : Math.min(eps, 1);
  },
};

// One row of logits in groups: count[i] classes share z[i], the label is group 0. All sums run over classes.
const row = {
  probabilities(z, count, temperature) {
    let most = -Infinity, sum = 0;
    for (const each of z) most = Math.max(most, each);
    const p = z.map(each => Math.exp((each - most) / temperature));
    p.forEach((each, i) => { sum += count[i] * each; });
    return { p: p.map(each => each / sum), lse: most / temperature + Math.log(sum) };
  },
  gradient(z, count, best, weight, temperature) {
    const { p } = row.probabilities(z, count, temperature);
    return p.map((each, i) => (best.mass * each - (i === 0 ? weight * best.q : best.r)) / temperature);
  },
  step(z, count, best, weight, temperature, rate) {
    const g = row.gradient(z, count, best, weight, temperature);
    for (let i = 0; i < z.length; i++) z[i] -= rate * g[i];
  },
  loss(z, count, best, weight, temperature) {
    const { lse } = row.probabilities(z, count, temperature);
    let loss = best.mass * lse - weight * best.q * z[0] / temperature;
    for (let i = 1; i < z.length; i++) loss -= count[i] * best.r * z[i] / temperature;
    return loss;
  },
  gap(z, count) {
    let sum = 0, n = 0;
    for (let i = 1; i < z.length; i++) { sum += count[i] * z[i]; n += count[i]; }
    return z[0] - sum / n;
  },
  // The logits of a gap, with mean 0: descent from equal logits keeps their sum.
  ofGap(count, k, gap) {
    return count.map((_, i) => i === 0 ? gap * (k - 1) / k : -gap / k);
  },
};
