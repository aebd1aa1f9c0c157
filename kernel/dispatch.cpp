// The ABI: checks, the choice of instruction set, memory and threads. Built for the baseline; rows.cpp does the work.
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <vector>

#include "rows.hpp"

#if defined(SFUMATO_STD_THREADS)
#include <system_error>
#include <thread>
#endif

namespace sfumato {
namespace {

struct Isa {
  const char *name;
  Work work, slice;
  Check check;
  Scan scan;
};

Isa choose() {
#if defined(SFUMATO_X86_LEVELS)
  const char *asked = std::getenv("SFUMATO_ISA");
  const int most = !asked ? 2 : !std::strcmp(asked, "baseline") ? 0 : !std::strcmp(asked, "avx2") ? 1 : 2;
  __builtin_cpu_init();
  // Everything that -march=x86-64-v3 and -v4 let the compiler use.
  const bool v3 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi") &&
                  __builtin_cpu_supports("bmi2");
  const bool v4 = v3 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
                  __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx512dq") &&
                  __builtin_cpu_supports("avx512vl");
  if (v4 && most >= 2) return {"avx512", avx512::work, avx512::slice, avx512::check, avx512::scan};
  if (v3 && most >= 1) return {"avx2", avx2::work, avx2::slice, avx2::check, avx2::scan};
#endif
#if defined(__ARM_FEATURE_FMA)
  return {"neon", baseline::work, baseline::slice, baseline::check, baseline::scan};  // every 64-bit ARM has it, so it needs no level of its own
#endif
  return {"baseline", baseline::work, baseline::slice, baseline::check, baseline::scan};
}

const Isa isa = choose();

// ---- checks ---------------------------------------------------------------------------------------------------------

bool counts(const sfumato_job &job, int64_t r) {
  return !(job.valid && !job.valid[r]) && !(job.labels && job.has_ignore && job.labels[r] == job.ignore_index);
}

bool bad(const sfumato_job &job, int64_t r) {
  return uint64_t(job.labels[r]) >= uint64_t(job.classes) && counts(job, r);
}

bool composed(const sfumato_job &job) { return job.dense || job.back[0].used || job.back[1].used; }

// Composed of entries over an even rest, or over one prior that all rows share: null, or u in the type of the arithmetic.
bool listed(const sfumato_job &job) {
  const sfumato_back *back = job.back;
  return job.entries > 0 && job.entries <= most_entries && !job.dense && !job.support && !job.weight &&
         !back[0].index && !(back[1].used && (back[0].u || back[1].u));
}

// Of whole rows the loss, and the gradient if it is asked for; of some of their classes either what is summed over them or
// the gradient.
enum Kind { whole, measurement, slice };

bool some_classes_fit(const sfumato_job &job, Kind kind, int64_t rows) {
  const bool told = job.top_class && job.top && job.sum && job.mass && job.at_top;
  if (!told || job.inner != 1 || job.start < 0 || job.dense || job.support || job.valid || job.has_ignore) return false;
  if (job.classes > 1 && job.logit_strides[1] != 1) return false;
  if (kind == measurement) return job.loss && !job.grad && job.softcap == 0;
  return job.grad && (job.classes == 1 || job.grad_strides[1] == 1) &&
         (rows < 2 || job.grad_strides[0] >= job.classes);
}

bool fits(const sfumato_job &job, Kind kind) {
  if (job.abi != SFUMATO_ABI || job.type < SFUMATO_F32 || job.type > SFUMATO_F16) return false;
  if (job.outer < 0 || job.classes < 0 || job.inner < 0) return false;
  int64_t rows, all;
  if (__builtin_mul_overflow(job.outer, job.inner, &rows) || __builtin_mul_overflow(rows, job.classes, &all)) return false;
  if (rows == 0) return true;
  if (job.classes == 0 || !job.logits || (!job.loss && kind == whole)) return false;
  if (kind == whole ? job.start != 0 || job.softcap != 0 || job.top_class : !some_classes_fit(job, kind, rows)) return false;
  if (!job.labels && !composed(job)) return false;
  if (job.dense && (job.back[0].used || job.back[1].used)) return false;
  if (job.dense && job.dense_type != job.type && job.dense_type != (job.type == SFUMATO_F64 ? SFUMATO_F64 : SFUMATO_F32)) return false;
  if (job.entries < 0 || (job.entries && (!composed(job) || !job.entry_classes || !job.entry_masses))) return false;
  for (int64_t e = 0; e < rows * job.entries; ++e) {
    if (kind == whole && job.entry_classes[e] >= job.classes) return false;
  }
  if (!job.grad) return true;
  const int64_t sizes[3] = {job.outer, job.classes, job.inner};
  for (int a = 0; a < 3; ++a) {
    if (sizes[a] > 1 && job.grad_strides[a] == 0) return false;
  }
  return true;
}

// ---- memory ---------------------------------------------------------------------------------------------------------

constexpr std::size_t line = 64, kept = std::size_t(8) << 20;

std::size_t padded(std::size_t bytes) { return (bytes + line - 1) / line * line; }

// Memory that a calling thread keeps from call to call, since fresh pages cost more than the work on them.
struct Arena {
  std::vector<unsigned char> bytes;
  std::size_t used = 0;

  void reserve(std::size_t n) {
    if (bytes.size() < n + line) {
      bytes = {};
      bytes.resize(n + line);
    }
    used = padded(reinterpret_cast<std::uintptr_t>(bytes.data())) - reinterpret_cast<std::uintptr_t>(bytes.data());
  }
  void *take(std::size_t n) {
    void *p = bytes.data() + used;
    used += padded(n);
    return p;
  }
  void release() {
    if (bytes.size() > kept) bytes = {};
  }
};

thread_local Arena arena;

std::vector<double> widened(const void *u, std::size_t classes, bool is_double) {
  std::vector<double> wide(classes);
  for (std::size_t k = 0; k < classes; ++k) {
    wide[k] = is_double ? static_cast<const double *>(u)[k] : double(static_cast<const float *>(u)[k]);
  }
  return wide;
}

template <class real>
const void *prior_as(const double *u, int64_t classes, void *to) {
  auto *out = static_cast<real *>(to);
  for (int64_t k = 0; k < classes; ++k) {
    out[k] = real(u[k]);
    // A mass that the type cannot hold is still a mass: at −inf it costs inf.
    if (u[k] != 0.0 && out[k] == real(0)) out[k] = std::numeric_limits<real>::denorm_min();
  }
  return out;
}

// Σ u before and after each class, the rounding errors carried along (Neumaier).
void sums_of_prior(const double *u, int64_t classes, double *before, double *after) {
  for (int way = 0; way < 2; ++way) {
    double sum = 0, lost = 0;
    for (int64_t i = 0; i < classes; ++i) {
      const int64_t k = way ? classes - 1 - i : i;
      (way ? after : before)[k] = sum + lost;
      const double next = sum + u[k], part = next - sum;
      lost += (sum - (next - part)) + (u[k] - part);
      sum = next;
    }
  }
}

// ---- the scan -------------------------------------------------------------------------------------------------------

bool fits(const sfumato_scan_job &job) {
  if (job.abi != SFUMATO_ABI || job.rows < 0 || job.classes < 2) return false;
  if (job.type != SFUMATO_F32 && job.type != SFUMATO_BF16 && job.type != SFUMATO_F16) return false;
  if ((job.hash || job.class_sums) && !job.odd) return false;
  if (job.class_sums && (job.modulus < 1 || job.groups < 1 || job.most < 0)) return false;
  if (job.class_sums && job.most && !(job.listed_row && job.listed_class && job.listed_p)) return false;
  return job.rows == 0 || (job.logits && job.labels);
}

int32_t scan(sfumato_scan_job &job) {
  for (int64_t r = 0; r < job.rows; ++r) {
    if (uint64_t(job.labels[r]) < uint64_t(job.classes)) continue;
    job.bad_row = r;
    job.bad_label = job.labels[r];
    return SFUMATO_BAD_LABEL;
  }
  const std::size_t row = padded(std::size_t(job.classes) * sizeof(float));
  arena.reserve(2 * row);
  auto *d = static_cast<float *>(arena.take(row));
  auto *e = static_cast<float *>(arena.take(row));
  job.listed = 0;
  job.bad_row = isa.scan(job, d, e);
  arena.release();
  return job.bad_row < 0 ? SFUMATO_OK : SFUMATO_BAD_LOGITS;
}

// ---- sums -----------------------------------------------------------------------------------------------------------

// numpy's order: halves down to 128 numbers, and eight sums of those.
double sum(const double *x, int64_t n) {
  if (n > 128) {
    const int64_t half = n / 2 / 8 * 8;
    return sum(x, half) + sum(x + half, n - half);
  }
  double all = 0;
  int64_t i = 0;
  if (n >= 8) {
    double part[8];
    for (int l = 0; l < 8; ++l) part[l] = x[l];
    for (i = 8; i + 8 <= n; i += 8) {
      for (int l = 0; l < 8; ++l) part[l] += x[i + l];
    }
    all = ((part[0] + part[1]) + (part[2] + part[3])) + ((part[4] + part[5]) + (part[6] + part[7]));
  }
  for (; i < n; ++i) all += x[i];
  return all;
}

// ---- threads --------------------------------------------------------------------------------------------------------

void share(Work work, const Plan &plan, const Scratch *scratch, int64_t parts) {
  const int64_t units = (plan.rows + plan.unit - 1) / plan.unit;
  const auto part = [&](int64_t i) {
    const int64_t first = units * i / parts * plan.unit, last = units * (i + 1) / parts * plan.unit;
    work(plan, scratch[i], first, last < plan.rows ? last : plan.rows);
  };
  if (parts == 1) return part(0);
#if defined(SFUMATO_STD_THREADS)
  std::vector<std::thread> threads;
  threads.reserve(std::size_t(parts));
  for (int64_t i = 1; i < parts; ++i) {
    try {
      threads.emplace_back(part, i);
    } catch (const std::system_error &) {  // the system has no thread to give
      part(i);
    }
  }
  part(0);
  for (auto &t : threads) t.join();
#else
#pragma omp parallel for num_threads(int(parts)) schedule(static, 1)
  for (int64_t i = 0; i < parts; ++i) part(i);
#endif
}

#if !defined(SFUMATO_WORTH_A_THREAD)
#define SFUMATO_WORTH_A_THREAD 14  // OpenMP's threads wait for work
#endif
constexpr int64_t worth_a_thread = int64_t(1) << SFUMATO_WORTH_A_THREAD;  // classes × rows; 2^14 are about 10 µs of work

int32_t run(sfumato_job &job, Kind kind) {
  const std::size_t stored = job.type == SFUMATO_F64 ? 8 : job.type == SFUMATO_F32 ? 4 : 2;
  const std::size_t real = job.type == SFUMATO_F64 ? 8 : 4;
  const bool is_long = job.classes > short_classes || kind != whole, of_slice = kind == slice;
  const auto strided = [&](const void *p, const int64_t s[3]) { return is_long && p && s[1] != 1; };
  const bool tile_z = strided(job.logits, job.logit_strides), tile_q = strided(job.dense, job.dense_strides);
  const bool written = is_long && composed(job);
  const bool tile_g = strided(job.grad, job.grad_strides);
  const std::size_t K = std::size_t(job.classes);

  Plan plan{};
  plan.job = &job;
  plan.composed = composed(job);
  plan.is_long = is_long;
  plan.listed = is_long && !of_slice && listed(job);
  plan.rows = job.outer * job.inner;
  plan.unit = lanes;
  if (is_long) {
    const std::size_t fit = (std::size_t(1) << 20) / (K * (written ? real : stored));
    plan.unit = !(tile_z || tile_q || tile_g) || fit < 2 ? 1 : fit < 64 ? int64_t(fit) : 64;
  }
  const int64_t units = (plan.rows + plan.unit - 1) / plan.unit, worth = plan.rows * job.classes / worth_a_thread;
  int64_t parts = job.threads < 1 ? 1 : job.threads;
  parts = parts < units ? parts : units;
  parts = parts < worth ? parts : worth;
  parts = parts < 1 ? 1 : parts;

  const std::size_t tile = padded(std::size_t(plan.unit) * K * stored);
  const bool exps = of_slice || (is_long && job.grad && stored != real);  // else they are kept in the gradient
  // A slice has whole groups of them, and beside them the factors of a soft cap.
  const std::size_t groups = (K + std::size_t(lanes) - 1) / std::size_t(lanes) * std::size_t(lanes);
  const std::size_t exps_size = padded((of_slice ? groups * (job.softcap == 0 ? 1 : 2) : K) * real);
  const std::size_t target = padded(std::size_t(plan.unit) * K * real);
  const std::size_t each = (exps ? exps_size : 0) + (std::size_t(tile_z) + tile_g) * tile + (written ? target : 0);
  std::vector<double> shared_u;
  if (plan.listed && job.back[0].u) shared_u = widened(job.back[0].u, K, real == 8);
  const double *const u_of_all = !composed(job) ? job.prior : shared_u.empty() ? nullptr : shared_u.data();
  const bool prior = u_of_all != nullptr;
  const std::size_t shared = prior ? padded(K * real) + 2 * padded(K * sizeof(double)) : 0;
  std::vector<Scratch> scratch(static_cast<std::size_t>(parts));
  arena.reserve(shared + each * std::size_t(parts));
  if (prior) {
    auto *before = static_cast<double *>(arena.take(K * sizeof(double)));
    auto *after = static_cast<double *>(arena.take(K * sizeof(double)));
    void *u = arena.take(K * real);
    sums_of_prior(u_of_all, job.classes, before, after);
    plan.before = before;
    plan.after = after;
    plan.u = u_of_all;
    plan.prior = real == 8 ? prior_as<double>(u_of_all, job.classes, u) : prior_as<float>(u_of_all, job.classes, u);
  }
  for (Scratch &s : scratch) {
    if (exps) s.exps = arena.take(exps_size);
    if (tile_z) s.logits = arena.take(tile);
    if (written) s.target = arena.take(target);
    if (tile_g) s.grad = arena.take(tile);
  }
  share(of_slice ? isa.slice : isa.work, plan, scratch.data(), parts);
  arena.release();
  return SFUMATO_OK;
}

int32_t guarded(sfumato_job &job, Kind kind) {
  if (job.outer * job.inner == 0) return SFUMATO_OK;
  try {
    return run(job, kind);
  } catch (const std::bad_alloc &) {
    return SFUMATO_NO_MEMORY;
  }
}

}  // namespace
}  // namespace sfumato

extern "C" {

int32_t sfumato_abi(void) { return SFUMATO_ABI; }

const char *sfumato_isa(void) { return sfumato::isa.name; }

int32_t sfumato_run(sfumato_job *job) {
  if (!job || !sfumato::fits(*job, sfumato::whole)) return SFUMATO_BAD_ARGUMENT;
  if (!sfumato::isa.check(*job, job->outer * job->inner, job->counted)) {
    job->bad_row = 0;
    while (!sfumato::bad(*job, job->bad_row)) ++job->bad_row;
    job->bad_label = job->labels[job->bad_row];
    return SFUMATO_BAD_LABEL;
  }
  if (job->mean) job->scale = job->counted ? job->scale / double(job->counted) : std::numeric_limits<double>::quiet_NaN();
  return sfumato::guarded(*job, sfumato::whole);
}

int32_t sfumato_measure(sfumato_job *job) {
  return job && sfumato::fits(*job, sfumato::measurement) ? sfumato::guarded(*job, sfumato::measurement) : SFUMATO_BAD_ARGUMENT;
}

int32_t sfumato_slice(sfumato_job *job) {
  return job && sfumato::fits(*job, sfumato::slice) ? sfumato::guarded(*job, sfumato::slice) : SFUMATO_BAD_ARGUMENT;
}

double sfumato_sum(const double *x, int64_t n) { return sfumato::sum(x, n); }

int32_t sfumato_scan(sfumato_scan_job *job) {
  if (!job || !sfumato::fits(*job)) return SFUMATO_BAD_ARGUMENT;
  try {
    return sfumato::scan(*job);
  } catch (const std::bad_alloc &) {
    return SFUMATO_NO_MEMORY;
  }
}
}
