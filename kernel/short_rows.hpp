// Rows of at most 64 classes: 64 rows side by side, one a lane, so that a loop over the classes is a loop over vectors.
//
// A lane of a block that is not full holds zeros; a row's bits do not depend on its lane. Class numbers are held in the
// type of the arithmetic, so that comparing and choosing have one width. Sums have four parts of at most 16 terms each.
#pragma once

#include "long_rows.hpp"
#include "transpose.hpp"

namespace sfumato {
namespace SFUMATO_ISA {

template <class T>
struct Block {
  using real = typename T::real;
  alignas(64) real z[short_classes][G];  // logits, then exp(d), then the gradient
  alignas(64) real q[short_classes][G];  // dense targets only
  alignas(64) real rows[short_classes * G + G];  // the same row after row, on the way from and to memory
  alignas(64) real y[G];                 // −1: no label
  alignas(64) real counts[G];            // 0 if ignored
  alignas(64) double true_mass[G], rest[G], factor[G], loss[G];
  bool all_count;
};

template <class T, Target M, bool Gradient>
static void short_rows(Block<T> &b, int K, const typename T::real *prior_u) {
  using real = typename T::real;
  constexpr bool exact = sizeof(real) == sizeof(double);
  if (!b.all_count) {  // before any arithmetic: an ignored row may hold NaN
    for (int k = 0; k < K; ++k) {
#pragma omp simd
      for (int l = 0; l < G; ++l) {
        b.z[k][l] = b.counts[l] == 0 ? real(0) : b.z[k][l];
        if (M == dense) b.q[k][l] = b.counts[l] == 0 ? real(0) : b.q[k][l];
      }
    }
  }

  alignas(64) real top[G], j[G];
#pragma omp simd
  for (int l = 0; l < G; ++l) {
    top[l] = real(-__builtin_inff());
    j[l] = 0;
  }
  for (int k = 0; k < K; ++k) {
#pragma omp simd
    for (int l = 0; l < G; ++l) {
      const bool more = b.z[k][l] > top[l];
      j[l] = more ? real(k) : j[l];
      top[l] = more ? b.z[k][l] : top[l];
    }
  }

  // mass: Σ of u over the classes but y and j, or of q but j; mass_top: at j, unless j = y.
  alignas(64) real s[4][G], d[4][G], mass[4][G], mass_top[G], d_y[G], e_y[G];
  for (int part = 0; part < 4; ++part) {
    clear(s[part]), clear(d[part]);
    if (M != even) clear(mass[part]);
  }
  clear(mass_top), clear(d_y), clear(e_y);
  for (int k = 0; k < K; ++k) {
    real *const sk = s[k & 3], *const dk = d[k & 3], *const mk = mass[k & 3];
    const real uk = M == prior ? prior_u[k] : real(1), index = real(k), keep = real(uk == 0 ? 0 : 1);
#pragma omp simd
    for (int l = 0; l < G; ++l) {
      const real dl = b.z[k][l] - top[l], e = exp(dl);
      const bool at_top = j[l] == index, at_label = b.y[l] == index;
      b.z[k][l] = e;
      sk[l] += at_top ? real(0) : e;
      if (M == dense) {
        const real q = b.q[k][l], term = q == 0 ? real(0) : q * dl;
        dk[l] += term;
        mk[l] += at_top ? real(0) : q;
        mass_top[l] = at_top ? q : mass_top[l];
      } else {
        const real term = M == even ? dl : keep == 0 ? real(0) : uk * dl;
        dk[l] += at_label ? real(0) : term;
        d_y[l] = at_label ? dl : d_y[l];
        e_y[l] = at_label ? e : e_y[l];
        if (M == prior) {
          mk[l] += (at_top | at_label) ? real(0) : uk;
          mass_top[l] = (at_top & !at_label) ? uk : mass_top[l];
        }
      }
    }
  }

  alignas(64) real slope[G], rest[G], at_top[G], at_label[G];
#pragma omp simd
  for (int l = 0; l < G; ++l) {
    const double sum = (double(s[0][l]) + double(s[1][l])) + (double(s[2][l]) + double(s[3][l]));
    const double sum_d = (double(d[0][l]) + double(d[1][l])) + (double(d[2][l]) + double(d[3][l]));
    const double zero = double(top[l]) - double(top[l]);
    const bool is_label = j[l] == b.y[l];
    double others = is_label ? double(K - 1) : double(K - 2), of_top = is_label ? 0.0 : 1.0;
    if (M != even) {
      others = (double(mass[0][l]) + double(mass[1][l])) + (double(mass[2][l]) + double(mass[3][l]));
      of_top = double(mass_top[l]);
    }
    const double q_y = M == dense ? 0.0 : b.true_mass[l], r = M == dense ? 1.0 : b.rest[l];
    const double S = q_y + r * (others + of_top), S_without_top = (is_label ? 0.0 : q_y) + r * others;
    const Finish f = finish<exact>(sum, zero, S, S_without_top, q_y, double(d_y[l]), double(e_y[l]), r, sum_d, b.factor[l]);
    b.loss[l] = f.loss;
    slope[l] = real(f.slope);
    rest[l] = real(f.rest);
    at_top[l] = real(f.at_top);
    at_label[l] = real(f.at_label);
  }
  if (!b.all_count) {
    for (int l = 0; l < G; ++l) {
      if (b.counts[l] == 0) b.loss[l] = slope[l] = rest[l] = at_top[l] = at_label[l] = 0;
    }
  }
  if (!Gradient) return;
  for (int k = 0; k < K; ++k) {
    const real uk = M == prior ? prior_u[k] : real(1), index = real(k);
#pragma omp simd
    for (int l = 0; l < G; ++l) {
      const real m = M == even ? rest[l] : rest[l] * (M == prior ? uk : b.q[k][l]);
      real g = madd(b.z[k][l], slope[l], -m);
      if (M != dense) g = b.y[l] == index ? at_label[l] : g;
      b.z[k][l] = j[l] == index ? at_top[l] : g;
    }
  }
}

}  // namespace SFUMATO_ISA
}  // namespace sfumato
