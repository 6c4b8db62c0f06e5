#include "common/base/thread.h"

#include <unistd.h>

#include <cstring>
#include <exception>
#include <new>
#include <system_error>
#include <utility>

#include "absl/strings/str_cat.h"
#include "absl/synchronization/mutex.h"
#include "common/base/exit_code.h"
#include "common/base/log.h"

namespace tactus {
namespace {

const char* program_name = "tactus";  // written once, before there are other threads

// Needs no memory.
void WriteError(const char* text) {
  if (::write(STDERR_FILENO, text, std::strlen(text)) < 0) return;  // nobody is left to tell
}

[[noreturn]] void EndUncaught() noexcept {
  try {
    if (const std::exception_ptr exception = std::current_exception()) std::rethrow_exception(exception);
    WriteError(program_name);
    WriteError(": ended by std::terminate\n");
  } catch (const std::bad_alloc&) {
    WriteError(program_name);
    WriteError(": out of memory: the system gave no more to this process\n");
  } catch (const std::exception& e) {
    LogFailure(program_name, absl::StrCat("an unexpected failure: ", e.what()));
  } catch (...) {
    LogFailure(program_name, "an unexpected failure");
  }
  ::_exit(kExitFailure);
}

}  // namespace

absl::StatusOr<std::thread> StartThread(absl::string_view purpose, std::function<void()> body) {
  try {
    return std::thread(std::move(body));
  } catch (const std::system_error& e) {
    return absl::ResourceExhaustedError(absl::StrCat("cannot start the thread for ", purpose, ": ", e.what()));
  }
}

void EndOnUncaughtExceptions(const char* program) {
  program_name = program;
  std::set_terminate(EndUncaught);
}

void BeginProgram(const char* program) {
  EndOnUncaughtExceptions(program);
  absl::SetMutexDeadlockDetectionMode(absl::OnDeadlockCycle::kIgnore);
}

}  // namespace tactus
