/* The C ABI of sfumato's CPU kernel: one struct, three functions. Loaded by sfumato/_native.py.

   Row r = o·inner + i of the logits z (outer, classes, inner) has the loss Σ_k q_k (lse(z) − z_k), never scaled, and the
   gradient (S p_k − q_k)·scale·row_scale[r], where p = softmax(z) and S = Σ q. Its target q is either
     labelled: q_y = true mass at its label y, rest·u_k at every other class k, or
     dense:    q_k as given, any reals.
   A class without mass costs nothing, even at −inf. NaN or +inf among the logits of a row make that row NaN, alone.
   A row that does not count (ignore_index, valid[r] == 0) has loss 0 and gradient exactly 0 whatever it holds.

   A row's numbers depend on that row alone: not on the layout, the batch, or the number of threads. */
#ifndef SFUMATO_H
#define SFUMATO_H

#include <stdint.h>

#define SFUMATO_ABI 1

#if defined(_WIN32)
#define SFUMATO_API __declspec(dllexport)
#else
#define SFUMATO_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

enum sfumato_type { SFUMATO_F32 = 0, SFUMATO_F64 = 1, SFUMATO_BF16 = 2, SFUMATO_F16 = 3 };
enum sfumato_error { SFUMATO_OK = 0, SFUMATO_BAD_LABEL = 1, SFUMATO_BAD_ARGUMENT = 2, SFUMATO_NO_MEMORY = 3 };

typedef struct sfumato_job {
  int32_t abi;                          /* SFUMATO_ABI */
  int32_t type;                         /* of logits, grad and dense */
  int64_t outer, classes, inner;        /* logits are (outer, classes, inner); row r = o*inner + i */
  int64_t logit_strides[3];             /* in elements: outer, class, inner; 0 is allowed */
  const void *logits;
  void *grad;                           /* NULL, or (outer, classes, inner); may be the logits, with their strides */
  int64_t grad_strides[3];              /* no two entries may share an address */
  const int64_t *labels;                /* rows, or NULL with dense */
  int64_t ignore_index;                 /* rows with this label do not count; read where has_ignore != 0 */
  int32_t has_ignore;
  double true_mass, rest_mass;          /* used where the arrays below are NULL */
  const double *true_rows, *rest_rows;  /* per row, or NULL */
  const double *prior;                  /* u_k, (classes), or NULL: 1 for every class */
  const void *dense;                    /* q, type of logits, or NULL */
  int64_t dense_strides[3];
  const uint8_t *valid;                 /* rows: which count; or NULL: all */
  double scale;
  const double *row_scale;              /* per row, or NULL: 1 */
  double *loss;                         /* rows, out */
  int32_t threads;                      /* at most this many; small jobs take fewer */
  int64_t bad_row, bad_label;           /* out, with SFUMATO_BAD_LABEL: the first such row */
} sfumato_job;

SFUMATO_API int32_t sfumato_abi(void);      /* SFUMATO_ABI of the library */
SFUMATO_API const char *sfumato_isa(void);  /* "avx512", "avx2", "baseline"; the environment's SFUMATO_ISA can lower it */
SFUMATO_API int32_t sfumato_run(sfumato_job *job);  /* SFUMATO_OK, or an error before anything is written */

#ifdef __cplusplus
}
#endif
#endif
