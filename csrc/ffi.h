// The handlers that XLA calls.

#pragma once

#include "xla/ffi/api/ffi.h"

namespace resfuse {

// (x, kernel, scale, shift[, residual]) -> y
XLA_FFI_DECLARE_HANDLER_SYMBOL(conv_affine);
// (x, kernel) -> conv, mean, var
XLA_FFI_DECLARE_HANDLER_SYMBOL(conv_statistics);
// (kernel) -> packed
XLA_FFI_DECLARE_HANDLER_SYMBOL(pack);
// (x) -> y
XLA_FFI_DECLARE_HANDLER_SYMBOL(max_pool);

}  // namespace resfuse
