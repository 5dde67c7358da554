#include "ffi/handler.h"

#include <exception>
#include <new>
#include <string>
#include <utility>

namespace resfuse {
namespace {

// What was bound, on the portion that an operand says, if it does.
Bound on_portion(const Call& call, Bound bound) {
  const Portion portion = call.portion();
  if (portion.images == 0 || !bound) return bound;
  return [=](Execution& now) {
    if (now.move_to(portion)) return bound(now);
    return ffi::Error::InvalidArgument("resfuse: there is no portion of that number");
  };
}

ffi::Error bind_and_run(Bind bind, State& state, ffi::ThreadPool threads,
                        const ffi::RemainingArgs& operands, const ffi::RemainingRets& results,
                        ffi::Dictionary attributes) {
  const Settings settings = settings_in_use(threads.num_threads());
  std::shared_ptr<const Bound> bound = state.find(settings);
  if (!bound) {
    Call call(settings, operands, results, attributes);
    bound = std::shared_ptr<const Bound>(new Bound(on_portion(call, bind(call))));
    if (!*bound) return call.invalid();
    state.keep(settings, bound);
  }
  Execution now(threads, operands, results);
  return (*bound)(now);
}

// Has XLA choose `State::id`. JAX takes types as well as handlers, but hands them to XLA too late:
// as a handler becomes known, XLA first calls it to ask for its state's type.
void register_state(const XLA_FFI_Api* api) {
  static XLA_FFI_Error* const error =
      ffi::Ffi::RegisterTypeId(api, "resfuse_state", &State::id, ffi::MakeTypeInfo<State>());
  (void)error;  // then there is no id, and XLA says so
}

}  // namespace

ffi::TypeId State::id = XLA_FFI_UNKNOWN_TYPE_ID;

std::shared_ptr<const Bound> State::find(const Settings& settings) {
  const std::lock_guard<std::mutex> lock(mutex_);
  return settings == settings_ ? bound_ : nullptr;
}

void State::keep(const Settings& settings, std::shared_ptr<const Bound> bound) {
  const std::lock_guard<std::mutex> lock(mutex_);
  settings_ = settings;
  bound_.swap(bound);
}

XLA_FFI_Error* instantiate(XLA_FFI_CallFrame* frame) {
  register_state(frame->api);
  static const ffi::Ffi* const handler =
      ffi::Ffi::BindInstantiate()
          .To([]() -> ffi::ErrorOr<std::unique_ptr<State>> { return std::make_unique<State>(); })
          .release();
  return handler->Call(frame);
}

const ffi::Ffi* make_handler(Bind bind) {
  const auto run = [bind](State* state, ffi::ThreadPool threads, ffi::RemainingArgs operands,
                          ffi::RemainingRets results, ffi::Dictionary attributes) {
    // Only allocation can throw here, and no exception may reach XLA.
    try {
      return bind_and_run(bind, *state, threads, operands, results, attributes);
    } catch (const std::bad_alloc&) {
      return success_if(false, "the call itself");
    } catch (const std::exception& error) {
      return ffi::Error::Internal(std::string("resfuse: ") + error.what());
    }
  };
  return ffi::Ffi::Bind()
      .Ctx<ffi::State<State>>()
      .Ctx<ffi::ThreadPool>()
      .RemainingArgs()
      .RemainingRets()
      .Attrs()
      .To(run)
      .release();
}

}  // namespace resfuse
