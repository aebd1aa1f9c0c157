// The cases that row_test compares: rows drawn for each type, target and layout, as a job of the kernel.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

#include "testing.hpp"


namespace {

struct Type {
  const char *name;
  int32_t id;
  size_t bytes;
  double unit;            // of the arithmetic
  double loss, gradient;  // bounds: relative, absolute
  double rounding, least;  // of the stored gradient: relative, absolute
};

const Type types[] = {
    {"float32", SFUMATO_F32, 4, 0x1p-23, 5e-7, 5e-7, 0, 0},
    {"float64", SFUMATO_F64, 8, 0x1p-52, 1e-14, 1e-14, 0, 0},
    {"bfloat16", SFUMATO_BF16, 2, 0x1p-23, 5e-7, 5e-7, 0x1p-8, 0},
    {"float16", SFUMATO_F16, 2, 0x1p-23, 5e-7, 5e-7, 0x1p-11, 0x1p-25},
};

// ---- a case ---------------------------------------------------------------------------------------------------------

enum class Layout { rows, padded, transposed, images, apart };
enum class Form { even, prior, dense, one_hot, by_row, smoothed, distilled, table, entries, mixed, listed, supported };
bool is_labelled(Form f) { return f == Form::even || f == Form::prior || f == Form::one_hot || f == Form::by_row; }
bool has_labels(Form f) { return is_labelled(f) || f == Form::distilled || f == Form::listed; }

struct Array {
  std::vector<unsigned char> bytes;
  int64_t strides[3];
  int64_t at(int64_t o, int64_t k, int64_t i) const { return o * strides[0] + k * strides[1] + i * strides[2]; }
};

struct Case {
  Type type = types[0];
  int64_t outer = 1, K = 1, inner = 1;
  Layout layout = Layout::rows;
  Form form = Form::even;
  Array z, q, g;
  std::vector<int64_t> labels;
  std::vector<uint8_t> valid;
  std::vector<double> true_rows, rest_rows, prior, row_scale, loss;
  std::vector<double> coefficients, entry_masses, tables, weights;  // of composed targets
  std::vector<int64_t> entry_classes, index;
  std::vector<unsigned char> tables_typed, weights_typed, wide_q, support;
  double true_mass = 0.9, rest_mass = 0.1, scale = 1;
  int threads = 1;

  int64_t rows() const { return outer * inner; }
  std::string where() const {
    return std::string(type.name) + " outer " + std::to_string(outer) + " K " + std::to_string(K) + " inner " +
           std::to_string(inner) + " layout " + std::to_string(int(layout)) + " form " + std::to_string(int(form)) +
           " threads " + std::to_string(threads);
  }
  double logit(int64_t r, int64_t k) const { return value(z, r, k); }
  double value(const Array &a, int64_t r, int64_t k) const {
    return get(type.id, a.bytes.data() + size_t(a.at(r / inner, k, r % inner)) * type.bytes);
  }
  void set(Array &a, int64_t r, int64_t k, double x) {
    put(type.id, a.bytes.data() + size_t(a.at(r / inner, k, r % inner)) * type.bytes, x);
  }
  Array make() const {
    Array a;
    int64_t size = rows() * K;
    const auto strides = [&](int64_t o, int64_t k, int64_t i) { a.strides[0] = o, a.strides[1] = k, a.strides[2] = i; };
    switch (layout) {
      case Layout::rows: strides(K * inner, 1, K); break;
      case Layout::padded: strides((K + 3) * inner, 1, K + 3), size = rows() * (K + 3); break;
      case Layout::transposed: strides(1, rows(), outer); break;
      case Layout::images: strides(K * inner, inner, 1); break;
      case Layout::apart: strides(2 * K * inner, 2 * inner, 2), size *= 2; break;
    }
    a.bytes.assign(size_t(size) * type.bytes, 0x55);
    return a;
  }
  int32_t t_id() const { return type.id; }
  bool wide() const { return type.bytes == 2; }  // probabilities of half logits may be float
  // The target by the header's words.
  double mass(int64_t r, int64_t k) const {
    const size_t R = size_t(r), C = size_t(k);
    if (is_labelled(form)) {
      if (k == labels[R]) return true_rows.empty() ? true_mass : true_rows[R];
      return (rest_rows.empty() ? rest_mass : rest_rows[R]) * (prior.empty() ? 1 : prior[C]);
    }
    double q = 0;
    switch (form) {
      case Form::dense: q = value(this->q, r, k); break;
      case Form::smoothed: q = 0.75 * value(this->q, r, k) + 0.01; break;
      case Form::distilled: q = coefficients[R] * value(this->q, r, k); break;
      case Form::table: q = tables[size_t(index[R] * K + k)]; break;
      case Form::mixed: q = coefficients[R] * tables[size_t(index[R] * K + k)] + 0.5 * tables[C]; break;
      case Form::entries: q = coefficients[R] + 0.001; break;
      case Form::listed: q = coefficients[R] * tables[C]; break;
      case Form::supported: q = support[size_t(z.at(r / inner, k, r % inner))] ? 0.02 : 0; break;
      default: break;
    }
    const size_t m = entry_classes.size() / size_t(rows());
    for (size_t e = 0; e < m; ++e) {
      if (entry_classes[R * m + e] == k) q = entry_masses[R * m + e];
    }
    if (has_labels(form) && k == labels[R]) q += true_mass;
    return form == Form::smoothed ? q * weights[C] : q;
  }
  // What the typed copies hold of the numbers of a composed target.
  void compose(std::mt19937_64 &random) {
    std::uniform_real_distribution<double> uniform;
    const auto typed = [&](std::vector<double> &from, std::vector<unsigned char> &to) {
      const size_t size = type.bytes == 8 ? 8 : 4;
      to.resize(from.size() * size);
      for (size_t i = 0; i < from.size(); ++i) {
        const float f = float(from[i]);
        if (size == 4) from[i] = f;
        std::memcpy(to.data() + i * size, size == 8 ? static_cast<const void *>(&from[i]) : &f, size);
      }
    };
    for (int64_t i = 0; i < 5 * K; ++i) tables.push_back(i % 7 == 3 ? 0.0 : uniform(random) / double(K));
    for (int64_t k = 0; k < K; ++k) weights.push_back(uniform(random) + (k % 9 == 4 ? 0 : 0.1));
    typed(tables, tables_typed), typed(weights, weights_typed);
    for (int64_t r = 0; r < rows(); ++r) index.push_back(int64_t(random() % 5)), coefficients.push_back(uniform(random) / double(K));
    const int64_t m = form == Form::mixed ? 2 : form == Form::entries ? 5 : form == Form::listed ? 3 : form == Form::supported ? 1 : 0;
    for (int64_t r = 0; r < rows(); ++r) {
      for (int64_t e = 0; e < m; ++e) {
        entry_classes.push_back(random() % 6 == 0 ? -1 : int64_t(random() % uint64_t(K)));
        entry_masses.push_back(random() % 5 == 0 ? 0.0 : uniform(random) / double(m));
      }
    }
    support.assign(z.bytes.size() / type.bytes, 0);
    for (auto &s : support) s = random() % 3 == 0;
  }
  // Probabilities in float beside half logits, with the strides of q.
  void widen() {
    const size_t n = q.bytes.size() / type.bytes;
    wide_q.resize(4 * n);
    for (size_t i = 0; i < n; ++i) {
      const float f = float(get(type.id, q.bytes.data() + i * type.bytes));
      std::memcpy(wide_q.data() + 4 * i, &f, 4);
    }
  }
  // The rows of another case from `first` on, in this case's shape and layout.
  void take(const Case &from, int64_t first) {
    z = make(), q = make(), g = make();
    support.assign(z.bytes.size() / type.bytes, 0);
    const size_t m = from.entry_classes.size() / size_t(from.rows());
    entry_classes.clear(), entry_masses.clear();
    for (int64_t r = 0; r < rows(); ++r) {
      const int64_t s = first + r;
      const size_t R = size_t(r), S = size_t(s);
      for (int64_t k = 0; k < K; ++k) {
        set(z, r, k, from.logit(s, k)), set(q, r, k, from.value(from.q, s, k));
        const int64_t there = from.z.at(s / from.inner, k, s % from.inner);
        support[size_t(z.at(r / inner, k, r % inner))] = from.support[size_t(there)];
      }
      labels[R] = from.labels[S], row_scale[R] = from.row_scale[S], index[R] = from.index[S];
      coefficients[R] = from.coefficients[S];
      if (!from.true_rows.empty()) true_rows[R] = from.true_rows[S], rest_rows[R] = from.rest_rows[S];
      for (size_t e = 0; e < m; ++e) {
        entry_classes.push_back(from.entry_classes[S * m + e]), entry_masses.push_back(from.entry_masses[S * m + e]);
      }
    }
    if (!wide_q.empty()) widen();
  }
  sfumato_job job() {
    sfumato_job j{};
    j.abi = SFUMATO_ABI, j.type = type.id, j.outer = outer, j.classes = K, j.inner = inner;
    std::memcpy(j.logit_strides, z.strides, sizeof z.strides), j.logits = z.bytes.data();
    std::memcpy(j.grad_strides, g.strides, sizeof g.strides), j.grad = g.bytes.data();
    j.labels = has_labels(form) ? labels.data() : nullptr;
    j.dense_scale = 1, j.dense_type = t_id(), j.back[0].c = 1;
    if (form == Form::dense || form == Form::smoothed || form == Form::distilled) {
      j.dense = q.bytes.data();
      std::memcpy(j.dense_strides, q.strides, sizeof q.strides);
      if (form == Form::smoothed) j.dense_scale = 0.75, j.dense_shift = 0.01, j.weight = weights_typed.data();
      if (form == Form::distilled) j.dense_scale_rows = coefficients.data();
      if (form == Form::distilled && !wide_q.empty()) j.dense = wide_q.data(), j.dense_type = SFUMATO_F32;
    }
    if (form >= Form::table) j.back[0].used = 1;
    if (form == Form::table || form == Form::mixed) j.back[0].u = tables_typed.data(), j.back[0].index = index.data();
    if (form == Form::mixed) j.back[0].c_rows = coefficients.data(), j.back[1].used = 1, j.back[1].u = tables_typed.data(), j.back[1].c = 0.5;
    if (form == Form::entries) j.back[0].c_rows = coefficients.data(), j.back[1].used = 1, j.back[1].c = 0.001;
    if (form == Form::listed) j.back[0].u = tables_typed.data(), j.back[0].c_rows = coefficients.data();
    if (form == Form::supported) {
      j.back[0].c = 0.02, j.support = support.data();
      std::memcpy(j.support_strides, z.strides, sizeof z.strides);
    }
    if (!entry_classes.empty()) {
      j.entries = int64_t(entry_classes.size()) / rows(), j.entry_classes = entry_classes.data(), j.entry_masses = entry_masses.data();
    }
    j.has_ignore = 1, j.ignore_index = -100, j.true_mass = true_mass, j.rest_mass = rest_mass;
    if (!true_rows.empty()) j.true_rows = true_rows.data();
    if (!rest_rows.empty()) j.rest_rows = rest_rows.data();
    if (!prior.empty()) j.prior = prior.data();
    if (!valid.empty()) j.valid = valid.data();
    if (!row_scale.empty()) j.row_scale = row_scale.data();
    j.scale = scale, j.loss = loss.data(), j.threads = threads;
    return j;
  }
  void run() {
    sfumato_job j = job();
    check(sfumato_run(&j) == SFUMATO_OK, "returns OK", where());
  }
};

Case random_case(const Type &t, int64_t outer, int64_t K, int64_t inner, Layout layout, Form form, double spread,
                 std::mt19937_64 &random) {
  Case c;
  c.type = t, c.outer = outer, c.K = K, c.inner = inner, c.layout = layout, c.form = form;
  std::normal_distribution<double> normal;
  std::uniform_real_distribution<double> uniform;
  c.z = c.make(), c.g = c.make(), c.q = c.make();
  c.loss.assign(size_t(c.rows()), 7);
  for (int64_t r = 0; r < c.rows(); ++r) {
    for (int64_t k = 0; k < K; ++k) {
      c.set(c.z, r, k, spread * normal(random));
      c.set(c.q, r, k, k % 3 == 1 ? 0.0 : uniform(random) / double(K));
    }
    c.labels.push_back(int64_t(random() % uint64_t(K)));
    c.row_scale.push_back(0.5 + uniform(random));
    if (form == Form::by_row) c.true_rows.push_back(uniform(random)), c.rest_rows.push_back(uniform(random) / double(K));
    const int64_t y = c.labels.back();
    const uint64_t special = random() % 8;
    if (special == 0) c.set(c.z, r, y, spread * 8 + 20);                                  // confident
    if (special == 1) c.set(c.z, r, 0, c.logit(r, K - 1)), c.set(c.z, r, K / 2, c.logit(r, K - 1));  // ties
    if (special == 2) c.set(c.z, r, K - 1, spread * 8 + 20);                              // confident, perhaps wrong
  }
  c.true_mass = 0.9;
  c.rest_mass = form == Form::one_hot ? 0.0 : K > 1 ? 0.1 / double(K - 1) : 0.0;
  if (form == Form::prior) {
    for (int64_t k = 0; k < K; ++k) c.prior.push_back(k % 5 == 2 ? 0.0 : uniform(random));
  }
  c.compose(random);
  if (form == Form::distilled && c.wide() && spread > 2) c.widen();
  return c;
}

}  // namespace
