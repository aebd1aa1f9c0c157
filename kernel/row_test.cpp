// The kernel against its definition in long double, over types, targets, layouts and threads. The instruction set is that
// of the machine, or the lower one that SFUMATO_ISA names. Prints the largest error of each type beside its bound.
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "row_cases.hpp"

namespace {

// ---- the definition -------------------------------------------------------------------------------------------------

struct Worst {
  double loss = 0, gradient = 0;  // as parts of their bounds, taken up
};

enum class Compared { none, a_row_of_each_case, all };
Compared compared = Compared::all;

void compare(Case &c, Worst &worst) {
  static int64_t turn = 0;
  const int64_t all = c.rows(), first = compared == Compared::a_row_of_each_case ? turn++ % all : 0;
  const int64_t behind = compared == Compared::none ? 0 : compared == Compared::all ? all : first + 1;
  for (int64_t r = first; r < behind; ++r) {
    const int64_t K = c.K, y = has_labels(c.form) ? c.labels[size_t(r)] : -1;
    const bool ignored = y == -100 || (!c.valid.empty() && !c.valid[size_t(r)]);
    const std::string where = c.where() + " row " + std::to_string(r);
    if (ignored) {
      check(c.loss[size_t(r)] == 0, "loss of an ignored row", where);
      for (int64_t k = 0; k < K; ++k) check(c.value(c.g, r, k) == 0, "gradient of an ignored row", where);
      continue;
    }
    std::vector<Wide> q(static_cast<size_t>(K));
    Wide S = 0, s = 0, size = 0;
    bool spoilt = false, possible = false;
    int64_t j = 0;
    for (int64_t k = 0; k < K; ++k) {
      const double z = c.logit(r, k);
      spoilt = spoilt || std::isnan(z) || z == inf;
      possible = possible || z > -inf;
      if (z > c.logit(r, j)) j = k;
      q[size_t(k)] = c.mass(r, k);
      S += q[size_t(k)], size += std::fabs(q[size_t(k)]);
    }
    if (spoilt || !possible) {
      check(std::isnan(c.loss[size_t(r)]), "loss of a row with NaN or inf", where);
      for (int64_t k = 0; k < K; ++k) check(std::isnan(c.value(c.g, r, k)), "gradient of a row with NaN or inf", where);
      continue;
    }
    const Wide top = c.logit(r, j);
    for (int64_t k = 0; k < K; ++k) {
      if (k != j) s += std::exp(Wide(c.logit(r, k)) - top);
    }
    const Wide lse = std::log1p(s);
    Wide loss = 0, magnitude = 0, gap = 0, without_top = 0;
    for (int64_t k = 0; k < K; ++k) {
      const Wide d = Wide(c.logit(r, k)) - top, term = q[size_t(k)] == 0 ? Wide(0) : q[size_t(k)] * (lse - d);
      loss += term, magnitude += std::fabs(term);
      if (d > -inf && -d > gap) gap = -d;
      if (k != j) without_top += q[size_t(k)];
    }
    const double got = c.loss[size_t(r)];
    if (std::isinf(loss)) {
      check(got == double(loss), "infinite loss", where);
    } else {
      const Wide allowed = c.type.loss * magnitude + c.type.unit * gap * size + 1e-37L;
      const double part = double(std::fabs(got - loss) / allowed);
      check(part <= 1, "loss", where + " got " + std::to_string(got) + " want " + std::to_string(double(loss)));
      if (gap < 60) worst.loss = std::fmax(worst.loss, double(std::fabs(got - loss) / (magnitude + c.type.unit / c.type.loss * gap * size + 1e-30L)));
    }
    const double factor = c.scale * c.row_scale[size_t(r)];
    for (int64_t k = 0; k < K; ++k) {
      const Wide e = std::exp(Wide(c.logit(r, k)) - top);
      const Wide exact = (k == j ? without_top - S * s / (1 + s) : S * e / (1 + s) - q[size_t(k)]) * factor;
      const Wide stored = c.type.rounding * std::fabs(exact) + c.type.least;
      const Wide error = std::fabs(c.value(c.g, r, k) - exact), allowed = c.type.gradient * std::fmax(Wide(1), size) * factor;
      check(error <= allowed + stored, "gradient", where + " class " + std::to_string(k));
      worst.gradient = std::fmax(worst.gradient, double(std::fmax(Wide(0), error - stored) / (std::fmax(Wide(1), size) * factor)));
    }
  }
}

const int64_t class_counts[] = {1, 2, 3, 10, 63, 64, 65, 1000, 4097};
const Layout layouts[] = {Layout::rows, Layout::padded, Layout::transposed, Layout::images, Layout::apart};
const Form forms[] = {Form::even,     Form::prior,     Form::dense, Form::one_hot, Form::by_row,  Form::smoothed,
                      Form::distilled, Form::table, Form::entries, Form::mixed, Form::listed, Form::supported};

void values(const Type &t, Worst &worst, std::mt19937_64 &random) {
  for (const int64_t K : class_counts) {
    for (const Layout layout : layouts) {
      for (const Form form : forms) {
        for (const double spread : {1.0, 12.0}) {
          const int64_t outer = K > 100 ? 3 : 9, inner = K > 100 ? 2 : 15;
          Case c = random_case(t, outer, K, inner, layout, form, spread, random);
          c.run();
          compare(c, worst);
        }
      }
    }
  }
}

// Ignored rows with NaN, and rows with NaN, +inf, −inf with and without mass, and nothing but −inf.
void specials(const Type &t, Worst &worst, std::mt19937_64 &random) {
  for (const int64_t K : class_counts) {
    for (const Form form : forms) {
      Case c = random_case(t, 70, K, 1, Layout::rows, form, 3, random);
      for (int64_t r = 0; r < c.rows(); ++r) c.valid.push_back(uint8_t(r % 5 != 4));
      for (int64_t r = 0; r < c.rows(); ++r) {
        const int64_t k = int64_t(random() % uint64_t(K));
        if (r % 7 == 3 && has_labels(form)) c.labels[size_t(r)] = -100;
        if ((r % 7 == 3 && has_labels(form)) || r % 5 == 4) c.set(c.z, r, k, nan);
        if (r % 11 == 1) c.set(c.z, r, k, -inf);
        if (r % 11 == 2) c.set(c.z, r, k, inf);
        if (r % 11 == 3) c.set(c.z, r, k, -nan);
        if (r == 5) {
          for (int64_t i = 0; i < K; ++i) c.set(c.z, r, i, -inf);
        }
        if (r == 6) {
          for (int64_t i = 0; i < K; ++i) c.set(c.z, r, i, nan);
        }
      }
      c.run();
      compare(c, worst);
    }
  }
}

bool same(const Case &a, int64_t r, const Case &b, int64_t s) {
  for (int64_t k = 0; k < a.K; ++k) {
    const auto *x = a.g.bytes.data() + size_t(a.g.at(r / a.inner, k, r % a.inner)) * a.type.bytes;
    const auto *y = b.g.bytes.data() + size_t(b.g.at(s / b.inner, k, s % b.inner)) * a.type.bytes;
    if (std::memcmp(x, y, a.type.bytes)) return false;
  }
  return !std::memcmp(&a.loss[size_t(r)], &b.loss[size_t(s)], sizeof(double));
}

// A mean divides the scale by how many rows count; where none does the loss is 0 in each, and so is the gradient.
void mean(Case c) {
  int64_t counted = 0;
  for (int64_t r = 0; r < c.rows(); ++r) {
    counted += !(has_labels(c.form) && c.labels[size_t(r)] == -100) && (c.valid.empty() || c.valid[size_t(r)]);
  }
  Case divided = c, none = c;
  divided.scale = c.scale / double(counted);
  divided.run();
  sfumato_job j = c.job();
  j.mean = 1;
  check(sfumato_run(&j) == SFUMATO_OK && j.counted == counted, "rows that count", c.where());
  check(c.g.bytes == divided.g.bytes, "gradient of a mean", c.where());
  none.valid.assign(size_t(c.rows()), 0);
  j = none.job();
  j.mean = 1;
  check(sfumato_run(&j) == SFUMATO_OK && j.counted == 0 && std::isnan(j.scale), "no rows that count", c.where());
  for (int64_t r = 0; r < c.rows(); ++r) {
    check(none.loss[size_t(r)] == 0 && none.value(none.g, r, 0) == 0, "mean over no rows", c.where());
  }
}

void sums(std::mt19937_64 &random) {
  std::uniform_real_distribution<double> uniform;
  for (const int64_t n : {0, 1, 7, 8, 9, 127, 128, 129, 300, 4099}) {
    std::vector<double> x(static_cast<size_t>(n));
    Wide exact = 0;
    for (double &each : x) exact += each = uniform(random);
    check(std::fabs(sfumato_sum(x.data(), n) - exact) <= 4e-15L * exact, "sum", std::to_string(n));
  }
}

// The same bits for any threads, alone or in a batch, in every layout, in place, and without a gradient.
void bits(const Type &t, std::mt19937_64 &random) {
  for (const int64_t K : class_counts) {
    for (const Form form : forms) {
      const int64_t outer = K > 100 ? 3 : 37, inner = 7;
      const Case base = random_case(t, outer, K, inner, Layout::rows, form, 4, random);
      Case one = base;
      one.run();
      for (const int threads : {2, 4, 8}) {
        Case c = base;
        c.threads = threads;
        c.run();
        check(c.g.bytes == one.g.bytes && c.loss == one.loss, "bits of any threads", c.where());
      }
      for (const Layout layout : layouts) {
        Case c = base;
        c.layout = layout, c.threads = 3;
        c.take(base, 0);
        c.run();
        for (int64_t r = 0; r < c.rows(); ++r) check(same(one, r, c, r), "bits of any layout", c.where());
        Case in_place = c;
        sfumato_job j = in_place.job();
        j.grad = in_place.z.bytes.data(), j.loss = in_place.loss.data();
        check(sfumato_run(&j) == SFUMATO_OK, "in place", c.where());
        std::swap(in_place.z, in_place.g);
        for (int64_t r = 0; r < c.rows(); ++r) check(same(one, r, in_place, r), "bits in place", c.where());
      }
      for (const int64_t r : {int64_t(0), base.rows() / 2, base.rows() - 1}) {
        Case c = base;
        c.outer = c.inner = 1, c.loss.resize(1);
        c.take(base, r);
        c.run();
        check(same(one, r, c, 0), "bits of a row alone", c.where());
      }
      Case c = base;
      sfumato_job j = c.job();
      j.grad = nullptr;
      check(sfumato_run(&j) == SFUMATO_OK && c.loss == one.loss, "loss without a gradient", c.where());
      check(c.g.bytes == base.g.bytes, "gradient not asked for", c.where());
      mean(base);
    }
  }
}

// Logits and targets expanded by strides of 0.
void expanded(const Type &t, Worst &worst, std::mt19937_64 &random) {
  for (const int64_t K : class_counts) {
    for (const int axis : {0, 1, 2}) {
      Case c = random_case(t, 5, K, 6, Layout::images, Form::dense, 3, random);
      c.z.strides[axis] = c.q.strides[axis] = 0;
      c.run();
      compare(c, worst);
    }
  }
}

// What the definition says of a row's classes from `start` to `stop`, in the words of a measurement.
struct Measured {
  int64_t top_class;
  Wide top, s = 0, mass = 0, others = 0, behind = 0, gap = 0;
};

Measured measured(const Case &c, int64_t r, int64_t start, int64_t stop) {
  Measured m{start, 0};
  for (int64_t k = start; k < stop; ++k) m.top_class = c.logit(r, k) > c.logit(r, m.top_class) ? k : m.top_class;
  m.top = c.logit(r, m.top_class);
  const Wide base = m.top == -inf ? 0 : m.top;
  for (int64_t k = start; k < stop; ++k) {
    const Wide d = c.logit(r, k) - base, q = c.mass(r, k);
    m.s += k == m.top_class ? base - base : std::exp(d), m.mass += q, m.others += k == m.top_class ? 0 : q;
    m.behind += q == 0 ? 0 : -q * d, m.gap = -d > m.gap ? -d : m.gap;
  }
  return m;
}

// The job of some classes of a case, with copies of what runs over the classes.
struct Part {
  std::vector<unsigned char> u;
  std::vector<double> prior;
  sfumato_job job;

  Part(Case &c, int64_t start, int64_t stop, std::vector<int64_t> &top_class, std::vector<double> (&numbers)[4]) {
    const size_t real = c.type.bytes == 8 ? 8 : 4;
    for (int64_t row = 0; row < 5; ++row) {
      const auto *from = c.tables_typed.data() + size_t(row * c.K + start) * real;
      u.insert(u.end(), from, from + size_t(stop - start) * real);
    }
    if (!c.prior.empty()) prior.assign(c.prior.begin() + start, c.prior.begin() + stop);
    job = c.job();
    job.classes = stop - start, job.start = start, job.has_ignore = 0, job.loss = nullptr, job.grad = nullptr;
    job.logits = c.z.bytes.data() + size_t(start) * c.type.bytes;
    for (sfumato_back &b : job.back) b.u = b.u ? u.data() : nullptr;
    if (job.prior) job.prior = prior.data();
    job.top_class = top_class.data(), job.top = numbers[0].data(), job.sum = numbers[1].data();
    job.mass = numbers[2].data(), job.at_top = numbers[3].data();
  }
};

// Some classes say of their rows what the definition says, and the gradients of slices are together that of a run.
void slices(const Type &t, Worst &worst, std::mt19937_64 &random) {
  for (const int64_t K : {int64_t(1), int64_t(2), int64_t(10), int64_t(64), int64_t(65), int64_t(1000)}) {
    for (const Form form : {Form::even, Form::prior, Form::one_hot, Form::by_row, Form::table, Form::entries, Form::mixed, Form::listed}) {
      for (const double softcap : {0.0, 5.0}) {
        Case c = random_case(t, 9, K, 1, Layout::rows, form, 3, random);
        for (int64_t r = 0; softcap != 0 && r < c.rows(); ++r) {
          for (int64_t k = 0; k < K; ++k) c.set(c.z, r, k, softcap * std::tanh(c.logit(r, k) / softcap));
        }
        for (int64_t k = K / 3; softcap == 0 && k < K / 2; ++k) c.set(c.z, 4, k, -inf);  // a slice of nothing else
        c.run();
        compare(c, worst);
        const std::vector<unsigned char> logits = c.z.bytes;
        const size_t rows = size_t(c.rows());
        const int64_t cuts[] = {0, K / 3, K / 2, K};
        for (int i = 0; i < 3; ++i) {
          const int64_t start = cuts[i], stop = cuts[i + 1];
          if (start == stop) continue;
          std::vector<int64_t> top_class(rows, -7);
          std::vector<double> numbers[4], behind(rows);
          for (auto &each : numbers) each.resize(rows);
          Part part(c, start, stop, top_class, numbers);
          part.job.loss = behind.data(), part.job.threads = 1 + i;
          check(sfumato_measure(&part.job) == SFUMATO_OK, "a measurement returns OK", c.where());
          const auto near = [&](double got, Wide want, Wide gap, const char *what) {
            const Wide allowed = (t.loss + t.unit * gap) * std::fabs(want) + (t.bytes == 8 ? 1e-15L : 1e-7L);
            check(want == got || std::fabs(got - want) <= allowed, what, c.where());
          };
          for (size_t r = 0; r < rows; ++r) {
            const Measured m = measured(c, int64_t(r), start, stop);
            check(top_class[r] == m.top_class && numbers[0][r] == m.top, "the top", c.where());
            const Wide gap = std::isfinite(m.gap) ? m.gap : 0;
            near(numbers[1][r], m.s, gap, "s"), near(numbers[2][r], m.mass, 0, "mass");
            near(numbers[3][r], m.others, 0, "the mass of the others"), near(behind[r], m.behind, gap, "the loss without lse");
          }
          Array g = c.z;  // in place of the logits
          for (size_t r = 0; r < rows; ++r) {
            const Measured m = measured(c, int64_t(r), 0, K);
            top_class[r] = m.top_class, numbers[0][r] = double(m.top), numbers[1][r] = double(m.s);
            numbers[2][r] = double(m.mass), numbers[3][r] = double(m.others - m.mass * m.s / (1 + m.s));
          }
          part.job.loss = nullptr, part.job.softcap = softcap;
          part.job.logits = part.job.grad = g.bytes.data() + size_t(start) * t.bytes;
          check(sfumato_slice(&part.job) == SFUMATO_OK, "slice returns OK", c.where());
          for (int64_t r = 0; r < c.rows(); ++r) {
            for (int64_t k = 0; k < K; ++k) {
              if (k < start || k >= stop) {
                check(c.value(g, r, k) == c.logit(r, k), "writes only its own classes", c.where());
                continue;
              }
              const Wide z = c.logit(r, k) * (softcap == 0 ? 0 : 1 / softcap), cap = 1 - (softcap == 0 ? 0 : z * z);
              // As compare() knows the gradient to be right, but for its storing.
              const double want = c.value(c.g, r, k) * double(cap), got = c.value(g, r, k);
              const double allowed = 2 * (t.gradient * 3 * c.row_scale[size_t(r)] + t.rounding * std::fabs(want) + t.least);
              check(std::fabs(got - want) <= allowed, "gradient of a slice", c.where() + " row " + std::to_string(r) + " class " + std::to_string(k));
            }
          }
        }
        check(c.z.bytes == logits, "touches nothing else", c.where());
      }
    }
  }
}

void refusals(const Type &t, std::mt19937_64 &random) {
  for (const int64_t K : class_counts) {
    for (const int64_t label : {int64_t(-1), K, int64_t(-100) + 1, std::numeric_limits<int64_t>::max()}) {
      Case c = random_case(t, 70, K, 1, Layout::rows, Form::even, 1, random);
      c.threads = 2;
      c.labels.back() = label;
      const Case before = c;
      sfumato_job j = c.job();
      check(sfumato_run(&j) == SFUMATO_BAD_LABEL && j.bad_row == 69 && j.bad_label == label, "bad label", c.where());
      check(c.g.bytes == before.g.bytes && c.loss == before.loss && c.z.bytes == before.z.bytes, "writes nothing", c.where());
    }
    Case c = random_case(t, 70, K, 1, Layout::rows, Form::even, 1, random);
    sfumato_job j = c.job();
    j.outer = 0;
    check(sfumato_run(&j) == SFUMATO_OK && c.loss[0] == 7, "no rows", c.where());
    const auto refused = [&](auto change) {
      sfumato_job bad = c.job();
      change(bad);
      check(sfumato_run(&bad) == SFUMATO_BAD_ARGUMENT, "bad argument", c.where());
    };
    refused([](sfumato_job &b) { b.abi = 0; });
    refused([](sfumato_job &b) { b.type = 4; });
    refused([](sfumato_job &b) { b.outer = -1; });
    refused([](sfumato_job &b) { b.loss = nullptr; });
    refused([](sfumato_job &b) { b.labels = nullptr; });
    refused([](sfumato_job &b) { b.grad_strides[0] = 0; });
    refused([](sfumato_job &b) { b.classes = 0; });
    refused([](sfumato_job &b) { b.start = 1; });
    refused([](sfumato_job &b) { b.softcap = 30; });
    std::vector<int64_t> top_class(70);
    std::vector<double> numbers[4];
    for (auto &each : numbers) each.resize(70);
    refused([&](sfumato_job &b) { b.top_class = top_class.data(); });
    const Part all(c, 0, K, top_class, numbers);
    sfumato_job measure = all.job;
    measure.loss = c.loss.data();
    check(sfumato_measure(&measure) == SFUMATO_OK, "a measurement of all classes", c.where());
    const auto no_measurement = [&](auto change) {
      sfumato_job bad = measure;
      change(bad);
      check(sfumato_measure(&bad) == SFUMATO_BAD_ARGUMENT, "bad measurement", c.where());
    };
    no_measurement([](sfumato_job &b) { b.loss = nullptr; });
    no_measurement([](sfumato_job &b) { b.sum = nullptr; });
    no_measurement([&](sfumato_job &b) { b.grad = c.g.bytes.data(); });
    no_measurement([](sfumato_job &b) { b.softcap = 30; });
    no_measurement([](sfumato_job &b) { b.start = -1; });
    sfumato_job whole = measure;
    whole.grad = c.g.bytes.data(), whole.loss = nullptr;
    check(sfumato_slice(&whole) == SFUMATO_OK, "the slice of all classes", c.where());
    const auto no_slice = [&](auto change) {
      sfumato_job bad = whole;
      change(bad);
      check(sfumato_slice(&bad) == SFUMATO_BAD_ARGUMENT, "bad slice", c.where());
    };
    no_slice([](sfumato_job &b) { b.grad = nullptr; });
    no_slice([](sfumato_job &b) { b.at_top = nullptr; });
    no_slice([](sfumato_job &b) { b.start = -1; });
    no_slice([](sfumato_job &b) { b.has_ignore = 1; });
    no_slice([](sfumato_job &b) { b.inner = 2, b.outer = 35; });
    no_slice([](sfumato_job &b) { b.abi = 4; });
    if (K > 1) no_slice([&](sfumato_job &b) { b.grad_strides[0] = 1, b.grad_strides[1] = 70; });
  }
  check(sfumato_run(nullptr) == SFUMATO_BAD_ARGUMENT, "no job", t.name);
}

// ---- the approximations ---------------------------------------------------------------------------------------------

template <class real, class Function, class Exact>
double worst_ulp(real low, real high, int steps, Function function, Exact exact) {
  double worst = 0;
  for (int i = 0; i <= steps; ++i) {
    const real x = real(low + (high - low) * (double(i) / steps));
    const Wide want = exact(Wide(x));
    const real near = real(want);
    const Wide ulp = std::nextafter(std::fabs(near), real(inf)) - std::fabs(near);
    worst = std::fmax(worst, double(std::fabs(Wide(function(x)) - want) / ulp));
  }
  return worst;
}

void approximations(int steps) {
  const auto exp_exact = [](Wide x) { return std::exp(x); };
  const double single = worst_ulp(-87.33f, 0.0f, steps, [](float x) { return maths::exp(x); }, exp_exact);
  const double wide = worst_ulp(-708.39, 0.0, steps, [](double x) { return maths::exp(x); }, exp_exact);
  double log = 0, quick = 0, reciprocal = 0;
  for (int i = 0; i < steps; ++i) {
    const double s = std::exp(-60 + 74.0 * i / steps);
    const Wide want = std::log1p(Wide(s)), inverse = 1 / (1 + Wide(s));
    double got;
    log = std::fmax(log, double(std::fabs(maths::log1p<true>(s, got) - want) / (want * 0x1p-52L)));
    reciprocal = std::fmax(reciprocal, double(std::fabs(got - inverse) / inverse));
    quick = std::fmax(quick, double(std::fabs(maths::log1p<false>(s, got) - want) / want));
    check(std::fabs(got - inverse) <= 1e-15L * inverse, "inverse", std::to_string(s));
  }
  check(quick <= 1e-11 && reciprocal <= 0x1p-52, "log1p", "1e-11, and the inverse");
  std::printf("exp float %.3f ULP, double %.3f ULP (bound 1.25 without fma, 1 with); log1p %.2f units (bound 2)\n", single, wide, log);
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  const double bound = 1;
#else
  const double bound = 1.25;
#endif
  check(single <= bound && wide <= bound, "exp", "ULP");
  check(log <= 2, "log1p", "2 units");
  check(maths::exp(0.0f) == 1 && maths::exp(0.0) == 1 && maths::exp(-float(inf)) == 0 && maths::exp(-inf) == 0, "exp", "ends");
  check(std::isnan(maths::exp(float(nan))) && std::isnan(maths::exp(nan)), "exp", "NaN");
  for (uint32_t h = 0; h < 0x10000; ++h) {  // every half to float and back; and each midpoint goes to the even one
    const uint16_t x = uint16_t(h);
    const float a = maths::F16::load(x), b = maths::BF16::load(x);
    check(std::isnan(a) ? std::isnan(maths::F16::load(maths::F16::store(a))) : maths::F16::store(a) == x, "float16", std::to_string(h));
    check(std::isnan(b) ? std::isnan(maths::BF16::load(maths::BF16::store(b))) : maths::BF16::store(b) == x, "bfloat16", std::to_string(h));
    const float next = maths::F16::load(uint16_t(h + 1));
    if ((h & 0x7FFF) >= 0x7BFF) continue;
    const float middle = float((double(a) + double(next)) / 2);
    check(maths::F16::store(middle) == ((h & 1) ? h + 1 : h), "float16 midpoint", std::to_string(h));
    check(maths::F16::store(std::nextafter(middle, a)) == h, "float16 below a midpoint", std::to_string(h));
  }
  check(maths::F16::store(65519.0f) == 0x7BFF && maths::F16::store(65520.0f) == 0x7C00, "float16", "largest");
}

}  // namespace

// `row_test threads` has only what several threads work on, for the sanitizer that looks at them. `row_test memory` runs
// every case and compares no value with the definition: the sanitizer of addresses makes that slow and sees nothing new.
// `row_test sampled` compares one row of each case, in turn, where an emulator makes the definition's arithmetic slow.
int main(int count, char **words) {
  const auto asked_for = [&](const char *part) { return count > 1 && !std::strcmp(words[1], part); };
  const bool threads_alone = asked_for("threads");
  if (asked_for("memory")) compared = Compared::none;
  if (asked_for("sampled")) compared = Compared::a_row_of_each_case;
  std::printf("isa %s, abi %d\n", sfumato_isa(), int(sfumato_abi()));
  const char *asked = std::getenv("SFUMATO_ISA");
  if (asked && std::strcmp(asked, sfumato_isa())) std::printf("(%s was asked for, and is not here)\n", asked);
  std::mt19937_64 random(20);
  if (compared != Compared::none && !threads_alone) approximations(compared == Compared::all ? 2000000 : 20000);
  sums(random);
  std::printf("%-9s  %12s %8s  %12s %8s\n", "type", "loss, rel.", "bound", "gradient", "bound");
  for (const Type &t : types) {
    Worst worst;
    slices(t, worst, random);
    bits(t, random);
    if (threads_alone) continue;
    values(t, worst, random);
    specials(t, worst, random);
    expanded(t, worst, random);
    refusals(t, random);
    std::printf("%-9s  %12.2g %8.0e  %12.2g %8.0e\n", t.name, worst.loss, t.loss, worst.gradient, t.gradient);
  }
  std::printf(failures ? "%d FAILED\n" : "all passed\n", failures);
  return failures ? 1 : 0;
}
