// What a run reads before its first step: the model's folder and the data. Thread-safe; blocking reads.
#pragma once

#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/config/config_fwd.h"

namespace tactus {

// Reads all of it as the run's processes will, so that what they would refuse is told before one of them starts or a
// folder is made: the model's config.json and the shapes of its weights, its tokenizer and chat template, the questions
// of both splits, and the options that the model bounds (sequence lengths, credit.layers). No weights are read.
// What is odd all the same (ChatFacts::remarks), or an environment that does not answer within a few seconds, is
// returned, for the user to read. InvalidArgument or NotFound names the file and what was expected, or the field; what
// an environment answers wrongly is an error of EnvironmentClient.
absl::StatusOr<std::vector<std::string>> CheckRunInputs(const config::RunConfig& run);

}  // namespace tactus
