/* The C ABI of sfumato's CPU kernel: the loss, and the scan of an audit. Loaded by sfumato/kernel/library.py.

   Row r = o·inner + i of the logits z (outer, classes, inner) has the loss Σ_k q_k (lse(z) − z_k), never scaled, and the
   gradient (S p_k − q_k)·scale·row_scale[r], where p = softmax(z) and S = Σ q. Its target q is one of
     labelled:  q_y = true mass at its label y, rest·u_k at every other class k
     composed:  A x_k + B, or c_1 u_1k + c_2 u_2k where supported; then the entries' masses at the entries' classes; then
                the true mass added at the label, if there is one; then all of it times w_k. With dense or back.
   A class without mass costs nothing, even at −inf. NaN or +inf among the logits of a row make that row NaN, alone.
   A row that does not count (ignore_index, valid[r] == 0) has loss 0 and gradient exactly 0 whatever it holds.
   A row's numbers depend on that row alone: not on the layout, the batch, or the number of threads.

   Worst errors against the definition (row_test and tests/loss/test_numerics.py hold them; docs/numerics.md has the table):
     float32, bfloat16, float16: loss 5e-7 relative, gradient 5e-7 absolute, halves then rounded once;
     float64: 1e-14 and 1e-14; each plus one unit of the type of the arithmetic times the row's largest gap. */
#ifndef SFUMATO_H
#define SFUMATO_H

#include <stdint.h>

#define SFUMATO_ABI 6

#if defined(_WIN32)
#define SFUMATO_API __declspec(dllexport)
#else
#define SFUMATO_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum sfumato_type { SFUMATO_F32 = 0, SFUMATO_F64 = 1, SFUMATO_BF16 = 2, SFUMATO_F16 = 3 };
enum sfumato_error {
  SFUMATO_OK = 0,
  SFUMATO_BAD_LABEL = 1,
  SFUMATO_BAD_ARGUMENT = 2,
  SFUMATO_NO_MEMORY = 3,
  SFUMATO_BAD_LOGITS = 4                /* of the scan: a row with NaN or +inf, or with −inf throughout */
};

typedef struct sfumato_back {           /* mass over the classes: c·u */
  int32_t used;
  const void *u;                        /* in the type of the arithmetic, a table (…, classes); NULL: 1 */
  const int64_t *index;                 /* which of its rows, per row; NULL: row 0 */
  double c;                             /* used where the array is NULL */
  const double *c_rows;                 /* per row, or NULL */
} sfumato_back;

typedef struct sfumato_job {
  int32_t abi;                          /* SFUMATO_ABI */
  int32_t type;                         /* of logits and grad; the arithmetic's is float64 for that and else float32 */
  int64_t outer, classes, inner;        /* logits are (outer, classes, inner); row r = o*inner + i */
  int64_t logit_strides[3];             /* in elements: outer, class, inner; 0 is allowed */
  const void *logits;
  void *grad;                           /* NULL, or (outer, classes, inner); may be the logits, with their strides */
  int64_t grad_strides[3];              /* no two entries may share an address */
  const int64_t *labels;                /* per row; NULL only in a composed target */
  int64_t ignore_index;                 /* rows with this label do not count; read where has_ignore != 0 */
  int32_t has_ignore;
  double true_mass, rest_mass;          /* used where the arrays below are NULL */
  const double *true_rows, *rest_rows;  /* per row, or NULL */
  const double *prior;                  /* u_k of a labelled target, (classes), or NULL: 1 for every class */

  const void *dense;                    /* x, or NULL */
  int32_t dense_type;                   /* that of the logits or of the arithmetic */
  int64_t dense_strides[3];
  double dense_scale, dense_shift;      /* A, B */
  const double *dense_scale_rows;       /* A per row, or NULL */
  sfumato_back back[2];                 /* c_1 u_1, c_2 u_2 */
  const uint8_t *support;               /* m, (outer, classes, inner), or NULL: 1 */
  int64_t support_strides[3];
  const void *weight;                   /* w in the type of the arithmetic, (classes), or NULL: 1 */
  int64_t entries;                      /* classes with a mass of their own, per row */
  const int64_t *entry_classes;         /* (rows, entries); −1: none */
  const double *entry_masses;           /* (rows, entries) */

  const uint8_t *valid;                 /* rows: which count; or NULL: all */
  double scale;                         /* of a mean, before it is divided */
  int32_t mean;                         /* whether the scale is divided by how many rows count: NaN over none */
  const double *row_scale;              /* per row, or NULL: 1 */
  double *loss;                         /* rows, out; of a measurement Σ q_k (z_j − z_k), which has no lse */
  int32_t threads;                      /* at most this many; small jobs take fewer */
  int64_t counted;                      /* out, of sfumato_run: how many rows count */
  int64_t bad_row, bad_label;           /* out, with SFUMATO_BAD_LABEL: the first such row */

  /* Of rows whose logits are never in memory at once, per row: j, the class of the first maximum; z_j; s = Σ exp(z_k − z_j)
     over the other classes; S; and S − q_j, summed as such. A measurement fills them from some of the classes. A gradient of
     some of the classes takes those of all classes, but for the last: there it is the gradient at j, (S − q_j) − S s/(1 + s). */
  int64_t *top_class;
  double *top, *sum, *mass, *at_top;
  int64_t start;                        /* of some classes: labels, entries and top_class less this are their own */
  double softcap;                       /* of a gradient of some classes: c where the logits are c·tanh(x/c), whose
                                           gradient is x's; or 0 */
} sfumato_job;

typedef struct sfumato_scan_job {       /* what an audit asks of rows; scan.hpp has the formulas, evaluate/rows.py the words */
  int32_t abi, type;                    /* float32, bfloat16 or float16 */
  int64_t rows, classes;                /* at least 2 classes */
  const void *logits;                   /* (rows, classes), one row after the other */
  const int64_t *labels;                /* per row */
  const uint64_t *odd;                  /* multipliers of the hash, one a word of 8 bytes begun; NULL without one */

  int64_t *predicted, *rank;            /* out, per row, as all that follow */
  uint8_t *correct, *tied;
  double *confidence, *log_confidence, *nll, *brier, *gap, *norm, *slope, *behind, *centre;
  uint64_t *hash;                       /* of the row's bytes, or NULL */
  double beta;                          /* what the rows say at this β, or lse NULL */
  double *lse, *cumulants[4], *squares[3];

  double *class_sums;                   /* (groups, classes), mass·p added to; or NULL */
  int64_t modulus, groups;              /* a row's group is hash mod modulus mod groups */
  const double *mass;                   /* per row, or NULL: 1 */
  double edge;                          /* entries with p above this are listed, as many as `most` */
  int64_t most, *listed_row, *listed_class;
  double *listed_p;
  int64_t listed;                       /* out: how many are */

  int64_t bad_row, bad_label;           /* out: the first such row; those before it were filled in */
} sfumato_scan_job;

SFUMATO_API int32_t sfumato_abi(void);      /* SFUMATO_ABI of the library */
SFUMATO_API const char *sfumato_isa(void);  /* "avx512", "avx2", "baseline" (no FMA), on ARM "neon"; SFUMATO_ISA can lower it */
SFUMATO_API int32_t sfumato_run(sfumato_job *job);  /* SFUMATO_OK, or an error before anything is written */
/* Two calls for `classes` consecutive classes from `start` on. Arrays over the classes, u included, are those of these
   classes alone, each row's side by side. Every row counts; support and dense are not taken, and labels are not checked.
   sfumato_measure fills top_class, top, sum, mass, at_top and loss. Where all logits are −inf, sum is 0 and the loss is taken
   against 0 in place of z_j. sfumato_slice fills grad with (mass·exp(z − top)/(1 + sum) − q)·scale·row_scale, at j with
   at_top·scale·row_scale. */
SFUMATO_API int32_t sfumato_measure(sfumato_job *job);
SFUMATO_API int32_t sfumato_slice(sfumato_job *job);
SFUMATO_API double sfumato_sum(const double *x, int64_t n);  /* pairwise, in numpy's order and to its bits */
SFUMATO_API int32_t sfumato_scan(sfumato_scan_job *job);  /* on the calling thread alone */

#ifdef __cplusplus
}
#endif
#endif
