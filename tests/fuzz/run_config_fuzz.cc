// A run's textproto and, after a NUL, one --set a line. What is accepted prints as text that loads as the same.
#include <string>
#include <vector>

#include "absl/strings/str_split.h"
#include "common/config/run_config.h"
#include "proto/config.pb.h"
#include "tests/fuzz/fuzz.h"

namespace tactus::fuzz {

void FuzzRunConfigText(absl::string_view input) {
  const auto [text, lines] = SplitAtNul(input);
  const std::vector<std::string> overrides = absl::StrSplit(lines, '\n', absl::SkipEmpty());
  const absl::StatusOr<config::RunConfig> run = config::ParseRunConfig(text, "run.textproto", overrides);
  if (!run.ok()) {
    Require(!run.status().message().empty(), "a refusal says why");
    return;
  }
  (void)config::Warnings(*run);
  const std::string resolved = config::ResolvedText(*run);
  const absl::StatusOr<config::RunConfig> again = config::ParseRunConfig(resolved, "resolved.textproto", {});
  Require(again.ok(), "the resolved text is accepted");
  Require(config::ResolvedText(*again) == resolved, "the resolved text is its own resolved text");
  Require(config::Fingerprint(*again) == config::Fingerprint(*run), "it has the same fingerprint");
}

}  // namespace tactus::fuzz
