// Bytes become a call of the kernel: types, shapes, strides, labels, logits and every form of target. Under the sanitizers
// any read or write outside is a finding; so is a refusal that wrote something, and a result that breaks what every loss
// keeps: an ignored row is 0, a gradient's row sums to 0, a loss of masses ≥ 0 is ≥ 0 or NaN.
//
// With clang it is a libFuzzer target. With any other compiler `main` below mutates a corpus for a number of seconds.
//   row_fuzz SECONDS CORPUS_FOLDER [SEED]
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <limits>
#include <random>
#include <vector>

#include "sfumato.h"

#define SFUMATO_ISA test
#include "row.hpp"

namespace {

namespace maths = sfumato::test;

struct Bytes {
  const uint8_t *at, *end;
  uint8_t next() { return at < end ? *at++ : 0; }
  uint64_t wide() {
    uint64_t x = 0;
    for (int i = 0; i < 8; ++i) x = x << 8 | next();
    return x;
  }
  int64_t below(int64_t n) { return n < 1 ? 0 : int64_t((uint64_t(next()) << 8 | next()) % uint64_t(n)); }
  bool flip() { return next() & 1; }
  // Mostly ordinary numbers, now and then the odd ones.
  double number() {
    switch (next() % 16) {
      case 0: return std::numeric_limits<double>::infinity();
      case 1: return -std::numeric_limits<double>::infinity();
      case 2: return std::numeric_limits<double>::quiet_NaN();
      case 3: return 0.0;
      case 4: return 1e4;
      case 5: return -1e4;
      case 6: return 1e-30;
      default: return (double(below(65536)) - 32768) / 2048;
    }
  }
  double mass() { return next() % 5 == 0 ? 0.0 : double(below(1000)) / 1000; }
};

[[noreturn]] void finding(const char *what) {
  std::fprintf(stderr, "FINDING: %s\n", what);
  std::abort();
}

void put(int32_t type, void *p, double x) {
  const float f = float(x);
  const uint16_t h = type == SFUMATO_BF16 ? maths::BF16::store(f) : maths::F16::store(f);
  if (type == SFUMATO_F32) std::memcpy(p, &f, 4);
  if (type == SFUMATO_F64) std::memcpy(p, &x, 8);
  if (type >= SFUMATO_BF16) std::memcpy(p, &h, 2);
}

double get(int32_t type, const void *p) {
  double d;
  float f;
  uint16_t h;
  if (type == SFUMATO_F64) return std::memcpy(&d, p, 8), d;
  if (type == SFUMATO_F32) return std::memcpy(&f, p, 4), double(f);
  std::memcpy(&h, p, 2);
  return type == SFUMATO_BF16 ? maths::BF16::load(h) : maths::F16::load(h);
}

int64_t size_of(int32_t type) { return type == SFUMATO_F64 ? 8 : type == SFUMATO_F32 ? 4 : 2; }

// An array (outer, K, inner) in some order of its axes, exactly as large as it has to be.
struct Array {
  std::vector<uint8_t> bytes;
  int64_t strides[3];
  void shape(Bytes &in, const int64_t sizes[3], int64_t item) {
    static const int orders[4][3] = {{2, 1, 0}, {1, 2, 0}, {0, 1, 2}, {0, 2, 1}};  // fastest first
    const int *order = orders[in.next() % 4];
    int64_t step = 1 + in.next() % 2;
    for (int a = 0; a < 3; ++a) strides[order[a]] = step, step *= std::max<int64_t>(sizes[order[a]], 1);
    int64_t last = 0;
    for (int a = 0; a < 3; ++a) last += strides[a] * (std::max<int64_t>(sizes[a], 1) - 1);
    bytes.assign(size_t((last + 1) * item), 0);
  }
  uint8_t *at(int64_t o, int64_t k, int64_t i, int64_t item) {
    return bytes.data() + (o * strides[0] + k * strides[1] + i * strides[2]) * item;
  }
};

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
  Bytes in{data, data + size};
  sfumato_job j{};
  j.abi = SFUMATO_ABI;
  j.type = in.next() % 4;
  static const int64_t class_counts[] = {1, 2, 3, 7, 10, 63, 64, 65, 130, 1100};
  const int64_t sizes[3] = {in.below(5), class_counts[in.next() % 10], 1 + in.below(4)};
  j.outer = sizes[0], j.classes = sizes[1], j.inner = sizes[2];
  const int64_t K = j.classes, rows = j.outer * j.inner, item = size_of(j.type);
  const int32_t wide = j.type == SFUMATO_F64 ? SFUMATO_F64 : SFUMATO_F32;
  const int64_t wide_item = size_of(wide);

  Array z, g, q, support;
  z.shape(in, sizes, item), g.shape(in, sizes, item);
  for (int64_t o = 0; o < j.outer; ++o) {
    for (int64_t i = 0; i < j.inner; ++i) {
      const bool odd = in.flip();
      for (int64_t k = 0; k < K; ++k) put(j.type, z.at(o, k, i, item), odd && k < 40 ? in.number() : double((k * 37 + o) % 11) - 5);
    }
  }
  std::memcpy(j.logit_strides, z.strides, sizeof z.strides), std::memcpy(j.grad_strides, g.strides, sizeof g.strides);
  j.logits = z.bytes.data(), j.grad = in.next() % 8 ? g.bytes.data() : nullptr;

  const size_t count = static_cast<size_t>(rows), table_bytes = static_cast<size_t>(3 * K * wide_item);
  std::vector<int64_t> labels(count), index(count), entry_classes;
  std::vector<double> true_rows(count), rest_rows(count), scales(count), row_scale(count), loss(count + 1, 7);
  std::vector<double> entry_masses, prior(static_cast<size_t>(K));
  std::vector<uint8_t> valid(count), table(table_bytes), weight(table_bytes / 3);
  const bool odd_labels = in.next() % 16 == 0;
  for (int64_t r = 0; r < rows; ++r) {
    const size_t R = size_t(r);
    labels[R] = odd_labels ? int64_t(in.wide()) : in.next() % 8 == 0 ? -100 : in.below(K);
    index[R] = in.below(3), true_rows[R] = in.mass(), rest_rows[R] = in.mass(), scales[R] = in.mass(), row_scale[R] = in.mass(), valid[R] = in.next() % 4 != 0;
  }
  for (int64_t k = 0; k < K; ++k) prior[size_t(k)] = k < 40 ? in.mass() : 0.5, put(wide, weight.data() + k * wide_item, k < 40 ? in.mass() : 1.0);
  for (int64_t k = 0; k < 3 * K; ++k) put(wide, table.data() + k * wide_item, k < 40 ? in.mass() : 0.01);

  const int form = in.next() % 6;
  j.true_mass = in.mass(), j.rest_mass = in.mass(), j.dense_scale = 1;
  if (in.flip()) j.true_rows = true_rows.data();
  if (in.flip()) j.rest_rows = rest_rows.data();
  if (form <= 1 || form == 3 || (form == 4 && in.flip())) j.labels = labels.data();
  if (form == 1) j.prior = prior.data();
  if (form == 2 || form == 3) {
    j.dense_type = in.flip() ? j.type : wide;
    const int64_t q_item = size_of(j.dense_type);
    q.shape(in, sizes, q_item);
    for (int64_t o = 0; o < j.outer; ++o) {
      for (int64_t k = 0; k < K; ++k) {
        for (int64_t i = 0; i < j.inner; ++i) put(j.dense_type, q.at(o, k, i, q_item), k < 40 ? in.mass() : 0.01);
      }
    }
    j.dense = q.bytes.data();
    std::memcpy(j.dense_strides, q.strides, sizeof q.strides);
    if (in.flip()) j.dense_scale = 0.75, j.dense_shift = 0.01;
    if (in.flip()) j.dense_scale_rows = scales.data();
  }
  if (form >= 4) {
    j.back[0].used = 1, j.back[0].c = in.flip() ? 1.0 : in.mass();
    if (in.flip()) j.back[0].u = table.data(), j.back[0].index = in.flip() ? index.data() : nullptr;
    if (in.flip()) j.back[0].c_rows = scales.data();
    if (form == 5) j.back[1].used = 1, j.back[1].c = in.mass(), j.back[1].u = in.flip() ? table.data() : nullptr;
    if (in.flip()) {
      support.shape(in, sizes, 1);
      for (auto &b : support.bytes) b = in.flip();
      j.support = support.bytes.data();
      std::memcpy(j.support_strides, support.strides, sizeof support.strides);
    }
  }
  if (form >= 2) {
    if (in.flip()) j.weight = weight.data();
    j.entries = in.below(in.flip() ? 4 : 20);
    for (int64_t e = 0; e < rows * j.entries; ++e) entry_classes.push_back(in.next() % 5 == 0 ? -1 : in.below(K)), entry_masses.push_back(in.mass());
    j.entry_classes = entry_classes.data(), j.entry_masses = entry_masses.data();
  }
  if (in.flip()) j.has_ignore = 1, j.ignore_index = -100;
  if (in.flip()) j.valid = valid.data();
  if (in.flip()) j.row_scale = row_scale.data();
  j.scale = in.flip() ? 1.0 : 65536.0, j.loss = loss.data(), j.threads = 1 + in.next() % 4;
  if (in.next() % 32 == 0) j.abi = in.next();

  const std::vector<uint8_t> before = g.bytes;
  const std::vector<double> loss_before = loss;
  const int32_t error = sfumato_run(&j);
  if (loss.back() != 7) finding("wrote behind the losses");
  if (error != SFUMATO_OK) {
    if (g.bytes != before || loss != loss_before) finding("a refusal that wrote");
    return 0;
  }
  const double unit = j.type == SFUMATO_F64 ? 1e-12 : j.type == SFUMATO_F32 ? 1e-4 : j.type == SFUMATO_BF16 ? 2e-2 : 2e-3;
  for (int64_t r = 0; r < rows; ++r) {
    const size_t R = size_t(r);
    const bool ignored = (j.valid && !valid[R]) || (j.labels && j.has_ignore && labels[R] == j.ignore_index);
    if (ignored && loss[R] != 0) finding("an ignored row with a loss");
    if (loss[R] < -1e-9 * double(K)) finding("a negative loss");
    double sum = 0, size = 0;
    for (int64_t k = 0; j.grad && k < K; ++k) {
      const double x = get(j.type, g.at(r / j.inner, k, r % j.inner, item));
      if (ignored && x != 0) finding("an ignored row with a gradient");
      sum += x, size += std::fabs(x);
    }
    if (std::isfinite(size) && std::fabs(sum) > unit * (size + j.scale * 1e-3 * double(K))) finding("a gradient that does not sum to 0");
  }
  return 0;
}

#if !defined(SFUMATO_LIBFUZZER)
int main(int count, char **words) {
  const double seconds = count > 1 ? std::atof(words[1]) : 10;
  std::mt19937_64 random(count > 3 ? std::strtoull(words[3], nullptr, 10) : 1);
  std::vector<std::vector<uint8_t>> corpus;
  if (count > 2) {
    for (const auto &entry : std::filesystem::directory_iterator(words[2])) {
      std::ifstream file(entry.path(), std::ios::binary);
      corpus.emplace_back(std::istreambuf_iterator<char>(file), std::istreambuf_iterator<char>());
    }
  }
  std::sort(corpus.begin(), corpus.end());
  for (const auto &bytes : corpus) LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
  long runs = long(corpus.size());
  const auto start = std::chrono::steady_clock::now();
  std::vector<uint8_t> bytes;
  while (std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count() < seconds) {
    for (int i = 0; i < 100; ++i, ++runs) {
      if (corpus.empty() || random() % 4 == 0) {
        bytes.resize(16 + random() % 600);
        for (auto &b : bytes) b = uint8_t(random());
      } else {
        bytes = corpus[random() % corpus.size()];
        for (uint64_t n = 1 + random() % 8; n && !bytes.empty(); --n) bytes[random() % bytes.size()] = uint8_t(random());
        if (random() % 4 == 0) bytes.resize(random() % (bytes.size() + 64));
      }
      LLVMFuzzerTestOneInput(bytes.data(), bytes.size());
    }
  }
  std::printf("%ld executions, no finding (instruction set %s)\n", runs, sfumato_isa());
}
#endif
