// Between dispatch.cpp, built once, and rows.cpp and scan.cpp, built once per instruction set. Nothing here and nothing in
// those two may instantiate a library template: the linker keeps one copy of such code, and it could be the one that this
// processor cannot run.
#pragma once

#include "sfumato.h"

namespace sfumato {

constexpr int64_t lanes = 64;          // classes (long rows) or rows (short rows) that are worked on side by side
constexpr int64_t short_classes = 64;  // up to here rows are short. By K alone: a layout must not change any bits.

constexpr int64_t most_entries = 16;   // of a row, for it to be worked on without its target being written out

// What all rows share, made by dispatch.cpp.
struct Plan {
  const sfumato_job *job;
  int64_t rows;
  int64_t unit;                 // rows taken together: `lanes` short ones, or a tile of long ones
  bool composed;                // the target is not a label and a rest, but written out row by row
  bool listed;                  // composed of entries over an even rest or one shared prior; rows may need no target
  const void *prior;            // u in the type of the arithmetic, or null
  const double *u;              // the same as double, or null
  const double *before, *after;  // Σ of u over the classes before and after k, for S without cancellation
  bool is_long;                 // rows are worked on along their classes
};

// What a thread has to itself. Null where no row needs it.
struct Scratch {
  void *exps;           // one row of exp(z − max), in the type of the arithmetic
  void *target;         // `unit` rows of a composed target, in the type of the arithmetic
  void *logits, *grad;  // `unit` rows each, for strides that do not run along the classes
};

using Work = void (*)(const Plan &, const Scratch &, int64_t first, int64_t last);
using Check = bool (*)(const sfumato_job &, int64_t rows, int64_t &counted);  // false where a label is no class
using Scan = int64_t (*)(sfumato_scan_job &, float *d, float *e);  // returns the first row that is bad, or −1

namespace baseline {
void work(const Plan &, const Scratch &, int64_t first, int64_t last);
void slice(const Plan &, const Scratch &, int64_t first, int64_t last);
bool check(const sfumato_job &, int64_t rows, int64_t &counted);
int64_t scan(sfumato_scan_job &, float *d, float *e);
}
namespace avx2 {
void work(const Plan &, const Scratch &, int64_t first, int64_t last);
void slice(const Plan &, const Scratch &, int64_t first, int64_t last);
bool check(const sfumato_job &, int64_t rows, int64_t &counted);
int64_t scan(sfumato_scan_job &, float *d, float *e);
}
namespace avx512 {
void work(const Plan &, const Scratch &, int64_t first, int64_t last);
void slice(const Plan &, const Scratch &, int64_t first, int64_t last);
bool check(const sfumato_job &, int64_t rows, int64_t &counted);
int64_t scan(sfumato_scan_job &, float *d, float *e);
}

}  // namespace sfumato
