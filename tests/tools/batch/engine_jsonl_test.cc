#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <bit>
#include <memory>
#include <nlohmann/json.hpp>
#include <sstream>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "tests/actor/engine/fake_model_runner.h"
#include "tools/batch/generate.h"
#include "tools/batch/score_jsonl.h"

namespace tactus {
namespace {

using testing::FakeModelRunner;
using ::testing::HasSubstr;
using testing::ReferenceCompletion;
using Json = nlohmann::json;

constexpr int64_t kVocab = 60;

// One token per byte, ids from the byte's value; 0 has no text.
class ByteTokenizer : public Tokenizer {
 public:
  std::vector<TokenId> Encode(absl::string_view text, bool add_special_tokens) const override {
    std::vector<TokenId> ids;
    if (add_special_tokens) ids.push_back(1);
    for (const char c : text) ids.push_back(static_cast<unsigned char>(c) % kVocab);
    return ids;
  }
  absl::StatusOr<std::string> Decode(std::span<const TokenId> ids, bool) const override {
    std::string text;
    for (const TokenId id : ids) {
      if (id == 0) return absl::InvalidArgumentError("id 0 has no text");
      text.push_back(id == 7 ? '\xff' : static_cast<char>('A' + id % 26));
    }
    return text;
  }
  int vocab_size() const override { return kVocab; }
  TokenId TokenToId(absl::string_view) const override { return -1; }
};

class NameTemplate : public ChatTemplate {
 public:
  absl::StatusOr<std::string> Render(const std::vector<ChatMessage>& messages) const override {
    std::string text;
    for (const ChatMessage& message : messages) {
      if (message.role == "robot") return absl::InvalidArgumentError("unknown role robot");
      absl::StrAppend(&text, message.role, ":", message.content, ";");
    }
    return text;
  }
  absl::StatusOr<std::string> RenderBetweenAnswers(const std::vector<ChatMessage>& messages) const override {
    return Render(messages);
  }
};

std::unique_ptr<Engine> MakeEngine() {
  return *Engine::Create({.max_sequences = 3, .max_waiting_groups = 2},
                         std::make_unique<FakeModelRunner>(200, kVocab, 500));
}

std::vector<Json> Lines(const std::string& text) {
  std::vector<Json> lines;
  std::istringstream in(text);
  for (std::string line; std::getline(in, line);) lines.push_back(Json::parse(line));
  return lines;
}

GenerateOptions Options(int max_tokens) {
  GenerateOptions options;
  options.max_tokens = max_tokens;
  options.samples = 2;
  options.seed = 4;
  options.stop_ids = {5, 33};
  return options;
}

struct Result {
  absl::Status status;
  std::string out;
};

Result Generate(const std::string& input, const GenerateOptions& options = Options(9),
                absl::StatusOr<std::unique_ptr<ChatTemplate>> chat = std::make_unique<NameTemplate>()) {
  std::istringstream in(input);
  std::ostringstream out;
  const auto engine = MakeEngine();
  const absl::Status status = GenerateJsonl(*engine, ByteTokenizer(), chat, options, in, "in.jsonl", out);
  return {status, out.str()};
}

TEST(GenerateJsonlTest, AnswersInTheOrderOfTheInput) {
  std::string input = "{\"id\":\"a\",\"prompt\":\"what\"}\n\n{\"id\":7,\"prompt_ids\":[3,4,5]}\n";
  absl::StrAppend(&input, "{\"id\":\"chat\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]}\n");
  for (int i = 0; i < 30; ++i) absl::StrAppend(&input, "{\"id\":", i, ",\"prompt_ids\":[", i, ",9]}\n");
  const Result result = Generate(input);
  ASSERT_TRUE(result.status.ok()) << result.status;
  const std::vector<Json> lines = Lines(result.out);
  ASSERT_EQ(lines.size(), 66u);
  const ByteTokenizer tokenizer;
  std::vector<std::vector<TokenId>> prompts = {
      tokenizer.Encode("what", true), {3, 4, 5}, tokenizer.Encode("user:hi;", false)};
  for (int i = 0; i < 30; ++i) prompts.push_back({i, 9});
  int stopped = 0, without_text = 0;
  for (size_t i = 0; i < prompts.size(); ++i) {
    EngineRequest request;
    request.prompt_id = i;
    request.seed = 4;
    request.prompt_ids = prompts[i];
    request.max_tokens = 9;
    request.stop_ids = {5, 33};
    for (int sample = 0; sample < 2; ++sample) {
      const Json& line = lines[2 * i + sample];
      const Completion want = ReferenceCompletion(request, sample, kVocab, {});
      EXPECT_EQ(line["sample"], sample);
      EXPECT_EQ(line["ids"], Json(want.token_ids));
      EXPECT_EQ(line["logprobs"].get<std::vector<float>>(), want.logprobs);
      const bool stop = want.finish_reason == FinishReason::kStop;
      EXPECT_EQ(line["finish_reason"], stop ? "stop" : "length");
      stopped += stop ? 1 : 0;
      without_text += line["text"].is_null() ? 1 : 0;
      const bool has_zero = std::count(want.token_ids.begin(), want.token_ids.end(), 0) > 0;
      EXPECT_EQ(line["text"].is_null(), has_zero);
      const bool invalid_byte = std::count(want.token_ids.begin(), want.token_ids.end(), 7) > 0;
      if (!has_zero && !invalid_byte) {
        EXPECT_EQ(line["text"].get<std::string>().size(), want.token_ids.size() - (stop ? 1 : 0));
      }
    }
  }
  EXPECT_GT(stopped, 0);
  EXPECT_GT(without_text, 0);
  EXPECT_EQ(lines[0]["id"], "a");
  EXPECT_EQ(lines[2]["id"], 7);
}

TEST(GenerateJsonlTest, NamesTheLineOfAMistake) {
  const auto error = [](const std::string& line) {
    const Result result = Generate("{\"id\":1,\"prompt_ids\":[3]}\n" + line + "\n");
    EXPECT_TRUE(absl::IsInvalidArgument(result.status)) << result.status;
    return std::string(result.status.message());
  };
  for (const std::string line :
       {"{\"id\":1}", "[]", "3", "{\"id\":1,\"prompt\":\"x\",\"temperature\":1}", "{\"id\":1,\"text\":\"x\"}",
        "{\"prompt\":\"x\"}", "{\"id\":1,\"id\":2}", "{\"id\":1,\"prompt\":\"x\"", "{\"id\":1.5,\"prompt\":\"x\"}",
        "{\"id\":1,\"prompt\":5}", "{\"id\":1,\"prompt_ids\":\"x\"}", "{\"id\":1,\"prompt_ids\":[]}",
        "{\"id\":1,\"prompt_ids\":[1,-1]}", "{\"id\":1,\"prompt_ids\":[1,2.5]}",
        "{\"id\":1,\"prompt_ids\":[99999999999]}", "{\"id\":1,\"messages\":[{\"role\":\"user\"}]}",
        "{\"id\":1,\"messages\":[3]}", "{\"id\":1,\"messages\":[{\"role\":\"robot\",\"content\":\"x\"}]}"}) {
    EXPECT_THAT(error(line), HasSubstr("in.jsonl:2")) << line;
  }
  EXPECT_THAT(error(absl::StrCat("{\"id\":1,\"prompt\":\"", std::string(600, 'x'), "\"}")),
              HasSubstr("--max-tokens 9"));
  EXPECT_THAT(error("{\"id\":1,\"prompt_ids\":[60]}"), HasSubstr("in.jsonl:2: prompt_ids[0] is 60"));
  const Result no_template = Generate("{\"id\":1,\"messages\":[]}\n", Options(1),
                                      absl::UnimplementedError("the chat template is not recognised"));
  EXPECT_EQ(no_template.status.code(), absl::StatusCode::kUnimplemented);
}

TEST(GenerateJsonlTest, ReportsAnOutputThatFails) {
  std::istringstream in("{\"id\":1,\"prompt_ids\":[3]}\n");
  std::ostringstream out;
  out.setstate(std::ios::badbit);
  const auto engine = MakeEngine();
  const absl::StatusOr<std::unique_ptr<ChatTemplate>> chat = std::make_unique<NameTemplate>();
  EXPECT_TRUE(absl::IsDataLoss(GenerateJsonl(*engine, ByteTokenizer(), chat, Options(2), in, "in", out)));
}

Result Score(const std::string& input, int batch = 2) {
  std::istringstream in(input);
  std::ostringstream out;
  const auto scorer = DecodeScorer(MakeEngine());
  const absl::Status status =
      ScoreJsonl(*scorer, {.max_position = 500, .vocab_size = kVocab}, batch, in, "in.jsonl", out);
  return {status, out.str()};
}

TEST(ScoreJsonlTest, ScoresEveryLineWithItsBits) {
  std::string input = "\n";
  for (int i = 0; i < 50; ++i) {
    absl::StrAppend(&input, "{\"id\":\"n", i, "\",\"prompt_ids\":[", i, ",2],\"response_ids\":[");
    for (int t = 0; t < i % 7; ++t) absl::StrAppend(&input, t > 0 ? "," : "", (i * t) % kVocab);
    absl::StrAppend(&input, "]}\n");
  }
  const Result result = Score(input);
  ASSERT_TRUE(result.status.ok()) << result.status;
  const std::vector<Json> lines = Lines(result.out);
  ASSERT_EQ(lines.size(), 50u);
  for (int i = 0; i < 50; ++i) {
    EngineRequest request;
    request.prompt_ids = {i, 2};
    for (int t = 0; t < i % 7; ++t) request.forced_ids.push_back(static_cast<TokenId>((i * t) % kVocab));
    std::vector<float> want;
    if (i % 7 > 0) want = ReferenceCompletion(request, 0, kVocab, {}).logprobs;
    EXPECT_EQ(lines[i]["id"], absl::StrCat("n", i));
    EXPECT_EQ(lines[i]["logprobs"].get<std::vector<float>>(), want);
    ASSERT_EQ(lines[i]["bits"].size(), want.size());
    for (size_t t = 0; t < want.size(); ++t) {
      const auto bits = static_cast<uint32_t>(std::stoul(lines[i]["bits"][t].get<std::string>(), nullptr, 16));
      EXPECT_EQ(std::bit_cast<float>(bits), want[t]);
      EXPECT_EQ(lines[i]["bits"][t].get<std::string>().size(), 8u);
    }
  }
}

TEST(ScoreJsonlTest, NamesTheLineOfAMistake) {
  const std::string good = "{\"id\":1,\"prompt_ids\":[3],\"response_ids\":[4]}\n";
  for (const std::string line :
       {"{\"id\":1,\"prompt_ids\":[3]}", "{\"id\":1,\"prompt_ids\":[3],\"response_ids\":[4],\"x\":1}",
        "{\"id\":null,\"prompt_ids\":[3],\"response_ids\":[4]}", "{\"id\":1,\"prompt_ids\":[],\"response_ids\":[4]}",
        "{\"id\":1,\"prompt_ids\":[3],\"response_ids\":[true]}", "{\"id\":1,\"prompt_ids\":{},\"response_ids\":[4]}",
        "nonsense"}) {
    const Result result = Score(good + line + "\n");
    EXPECT_TRUE(absl::IsInvalidArgument(result.status)) << line;
    EXPECT_THAT(std::string(result.status.message()), HasSubstr("in.jsonl:2")) << line;
  }
  const Result places = Score(good + R"({"id":1,"prompt_ids":[3],"response_ids":[4,5,6],"sampled":[0,1]})" + "\n");
  EXPECT_EQ(places.status.message(),
            "in.jsonl:2: sampled: expected the model's places in the response, increasing, with 0 and 2 among them");
  EXPECT_TRUE(Score(R"({"id":1,"prompt_ids":[3],"response_ids":[4,5,6],"sampled":[0,2]})"
                    "\n")
                  .status.ok());
  const Result unknown = Score(good + "{\"id\":1,\"prompt_ids\":[3],\"response_ids\":[4,60]}\n");
  EXPECT_EQ(unknown.status.message(), "in.jsonl:2: response_ids[1] is 60, expected an id below the model's 60");
  EXPECT_EQ(unknown.out, "") << "found before the lines of its batch were scored";
  const std::string longest = absl::StrCat("[", absl::StrJoin(std::vector<int>(500, 3), ","), "]");
  const Result too_long = Score(absl::StrCat(good, "{\"id\":1,\"prompt_ids\":[3],\"response_ids\":", longest, "}\n"));
  EXPECT_EQ(too_long.status.message(),
            "in.jsonl:2: prompt and response have 501 tokens, more than the model's 500 positions");
}

}  // namespace
}  // namespace tactus
