// What row_test and scan_test share: failures that are counted, and values as they are stored in each type.
#pragma once

#include <cstdio>
#include <cstring>
#include <limits>
#include <string>

#include "sfumato.h"

#define SFUMATO_ISA test
#include "row.hpp"

namespace {

using Wide = long double;
namespace maths = sfumato::test;
const double inf = std::numeric_limits<double>::infinity(), nan = std::numeric_limits<double>::quiet_NaN();
int failures = 0;

void check(bool ok, const char *what, const std::string &where) {
  if (ok) return;
  if (++failures <= 20) std::printf("FAILED %s: %s\n", what, where.c_str());
}

[[maybe_unused]] double get(int32_t type, const unsigned char *p) {  // bits_test only puts
  double d;
  float f;
  uint16_t h;
  switch (type) {
    case SFUMATO_F32: std::memcpy(&f, p, 4); return f;
    case SFUMATO_F64: std::memcpy(&d, p, 8); return d;
    default: std::memcpy(&h, p, 2); return type == SFUMATO_BF16 ? maths::BF16::load(h) : maths::F16::load(h);
  }
}

void put(int32_t type, unsigned char *p, double x) {
  const float f = float(x);
  const uint16_t h = type == SFUMATO_BF16 ? maths::BF16::store(f) : maths::F16::store(f);
  switch (type) {
    case SFUMATO_F32: std::memcpy(p, &f, 4); return;
    case SFUMATO_F64: std::memcpy(p, &x, 8); return;
    default: std::memcpy(p, &h, 2); return;
  }
}

}  // namespace
