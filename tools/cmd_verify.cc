#include "common/tasks/task.h"
#include "tools/batch/jsonl_io.h"
#include "tools/batch/verify_jsonl.h"
#include "tools/command.h"

namespace tactus {
namespace {

struct VerifyFlags {
  std::string task;
  JsonlFlags jsonl;

  void Declare(CLI::App& app) {
    AddRequired(app, "--task NAME", task, "whose verifier: " + TaskNames());
    jsonl.Declare(app);
  }
};

absl::Status Run(const VerifyFlags& flags) {
  const auto work = [&flags](std::istream& in, std::ostream& out, absl::string_view name) {
    return VerifyJsonl(flags.task, in, name, out);
  };
  return WithJsonl(flags.jsonl, /*check=*/work, work);
}

}  // namespace

constinit const Command kVerifyCommand = {
    .name = "verify",
    .summary = "Judges answers with a task's verifier",
    .synopsis = "--task NAME --input FILE [--output FILE]",
    .example =
        "echo '{\"id\":1,\"numbers\":[3,4,7],\"target\":16,\"response\":\"<answer>(7-3)*4</answer>\"}' |\n"
        "    tactus verify --task countdown --input -\n"
        "  echo '{\"id\":1,\"answer\":72,\"response\":\"<answer>72 eggs</answer>\"}' | tactus verify --task qa --input "
        "-",
    .bind = [] { return Bind(Run); },
};

}  // namespace tactus
