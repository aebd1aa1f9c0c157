// Rows of more than 64 classes: along the classes, in groups of 64.
//
// Three passes while the row is in cache: the maximum; exponentials and sums; the gradient. Each of the 64 lanes adds up
// at most 16 terms in the type of the arithmetic before they go to a double (for float64: to a double and its rounding
// errors), so a sum's rounding is ≤ 16 units of its positive terms whatever K. The groups that hold j, y or the row's
// end go through a padded copy with a mask, so that the others' loop has no conditions.
#pragma once

#include "row.hpp"

namespace sfumato {
namespace SFUMATO_ISA {

constexpr int G = int(lanes);
constexpr int64_t chunk = 16 * lanes;

template <class T>
struct Long {
  using stored = typename T::stored;
  using real = typename T::real;
  const stored *z, *q;          // q: dense targets only
  stored *g;                    // or null
  real *e;                      // where exp(d) is kept for the gradient; may be g, and both may be z
  const real *u;                // prior only
  int64_t K, y;                 // y: −1 if dense
  double true_mass, rest, factor;
  const Plan *plan;
};

// A loop, not an initialiser: GCC clears arrays of this size by `rep stos`, which takes longer than a short row.
template <class real>
SFUMATO_INLINE void clear(real *lane) {
#pragma omp simd
  for (int l = 0; l < G; ++l) lane[l] = 0;
}

template <class real>
struct Sums {
  alignas(64) real s[G], d[G], q[G];
};

// Halves the lanes until one is left; unrolled, since a loop of unknown length costs more than the work.
template <int W, class real, class Join>
SFUMATO_INLINE void fold(real *lane, Join join) {
  if constexpr (W > 0) {
#pragma omp simd
    for (int l = 0; l < W; ++l) lane[l] = join(lane[l], lane[l + W]);
    fold<W / 2>(lane, join);
  }
}

// Lanes of doubles; for float64 with the rounding errors beside them (Knuth's TwoSum).
template <class real>
struct Total {
  static constexpr bool compensated = sizeof(real) == sizeof(double);
  alignas(64) double high[G], low[compensated ? G : 1];

  __attribute__((always_inline)) inline void start() {
    clear(high);
    if constexpr (compensated) clear(low);
  }
  __attribute__((always_inline)) inline void take(real *lane) {
#pragma omp simd
    for (int l = 0; l < G; ++l) {
      const double x = double(lane[l]), sum = high[l] + x;
      if constexpr (compensated) {
        const double part = sum - high[l];
        low[l] += (high[l] - (sum - part)) + (x - part);
      }
      high[l] = sum;
      lane[l] = 0;
    }
  }
  __attribute__((always_inline)) inline double value() {
    const auto add = [](double a, double b) { return a + b; };
    fold<G / 2>(high, add);
    if constexpr (!compensated) return high[0];
    fold<compensated ? G / 2 : 0>(low, add);
    return low[0] == low[0] ? high[0] + low[0] : high[0];  // inf − inf is no rounding error
  }
};

// A row's end as a whole group.
template <class stored>
SFUMATO_INLINE void pad(stored *group, const stored *from, int64_t n, stored with) {
  for (int l = 0; l < G; ++l) group[l] = with;
  std::memcpy(group, from, sizeof(stored) * size_t(n));
}

template <class real>
SFUMATO_INLINE real larger(real a, real b) {
  return a > b ? a : b;  // b where a is NaN: a row's NaN shows up in s
}

// The first index of the maximum; 0 if all are NaN. end: the row's end, padded with any of its logits.
template <class T>
SFUMATO_INLINE int64_t find_top(const typename T::stored *z, const typename T::stored *end, int64_t K) {
  using key = typename T::key;
  const int64_t whole = K / G * G;
  int64_t start = 0;
  key top = T::lowest;
  for (int64_t c = 0; c < K; c += chunk) {
    const int64_t last = c + chunk < whole ? c + chunk : whole;
    alignas(64) key m[G];
#pragma omp simd
    for (int l = 0; l < G; ++l) m[l] = T::lowest;
    for (int64_t k = c; k < last; k += G) {
#pragma omp simd
      for (int l = 0; l < G; ++l) m[l] = larger(T::order(z[k + l]), m[l]);
    }
    if (c + chunk >= K && whole < K) {
#pragma omp simd
      for (int l = 0; l < G; ++l) m[l] = larger(T::order(end[l]), m[l]);
    }
    fold<G / 2>(m, [](key a, key b) { return larger(b, a); });
    if (m[0] > top) {
      top = m[0];
      start = c;
    }
  }
  const key t = top;
  int64_t k = start;
  for (; k < whole; k += G) {
    int any = 0;
#pragma omp simd reduction(| : any)
    for (int l = 0; l < G; ++l) any |= T::order(z[k + l]) == t;
    if (any) break;
  }
  for (; k < K; ++k) {
    if (T::order(z[k]) == t) return k;
  }
  return 0;
}

// Exponentials and sums over whole groups.
template <class T, Target M, bool Keep>
SFUMATO_INLINE void sweep(const Long<T> &row, int64_t first, int64_t last, typename T::real top,
                          Sums<typename T::real> &sums) {
  using real = typename T::real;
  for (int64_t k = first; k < last; k += G) {
    const auto *z = row.z + k;
#pragma omp simd
    for (int l = 0; l < G; ++l) {
      const real d = T::load(z[l]) - top;
      const real e = exp(d);
      if (Keep) row.e[k + l] = e;
      sums.s[l] += e;
      if (M == even) sums.d[l] += d;
      if (M == prior) {
        const real u = row.u[k + l];
        sums.d[l] += u == 0 ? real(0) : u * d;
      }
      if (M == dense) {
        const real q = T::load(row.q[k + l]);
        sums.q[l] += q;
        sums.d[l] += q == 0 ? real(0) : q * d;
      }
    }
  }
}

// The same for one group that holds j, y or the row's end.
template <class T, Target M, bool Keep>
SFUMATO_INLINE void edge(const Long<T> &row, const typename T::stored *end, int64_t k, int64_t j, typename T::real top,
                         Sums<typename T::real> &sums) {
  using stored = typename T::stored;
  using real = typename T::real;
  using index = typename T::index;
  const int64_t left = row.K - k;
  const bool is_end = left < G;
  const stored *z = is_end ? end : row.z + k, *q = row.q + k;
  const real *u = row.u + k;
  alignas(64) stored q_end[G];
  alignas(64) real u_end[G], e_end[G];
  if (is_end) {
    if (M == dense) pad(q_end, q, left, stored(0)), q = q_end;
    if (M == prior) pad(u_end, u, left, real(0)), u = u_end;
  }
  real *e = is_end ? e_end : row.e + k;
  const auto lane_of = [&](int64_t c) { return index(c >= k && c < k + G ? c - k : -1); };
  const index n = index(is_end ? left : G), of_j = lane_of(j), of_y = lane_of(row.y);
#pragma omp simd
  for (int i = 0; i < G; ++i) {
    const index l = index(i);
    const real d = T::load(z[i]) - top;
    const real exponential = exp(d);
    const bool in_s = (l < n) & (l != of_j), in_d = (l < n) & (l != of_y);
    if (Keep) e[i] = exponential;
    sums.s[i] += in_s ? exponential : real(0);
    if (M == even) sums.d[i] += in_d ? d : real(0);
    if (M == prior) {
      const real term = u[i] == 0 ? real(0) : u[i] * d;
      sums.d[i] += in_d ? term : real(0);
    }
    if (M == dense) {
      const real mass = T::load(q[i]), term = mass == 0 ? real(0) : mass * d;
      sums.q[i] += in_s ? mass : real(0);
      sums.d[i] += term;
    }
  }
  if (Keep && is_end) std::memcpy(row.e + k, e_end, sizeof(real) * size_t(left));
}

// Σ u over the classes but a and b.
static inline double prior_without(const Plan &plan, int64_t a, int64_t b) {
  const double *u = plan.job->prior, all_but_a = plan.before[a] + plan.after[a];
  if (a == b) return all_but_a;
  const double magnitude = all_but_a < 0 ? -all_but_a : all_but_a, of_b = u[b] < 0 ? -u[b] : u[b];
  if (of_b <= 0.5 * magnitude) return all_but_a - u[b];  // loses a bit at most
  const int64_t low = a < b ? a : b, high = a < b ? b : a;
  double between = 0;
  for (int64_t k = low + 1; k < high; ++k) between += u[k];
  return plan.before[low] + between + plan.after[high];
}

template <class T, Target M, bool Gradient>
static double long_row(const Long<T> &row) {
  using real = typename T::real;
  constexpr bool exact = sizeof(real) == sizeof(double);
  const int64_t K = row.K, y = row.y;
  alignas(64) typename T::stored end[G];
  const int64_t of_end = K / G * G;
  if (of_end < K) pad(end, row.z + of_end, K - of_end, row.z[0]);
  const int64_t j = find_top<T>(row.z, end, K);
  const real top = T::load(row.z[j]);
  const real d_y = M == dense ? real(0) : T::load(row.z[y]) - top;
  const real q_top = M == dense ? T::load(row.q[j]) : real(0);

  Total<real> s, d, q;
  Sums<real> sums;
  s.start(), d.start(), clear(sums.s), clear(sums.d);
  if (M == dense) q.start(), clear(sums.q);
  const int64_t of_j = j / G * G, of_y = M == dense ? of_j : y / G * G;
  const int64_t edges[3] = {of_j < of_y ? of_j : of_y, of_j < of_y ? of_y : of_j, of_end};
  for (int64_t c = 0; c < K; c += chunk) {
    const int64_t stop = c + chunk < K ? c + chunk : K;
    int64_t k = c;
    for (const int64_t at : edges) {
      if (at < k || at >= stop) continue;
      sweep<T, M, Gradient>(row, k, at, top, sums);
      edge<T, M, Gradient>(row, end, at, j, top, sums);
      k = at + G;
    }
    if (k < stop) sweep<T, M, Gradient>(row, k, stop, top, sums);
    s.take(sums.s);
    d.take(sums.d);
    if (M == dense) q.take(sums.q);
  }

  double S, S_without_top;
  if (M == dense) {
    S_without_top = q.value();
    S = S_without_top + double(q_top);
  } else if (M == even) {
    S = row.true_mass + row.rest * double(K - 1);
    S_without_top = j == y ? row.rest * double(K - 1) : row.true_mass + row.rest * double(K - 2);
  } else if (row.rest == 0.0) {
    S = row.true_mass;
    S_without_top = j == y ? 0.0 : row.true_mass;
  } else {
    S = row.true_mass + row.rest * prior_without(*row.plan, y, y);
    S_without_top = (j == y ? 0.0 : row.true_mass) + row.rest * prior_without(*row.plan, y, j);
  }
  const double zero = double(top - top);
  const Finish f = M == dense ? finish<exact>(s.value(), zero, S, S_without_top, 0.0, 0.0, 0.0, 1.0, d.value(), row.factor)
                              : finish<exact>(s.value(), zero, S, S_without_top, row.true_mass, double(d_y),
                                              double(exp(d_y)), row.rest, d.value(), row.factor);
  if (Gradient) {
    const real slope = real(f.slope), rest = real(f.rest);
#pragma omp simd
    for (int64_t k = 0; k < K; ++k) {
      const real mass = M == even ? rest : rest * (M == prior ? row.u[k] : T::load(row.q[k]));
      row.g[k] = T::store(madd(row.e[k], slope, -mass));
    }
    if (M != dense) row.g[y] = T::store(real(f.at_label));
    row.g[j] = T::store(real(f.at_top));
  }
  return f.loss;
}

}  // namespace SFUMATO_ISA
}  // namespace sfumato
