// The arithmetic of one row, in the letters of docs/design.md, section 2.
//
//   d_k = z_k − z_j        j: the first index of the maximum, so that every d_k ≤ 0 and d_j = 0
//   s   = Σ_{k≠j} exp(d_k)
//   lse = log1p(s)         of d; the maximum's own term is the 1, so that a confident row, s ≪ 1, keeps its digits
//   L   = Σ q_k (lse − d_k) = S·lse − q_y·d_y − rest·Σ_{k≠y} u_k d_k
//                          every term ≥ 0 where q is: nothing cancels. The label is left out of the sum rather than
//                          taken off it: it may be −inf, or outweigh the others.
//   dL/dz_k = S·p_k − q_k,      p_k = exp(d_k)/(1 + s)
//   dL/dz_j = (S − q_j) − S·s/(1 + s)    1 − p_j has no digits left in a confident row; S − q_j is summed as Σ_{k≠j} q_k
//
// float, bfloat16 and float16 are worked on in float; what is one number a row, and sums beyond 16 terms, in double.
// Contraction is off and fma explicit, so that a lane's bits are the same in a vector and in a remainder.
#pragma once

#include <cstdint>
#include <cstring>

#if defined(__F16C__)
#include <immintrin.h>
#endif

#include "rows.hpp"

#define SFUMATO_INLINE static inline __attribute__((always_inline))

namespace sfumato {
namespace SFUMATO_ISA {

template <class To, class From>
SFUMATO_INLINE To bits(From x) {
  static_assert(sizeof(To) == sizeof(From), "a change of type, not of size");
  To y;
  std::memcpy(&y, &x, sizeof y);
  return y;
}

SFUMATO_INLINE float madd(float a, float b, float c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return __builtin_fmaf(a, b, c);
#else
  return a * b + c;
#endif
}

SFUMATO_INLINE double madd(double a, double b, double c) {
#if defined(__FMA__) || defined(__ARM_FEATURE_FMA)
  return __builtin_fma(a, b, c);
#else
  return a * b + c;
#endif
}

// ---- exp ------------------------------------------------------------------------------------------------------------
// e^d = 2^n e^r with n = round(d / log 2), |r| ≤ log(2)/2, for d ≤ 0 or NaN. Adding 1.5·2^23 (2^52) rounds to an integer
// and leaves it in the low bits. log 2 is split so that n times its high part is exact.
// Below the smallest normal number the result is 0.

// ≤ 1 ULP with fma, 1.25 without. The polynomial is the relative minimax one of the form 1 + r + r²Q(r), within 3.7e-9 (0.06 ULP).
SFUMATO_INLINE float exp(float d) {
  const float magic = 12582912.0f;
  const float y = madd(d, 1.44269504f, magic);
  const float n = y - magic;
  float r = madd(n, -0.693359375f, d);
  r = madd(n, 2.12194440e-4f, r);
  float p = madd(0.0013814540579915f, r, 0.0083687454462051f);
  p = madd(p, r, 0.0416683889925480f);
  p = madd(p, r, 0.1666652113199234f);
  p = madd(p, r, 0.4999999403953552f);
  p = madd(p, r, 1.0f);
  p = madd(p, r, 1.0f);
  const float scale = bits<float>((bits<uint32_t>(y) << 23) + (127u << 23));  // the constant's bits are shifted out
  p = p * scale;  // a product, so that NaN stays NaN
  return d < -87.33654f ? 0.0f : p;
}

// ≤ 1 ULP with fma, 1.25 without. Taylor's polynomial of degree 13, within 5e-18.
SFUMATO_INLINE double exp(double d) {
  const double magic = 6755399441055744.0;
  const double y = madd(d, 1.4426950408889634, magic);
  const double n = y - magic;
  double r = madd(n, -6.93147180369123816490e-01, d);
  r = madd(n, -1.90821492927058770002e-10, r);
  double p = madd(1 / 6227020800.0, r, 1 / 479001600.0);
  p = madd(p, r, 1 / 39916800.0);
  p = madd(p, r, 1 / 3628800.0);
  p = madd(p, r, 1 / 362880.0);
  p = madd(p, r, 1 / 40320.0);
  p = madd(p, r, 1 / 5040.0);
  p = madd(p, r, 1 / 720.0);
  p = madd(p, r, 1 / 120.0);
  p = madd(p, r, 1 / 24.0);
  p = madd(p, r, 1 / 6.0);
  p = madd(p, r, 0.5);
  p = madd(p, r, 1.0);
  p = madd(p, r, 1.0);
  const double scale = bits<double>((bits<uint64_t>(y) << 52) + (1023ull << 52));
  p = p * scale;
  return d < -708.396418532264 ? 0.0 : p;
}

// ---- log1p ----------------------------------------------------------------------------------------------------------
// w = 1 + s rounded, c = what the rounding lost; w = 2^k (1 + f) with √½ ≤ 1 + f < √2; t = f/(2 + f), |t| ≤ 0.1716:
//   log(1 + f) = f − (f²/2 − t (f²/2 + R)),  R = Σ_{n≥1} 2 t^{2n}/(2n + 1)
// For s ≥ 0 or NaN. Exact: within 2 ULP, R to t^20. Else within 1e-11 relative, R to t^12, for the float types.
//
// inverse becomes 1/(1 + s). Where it need not be exact one division serves both: 1/(w(2 + f)).
template <bool Exact>
SFUMATO_INLINE double log1p(double s, double &inverse) {
  const double w = 1.0 + s;
  double c = s - (w - 1.0);
  const uint64_t b = bits<uint64_t>(w);
  const uint64_t k = (b - 0x3FE6A09E667F3BCDull) >> 52;
  const double f = bits<double>(b - (k << 52)) - 1.0;
  const double exponent = bits<double>(k | 0x4330000000000000ull) - 4503599627370496.0;
  double t;
  if (Exact) {
    inverse = 1.0 / w;
    c = c / w;
    t = f / (2.0 + f);
  } else {
    const double both = 1.0 / (w * (2.0 + f));
    inverse = (2.0 + f) * both;
    t = f * (w * both);
  }
  const double v = t * t, half = 0.5 * f * f;
  double R = 2 / 13.0;
  if (Exact) {
    R = madd(2 / 21.0, v, 2 / 19.0);
    R = madd(R, v, 2 / 17.0);
    R = madd(R, v, 2 / 15.0);
    R = madd(R, v, 2 / 13.0);
  }
  R = madd(R, v, 2 / 11.0);
  R = madd(R, v, 2 / 9.0);
  R = madd(R, v, 2 / 7.0);
  R = madd(R, v, 2 / 5.0);
  R = madd(R, v, 2 / 3.0);
  R = R * v;
  const double log_f = f - (half - t * (half + R));
  // NaN and inf make a k and an f of no meaning; s is at most K, so NaN alone is put back.
  const double sum = exponent * 6.93147180369123816490e-01 + (exponent * 1.90821492927058770002e-10 + c + log_f);
  inverse = s == s ? inverse : s;
  return s == s ? sum : s;
}

// ---- types ----------------------------------------------------------------------------------------------------------

// index is as wide as real. key orders logits: halves by their bits, which as sign and magnitude are an order of
// integers once the negative ones are flipped, four to eight times faster than as floats. There NaN with its sign off is
// the maximum, and +0 above −0; neither matters, since NaN spoils its row and any maximum may be left out of s.
SFUMATO_INLINE int16_t key_of_half(uint16_t x) { return int16_t(x ^ (uint16_t(int16_t(x) >> 15) & 0x7FFFu)); }

//
// staged: whether a group of lanes is better converted as a whole, by widen and narrow.
struct F32 {
  static constexpr bool staged = false;
  using stored = float;
  using real = float;
  using index = int32_t;
  using key = float;
  static constexpr key lowest = -__builtin_inff();
  SFUMATO_INLINE key order(stored x) { return x; }
  SFUMATO_INLINE real load(stored x) { return x; }
  SFUMATO_INLINE stored store(real x) { return x; }
};

struct F64 {
  static constexpr bool staged = false;
  using stored = double;
  using real = double;
  using index = int64_t;
  using key = double;
  static constexpr key lowest = -__builtin_inf();
  SFUMATO_INLINE key order(stored x) { return x; }
  SFUMATO_INLINE real load(stored x) { return x; }
  SFUMATO_INLINE stored store(real x) { return x; }
};

// The upper half of a float. Rounds to nearest even; NaN stays NaN, quiet.
struct BF16 {
  static constexpr bool staged = false;
  using stored = uint16_t;
  using real = float;
  using index = int32_t;
  using key = int16_t;
  static constexpr key lowest = INT16_MIN;
  SFUMATO_INLINE key order(stored x) { return key_of_half(x); }
  SFUMATO_INLINE real load(stored x) { return bits<float>(uint32_t(x) << 16); }
  SFUMATO_INLINE stored store(real x) {
    const uint32_t u = bits<uint32_t>(x);
    const uint32_t rounded = (u + 0x7FFFu + ((u >> 16) & 1u)) >> 16;
    const uint32_t nan = (u >> 16) | 0x40u;
    return stored(x == x ? rounded : nan);
  }
};

// IEEE half. Integers convert its subnormals, since a thread may be set to flush those of float to 0. Where the processor
// has instructions for it they are asked for by name, the only ones here that are: compilers do not find them.
struct F16 {
#if defined(__F16C__)
  static constexpr bool staged = true;
#else
  static constexpr bool staged = false;
#endif
  using stored = uint16_t;
  using real = float;
  using index = int32_t;
  using key = int16_t;
  static constexpr key lowest = INT16_MIN;
  SFUMATO_INLINE key order(stored x) { return key_of_half(x); }
  SFUMATO_INLINE real load(stored x) {
    const uint32_t h = x, sign = (h & 0x8000u) << 16, rest = h & 0x7FFFu;
    const uint32_t normal = (rest << 13) + ((127u - 15u) << 23);
    const uint32_t infinite = (rest << 13) | 0x7F800000u;
    const uint32_t small = bits<uint32_t>(float(int32_t(rest)) * 5.9604644775390625e-8f);
    const uint32_t u = rest >= 0x7C00u ? infinite : rest >= 0x0400u ? normal : small;
    return bits<float>(u | sign);
  }
  SFUMATO_INLINE stored store(real x) {
    const uint32_t u = bits<uint32_t>(x), sign = (u >> 16) & 0x8000u, a = u & 0x7FFFFFFFu;
    const uint32_t normal = (a - ((127u - 15u) << 23) + 0xFFFu + ((a >> 13) & 1u)) >> 13;
    // 0.5f has the unit of half's subnormals: adding it rounds there, and leaves them in the low bits.
    const uint32_t small = bits<uint32_t>(bits<float>(a) + 0.5f) - 0x3F000000u;
    const uint32_t infinite = a > 0x7F800000u ? 0x7E00u : 0x7C00u;
    const uint32_t h = a >= 0x477FF000u ? infinite : a < 0x38800000u ? small : normal;
    return stored(h | sign);
  }
  // n is a multiple of 16. Whole vectors: a load that spans two smaller stores has to wait for both.
#if defined(__AVX512F__)
  SFUMATO_INLINE void widen(const stored *from, real *to, int n) {
    for (int i = 0; i < n; i += 16) {
      _mm512_storeu_ps(to + i, _mm512_cvtph_ps(_mm256_loadu_si256(reinterpret_cast<const __m256i *>(from + i))));
    }
  }
  SFUMATO_INLINE void narrow(const real *from, stored *to, int n) {
    for (int i = 0; i < n; i += 16) {
      _mm256_storeu_si256(reinterpret_cast<__m256i *>(to + i),
                          _mm512_cvtps_ph(_mm512_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    }
  }
#elif defined(__F16C__)
  SFUMATO_INLINE void widen(const stored *from, real *to, int n) {
    for (int i = 0; i < n; i += 8) {
      _mm256_storeu_ps(to + i, _mm256_cvtph_ps(_mm_loadu_si128(reinterpret_cast<const __m128i *>(from + i))));
    }
  }
  SFUMATO_INLINE void narrow(const real *from, stored *to, int n) {
    for (int i = 0; i < n; i += 8) {
      _mm_storeu_si128(reinterpret_cast<__m128i *>(to + i),
                       _mm256_cvtps_ph(_mm256_loadu_ps(from + i), _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC));
    }
  }
#endif
};

// A group of logits as it is best read: itself, or converted into `space`.
template <class T>
SFUMATO_INLINE auto read(const typename T::stored *z, typename T::real *space, int n) {
  if constexpr (T::staged) {
    T::widen(z, space, n);
    return const_cast<const typename T::real *>(space);
  } else {
    return z;
  }
}

template <class T, class From>
SFUMATO_INLINE typename T::real load(From x) {
  if constexpr (sizeof(From) == sizeof(typename T::real)) {
    return x;
  } else {
    return T::load(x);
  }
}

enum Target { even, prior, dense };  // u = 1, u given, q given

// ---- the row's finish -----------------------------------------------------------------------------------------------

// Of one row once its sums are known; all in double.
struct Finish {
  double loss;
  double at_top, at_label;  // gradient at j and at y
  double slope, rest;       // gradient elsewhere: slope·exp(d_k) − rest·u_k
};

// s, and S and S − q_j; for labelled rows q_y, d_y, exp(d_y), rest and Σ_{k≠y} u_k d_k, for dense ones 0, 0, 0, 1 and
// Σ q_k d_k. zero is z_j − z_j: NaN where the maximum is infinite. No mass costs nothing: 0·inf is 0.
template <bool Exact>
SFUMATO_INLINE Finish finish(double s, double zero, double S, double S_without_top, double q_y, double d_y, double e_y,
                             double rest, double sum_d, double factor) {
  double inverse;
  const double sum = s + zero, lse = log1p<Exact>(sum, inverse);
  const double of_label = q_y == 0.0 ? 0.0 : q_y * d_y;
  const double of_others = rest == 0.0 ? 0.0 : rest * sum_d;
  Finish f;
  f.loss = S * lse - of_label - of_others;
  f.slope = S * inverse * factor;
  f.rest = rest * factor;
  f.at_label = (S * e_y * inverse - q_y) * factor;
  f.at_top = (S_without_top - S * (sum * inverse)) * factor;
  return f;
}

}  // namespace SFUMATO_ISA
}  // namespace sfumato
