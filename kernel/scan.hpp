// What an audit asks of a row of logits: everything in one visit, while the row is in cache.
//
//   d_k = z_k − z_j        j: the first index of the maximum
//   s   = Σ_{k≠j} e^{d_k}            log p_j = −log1p(s),  −log p_y = log1p(s) − d_y
//   B   = (1 − p_y)² + Σ_{k≠y} p_k²  the Brier score; both parts from the smaller classes alone where y = j
//   E_p[d] − d_y                     how fast the NLL rises with β = 1/T
// and at another β the moments Σ_{k≠j} d^i e^{βd}, i = 0…4, which become cumulants, and Σ_{k≠j} d^i e^{2βd}, i = 0…2.
//
// d is float: z − z_j rounded once. exp is within one unit, and each of 16 lanes adds at most 32 terms in float before they
// go to a double. So s is good to about (2 + max |d|)·6e-8, each row with an error of its own; scan_test holds all sums
// to twice that. Where float would lose s, at a lead of 50 nats, the row is summed again in double. The rest is double.
#pragma once

#include "row.hpp"

// glibc's exp of 2.29 differs from the one before only in what it does for errno. The older name lets a wheel run on
// systems as old as torch's own do.
#if defined(__GLIBC__) && defined(__x86_64__)
__asm__(".symver exp, exp@GLIBC_2.2.5");
#elif defined(__GLIBC__) && defined(__aarch64__)
__asm__(".symver exp, exp@GLIBC_2.17");
#endif

namespace sfumato {
namespace SFUMATO_ISA {

constexpr int W = 16;               // lanes that a sum is kept in
constexpr int64_t piece = 32 * W;   // classes, after which they go to a double
constexpr float farthest = -1e6f;  // what stands for −inf among products: e^(β·that) is 0 for every β searched
constexpr double lost = 2e-22;     // e^−50

constexpr float infinity = __builtin_inff();

// Sums of C kinds over a row whose length is a multiple of W: add(k, l, sum) adds what class k + l has to lane l.
template <int C, class Add>
SFUMATO_INLINE void sum_up(int64_t K, double (&all)[C], Add add) {
  for (int c = 0; c < C; ++c) all[c] = 0;
  for (int64_t first = 0; first < K; first += piece) {
    const int64_t last = first + piece < K ? first + piece : K;
    alignas(64) float sum[C][W];
    for (int c = 0; c < C; ++c) {
#pragma omp simd
      for (int l = 0; l < W; ++l) sum[c][l] = 0;
    }
    for (int64_t k = first; k < last; k += W) {
#pragma omp simd
      for (int l = 0; l < W; ++l) add(k + l, l, sum);
    }
    for (int c = 0; c < C; ++c) {
      double lanes_of_c = 0;
      for (int l = 0; l < W; ++l) lanes_of_c += double(sum[c][l]);
      all[c] += lanes_of_c;
    }
  }
}

// The logits as float, and the first of them again up to a multiple of W. The maximum, which leaves NaN out.
template <class T>
SFUMATO_INLINE float widen_row(const typename T::stored *z, float *d, int64_t K, int64_t padded) {
  int64_t done = 0;
  if constexpr (T::staged) {
    done = K / W * W;
    T::widen(z, d, int(done));
  }
#pragma omp simd
  for (int64_t k = done; k < K; ++k) d[k] = T::load(z[k]);
  for (int64_t k = K; k < padded; ++k) d[k] = d[0];
  alignas(64) float m[W];
  for (int l = 0; l < W; ++l) m[l] = -infinity;
  for (int64_t k = 0; k < padded; k += W) {
#pragma omp simd
    for (int l = 0; l < W; ++l) m[l] = d[k + l] > m[l] ? d[k + l] : m[l];
  }
  float top = m[0];
  for (int l = 1; l < W; ++l) top = m[l] > top ? m[l] : top;
  return top;
}

SFUMATO_INLINE int64_t first_top(const float *d, int64_t K) {
  for (int64_t c = 0; c < K; c += lanes) {
    const int64_t stop = c + lanes < K ? c + lanes : K;
    int32_t found = 0;
#pragma omp simd reduction(| : found)
    for (int64_t k = c; k < stop; ++k) found |= int32_t(d[k] == 0);
    for (int64_t k = c; found && k < stop; ++k) {
      if (d[k] == 0) return k;
    }
  }
  return 0;
}

// How many of the classes from first to last lie above the label, or level with it where level counts.
SFUMATO_INLINE int64_t above(const float *d, int64_t first, int64_t last, float own, bool level) {
  int64_t all = 0;
  for (int64_t c = first; c < last; c += piece) {
    const int64_t stop = c + piece < last ? c + piece : last;
    int32_t count = 0;
    if (level) {
#pragma omp simd reduction(+ : count)
      for (int64_t k = c; k < stop; ++k) count += int32_t(d[k] >= own);
    } else {
#pragma omp simd reduction(+ : count)
      for (int64_t k = c; k < stop; ++k) count += int32_t(d[k] > own);
    }
    all += count;
  }
  return all;
}

// Σ_{k≠y} d_k, the mean of what is not −inf, and ‖d − mean‖.
struct Sizes {
  double rest, centre, norm;
};

// Of a row with classes that are ruled out, by −inf or by a large number.
static Sizes sizes(const float *d, int64_t K, int64_t y) {
  double rest = 0, all = 0, finite = 0, squares = 0;
  for (int64_t k = 0; k < K; ++k) {
    if (k != y) rest += double(d[k]);
    if (d[k] > -infinity) all += double(d[k]), ++finite;
  }
  const double mean = finite < double(K) ? -double(infinity) : all / double(K);
  for (int64_t k = 0; k < K; ++k) squares += (double(d[k]) - mean) * (double(d[k]) - mean);
  return {rest, all / finite, squares == squares ? __builtin_sqrt(squares) : double(infinity)};
}

// Σ_{k≠j} of e, e² and e·d, where e = e^d.
struct Exps {
  double s, squares, expected;
};

// e is kept; that of the largest class is 0, by its d.
SFUMATO_INLINE Exps exponentials(const float *d, float *e, int64_t K) {
  double all[3];
  sum_up<3>(K, all, [=](int64_t k, int l, float (&sum)[3][W]) __attribute__((always_inline)) {
    const float x = exp(d[k]);
    e[k] = x;
    sum[0][l] += x;
    sum[1][l] = madd(x, x, sum[1][l]);
    sum[2][l] = madd(x, d[k], sum[2][l]);
  });
  return {all[0], all[1], all[2]};
}

// Σ_{k≠j} d^i e^{βd} and Σ_{k≠j} d^i e^{2βd}.
struct Moments {
  double m[5], q[3];
};

SFUMATO_INLINE Moments moments(const float *d, int64_t K, float beta) {
  double all[8];
  sum_up<8>(K, all, [=](int64_t k, int l, float (&sum)[8][W]) __attribute__((always_inline)) {
    const float x = d[k], e = exp(beta * x), ex = e * x, exx = ex * x;
    sum[0][l] += e;
    sum[1][l] += ex;
    sum[2][l] += exx;
    sum[3][l] = madd(exx, x, sum[3][l]);
    sum[4][l] = madd(exx, x * x, sum[4][l]);
    sum[5][l] = madd(e, e, sum[5][l]);
    sum[6][l] = madd(e, ex, sum[6][l]);
    sum[7][l] = madd(ex, ex, sum[7][l]);
  });
  return {{all[0], all[1], all[2], all[3], all[4]}, {all[5], all[6], all[7]}};
}

// The same in double, of a row that float would lose. libm's exp, since row.hpp's ends at the smallest normal number.
template <class T>
static Moments exactly(const typename T::stored *z, int64_t K, int64_t j, double beta) {
  Moments all = {{0, 0, 0, 0, 0}, {0, 0, 0}};
  const double top = double(T::load(z[j]));
  for (int64_t k = 0; k < K; ++k) {
    if (k == j) continue;
    const double d = double(T::load(z[k])) - top, x = d > double(farthest) ? d : double(farthest);
    const double e = __builtin_exp(beta * x);
    double term = e, square = e * e;
    for (int i = 0; i < 5; ++i, term *= x) all.m[i] += term;
    for (int i = 0; i < 3; ++i, square *= x) all.q[i] += square;
  }
  return all;
}

// Dietzfelbinger's multilinear hash of a row's bytes, in words of 8, mixed: sfumato/evaluate/scores/score_matrix.py.
SFUMATO_INLINE uint64_t hash_row(const unsigned char *row, int64_t bytes, const uint64_t *odd) {
  const int64_t words = bytes / 8;
  uint64_t total = 0;
#pragma omp simd reduction(+ : total)
  for (int64_t w = 0; w < words; ++w) {
    uint64_t word;
    std::memcpy(&word, row + 8 * w, 8);
    total += word * odd[w];
  }
  if (bytes % 8) {
    uint64_t word = 0;
    std::memcpy(&word, row + 8 * words, size_t(bytes % 8));
    total += word * odd[words];
  }
  total ^= total >> 33;
  total *= 0xFF51AFD7ED558CCDull;
  total ^= total >> 33;
  total *= 0xC4CEB9FE1A85EC53ull;
  total ^= total >> 33;
  return total;
}

// Adds mass·p to a group's sums, and lists the classes whose p is above the edge. e of the largest class is 0 here.
SFUMATO_INLINE void by_class(sfumato_scan_job &job, int64_t r, const float *e, int64_t j, double one, uint64_t hash) {
  const int64_t K = job.classes, group = int64_t(hash % uint64_t(job.modulus)) % job.groups;
  const double share = (job.mass ? job.mass[r] : 1.0) / one;
  double *sums = job.class_sums + group * K;
#pragma omp simd
  for (int64_t k = 0; k < K; ++k) sums[k] += share * double(e[k]);
  sums[j] += share;

  const auto list = [&](int64_t k, double p) {
    if (!(p > job.edge) || job.listed == job.most) return;
    job.listed_row[job.listed] = r;
    job.listed_class[job.listed] = k;
    job.listed_p[job.listed] = p;
    ++job.listed;
  };
  list(j, 1.0 / one);
  const float least = float(job.edge * one * 0.999);
  for (int64_t c = 0; c < K; c += lanes) {
    const int64_t stop = c + lanes < K ? c + lanes : K;
    int32_t found = 0;
#pragma omp simd reduction(| : found)
    for (int64_t k = c; k < stop; ++k) found |= int32_t(e[k] > least);
    for (int64_t k = c; found && k < stop; ++k) list(k, double(e[k]) / one);
  }
}

// ψ = E[d] − d_y and the second to fourth cumulants of d under p at β, and the squares as they are.
SFUMATO_INLINE void cumulants(const sfumato_scan_job &job, int64_t r, const Moments &at, double d_y) {
  double inverse;
  job.lse[r] = log1p<true>(at.m[0], inverse);
  const double m1 = at.m[1] * inverse, m2 = at.m[2] * inverse, m3 = at.m[3] * inverse, m4 = at.m[4] * inverse;
  const double second = m2 - m1 * m1;
  job.cumulants[0][r] = m1 - d_y;
  job.cumulants[1][r] = second > 0 ? second : 0;
  job.cumulants[2][r] = m3 - 3 * m1 * m2 + 2 * m1 * m1 * m1;
  job.cumulants[3][r] = m4 - 4 * m1 * m3 - 3 * m2 * m2 + 12 * m1 * m1 * m2 - 6 * m1 * m1 * m1 * m1;
  for (int i = 0; i < 3; ++i) job.squares[i][r] = at.q[i];
}

// One row into its place in every column. False if a logit is NaN or +inf, or all are −inf.
template <class T>
static bool scan_row(sfumato_scan_job &job, int64_t r, float *d, float *e) {
  using stored = typename T::stored;
  const int64_t K = job.classes, y = job.labels[r];
  const stored *z = static_cast<const stored *>(job.logits) + r * K;
  const int64_t padded = (K + W - 1) / W * W;
  const float top = widen_row<T>(z, d, K, padded);
  for (int64_t k = K; k < padded; ++k) d[k] = top;  // 0 once the maximum is off
  double of[1];
  sum_up<1>(padded, of, [=](int64_t k, int l, float (&sum)[1][W]) __attribute__((always_inline)) {
    d[k] -= top;
    sum[0][l] += d[k];
  });
  const double total = of[0];
  if (total != total) return false;  // also where the maximum is infinite: inf − inf

  const int64_t j = first_top(d, K);
  const float own = d[y];
  const bool right = j == y;
  job.predicted[r] = j;
  job.correct[r] = right;
  job.tied[r] = above(d, j + 1, K, 0, true) > 0;
  job.rank[r] = right ? 0 : above(d, 0, y, own, true) + above(d, y + 1, K, own, false);

  const double d_y = double(own);
  Sizes size = {total - d_y, total / double(K), 0};
  if (total > double(farthest)) {
    const float mean = float(size.centre);
    for (int64_t k = K; k < padded; ++k) d[k] = mean;
    sum_up<1>(padded, of, [=](int64_t k, int l, float (&sum)[1][W]) __attribute__((always_inline)) {
      const float off = d[k] - mean;
      sum[0][l] = madd(off, off, sum[0][l]);
    });
    size.norm = __builtin_sqrt(of[0]);
  } else {
    size = sizes(d, K, y);
    for (int64_t k = 0; k < K; ++k) d[k] = d[k] > farthest ? d[k] : farthest;
  }
  job.norm[r] = size.norm;
  job.gap[r] = d_y - size.rest / double(K - 1);
  job.behind[r] = -d_y;
  job.centre[r] = size.centre;

  // so that their part of every sum is 0
  d[j] = farthest;
  for (int64_t k = K; k < padded; ++k) d[k] = farthest;
  Exps x = exponentials(d, e, padded);
  Moments at;
  if (job.lse) at = moments(d, padded, float(job.beta));
  if (job.lse && at.m[0] < lost) at = exactly<T>(z, K, j, job.beta);
  if (x.s < lost) {
    const Moments exact = exactly<T>(z, K, j, 1.0);
    x = {exact.m[0], exact.q[0], exact.m[1]};
  }

  double inverse;
  const double log_one = log1p<true>(x.s, inverse), one = 1.0 + x.s, e_y = right ? 1.0 : double(exp(own));
  job.log_confidence[r] = -log_one;
  job.confidence[r] = inverse;
  job.nll[r] = log_one - d_y;
  const double wrong = (right ? x.s : one - e_y) / one;  // 1 − p_y
  const double others = (right ? x.squares : 1.0 + x.squares - e_y * e_y) / (one * one);
  job.brier[r] = wrong * wrong + others;
  job.slope[r] = x.expected / one - d_y;
  if (job.hash || job.class_sums) {
    const uint64_t hash = hash_row(reinterpret_cast<const unsigned char *>(z), K * int64_t(sizeof(stored)), job.odd);
    if (job.hash) job.hash[r] = hash;
    if (job.class_sums) by_class(job, r, e, j, one, hash);
  }
  if (job.lse) cumulants(job, r, at, d_y);
  return true;
}

template <class T>
static int64_t scan_rows(sfumato_scan_job &job, float *d, float *e) {
  for (int64_t r = 0; r < job.rows; ++r) {
    if (!scan_row<T>(job, r, d, e)) return r;
  }
  return -1;
}

}  // namespace SFUMATO_ISA
}  // namespace sfumato
