// The bits of losses and gradients, as two sums a type, held to those that are written down here. They depend on whether the
// instruction set has fused multiply-add, and on nothing else: not on the processor, the compiler or the system.
//   bits_test          compares
//   bits_test write    prints the table, for when bits are meant to change (CHANGELOG.md then says so under "Numerics")
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "testing.hpp"

namespace {

struct Type {
  const char *name;
  int32_t id;
  size_t bytes;
};
const Type types[] = {
    {"float32", SFUMATO_F32, 4}, {"float64", SFUMATO_F64, 8}, {"bfloat16", SFUMATO_BF16, 2}, {"float16", SFUMATO_F16, 2}};

struct Sums {
  uint64_t losses, gradients;
};
const Sums with_fma[] = {
    {0x534d323d5e46d628u, 0x7bad96c8d5c43e00u},  // float32
    {0x0656e7cde536cf3cu, 0x23a56e585fc4e1dbu},  // float64
    {0xc9b8072262459337u, 0xd826372122b0b83fu},  // bfloat16
    {0x70a01f31d34d45f0u, 0xf0aa4ec713a6967au},  // float16
};
const Sums without_fma[] = {
    {0x0605c5570b1b23cbu, 0x3c9576d284dac68cu},  // float32
    {0x99dca4ad2b35861fu, 0x5bb24143acaa7c82u},  // float64
    {0x40fed7e3a1da0f08u, 0x91ac1319937b140du},  // bfloat16
    {0xaf131a7e485fcf12u, 0x7a0aa427f5591027u},  // float16
};

// FNV-1a, which sees every byte and its place.
void add(uint64_t &sum, const void *bytes, size_t n) {
  for (size_t i = 0; i < n; ++i) sum = (sum ^ static_cast<const unsigned char *>(bytes)[i]) * 0x100000001b3u;
}

// A number in [low, high) from integers alone: the distributions of <random> are each library's own.
double drawn(std::mt19937_64 &random, double low, double high) {
  return low + (high - low) * (double(random() >> 11) * 0x1p-53);
}

enum Target { even, prior, listed, dense };

void work(const Type &t, int64_t rows, int64_t K, Target target, std::mt19937_64 &random, Sums &sums) {
  const size_t n = size_t(rows * K);
  std::vector<unsigned char> z(n * t.bytes), g(n * t.bytes), x(n * t.bytes);
  std::vector<double> u(static_cast<size_t>(K)), loss(static_cast<size_t>(rows)), masses(static_cast<size_t>(rows));
  std::vector<int64_t> labels(static_cast<size_t>(rows)), entries(static_cast<size_t>(rows));
  for (size_t i = 0; i < n; ++i) {
    put(t.id, &z[i * t.bytes], drawn(random, -12, 12));
    put(t.id, &x[i * t.bytes], drawn(random, 0, 2.0 / double(K)));
  }
  for (double &each : u) each = drawn(random, 0, 2.0 / double(K));
  for (double &each : masses) each = drawn(random, 0, 1);
  for (int64_t &each : labels) each = int64_t(random() % uint64_t(K));
  for (int64_t &each : entries) each = int64_t(random() % uint64_t(K));
  sfumato_job job{};
  job.abi = SFUMATO_ABI, job.type = t.id, job.threads = 1;
  job.outer = rows, job.classes = K, job.inner = 1;
  job.logits = z.data(), job.grad = g.data(), job.loss = loss.data();
  job.labels = labels.data();
  const int64_t strides[3] = {K, 1, 1};
  for (int a = 0; a < 3; ++a) job.logit_strides[a] = job.grad_strides[a] = job.dense_strides[a] = strides[a];
  job.true_mass = 0.9, job.rest_mass = 0.1 / double(K), job.scale = 1.0 / double(rows);
  if (target == prior) job.prior = u.data(), job.rest_mass = 0.1;
  if (target == listed) {
    job.back[0].used = 1, job.back[0].c = 0.05 / double(K);
    job.entries = 1, job.entry_classes = entries.data(), job.entry_masses = masses.data();
  }
  if (target == dense) job.dense = x.data(), job.dense_type = t.id, job.dense_scale = 0.8, job.dense_shift = 0.01;
  check(sfumato_run(&job) == SFUMATO_OK, "run", std::string(t.name) + ", " + std::to_string(K) + " classes");
  add(sums.losses, loss.data(), loss.size() * sizeof(double));
  add(sums.gradients, g.data(), g.size());
}

bool fused() { return std::strcmp(sfumato_isa(), "baseline") != 0; }

}  // namespace

int main(int count, char **words) {
  const bool write = count > 1 && !std::strcmp(words[1], "write");
  std::printf("isa %s, abi %d, fused multiply-add: %s\n", sfumato_isa(), int(sfumato_abi()), fused() ? "yes" : "no");
  for (size_t i = 0; i < 4; ++i) {
    Sums found{0xcbf29ce484222325u, 0xcbf29ce484222325u};
    std::mt19937_64 random(7);
    for (const int64_t K : {2, 3, 10, 64, 65, 100, 1000}) {
      for (const Target target : {even, prior, listed, dense}) work(types[i], 37, K, target, random, found);
    }
    const Sums said = (fused() ? with_fma : without_fma)[i];
    if (write) {
      std::printf("{0x%016llxu, 0x%016llxu},  // %s\n", (unsigned long long)found.losses, (unsigned long long)found.gradients, types[i].name);
      continue;
    }
    check(found.losses == said.losses, "losses have other bits than those written down", types[i].name);
    check(found.gradients == said.gradients, "gradients have other bits than those written down", types[i].name);
  }
  std::printf(failures ? "%d FAILED\n" : "all passed\n", failures);
  return failures ? 1 : 0;
}
