// Types × targets × layouts. Built once per instruction set, each time in the namespace that SFUMATO_ISA names.
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

// ---- long rows ------------------------------------------------------------------------------------------------------

// A tile of rows whose classes are not side by side, to and from rows that are: row after row is read along the classes
// only where that is what lies together.
template <class stored>
void gather(const sfumato_job &job, const stored *from, const int64_t strides[3], int64_t r, int64_t n, stored *to) {
  int64_t at[lanes];
  for (int64_t p = 0; p < n; ++p) at[p] = offset(job, strides, r + p);
  for (int64_t k = 0; k < job.classes; ++k) {
    for (int64_t p = 0; p < n; ++p) to[p * job.classes + k] = from[at[p] + k * strides[1]];
  }
}

template <class stored>
void scatter(const sfumato_job &job, const stored *from, const int64_t strides[3], int64_t r, int64_t n, stored *to) {
  int64_t at[lanes];
  for (int64_t p = 0; p < n; ++p) at[p] = offset(job, strides, r + p);
  for (int64_t k = 0; k < job.classes; ++k) {
    for (int64_t p = 0; p < n; ++p) to[at[p] + k * strides[1]] = from[p * job.classes + k];
  }
}

template <class T, Target M, bool Gradient>
void work_long(const Plan &plan, const Scratch &scratch, int64_t first, int64_t last) {
  using stored = typename T::stored;
  using real = typename T::real;
  const sfumato_job &job = *plan.job;
  const auto *logits = static_cast<const stored *>(job.logits), *q = static_cast<const stored *>(job.dense);
  auto *grad = static_cast<stored *>(job.grad);
  auto *z_tile = static_cast<stored *>(scratch.logits), *q_tile = static_cast<stored *>(scratch.dense);
  auto *g_tile = static_cast<stored *>(scratch.grad);
  const int64_t K = job.classes;
  for (int64_t r = first; r < last; r += plan.unit) {
    const int64_t n = r + plan.unit < last ? plan.unit : last - r;
    if (z_tile) gather(job, logits, job.logit_strides, r, n, z_tile);
    if (M == dense && q_tile) gather(job, q, job.dense_strides, r, n, q_tile);
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
      row.q = M != dense ? nullptr : q_tile ? q_tile + p * K : q + offset(job, job.dense_strides, r + p);
      row.e = scratch.exps ? static_cast<real *>(scratch.exps) : reinterpret_cast<real *>(row.g);
      row.u = static_cast<const real *>(plan.prior);
      row.K = K;
      row.y = t.y;
      row.true_mass = t.true_mass;
      row.rest = t.rest;
      row.factor = t.factor;
      row.plan = &plan;
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

// A block to and from lanes. Where rows lie side by side a class is read as a vector; else row by row, in groups of 8
// classes so that the strides of the block are constants.
template <class T, bool Load>
SFUMATO_INLINE void move(const sfumato_job &job, typename T::stored *memory, const int64_t strides[3], int64_t r,
                         int64_t n, typename T::real (*block)[G]) {
  const int64_t K = job.classes, along = strides[1], inner = strides[2];
  const auto one = [](typename T::stored &m, typename T::real &b) {
    if (Load) {
      b = T::load(m);
    } else {
      m = T::store(b);
    }
  };
  const auto by_row = [&](typename T::stored *row, int64_t lane) {
    int64_t k = 0;
    for (; k + 8 <= K; k += 8) {
#pragma GCC unroll 8
      for (int i = 0; i < 8; ++i) one(row[(k + i) * along], block[k + i][lane]);
    }
    for (; k < K; ++k) one(row[k * along], block[k][lane]);
  };
  if (job.inner == 1) {  // apart, to save a division per row
    for (int64_t l = 0; l < n; ++l) by_row(memory + (r + l) * strides[0], l);
    return;
  }
  runs(job, strides, r, n, [&](int64_t lane, int64_t length, int64_t at) {
    if (length == 1 || inner != 1) {
      for (int64_t l = 0; l < length; ++l) by_row(memory + at + l * inner, lane + l);
      return;
    }
    for (int64_t k = 0; k < K; ++k) {
      auto *row = memory + at + k * along;
      auto *to = block[k] + lane;
      if (length == G) {
#pragma omp simd
        for (int l = 0; l < G; ++l) one(row[l], to[l]);
      } else {
#pragma omp simd
        for (int64_t l = 0; l < length; ++l) one(row[l], to[l]);
      }
    }
  });
}

template <class T>
void load(const sfumato_job &job, const void *from, const int64_t strides[3], int64_t r, int64_t n,
          typename T::real (*to)[G]) {
  for (int64_t k = 0; n < G && k < job.classes; ++k) std::memset(to[k], 0, sizeof to[k]);
  using stored = typename T::stored;
  move<T, true>(job, const_cast<stored *>(static_cast<const stored *>(from)), strides, r, n, to);
}

template <class T>
void store(const sfumato_job &job, typename T::real (*from)[G], const int64_t strides[3], int64_t r, int64_t n,
           void *to) {
  move<T, false>(job, static_cast<typename T::stored *>(to), strides, r, n, from);
}

// What labelled() says, for a block.
template <class T>
void targets(const sfumato_job &job, int64_t r, int64_t n, Block<T> &b) {
  using real = typename T::real;
  for (int l = 0; l < G; ++l) {
    b.y[l] = real(-1);
    b.counts[l] = real(1);
    b.true_mass[l] = job.true_mass;
    b.rest[l] = job.rest_mass;
    b.factor[l] = job.scale;
  }
  if (job.true_rows) std::memcpy(b.true_mass, job.true_rows + r, sizeof(double) * size_t(n));
  if (job.rest_rows) std::memcpy(b.rest, job.rest_rows + r, sizeof(double) * size_t(n));
  for (int64_t l = 0; job.row_scale && l < n; ++l) b.factor[l] = job.scale * job.row_scale[r + l];
  b.all_count = true;
  if (job.valid || job.has_ignore) {
    int all = 1;
    for (int64_t l = 0; l < n; ++l) {
      const bool counts = !(job.valid && !job.valid[r + l]) &&
                          !(job.labels && job.has_ignore && job.labels[r + l] == job.ignore_index);
      b.counts[l] = real(counts);
      all &= int(counts);
    }
    b.all_count = all != 0;
  }
  for (int64_t l = 0; job.labels && l < n; ++l) b.y[l] = real(job.labels[r + l]);
  for (int l = 0; !b.all_count && l < G; ++l) b.y[l] = b.counts[l] == 0 ? real(-1) : b.y[l];
}

template <class T, Target M, bool Gradient>
void work_short(const Plan &plan, const Scratch &, int64_t first, int64_t last) {
  using real = typename T::real;
  const sfumato_job &job = *plan.job;
  const int K = int(job.classes);
  Block<T> b;
  for (int64_t r = first; r < last; r += G) {
    const int64_t n = r + G < last ? G : last - r;
    targets(job, r, n, b);
    load<T>(job, job.logits, job.logit_strides, r, n, b.z);
    if (M == dense) load<T>(job, job.dense, job.dense_strides, r, n, b.q);
    short_rows<T, M, Gradient>(b, K, static_cast<const real *>(plan.prior));
    if (Gradient) store<T>(job, b.z, job.grad_strides, r, n, job.grad);
    std::memcpy(job.loss + r, b.loss, sizeof(double) * size_t(n));
  }
}

// ---- dispatch -------------------------------------------------------------------------------------------------------

template <class T, Target M>
void work_on(const Plan &plan, const Scratch &scratch, int64_t first, int64_t last) {
  const bool is_short = plan.job->classes <= short_classes, gradient = plan.job->grad != nullptr;
  const Work act = is_short ? (gradient ? work_short<T, M, true> : work_short<T, M, false>)
                            : (gradient ? work_long<T, M, true> : work_long<T, M, false>);
  act(plan, scratch, first, last);
}

template <class T>
void work_in(const Plan &plan, const Scratch &scratch, int64_t first, int64_t last) {
  const Work act = plan.job->dense ? work_on<T, dense> : plan.prior ? work_on<T, prior> : work_on<T, even>;
  act(plan, scratch, first, last);
}

}  // namespace

void work(const Plan &plan, const Scratch &scratch, int64_t first, int64_t last) {
  switch (plan.job->type) {
    case SFUMATO_F32: return work_in<F32>(plan, scratch, first, last);
    case SFUMATO_F64: return work_in<F64>(plan, scratch, first, last);
    case SFUMATO_BF16: return work_in<BF16>(plan, scratch, first, last);
    default: return work_in<F16>(plan, scratch, first, last);
  }
}

}  // namespace SFUMATO_ISA
}  // namespace sfumato
