#include "tools/batch/jsonl_io.h"
#include "tools/batch/loss_jsonl.h"
#include "tools/command.h"

namespace tactus {
namespace {

absl::Status Run(const JsonlFlags& flags) { return WithJsonl(flags, /*check=*/LossJsonl, LossJsonl); }

}  // namespace

constinit const Command kLossCommand = {
    .name = "loss",
    .summary = "Computes the training losses on given numbers, in float64",
    .synopsis = "--input FILE [--output FILE]",
    .example = "tactus loss --input cases.jsonl --output losses.jsonl",
    .bind = [] { return Bind(Run); },
};

}  // namespace tactus
