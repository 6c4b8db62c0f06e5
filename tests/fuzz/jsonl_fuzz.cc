// JSON lines that people and programs hand over; the byte in front says which reader gets them.
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "common/metrics/sample_record.h"
#include "common/metrics/step_record.h"
#include "tests/fuzz/fuzz.h"
#include "tools/batch/loss_jsonl.h"
#include "tools/batch/prompt_jsonl.h"
#include "tools/batch/response_jsonl.h"
#include "tools/batch/tokenize_jsonl.h"
#include "tools/batch/verify_jsonl.h"
#include "tools/study/credit_lines.h"

namespace tactus::fuzz {
namespace {

Judge& CountdownJudge() {
  static auto* const judge = new VerifierJudge(CreateVerifier("countdown", 0.05).value());
  return *judge;
}

// Enough of a tokenizer for the readers: a token is a byte.
class Bytes : public Tokenizer {
 public:
  std::vector<TokenId> Encode(absl::string_view text, bool) const override {
    std::vector<TokenId> ids;
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c));
    return ids;
  }
  absl::StatusOr<std::string> Decode(std::span<const TokenId> ids, bool) const override {
    return std::string(ids.begin(), ids.end());
  }
  int vocab_size() const override { return 256; }
  TokenId TokenToId(absl::string_view) const override { return -1; }
};

void StepLine(const std::string& line) {
  const absl::StatusOr<StepRecord> record = StepRecordFromJson(line);
  if (!record.ok()) return;
  const std::string written = StepRecordToJson(*record);
  const absl::StatusOr<StepRecord> again = StepRecordFromJson(written);
  Require(again.ok() && StepRecordToJson(*again) == written, "a step comes back as it was written");
}

void SampleLine(const std::string& line) {
  const absl::StatusOr<SampleRecord> record = SampleRecordFromJson(line);
  if (!record.ok()) return;
  const std::string written = SampleRecordToJson(*record);
  const absl::StatusOr<SampleRecord> again = SampleRecordFromJson(written);
  Require(again.ok() && SampleRecordToJson(*again) == written, "a sample comes back as it was written");
}

// Lines of a credit study, of which every part is then read at its places.
void WorthLines(const std::string& text) {
  const absl::StatusOr<std::vector<TruthLine>> lines = ReadTruthLines(text, "in");
  if (!lines.ok()) return;
  std::string written;
  for (const TruthLine& line : *lines) {
    Require(line.AtPositions().kinds.size() == line.value.size(), "what was probed is there");
    absl::StrAppend(&written, LineOf(line), "\n");
  }
  const absl::StatusOr<std::vector<TruthLine>> again = ReadTruthLines(written, "again");
  Require(again.ok() && again->size() == lines->size(), "lines come back");
  for (size_t i = 0; i < lines->size(); ++i) {
    Require(LineOf((*again)[i]) == LineOf((*lines)[i]), "a line comes back as it was written");
  }
}

void Prompts(std::istream& in, const absl::StatusOr<std::unique_ptr<ChatTemplate>>& chat) {
  const Bytes bytes;
  PromptReader reader(bytes, chat, {.max_tokens = 4, .max_position = 64, .vocab_size = 256}, in, "in");
  while (true) {
    const absl::StatusOr<std::optional<PromptLine>> line = reader.Next();
    if (!line.ok() || !line->has_value()) return;
    Require(!(*line)->prompt_ids.empty() && (*line)->prompt_ids.size() <= 60, "a prompt leaves room for an answer");
  }
}

}  // namespace

void FuzzJsonLines(absl::string_view input) {
  static const auto* const chat =
      new absl::StatusOr<std::unique_ptr<ChatTemplate>>(ChatTemplate::FromModelFolder("", "{system} {user}"));
  if (input.empty()) return;
  const std::string text(input.substr(1));
  std::istringstream in(text);
  std::ostringstream out;
  switch (input[0]) {
    case 'l':
      (void)LossJsonl(in, out, "in");
      return;
    case 'm':
      return StepLine(text);
    case 'p':
      return Prompts(in, *chat);
    case 'r':
      (void)ForEachResponses(in, "in", {.max_position = 64, .vocab_size = 100}, 2,
                             [](std::span<const ResponseLine>) { return absl::OkStatus(); });
      return;
    case 's':
      return SampleLine(text);
    case 't':
      (void)TokenizeJsonl(Bytes(), *chat, "in", in, out);
      return;
    case 'v':
      (void)VerifyJsonl(CountdownJudge(), absl::Seconds(1), in, "in", out);
      return;
    case 'w':
      return WorthLines(text);
    default:
      return;
  }
}

}  // namespace tactus::fuzz
