// Rows side by side: from row after row to class after class and back, in tiles of W×W that stay in registers.
//
// log2 W times, row i and row i + W/2 are zipped into rows 2i and 2i + 1: a perfect shuffle of the index bits, so that
// after all of them row and column have changed places. Element by element this took as long as the loss itself.
#pragma once

#include "row.hpp"

namespace sfumato {
namespace SFUMATO_ISA {

#if defined(__AVX512F__)
constexpr int vector_bytes = 64;
#elif defined(__AVX__)
constexpr int vector_bytes = 32;
#else
constexpr int vector_bytes = 16;
#endif

template <int... I>
struct Indices {};

template <int N, int... I>
struct UpTo : UpTo<N - 1, N - 1, I...> {};

template <int... I>
struct UpTo<0, I...> {
  using type = Indices<I...>;
};

template <class real>
struct Tile {
  static constexpr int W = vector_bytes / int(sizeof(real));
  typedef real vector __attribute__((vector_size(vector_bytes)));
  vector row[W];

  template <int High, int... I>
  SFUMATO_INLINE vector zip(vector a, vector b, Indices<I...>) {
    return __builtin_shufflevector(a, b, (High * W / 2 + I / 2 + (I % 2) * W)...);
  }

  __attribute__((always_inline)) inline void transpose() {
    using all = typename UpTo<W>::type;
    for (int stage = 1; stage < W; stage *= 2) {
      vector next[W];
#pragma GCC unroll 16
      for (int i = 0; i < W / 2; ++i) {
        next[2 * i] = zip<0>(row[i], row[i + W / 2], all());
        next[2 * i + 1] = zip<1>(row[i], row[i + W / 2], all());
      }
#pragma GCC unroll 16
      for (int i = 0; i < W; ++i) row[i] = next[i];
    }
  }
};

// One tile: vectors `step` apart, to the same transposed.
template <class real>
SFUMATO_INLINE void transpose(const real *from, int64_t from_step, real *to, int64_t to_step) {
  constexpr int W = Tile<real>::W;
  Tile<real> t;
  for (int i = 0; i < W; ++i) std::memcpy(&t.row[i], from + i * from_step, vector_bytes);
  t.transpose();
  for (int i = 0; i < W; ++i) std::memcpy(to + i * to_step, &t.row[i], vector_bytes);
}

// `rows` holds lanes×K numbers, row after row, and room for one vector behind them.
template <class real>
SFUMATO_INLINE void to_lanes(const real *rows, int K, real (*block)[lanes]) {
  constexpr int W = Tile<real>::W;
  for (int l = 0; l < int(lanes); l += W) {
    for (int k = 0; k < K; k += W) {
      Tile<real> t;
      for (int i = 0; i < W; ++i) std::memcpy(&t.row[i], rows + (l + i) * K + k, vector_bytes);
      t.transpose();
      const int n = K - k < W ? K - k : W;
      for (int i = 0; i < n; ++i) std::memcpy(block[k + i] + l, &t.row[i], vector_bytes);
    }
  }
}

// A tile that is wider than what is left of its rows spills into the next row's first places. Those are written later:
// within a row the last tile goes first, and rows go upwards. From row `first` to `last`, multiples of the width.
template <class real>
SFUMATO_INLINE void from_lanes(real (*block)[lanes], int K, real *rows, int first = 0, int last = int(lanes)) {
  constexpr int W = Tile<real>::W;
  for (int l = first; l < last; l += W) {
    for (int k = (K - 1) / W * W; k >= 0; k -= W) {
      Tile<real> t;
      const int n = K - k < W ? K - k : W;
      for (int i = 0; i < W; ++i) {
        if (i < n) {
          std::memcpy(&t.row[i], block[k + i] + l, vector_bytes);
        } else {
          t.row[i] = typename Tile<real>::vector{};
        }
      }
      t.transpose();
      for (int i = 0; i < W; ++i) std::memcpy(rows + (l + i) * K + k, &t.row[i], vector_bytes);
    }
  }
}

}  // namespace SFUMATO_ISA
}  // namespace sfumato
