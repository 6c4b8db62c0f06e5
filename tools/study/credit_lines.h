// What `tactus credit-study` writes: a line a response, from which it can go on and from which every figure is made;
// the figures as JSON and as a table. Pure; thread-safe.
#pragma once

#include <cstdint>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "tools/study/credit_truth.h"

namespace tactus {

// One response. All [N] unless said otherwise.
struct TruthLine {
  uint64_t row = 0;  // of the test set
  double reward = 0;
  bool right = false;
  std::vector<std::string> text = {};  // of each token, valid UTF-8
  std::vector<TokenKind> kinds = {};
  std::vector<double> waad = {}, fai = {};
  std::vector<Signal> signals = {};
  std::vector<int32_t> positions = {};                      // [M] probed
  std::vector<double> value = {}, first = {}, second = {};  // [M] V before the token; A by each half of the samples

  // At the probed tokens.
  Truth AtPositions() const;
};

std::string LineOf(const TruthLine& line);
// Of a whole file: no row twice, and the same signals in every line, in alphabetical order. `path` stands for the file
// in errors. InvalidArgument names the line and the field.
absl::StatusOr<std::vector<TruthLine>> ReadTruthLines(absl::string_view text, absl::string_view path);

nlohmann::ordered_json TruthJson(const TruthSummary& summary);
std::string TruthTable(const TruthSummary& summary);

}  // namespace tactus
