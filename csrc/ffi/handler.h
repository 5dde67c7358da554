// The handlers that XLA calls. All sizes of a program of XLA's are fixed, so a call is bound once,
// when it is first executed, and again only when settings have changed since. What it was bound to
// stays in a state, which XLA has us make for each call of a program and keeps as long as that.

#pragma once

#include <memory>
#include <mutex>
#include <vector>

#include "ffi/execution.h"

namespace resfuse {

class State {
 public:
  static ffi::TypeId id;  // XLA's, which it chooses

  // What was kept for these settings; null if nothing was.
  std::shared_ptr<const Bound> find(const Settings& settings);
  void keep(const Settings& settings, std::shared_ptr<const Bound> bound);

 private:
  std::mutex mutex_;
  Settings settings_{};
  std::shared_ptr<const Bound> bound_;
};

// Binds a call of one kind. Of one that is not valid it makes nothing.
using Bind = Bound (*)(Call&);

// A handler under the name by which programs know it.
struct Handler {
  const char* name;
  XLA_FFI_Handler* execute;
};

// Makes a call's state.
XLA_FFI_Error* instantiate(XLA_FFI_CallFrame* frame);

const ffi::Ffi* make_handler(Bind bind);

template <Bind bind>
XLA_FFI_Error* execute(XLA_FFI_CallFrame* frame) {
  static const ffi::Ffi* const handler = make_handler(bind);
  return handler->Call(frame);
}

// All handlers: each file lists its own, at its end.
std::vector<Handler> conv_handlers();
std::vector<Handler> cascade_handlers();
std::vector<Handler> gradient_handlers();
std::vector<Handler> norm_handlers();
std::vector<Handler> pool_handlers();

}  // namespace resfuse
