#include "tools/batch/jsonl_io.h"
#include "tools/batch/verify_jsonl.h"
#include "tools/command.h"

namespace tactus {
namespace {

constexpr FlagSpec kFlags[] = {
    {.name = "task", .value = "NAME", .help = "whose verifier: countdown", .required = true},
    kInputFlag,
    kOutputFlag,
};

absl::Status Run(const Flags& flags) {
  return WithJsonl(flags, [&flags](std::istream& in, std::ostream& out, absl::string_view name) {
    return VerifyJsonl(flags.Text("task"), in, name, out);
  });
}

}  // namespace

constinit const Command kVerifyCommand = {
    .name = "verify",
    .summary = "Judges answers with a task's verifier",
    .synopsis = "--task NAME --input FILE [--output FILE]",
    .example =
        "echo '{\"id\":1,\"numbers\":[3,4,7],\"target\":16,\"response\":\"<answer>(7-3)*4</answer>\"}' |\n"
        "    tactus verify --task countdown --input -",
    .flags = kFlags,
    .rules = {},
    .run = Run,
};

}  // namespace tactus
