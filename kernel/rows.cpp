// Types × targets × layouts. Built once per instruction set, each time in the namespace that SFUMATO_ISA names.
#include <type_traits>

#include "short_rows.hpp"

namespace sfumato {
namespace SFUMATO_ISA {
namespace {

// What a row is told of its target.
struct Labelled {
  int64_t y;
  double true_mass, rest, factor;
  bool counts;
};

SFUMATO_INLINE Labelled labelled(const sfumato_job &job, int64_t r) {
  Labelled t;
  t.y = job.labels ? job.labels[r] : -1;
  t.counts = !(job.valid && !job.valid[r]) && !(job.labels && job.has_ignore && t.y == job.ignore_index);
  t.true_mass = job.true_rows ? job.true_rows[r] : job.true_mass;
  t.rest = job.rest_rows ? job.rest_rows[r] : job.rest_mass;
  t.factor = job.row_scale ? job.scale * job.row_scale[r] : job.scale;
  return t;
}

SFUMATO_INLINE int64_t offset(const sfumato_job &job, const int64_t strides[3], int64_t r) {
  return r / job.inner * strides[0] + r % job.inner * strides[2];
}

// How many of the rows r to r + n can be moved in tiles: they lie side by side.
template <class stored>
SFUMATO_INLINE int64_t in_tiles(const sfumato_job &job, const int64_t strides[3], int64_t r, int64_t n) {
  return strides[2] == 1 && r % job.inner + n <= job.inner ? n / Tile<stored>::W * Tile<stored>::W : 0;
}

// A tile of rows whose classes are not side by side, to and from rows that are. Rows that lie side by side are transposed
// in registers; the last of their classes once more rather than one by one.
template <class stored>
void gather(const sfumato_job &job, const stored *from, const int64_t strides[3], int64_t r, int64_t n, stored *to) {
  constexpr int W = Tile<stored>::W;
  const int64_t K = job.classes, along = strides[1], tiled = in_tiles<stored>(job, strides, r, n);
  int64_t at[lanes];
  for (int64_t p = 0; p < n; ++p) at[p] = offset(job, strides, r + p);
  for (int64_t c = 0; c < K; c += W) {
    const int64_t k = c + W <= K ? c : K - W;
    for (int64_t p = 0; p < tiled; p += W) transpose(from + at[p] + k * along, along, to + p * K + k, K);
  }
  for (int64_t k = 0; tiled < n && k < K; ++k) {
    for (int64_t p = tiled; p < n; ++p) to[p * K + k] = from[at[p] + k * along];
  }
}

template <class stored>
void scatter(const sfumato_job &job, const stored *from, const int64_t strides[3], int64_t r, int64_t n, stored *to) {
  constexpr int W = Tile<stored>::W;
  const int64_t K = job.classes, along = strides[1], tiled = in_tiles<stored>(job, strides, r, n);
  int64_t at[lanes];
  for (int64_t p = 0; p < n; ++p) at[p] = offset(job, strides, r + p);
  for (int64_t c = 0; c < K; c += W) {
    const int64_t k = c + W <= K ? c : K - W;
    for (int64_t p = 0; p < tiled; p += W) transpose(from + p * K + k, K, to + at[p] + k * along, along);
  }
  for (int64_t k = 0; tiled < n && k < K; ++k) {
    for (int64_t p = tiled; p < n; ++p) to[at[p] + k * along] = from[p * K + k];
  }
}

// ---- composed targets -----------------------------------------------------------------------------------------------

// What the header calls c_i u_i, for one row.
template <class real>
struct Back {
  real c;
  const real *u;  // or null
};

template <class real>
SFUMATO_INLINE Back<real> back_of(const sfumato_job &job, int i, int64_t r) {
  const sfumato_back &b = job.back[i];
  if (!b.used) return {real(0), nullptr};
  const auto *u = static_cast<const real *>(b.u);
  return {real(b.c_rows ? b.c_rows[r] : b.c), u && b.index ? u + b.index[r] * job.classes : u};
}

template <class real>
SFUMATO_INLINE real scale_of(const sfumato_job &job, int64_t r) {
  return real(job.dense_scale_rows ? job.dense_scale_rows[r] : job.dense_scale);
}

// Whether the target lies in memory as it is needed: plain probabilities, or rows of a table.
template <class T>
bool lies(const sfumato_job &job) {
  if (job.weight || job.entries || job.support || job.labels || job.back[1].used) return false;
  if (job.dense) {
    const bool wide = sizeof(typename T::stored) == sizeof(typename T::real) || job.dense_type != job.type;
    return wide && !job.back[0].used && job.dense_strides[1] == 1 && job.dense_scale == 1 && job.dense_shift == 0 &&
           !job.dense_scale_rows;
  }
  return job.back[0].u && job.back[0].c == 1 && !job.back[0].c_rows;
}

template <class real>
SFUMATO_INLINE const real *lying(const sfumato_job &job, int64_t r) {
  if (job.dense) return static_cast<const real *>(job.dense) + offset(job, job.dense_strides, r);
  return back_of<real>(job, 0, r).u;
}

// The c of c·u, for a plan that is listed.
SFUMATO_INLINE double rest_of(const sfumato_job &job, int64_t r) {
  double c = 0;
  for (const sfumato_back &b : job.back) c += !b.used ? 0.0 : b.c_rows ? b.c_rows[r] : b.c;
  return c;
}

// The classes with a mass of their own in one row, the label's added to theirs.
struct List {
  int64_t k[most_entries + 1], n = 0;
  double mass[most_entries + 1];
  bool adds;  // each class is there once, and none takes anything away from the rest
};

template <class real>
SFUMATO_INLINE void list(const sfumato_job &job, const Labelled &t, int64_t r, double rest, const real *u, List &to) {
  const int64_t y = t.y - job.start;
  bool label = job.labels && y >= 0 && y < job.classes;
  to.adds = rest >= 0;
  for (int64_t i = r * job.entries; i < (r + 1) * job.entries; ++i) {
    const int64_t k = job.entry_classes[i] - job.start;
    if (k < 0 || k >= job.classes) continue;
    const bool here = label && k == y;
    label = label && !here;
    for (int64_t before = 0; before < to.n; ++before) to.adds &= to.k[before] != k;
    to.k[to.n] = k;
    to.mass[to.n] = job.entry_masses[i] + (here ? t.true_mass : 0.0);
    to.adds &= to.mass[to.n] >= (u ? rest * double(u[k]) : rest);
    ++to.n;
  }
  if (!label) return;
  to.k[to.n] = y;
  to.mass[to.n] = (u ? rest * double(u[y]) : rest) + t.true_mass;
  to.adds &= t.true_mass >= 0;
  ++to.n;
}

// A x + B, rows r to r + n.
template <class T, class From>
void compose_dense(const sfumato_job &job, const From *x, int64_t r, int64_t n, typename T::real *q) {
  using real = typename T::real;
  const int64_t K = job.classes, along = job.dense_strides[1];
  const real shift = real(job.dense_shift);
  int64_t at[lanes];
  real scale[lanes];
  for (int64_t p = 0; p < n; ++p) {
    at[p] = offset(job, job.dense_strides, r + p);
    scale[p] = real(job.dense_scale_rows ? job.dense_scale_rows[r + p] : job.dense_scale);
  }
  if (along == 1) {
    for (int64_t p = 0; p < n; ++p) {
      const From *from = x + at[p];
      real *to = q + p * K;
#pragma omp simd
      for (int64_t k = 0; k < K; ++k) to[k] = madd(load<T>(from[k]), scale[p], shift);
    }
    return;
  }
  for (int64_t k = 0; k < K; ++k) {
    for (int64_t p = 0; p < n; ++p) q[p * K + k] = madd(load<T>(x[at[p] + k * along]), scale[p], shift);
  }
}

// c_1 u_1 + c_2 u_2, one row.
template <class real>
void compose_back(const sfumato_job &job, int64_t r, real *q) {
  const int64_t K = job.classes;
  const Back<real> a = back_of<real>(job, 0, r), b = back_of<real>(job, 1, r);
  if (a.u && b.u) {
#pragma omp simd
    for (int64_t k = 0; k < K; ++k) q[k] = madd(a.c, a.u[k], b.c * b.u[k]);
    return;
  }
  const real even = (a.u ? real(0) : a.c) + (b.u ? real(0) : b.c);
  const Back<real> &one = a.u ? a : b;
  if (one.u) {
#pragma omp simd
    for (int64_t k = 0; k < K; ++k) q[k] = madd(one.c, one.u[k], even);
  } else {
#pragma omp simd
    for (int64_t k = 0; k < K; ++k) q[k] = even;
  }
}

// The target of rows r to r + n, row after row.
template <class T>
void compose(const sfumato_job &job, int64_t r, int64_t n, typename T::real *rows) {
  using real = typename T::real;
  const int64_t K = job.classes;
  const auto *w = static_cast<const real *>(job.weight);
  if (job.dense && job.dense_type == job.type) compose_dense<T>(job, static_cast<const typename T::stored *>(job.dense), r, n, rows);
  if (job.dense && job.dense_type != job.type) compose_dense<T>(job, static_cast<const real *>(job.dense), r, n, rows);
  for (int64_t p = 0; p < n; ++p) {
    real *q = rows + p * K;
    if (!job.dense) compose_back(job, r + p, q);
    if (job.support) {
      const uint8_t *m = job.support + offset(job, job.support_strides, r + p);
      const int64_t along = job.support_strides[1];
      for (int64_t k = 0; k < K; ++k) q[k] = m[k * along] ? q[k] : real(0);
    }
    for (int64_t e = 0; e < job.entries; ++e) {
      const int64_t k = job.entry_classes[(r + p) * job.entries + e] - job.start;
      if (k >= 0 && k < K) q[k] = real(job.entry_masses[(r + p) * job.entries + e]);
    }
    const Labelled t = labelled(job, r + p);
    const int64_t y = t.y - job.start;
    if (job.labels && t.counts && y >= 0 && y < K) q[y] += real(t.true_mass);
    if (w) {
#pragma omp simd
      for (int64_t k = 0; k < K; ++k) q[k] *= w[k];
    }
  }
}

// ---- long rows ------------------------------------------------------------------------------------------------------

template <class T, Target M, bool Gradient>
void work_long(const Plan &plan, const Scratch &scratch, int64_t first, int64_t last) {
  using stored = typename T::stored;
  using real = typename T::real;
  const sfumato_job &job = *plan.job;
  const auto *logits = static_cast<const stored *>(job.logits);
  auto *grad = static_cast<stored *>(job.grad);
  auto *z_tile = static_cast<stored *>(scratch.logits), *g_tile = static_cast<stored *>(scratch.grad);
  auto *q_tile = static_cast<real *>(scratch.target);
  const int64_t K = job.classes;
  const bool as_it_lies = M == dense && lies<T>(job), written = M == dense && !as_it_lies && !plan.listed;
  for (int64_t r = first; r < last; r += plan.unit) {
    const int64_t n = r + plan.unit < last ? plan.unit : last - r;
    if (z_tile) gather(job, logits, job.logit_strides, r, n, z_tile);
    if (written) compose<T>(job, r, n, q_tile);
    for (int64_t p = 0; p < n; ++p) {
      const Labelled t = labelled(job, r + p);
      Long<T> row;
      row.g = !Gradient ? nullptr : g_tile ? g_tile + p * K : grad + offset(job, job.grad_strides, r + p);
      if (!t.counts) {
        job.loss[r + p] = 0.0;
        if (Gradient) std::memset(row.g, 0, sizeof(stored) * size_t(K));
        continue;
      }
      row.z = z_tile ? z_tile + p * K : logits + offset(job, job.logit_strides, r + p);
      row.e = scratch.exps ? static_cast<real *>(scratch.exps) : reinterpret_cast<real *>(row.g);
      row.next_z = reinterpret_cast<const char *>(row.z) + (z_tile ? K : job.inner == 1 ? job.logit_strides[0] : 0) * int64_t(sizeof(stored));
      row.next_g = reinterpret_cast<const char *>(row.g) + (g_tile ? K : job.inner == 1 ? job.grad_strides[0] : 0) * int64_t(sizeof(stored));
      row.overwrites = static_cast<const void *>(row.e) == static_cast<const void *>(row.z);
      row.u = static_cast<const real *>(plan.prior);
      if (M == dense) row.u = as_it_lies ? lying<real>(job, r + p) : q_tile + p * K;
      row.K = K;
      row.r = r + p;
      row.y = M == dense || t.y < job.start || t.y >= job.start + K ? -1 : t.y - job.start;
      row.true_mass = t.true_mass;
      row.rest = t.rest;
      row.factor = t.factor;
      row.plan = &plan;
      row.entries = 0;
      if (M == dense && plan.listed) {
        row.u = static_cast<const real *>(plan.prior);
        row.rest = rest_of(job, r + p);
        List entries;
        list(job, t, r + p, row.rest, row.u, entries);
        if (entries.adds) {
          row.entries = entries.n, row.listed = entries.k, row.masses = entries.mass;
          job.loss[r + p] = row.u ? long_row<T, prior, Gradient>(row) : long_row<T, even, Gradient>(row);
          continue;
        }
        compose<T>(job, r + p, 1, q_tile);
        row.u = q_tile;
      }
      job.loss[r + p] = long_row<T, M, Gradient>(row);
    }
    if (Gradient && g_tile) scatter(job, g_tile, job.grad_strides, r, n, grad);
  }
}

// ---- short rows -----------------------------------------------------------------------------------------------------

// Runs of rows that follow each other along the inner axis, for a block of n rows from r: act(lane, length, offset).
template <class Act>
SFUMATO_INLINE void runs(const sfumato_job &job, const int64_t strides[3], int64_t r, int64_t n, Act act) {
  for (int64_t l = 0; l < n;) {
    const int64_t left = job.inner - (r + l) % job.inner, length = left < n - l ? left : n - l;
    act(l, length, offset(job, strides, r + l));
    l += length;
  }
}

template <class T, bool Load>
SFUMATO_INLINE void one(typename T::stored &m, typename T::real &b) {
  if (Load) {
    b = T::load(m);
  } else {
    m = T::store(b);
  }
}

template <class T, bool Load>
SFUMATO_INLINE void convert(typename T::stored *memory, typename T::real *to, int64_t n) {
  int64_t done = 0;
  if constexpr (T::staged) {
    done = n / 16 * 16;
    if (Load) {
      T::widen(memory, to, int(done));
    } else {
      T::narrow(to, memory, int(done));
    }
  }
#pragma omp simd
  for (int64_t i = done; i < n; ++i) one<T, Load>(memory[i], to[i]);
}

// A block's rows, one behind the other in `rows`; at once where they are so in memory too.
template <class T, bool Load>
SFUMATO_INLINE void by_row(const sfumato_job &job, typename T::stored *memory, const int64_t strides[3], int64_t r,
                           int64_t n, typename T::real *rows) {
  const int64_t K = job.classes;
  if (job.inner == 1 && strides[0] == K) return convert<T, Load>(memory + r * K, rows, n * K);
  for (int64_t l = 0; l < n; ++l) convert<T, Load>(memory + offset(job, strides, r + l), rows + l * K, K);
}

// Whether a block's rows can be read where they lie: a vector's width behind them there are other rows, which no thread
// writes to.
template <class T>
SFUMATO_INLINE bool straight(const sfumato_job &job, int64_t r) {
  return job.grad != job.logits && (job.outer - r - G) * job.classes >= Tile<typename T::real>::W;
}

// A block to and from lanes. Where rows lie side by side a class is read as a vector; where classes do, the block is
// transposed; else number by number.
template <class T, bool Load>
SFUMATO_INLINE void move(const sfumato_job &job, typename T::stored *memory, const int64_t strides[3], int64_t r,
                         int64_t n, typename T::real (*block)[G], typename T::real *rows) {
  const int64_t K = job.classes, along = strides[1], inner = strides[2];
  if constexpr (std::is_same<typename T::stored, typename T::real>::value) {
    if (along == 1 && n == G && job.inner == 1 && strides[0] == K && straight<T>(job, r)) {
      auto *there = memory + r * K;
      if (Load) return to_lanes(there, int(K), block);
      constexpr int whole = G - Tile<typename T::real>::W;  // the last rows would spill into those of the next block
      from_lanes(block, int(K), there, 0, whole);
      from_lanes(block, int(K), rows, whole, G);
      std::memcpy(there + whole * K, rows + whole * K, sizeof(typename T::real) * size_t((G - whole) * K));
      return;
    }
  }
  if (along == 1) {
    if (!Load) from_lanes(block, int(K), rows);
    by_row<T, Load>(job, memory, strides, r, n, rows);
    if (Load) to_lanes(rows, int(K), block);
    return;
  }
  runs(job, strides, r, n, [&](int64_t lane, int64_t length, int64_t at) {
    for (int64_t k = 0; k < K; ++k) {
      auto *row = memory + at + k * along;
      auto *to = block[k] + lane;
      if (inner == 1 && length == G) {
        convert<T, Load>(row, to, G);
      } else {
        for (int64_t l = 0; l < length; ++l) one<T, Load>(row[l * inner], to[l]);
      }
    }
  });
}

template <class T>
void load_block(const sfumato_job &job, int64_t r, int64_t n, Block<T> &b) {
  const int64_t K = job.classes;
  for (int64_t k = 0; n < G && k < K; ++k) std::memset(b.z[k], 0, sizeof b.z[k]);
  std::memset(b.rows + n * K, 0, sizeof(typename T::real) * size_t((G - n) * K + G));
  using stored = typename T::stored;
  auto *from = const_cast<stored *>(static_cast<const stored *>(job.logits));
  move<T, true>(job, from, job.logit_strides, r, n, b.z, b.rows);
}

// The target of a block; that of lanes beyond n is 0.
template <class T>
void compose_block(const sfumato_job &job, int64_t r, int64_t n, Block<T> &b) {
  const int64_t K = job.classes;
  if (n == G && job.dense && job.dense_type == job.type && !job.labels && !job.weight && !job.dense_scale_rows) {
    using stored = typename T::stored;
    auto *from = const_cast<stored *>(static_cast<const stored *>(job.dense));
    move<T, true>(job, from, job.dense_strides, r, n, b.q, b.rows);
    const auto scale = typename T::real(job.dense_scale), shift = typename T::real(job.dense_shift);
    for (int64_t k = 0; (scale != 1 || shift != 0) && k < K; ++k) {
#pragma omp simd
      for (int l = 0; l < G; ++l) b.q[k][l] = madd(b.q[k][l], scale, shift);
    }
    return;
  }
  compose<T>(job, r, n, b.rows);
  std::memset(b.rows + n * K, 0, sizeof(typename T::real) * size_t((G - n) * K + G));
  to_lanes(b.rows, int(K), b.q);
}

// What labelled() says, for a block.
template <class T>
void targets(const sfumato_job &job, bool composed, int64_t r, int64_t n, Block<T> &b) {
  using real = typename T::real;
  const int64_t *labels = job.labels ? job.labels + r : nullptr;
  const uint8_t *valid = job.valid ? job.valid + r : nullptr;
  const bool ignores = labels && job.has_ignore;
#pragma omp simd
  for (int l = 0; l < G; ++l) {
    b.y[l] = real(-1);
    b.true_mass[l] = job.true_mass;
    b.rest[l] = job.rest_mass;
    b.factor[l] = job.scale;
  }
  if (job.true_rows) std::memcpy(b.true_mass, job.true_rows + r, sizeof(double) * size_t(n));
  if (job.rest_rows) std::memcpy(b.rest, job.rest_rows + r, sizeof(double) * size_t(n));
  for (int64_t l = 0; job.row_scale && l < n; ++l) b.factor[l] = job.scale * job.row_scale[r + l];
  if (labels && !composed) {
#pragma omp simd
    for (int64_t l = 0; l < n; ++l) b.y[l] = real(labels[l]);
  }
  int64_t left_out = 0;  // mostly none, which a loop without a condition finds out
  if (valid) {
#pragma omp simd reduction(+ : left_out)
    for (int64_t l = 0; l < n; ++l) left_out += valid[l] == 0;
  }
  if (ignores) {
#pragma omp simd reduction(+ : left_out)
    for (int64_t l = 0; l < n; ++l) left_out += labels[l] == job.ignore_index;
  }
  b.all_count = left_out == 0;
  for (int l = 0; !b.all_count && l < G; ++l) {
    const bool counts = l >= n || (!(valid && !valid[l]) && !(ignores && labels[l] == job.ignore_index));
    b.counts[l] = real(counts);
    if (!counts) b.y[l] = real(-1);
  }
}

template <class T, Target M, bool Gradient>
void work_short(const Plan &plan, const Scratch &, int64_t first, int64_t last) {
  using real = typename T::real;
  using stored = typename T::stored;
  const sfumato_job &job = *plan.job;
  const int K = int(job.classes);
  Block<T> b;
  for (int64_t r = first; r < last; r += G) {
    const int64_t n = r + G < last ? G : last - r;
    targets(job, M == dense, r, n, b);
    load_block(job, r, n, b);
    if (M == dense) compose_block(job, r, n, b);
    short_rows<T, M, Gradient>(b, K, static_cast<const real *>(plan.prior));
    if (Gradient) move<T, false>(job, static_cast<stored *>(job.grad), job.grad_strides, r, n, b.z, b.rows);
    std::memcpy(job.loss + r, b.loss, sizeof(double) * size_t(n));
  }
}

// ---- some classes of rows -------------------------------------------------------------------------------------------

// One row's gradient at the classes of a slice. Logits of another product than the one that `top` comes from may lie above
// it by a rounding: exp takes that as well. The exponentials have a place of their own, and so have the factors of a soft
// cap: the gradient may lie where the logits are.
template <class T, Target M>
SFUMATO_INLINE void slice_row(const sfumato_job &job, int64_t r, Long<T> &row, typename T::real *caps) {
  using real = typename T::real;
  const int64_t K = row.K;
  const Labelled t = labelled(job, r);
  const real top = real(job.top[r]), c = job.softcap == 0 ? real(0) : real(1 / job.softcap);
  const double slope = job.mass[r] / (1 + job.sum[r]) * t.factor;
  for (int64_t k = 0; k < K; k += G) {
    alignas(64) real space[G];
    alignas(64) typename T::stored end[G];
    const int64_t n = K - k < G ? K - k : G;
    if (n < G) pad(end, row.z + k, n, row.z[k]);
    const auto *z = read<T>(n < G ? end : row.z + k, space, G);
    real *e = row.e + k, *cap = caps + k;  // both have room for a whole group at the end
#pragma omp simd
    for (int l = 0; l < G; ++l) e[l] = exp(load<T>(z[l]) - top);
    if (c == 0) continue;
#pragma omp simd
    for (int l = 0; l < G; ++l) cap[l] = madd(-(load<T>(z[l]) * c), load<T>(z[l]) * c, real(1));
  }
  const real rest = real(M == dense ? t.factor : t.rest * t.factor);
  if (c == 0) {
    gradient<T, M>(row, real(slope), rest);
  } else {
    gradient<T, M, true>(row, real(slope), rest, caps);
  }
  const auto put = [&](int64_t k, double value) { row.g[k] = T::store(real(c == 0 ? value : value * double(caps[k]))); };
  const int64_t y = M == dense || !job.labels ? -1 : t.y - job.start, j = job.top_class[r] - job.start;
  if (y >= 0 && y < K) put(y, slope * double(row.e[y]) - t.true_mass * t.factor);
  if (j >= 0 && j < K) put(j, job.at_top[r] * t.factor);
}

template <class T>
void slice_in(const Plan &plan, const Scratch &scratch, int64_t first, int64_t last) {
  using real = typename T::real;
  const sfumato_job &job = *plan.job;
  auto *q = static_cast<real *>(scratch.target);
  Long<T> row;
  row.K = job.classes;
  row.e = static_cast<real *>(scratch.exps);
  real *caps = row.e + (job.classes + G - 1) / G * G;
  row.u = plan.composed ? q : static_cast<const real *>(plan.prior);
  for (int64_t r = first; r < last; ++r) {
    row.z = static_cast<const typename T::stored *>(job.logits) + r * job.logit_strides[0];
    row.g = static_cast<typename T::stored *>(job.grad) + r * job.grad_strides[0];
    if (plan.composed) {
      compose<T>(job, r, 1, q);
      slice_row<T, dense>(job, r, row, caps);
    } else if (plan.prior) {
      slice_row<T, prior>(job, r, row, caps);
    } else {
      slice_row<T, even>(job, r, row, caps);
    }
  }
}

// ---- dispatch -------------------------------------------------------------------------------------------------------

template <class T, Target M>
void work_on(const Plan &plan, const Scratch &scratch, int64_t first, int64_t last) {
  const bool is_short = !plan.is_long, gradient = plan.job->grad != nullptr;
  const Work act = is_short ? (gradient ? work_short<T, M, true> : work_short<T, M, false>)
                            : (gradient ? work_long<T, M, true> : work_long<T, M, false>);
  act(plan, scratch, first, last);
}

template <class T>
void work_in(const Plan &plan, const Scratch &scratch, int64_t first, int64_t last) {
  const Work act = plan.composed ? work_on<T, dense> : plan.prior ? work_on<T, prior> : work_on<T, even>;
  act(plan, scratch, first, last);
}

}  // namespace

// How many rows count. False if one of them has a label that is no class; which one is for the caller to find.
bool check(const sfumato_job &job, int64_t rows, int64_t &counted) {
  const int64_t *y = job.labels, K = job.classes, ignored = job.ignore_index, none_ignored = !job.has_ignore;
  const uint8_t *valid = job.valid;
  int64_t count = 0, wrong = 0;
  if (y && valid) {
#pragma omp simd reduction(+ : count, wrong)
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t counts = (none_ignored | int64_t(y[r] != ignored)) & int64_t(valid[r] != 0);
      count += counts;
      wrong += counts & int64_t(uint64_t(y[r]) >= uint64_t(K));
    }
  } else if (y) {
#pragma omp simd reduction(+ : count, wrong)
    for (int64_t r = 0; r < rows; ++r) {
      const int64_t counts = none_ignored | int64_t(y[r] != ignored);
      count += counts;
      wrong += counts & int64_t(uint64_t(y[r]) >= uint64_t(K));
    }
  } else if (valid) {
#pragma omp simd reduction(+ : count)
    for (int64_t r = 0; r < rows; ++r) count += int64_t(valid[r] != 0);
  } else {
    count = rows;
  }
  counted = count;
  return wrong == 0;
}

void work(const Plan &plan, const Scratch &scratch, int64_t first, int64_t last) {
  switch (plan.job->type) {
    case SFUMATO_F32: return work_in<F32>(plan, scratch, first, last);
    case SFUMATO_F64: return work_in<F64>(plan, scratch, first, last);
    case SFUMATO_BF16: return work_in<BF16>(plan, scratch, first, last);
    default: return work_in<F16>(plan, scratch, first, last);
  }
}

void slice(const Plan &plan, const Scratch &scratch, int64_t first, int64_t last) {
  switch (plan.job->type) {
    case SFUMATO_F32: return slice_in<F32>(plan, scratch, first, last);
    case SFUMATO_F64: return slice_in<F64>(plan, scratch, first, last);
    case SFUMATO_BF16: return slice_in<BF16>(plan, scratch, first, last);
    default: return slice_in<F16>(plan, scratch, first, last);
  }
}

}  // namespace SFUMATO_ISA
}  // namespace sfumato
