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

// (d_y, kernel) -> d_x
XLA_FFI_DECLARE_HANDLER_SYMBOL(conv_input_gradient);
// (x, d_y) -> d_kernel
XLA_FFI_DECLARE_HANDLER_SYMBOL(conv_weight_gradient);
// (x, kernel, d_y) -> d_x, d_kernel
XLA_FFI_DECLARE_HANDLER_SYMBOL(conv_gradients);
// (conv, mean, scale, shift[, residual]) -> y
XLA_FFI_DECLARE_HANDLER_SYMBOL(normalize);
// (d_y, conv, mean[, y]) -> sum of g, sum of g * (conv - mean); see norm.h
XLA_FFI_DECLARE_HANDLER_SYMBOL(norm_sums);
// (d_y, conv, mean, a, b, d[, y]) -> d_conv[, d_residual]
XLA_FFI_DECLARE_HANDLER_SYMBOL(norm_gradient);
// (x, d_y) -> d_x
XLA_FFI_DECLARE_HANDLER_SYMBOL(max_pool_gradient);

}  // namespace resfuse
