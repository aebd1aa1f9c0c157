// The scan against its definition in long double, over types, lengths and odd rows. The instruction set is that of the
// machine, or the lower one that SFUMATO_ISA names. Prints the largest error of each column beside its bound.
#include <algorithm>
#include <cmath>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "testing.hpp"

namespace {

constexpr int64_t modulus = 20, groups = 3;
constexpr double edge = 1 / 15.0;

struct Type {
  const char *name;
  int32_t id;
  size_t bytes;
};
const Type types[] = {{"float32", SFUMATO_F32, 4}, {"bfloat16", SFUMATO_BF16, 2}, {"float16", SFUMATO_F16, 2}};

// Rows and room for every column, each array exactly as long as it must be.
struct Case {
  Type type;
  int64_t rows, classes;
  double beta;
  std::vector<unsigned char> logits, correct, tied;
  std::vector<int64_t> labels, predicted, rank, listed_row, listed_class;
  std::vector<uint64_t> odd, hash;
  std::vector<double> mass, listed_p, class_sums, column[9], lse, cumulants[4], squares[3];
  sfumato_scan_job job{};

  Case(const Type &t, int64_t n, int64_t K, double b) : type(t), rows(n), classes(K), beta(double(float(b))) {
    logits.resize(size_t(n * K) * t.bytes);
    for (auto *v : {&correct, &tied}) v->resize(size_t(n), 7);
    for (auto *v : {&labels, &predicted, &rank}) v->resize(size_t(n));
    hash.resize(size_t(n));
    for (auto &v : column) v.resize(size_t(n));
    for (auto &v : cumulants) v.resize(size_t(n));
    for (auto &v : squares) v.resize(size_t(n));
    lse.resize(size_t(n)), mass.resize(size_t(n), 1.0);
    class_sums.resize(size_t(groups * K));
    listed_row.resize(size_t(15 * n)), listed_class.resize(size_t(15 * n)), listed_p.resize(size_t(15 * n));
    std::mt19937_64 random(3);
    odd.resize(size_t(K) * t.bytes / 8 + 1);
    for (uint64_t &x : odd) x = random() | 1;
  }
  unsigned char *at(int64_t r, int64_t k) { return logits.data() + size_t(r * classes + k) * type.bytes; }
  double z(int64_t r, int64_t k) { return get(type.id, at(r, k)); }
  std::string words(int64_t r) const {
    return std::string(type.name) + ", " + std::to_string(classes) + " classes, row " + std::to_string(r);
  }
  int32_t run() {
    job.abi = SFUMATO_ABI, job.type = type.id, job.rows = rows, job.classes = classes;
    job.logits = logits.data(), job.labels = labels.data(), job.odd = odd.data();
    job.predicted = predicted.data(), job.rank = rank.data(), job.correct = correct.data(), job.tied = tied.data();
    double **columns[9] = {&job.confidence, &job.log_confidence, &job.nll, &job.brier, &job.gap, &job.norm,
                           &job.slope, &job.behind, &job.centre};
    for (int i = 0; i < 9; ++i) *columns[i] = column[i].data();
    job.hash = hash.data(), job.beta = beta, job.lse = lse.data();
    for (int i = 0; i < 4; ++i) job.cumulants[i] = cumulants[i].data();
    for (int i = 0; i < 3; ++i) job.squares[i] = squares[i].data();
    job.class_sums = class_sums.data(), job.modulus = modulus, job.groups = groups, job.mass = mass.data();
    job.edge = edge, job.most = 15 * rows;
    job.listed_row = listed_row.data(), job.listed_class = listed_class.data(), job.listed_p = listed_p.data();
    return sfumato_scan(&job);
  }
};

// An error against the truth, in units of what float's rounding of d, exp and the sums may be: the header's bound.
double units(double got, Wide truth, Wide scale, Wide size) {
  if (std::isinf(double(truth)) || std::isnan(double(truth))) {
    return got == double(truth) || (std::isnan(got) && std::isnan(double(truth))) ? 0 : inf;
  }
  return double(std::fabs(Wide(got) - truth) / ((2 + size) * 6e-8L * scale + 1e-37L * std::pow(1 + size, 4)));
}

// Every column of one row; returns the largest error in those units.
double compare(Case &c, int64_t r, std::vector<Wide> &sums, int64_t &listed) {
  const int64_t K = c.classes, y = c.labels[size_t(r)];
  std::vector<Wide> d(static_cast<size_t>(K));
  int64_t j = 0, rank = 0, tied = 0;
  for (int64_t k = 1; k < K; ++k) j = c.z(r, k) > c.z(r, j) ? k : j;
  const Wide top = c.z(r, j);
  Wide size = 0;  // of the classes that have a part in the sums
  const double part_from = -104 / std::min(1.0, c.beta);
  for (int64_t k = 0; k < K; ++k) {
    d[size_t(k)] = c.z(r, k) - top;
    if (d[size_t(k)] > part_from) size = std::max(size, -d[size_t(k)] * Wide(std::max(1.0, c.beta)));
    tied += k != j && d[size_t(k)] == 0;
  }
  for (int64_t k = 0; k < K; ++k) rank += d[size_t(k)] > d[size_t(y)] || (d[size_t(k)] == d[size_t(y)] && k < y);
  const std::string where = c.words(r);
  check(c.predicted[size_t(r)] == j && c.rank[size_t(r)] == rank, "first of the largest, and rank", where);
  check(bool(c.correct[size_t(r)]) == (j == y) && bool(c.tied[size_t(r)]) == (tied > 0), "right, and tied", where);

  Wide s = 0, total = 0, others = 0, without_y = 0, expected = 0, finite = 0, of_finite = 0, rest = 0, norm = 0;
  Wide m[5] = {0, 0, 0, 0, 0}, q[3] = {0, 0, 0};
  const Wide d_y = d[size_t(y)];
  for (int64_t k = 0; k < K; ++k) {
    const Wide x = d[size_t(k)], e = std::exp(x), at = std::exp(c.beta * x), part = std::isinf(x) ? 0 : x;
    total += x;
    if (!std::isinf(x)) finite += 1, of_finite += x;
    if (k != y) rest += x, without_y += e, others += e * e;
    if (k == j) continue;
    s += e, expected += e * part;
    Wide term = at, square = at * at;
    for (int i = 0; i < 5; ++i, term *= part) m[i] += term;
    for (int i = 0; i < 3; ++i, square *= part) q[i] += square;
  }
  const Wide mean = total / Wide(K), one = 1 + s, wide = std::isinf(total) ? 1 : std::fabs(mean) + 1;
  for (int64_t k = 0; k < K && !std::isinf(mean); ++k) norm += (d[size_t(k)] - mean) * (d[size_t(k)] - mean);
  norm = std::isinf(mean) ? Wide(inf) : std::sqrt(norm);
  const Wide log_one = std::log1p(s), wrong = without_y / one;
  double worst = 0;
  const auto measure = [&](const char *what, double got, Wide truth, Wide scale) {
    const double error = units(got, truth, scale, size);
    worst = std::max(worst, error);
    check(error <= 2, what, where + ": " + std::to_string(got) + " for " + std::to_string(double(truth)));
  };
  const auto column = [&](int i) { return c.column[i][size_t(r)]; };
  measure("confidence", column(0), 1 / one, 1);
  measure("log confidence", column(1), -log_one, log_one);
  measure("NLL", column(2), log_one - d_y, log_one - (std::isinf(d_y) ? 0 : d_y));
  measure("Brier score", column(3), wrong * wrong + others / (one * one), 1);
  measure("gap", column(4), d_y - rest / Wide(K - 1), wide + std::fabs(std::isinf(d_y) ? 0 : d_y));
  measure("norm", column(5), norm, (wide + norm) * std::sqrt(Wide(K)));
  measure("slope", column(6), expected / one - d_y, 1 + size * s / one + (std::isinf(d_y) ? 0 : -d_y));
  measure("behind", column(7), -d_y, 1 + (std::isinf(d_y) ? 0 : -d_y));
  measure("centre", column(8), of_finite / finite, 1 + std::fabs(of_finite / finite));

  const Wide S = 1 + m[0], m1 = m[1] / S, m2 = m[2] / S, m3 = m[3] / S, m4 = m[4] / S;
  measure("lse at β", c.lse[size_t(r)], std::log1p(m[0]), std::log1p(m[0]));
  measure("ψ", c.cumulants[0][size_t(r)], m1 - d_y, 1 + std::fabs(m1) + (std::isinf(d_y) ? 0 : -d_y));
  measure("κ2", c.cumulants[1][size_t(r)], m2 - m1 * m1, 2 * (m2 + m1 * m1));
  measure("κ3", c.cumulants[2][size_t(r)], m3 - 3 * m1 * m2 + 2 * m1 * m1 * m1, 4 * std::fabs(m3) + std::fabs(m1) * m2 * 6);
  measure("κ4", c.cumulants[3][size_t(r)], m4 - 4 * m1 * m3 - 3 * m2 * m2 + 12 * m1 * m1 * m2 - 6 * m1 * m1 * m1 * m1,
          8 * m4 + 24 * m1 * m1 * m2);
  for (int i = 0; i < 3; ++i) measure("squares", c.squares[i][size_t(r)], q[i], 2 * std::fabs(q[i]));

  uint64_t hash = 0;
  const unsigned char *bytes = c.at(r, 0);
  const size_t length = size_t(K) * c.type.bytes;
  for (size_t i = 0; i < length; i += 8) {
    uint64_t word = 0;
    std::memcpy(&word, bytes + i, std::min<size_t>(8, length - i));
    hash += word * c.odd[i / 8];
  }
  for (const uint64_t factor : {0xFF51AFD7ED558CCDull, 0xC4CEB9FE1A85EC53ull, 1ull}) hash = (hash ^ hash >> 33) * factor;
  check(c.hash[size_t(r)] == hash, "hash", where);
  for (int64_t k = 0; k < K; ++k) {
    const Wide p = std::exp(d[size_t(k)]) / one;
    sums[size_t(int64_t(hash % modulus) % groups * K + k)] += c.mass[size_t(r)] * p;
    if (!(p > edge)) continue;
    bool found = false;
    for (int64_t i = 0; i < c.job.listed; ++i) {
      found |= c.listed_row[size_t(i)] == r && c.listed_class[size_t(i)] == k && std::fabs(c.listed_p[size_t(i)] - p) < 1e-6L;
    }
    check(found || p < edge * (1 + 1e-5L), "listed above the edge", where);
    ++listed;
  }
  return worst;
}

// Rows of every kind: even, spread, sure by up to 300 nats, tied, ruled out, the label ruled out.
void fill(Case &c, std::mt19937_64 &random) {
  std::normal_distribution<double> normal;
  for (int64_t r = 0; r < c.rows; ++r) {
    const int64_t K = c.classes, kind = r % 9;
    const double spread = kind == 0 ? 0 : kind < 3 ? 1 : 6;
    for (int64_t k = 0; k < K; ++k) put(c.type.id, c.at(r, k), spread * normal(random) - 3);
    const int64_t y = c.labels[size_t(r)] = int64_t(random() % uint64_t(K)), other = int64_t(random() % uint64_t(K));
    if (kind == 3) put(c.type.id, c.at(r, y), 60);
    if (kind == 4) put(c.type.id, c.at(r, other), 300);
    // tied, and on both sides of where a vector ends
    if (kind == 5) put(c.type.id, c.at(r, other), 40), put(c.type.id, c.at(r, K - 1), 40);
    for (int64_t k = 63; kind == 5 && k < 65 && k < K; ++k) put(c.type.id, c.at(r, k), 39.5);
    if (kind == 6 && other != y) put(c.type.id, c.at(r, other), -inf);
    if (kind == 7 && other != y) put(c.type.id, c.at(r, y), -inf);
    if (kind == 8) put(c.type.id, c.at(r, other), c.type.id == SFUMATO_F16 ? -65504 : -3e38);
    c.mass[size_t(r)] = double(random() % 4) / 2;
  }
}

void values(const Type &t, std::mt19937_64 &random) {
  double worst = 0;
  for (const int64_t K : {2, 3, 7, 16, 17, 63, 64, 65, 511, 512, 513, 1000, 5000}) {
    for (const double beta : {0.4, 1.0, 2.5}) {
      Case c(t, 27, K, beta);
      fill(c, random);
      check(c.run() == SFUMATO_OK, "runs", c.words(0));
      std::vector<Wide> sums(size_t(groups * K), 0);
      int64_t listed = 0;
      for (int64_t r = 0; r < c.rows; ++r) worst = std::max(worst, compare(c, r, sums, listed));
      check(listed == c.job.listed, "number listed", c.words(c.job.listed));
      for (size_t i = 0; i < sums.size(); ++i) check(std::fabs(sums[i] - c.class_sums[i]) < 1e-5L, "class sums", c.words(-1));
    }
  }
  std::printf("%-9s  %12.2g %8.1e\n", t.name, worst * 6e-8, 1.2e-7);
}

void refusals(const Type &t, std::mt19937_64 &random) {
  for (const double bad : {nan, inf}) {
    for (const int64_t k : {0, 64, 99}) {
      Case c(t, 9, 100, 1);
      fill(c, random);
      put(t.id, c.at(4, k), bad);
      check(c.run() == SFUMATO_BAD_LOGITS && c.job.bad_row == 4, "a row that is not finite is named", c.words(4));
    }
  }
  Case c(t, 9, 100, 1);
  fill(c, random);
  for (int64_t k = 0; k < 100; ++k) put(t.id, c.at(7, k), -inf);
  check(c.run() == SFUMATO_BAD_LOGITS && c.job.bad_row == 7, "a row of −inf is named", c.words(7));
  for (const int64_t label : {int64_t(-1), int64_t(100)}) {
    Case d(t, 9, 100, 1);
    fill(d, random);
    d.labels[8] = label;
    const bool named = d.run() == SFUMATO_BAD_LABEL && d.job.bad_row == 8 && d.job.bad_label == label;
    check(named && d.correct[0] == 7, "a label that is no class is named before anything is written", d.words(8));
  }
  Case e(t, 3, 10, 1);
  fill(e, random);
  check(e.run() == SFUMATO_OK, "runs", e.words(0));
  const sfumato_scan_job whole = e.job;
  const auto refused = [&](const char *what, auto change) {
    sfumato_scan_job job = whole;
    change(job);
    check(sfumato_scan(&job) == SFUMATO_BAD_ARGUMENT, what, e.words(0));
  };
  refused("another version", [](sfumato_scan_job &job) { --job.abi; });
  refused("float64", [](sfumato_scan_job &job) { job.type = SFUMATO_F64; });
  refused("one class", [](sfumato_scan_job &job) { job.classes = 1; });
  refused("a hash without multipliers", [](sfumato_scan_job &job) { job.odd = nullptr; });
  refused("no group", [](sfumato_scan_job &job) { job.groups = 0; });
  refused("no place for what is listed", [](sfumato_scan_job &job) { job.listed_p = nullptr; });
  refused("no logits", [](sfumato_scan_job &job) { job.logits = nullptr; });
  check(sfumato_scan(nullptr) == SFUMATO_BAD_ARGUMENT, "no job", "");
  sfumato_scan_job few = whole;
  few.most = 1;
  check(sfumato_scan(&few) == SFUMATO_OK && few.listed <= 1, "no more is listed than there is room for", e.words(0));
  sfumato_scan_job none = whole;
  none.rows = 0, none.logits = nullptr, none.labels = nullptr;
  check(sfumato_scan(&none) == SFUMATO_OK, "no rows", e.words(0));
}

// A row's numbers are the same wherever it lies and whatever lies beside it.
void bits(const Type &t, std::mt19937_64 &random) {
  Case c(t, 27, 333, 0.7);
  fill(c, random);
  c.run();
  for (int64_t r = 0; r < c.rows; ++r) {
    Case one(t, 1, 333, 0.7);
    std::memcpy(one.logits.data(), c.at(r, 0), one.logits.size());
    one.labels[0] = c.labels[size_t(r)];
    one.run();
    bool same = one.lse[0] == c.lse[size_t(r)];
    for (int i = 0; i < 9; ++i) same &= !std::memcmp(&one.column[i][0], &c.column[i][size_t(r)], sizeof(double));
    for (int i = 0; i < 4; ++i) same &= !std::memcmp(&one.cumulants[i][0], &c.cumulants[i][size_t(r)], sizeof(double));
    check(same, "the same bits alone", c.words(r));
  }
}

}  // namespace

int main() {
  std::printf("isa %s, abi %d\n", sfumato_isa(), int(sfumato_abi()));
  std::mt19937_64 random(21);
  std::printf("%-9s  %12s %8s\n", "type", "of (2 + |d|)", "bound");
  for (const Type &t : types) {
    values(t, random);
    refusals(t, random);
    bits(t, random);
  }
  std::printf(failures ? "%d FAILED\n" : "all passed\n", failures);
  return failures ? 1 : 0;
}
