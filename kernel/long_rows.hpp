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
  const stored *z;
  stored *g;                    // or null
  real *e;                      // where exp(d) is kept for the gradient; may be g, and both may be z
  const real *u;                // u_k, or q_k of a dense target
  int64_t K, y;                 // y: −1 if there is no label
  int64_t r;                    // which of the job's rows this is
  double true_mass, rest, factor;
  bool overwrites;              // e is z
  const char *next_z, *next_g;  // the row that comes next, to fetch while this one is worked on; or any address
  const Plan *plan;
  const int64_t *listed;        // classes with a mass of their own, each once
  const double *masses;
  int64_t entries;
};

// What the entries of a row add to rest·u. A row is worked on as even or prior only where none of them takes anything
// away: then every term of the loss stays ≥ 0, and the entries need not be left out of the sums.
template <class real>
struct Entries {
  real d[most_entries + 1], e[most_entries + 1];  // and the label
  double mass, mass_without_top, of_d;  // Σ x, Σ x but j's, Σ x·d, where x = mass − rest·u
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

// The first lane of a group that holds what is looked for; G if none does.
template <class T>
SFUMATO_INLINE int find_lane(const typename T::stored *group, typename T::key wanted) {
  int first = G;
#pragma omp simd reduction(min : first)
  for (int l = 0; l < G; ++l) {
    const int lane = T::order(group[l]) == wanted ? l : G;
    first = lane < first ? lane : first;
  }
  return first;
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
  for (int64_t k = start; k < whole; k += G) {
    const int lane = find_lane<T>(z + k, top);
    if (lane < G) return k + lane;
  }
  const int lane = whole < K ? find_lane<T>(end, top) : G;
  return lane < G ? whole + lane : 0;
}

// u·d where no mass costs nothing: 0·−inf is 0. Asked for only once a sum without it came out as NaN.
template <bool Guard, class real>
SFUMATO_INLINE real weighted(real u, real d, real sum) {
  if (!Guard) return madd(u, d, sum);
  return u == 0 ? sum : madd(u, d, sum);
}

// A group of the row that comes next, on its way into the cache. Reading it takes as long as the arithmetic here does.
template <class stored, bool Write>
SFUMATO_INLINE void fetch(const char *row, int64_t k) {
  const char *at = row + k * int64_t(sizeof(stored));
#pragma GCC unroll 8
  for (int line = 0; line < G * int(sizeof(stored)); line += 64) __builtin_prefetch(at + line, Write, 3);
}

// Exponentials and sums over whole groups.
template <class T, Target M, bool Keep, bool Guard>
SFUMATO_INLINE void sweep(const Long<T> &row, int64_t first, int64_t last, typename T::real top,
                          Sums<typename T::real> &sums) {
  using real = typename T::real;
  for (int64_t k = first; k < last; k += G) {
    alignas(64) real space[G];
    const auto *z = read<T>(row.z + k, space, G);
    fetch<typename T::stored, false>(row.next_z, k);
    if (Keep) fetch<typename T::stored, true>(row.next_g, k);
#pragma omp simd
    for (int l = 0; l < G; ++l) {
      const real d = load<T>(z[l]) - top;
      const real e = exp(d);
      if (Keep) row.e[k + l] = e;
      sums.s[l] += e;
      if (M == even) sums.d[l] += d;
      if (M != even) {
        const real u = row.u[k + l];
        sums.d[l] = weighted<Guard>(u, d, sums.d[l]);
        if (M == dense) sums.q[l] += u;
      }
    }
  }
}

// The same for one group that holds j, y or the row's end.
template <class T, Target M, bool Keep, bool Guard>
SFUMATO_INLINE void edge(const Long<T> &row, const typename T::stored *end, int64_t k, int64_t j, typename T::real top,
                         Sums<typename T::real> &sums) {
  using real = typename T::real;
  using index = typename T::index;
  const int64_t left = row.K - k;
  const bool is_end = left < G;
  alignas(64) real space[G];
  const auto *z = read<T>(is_end ? end : row.z + k, space, G);
  const real *u = row.u + k;
  alignas(64) real u_end[G], e_end[G];
  if (M != even && is_end) pad(u_end, u, left, real(0)), u = u_end;
  real *e = is_end ? e_end : row.e + k;
  const auto lane_of = [&](int64_t c) { return index(c >= k && c < k + G ? c - k : -1); };
  const index n = index(is_end ? left : G), of_j = lane_of(j), of_y = lane_of(row.y);
#pragma omp simd
  for (int i = 0; i < G; ++i) {
    const index l = index(i);
    const real d = load<T>(z[i]) - top;
    const real exponential = exp(d);
    const bool in_s = (l < n) & (l != of_j), in_d = (l < n) & (l != of_y);
    if (Keep) e[i] = exponential;
    sums.s[i] += in_s ? exponential : real(0);
    if (M == even) sums.d[i] += in_d ? d : real(0);
    if (M != even) {
      const real sum = weighted<Guard>(u[i], d, sums.d[i]);
      sums.d[i] = in_d ? sum : sums.d[i];
      if (M == dense) sums.q[i] += in_s ? u[i] : real(0);
    }
  }
  if (Keep && is_end) std::memcpy(row.e + k, e_end, sizeof(real) * size_t(left));
}

// Exponentials and sums over the row.
template <class T, Target M, bool Keep, bool Guard>
SFUMATO_INLINE void sum_up(const Long<T> &row, const typename T::stored *end, int64_t j, typename T::real top,
                           double &s, double &d, double &q) {
  using real = typename T::real;
  Total<real> all_s, all_d, all_q;
  Sums<real> sums;
  all_s.start(), all_d.start(), clear(sums.s), clear(sums.d);
  if (M == dense) all_q.start(), clear(sums.q);
  const int64_t K = row.K, of_end = K / G * G, of_j = j / G * G, of_y = row.y < 0 ? of_j : row.y / G * G;
  const int64_t edges[3] = {of_j < of_y ? of_j : of_y, of_j < of_y ? of_y : of_j, of_end};
  for (int64_t c = 0; c < K; c += chunk) {
    const int64_t stop = c + chunk < K ? c + chunk : K;
    int64_t k = c;
    for (const int64_t at : edges) {
      if (at < k || at >= stop) continue;
      sweep<T, M, Keep, Guard>(row, k, at, top, sums);
      edge<T, M, Keep, Guard>(row, end, at, j, top, sums);
      k = at + G;
    }
    if (k < stop) sweep<T, M, Keep, Guard>(row, k, stop, top, sums);
    all_s.take(sums.s);
    all_d.take(sums.d);
    if (M == dense) all_q.take(sums.q);
  }
  s = all_s.value();
  d = all_d.value();
  if (M == dense) q = all_q.value();
}

// Σ u over the classes but a and b.
static inline double prior_without(const Plan &plan, int64_t a, int64_t b) {
  const double *u = plan.u, all_but_a = plan.before[a] + plan.after[a];
  if (a == b) return all_but_a;
  const double magnitude = all_but_a < 0 ? -all_but_a : all_but_a, of_b = u[b] < 0 ? -u[b] : u[b];
  if (of_b <= 0.5 * magnitude) return all_but_a - u[b];  // loses a bit at most
  const int64_t low = a < b ? a : b, high = a < b ? b : a;
  double between = 0;
  for (int64_t k = low + 1; k < high; ++k) between += u[k];
  return plan.before[low] + between + plan.after[high];
}

// slope·exp(d) − rest·u, over the whole row; times `caps` where it is capped.
template <class T, Target M, bool Capped = false>
SFUMATO_INLINE void gradient(const Long<T> &row, typename T::real slope, typename T::real rest,
                             const typename T::real *caps = nullptr) {
  using real = typename T::real;
  const auto at = [&](int64_t k) {
    const real g = madd(row.e[k], slope, -(M == even ? rest : rest * row.u[k]));
    return Capped ? g * caps[k] : g;
  };
  if constexpr (T::staged) {
    alignas(64) real space[G];
    const int64_t whole = row.K / G * G;
    for (int64_t c = 0; c < whole; c += G) {
#pragma omp simd
      for (int l = 0; l < G; ++l) space[l] = at(c + l);
      T::narrow(space, row.g + c, G);
    }
    alignas(64) typename T::stored end[G];
    for (int64_t k = whole; k < row.K; ++k) space[k - whole] = at(k);
    T::narrow(space, end, G);
    std::memcpy(row.g + whole, end, sizeof end[0] * size_t(row.K - whole));
  } else {
#pragma omp simd
    for (int64_t k = 0; k < row.K; ++k) row.g[k] = T::store(at(k));
  }
}

// Before the logits may be overwritten.
template <class T, Target M>
SFUMATO_INLINE void read_entries(const Long<T> &row, int64_t j, typename T::real top, Entries<typename T::real> &x) {
  x.mass = x.mass_without_top = x.of_d = 0;
  for (int64_t i = 0; i < row.entries; ++i) {
    const int64_t k = row.listed[i];
    x.d[i] = T::load(row.z[k]) - top;
    x.e[i] = exp(x.d[i]);
    const double more = row.masses[i] - (M == even ? row.rest : row.rest * double(row.u[k]));
    x.mass += more;
    x.mass_without_top += k == j ? 0.0 : more;
    if (more != 0.0) x.of_d += more * double(x.d[i]);
  }
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
  const sfumato_job &job = *row.plan->job;
  const bool measures = !Gradient && job.top_class;
  real top = T::load(row.z[j]);
  if (measures) {
    job.top_class[row.r] = job.start + j, job.top[row.r] = double(top);
    top = top == -real(__builtin_inff()) ? real(0) : top;  // other classes may have a maximum yet
  }
  const real d_y = y < 0 ? real(0) : T::load(row.z[y]) - top;
  Entries<real> x;
  if (M != dense) read_entries<T, M>(row, j, top, x);

  double s, d, q = 0;
  if (M != even && Gradient && row.overwrites) {  // the logits are gone after the first time
    sum_up<T, M, Gradient, true>(row, end, j, top, s, d, q);
  } else {
    sum_up<T, M, Gradient, false>(row, end, j, top, s, d, q);
    if (M != even && d != d && s == s) sum_up<T, M, Gradient, true>(row, end, j, top, s, d, q);
  }

  double S, S_without_top;
  if (M == dense) {
    S_without_top = q;
    S = S_without_top + double(row.u[j]);
  } else if (y < 0) {
    const double but_top = M == even ? double(K - 1) : prior_without(*row.plan, j, j);
    S_without_top = row.rest * but_top + x.mass_without_top;
    S = row.rest * (but_top + (M == even ? 1.0 : double(row.u[j]))) + x.mass;
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
  const double zero = double(top - top), q_y = y < 0 ? 0.0 : row.true_mass;
  if (measures) {
    job.sum[row.r] = s + zero, job.mass[row.r] = S, job.at_top[row.r] = S_without_top;
    const double rest = M == dense ? 1.0 : row.rest;
    return -(q_y == 0.0 ? 0.0 : q_y * double(d_y)) - (rest == 0.0 ? 0.0 : rest * d) - (M != dense && row.entries ? x.of_d : 0.0);
  }
  const double e_y = M == dense ? 0.0 : double(exp(d_y));
  Finish f = finish<exact>(s, zero, S, S_without_top, q_y, double(d_y), e_y, M == dense ? 1.0 : row.rest, d, row.factor);
  if (M != dense && row.entries) f.loss -= x.of_d;
  if (Gradient) {
    gradient<T, M>(row, real(f.slope), real(f.rest));
    for (int64_t i = 0; M != dense && i < row.entries; ++i) {
      const int64_t k = row.listed[i];
      row.g[k] = T::store(real(f.slope * double(x.e[i]) - row.masses[i] * row.factor));
    }
    if (y >= 0) row.g[y] = T::store(real(f.at_label));
    row.g[j] = T::store(real(f.at_top));
  }
  return f.loss;
}

}  // namespace SFUMATO_ISA
}  // namespace sfumato
