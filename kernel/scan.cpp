// The scan's types. Built once per instruction set, as rows.cpp is.
#include "scan.hpp"

namespace sfumato {
namespace SFUMATO_ISA {

int64_t scan(sfumato_scan_job &job, float *d, float *e) {
  switch (job.type) {
    case SFUMATO_F32: return scan_rows<F32>(job, d, e);
    case SFUMATO_BF16: return scan_rows<BF16>(job, d, e);
    default: return scan_rows<F16>(job, d, e);
  }
}

}  // namespace SFUMATO_ISA
}  // namespace sfumato
