#include "tools/batch/tokenize_jsonl.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <sstream>

#include "tests/tree.h"

namespace tactus {
namespace {

using testing::HasSubstr;

class TokenizeJsonlTest : public testing::Test {
 protected:
  TokenizeJsonlTest() {
    auto tokenizer = Tokenizer::FromFile(SourcePath("tests/goldens/tokenizer/llama3.json"));
    EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
    tokenizer_ = *std::move(tokenizer);
  }
  absl::Status Run(const std::string& input) {
    std::istringstream in(input);
    out_.str("");
    return TokenizeJsonl(*tokenizer_, chat_template_, "in.jsonl", in, out_);
  }
  std::unique_ptr<Tokenizer> tokenizer_;
  absl::StatusOr<std::unique_ptr<ChatTemplate>> chat_template_ =
      ChatTemplate::FromModelFolder("", "<|begin_of_text|><|start_header_id|>user<|end_header_id|>{user}");
  std::ostringstream out_;
};

TEST_F(TokenizeJsonlTest, TextsGetSpecialTokensAndPromptsDoNot) {
  const TokenId bos = tokenizer_->TokenToId("<|begin_of_text|>"), digits = tokenizer_->TokenToId("1");
  ASSERT_GE(bos, 0);
  ASSERT_TRUE(Run("{\"id\": \"a\", \"text\": \"1\"}\n\n{\"id\": 7, \"messages\": [{\"role\": \"user\", \"content\": "
                  "\"1\"}]}")
                  .ok());
  std::istringstream lines(out_.str());
  std::string first, second, rest;
  std::getline(lines, first);
  std::getline(lines, second);
  EXPECT_FALSE(std::getline(lines, rest));
  EXPECT_EQ(first, "{\"id\":\"a\",\"ids\":[" + std::to_string(bos) + "," + std::to_string(digits) +
                       "],\"text\":\"<|begin_of_text|>1\"}");
  EXPECT_THAT(second, testing::StartsWith("{\"id\":7,\"ids\":[" + std::to_string(bos) + ","));
  EXPECT_THAT(second, HasSubstr("\"text\":\"<|begin_of_text|><|start_header_id|>user<|end_header_id|>"));
}

TEST_F(TokenizeJsonlTest, NamesTheBadLine) {
  const std::pair<const char*, const char*> cases[] = {
      {"{\"id\": 1, \"text\": \"a\"}\n{\"id\": 2,", "in.jsonl:2: not valid JSON at byte 10"},
      {"[]", "in.jsonl:1: expected a JSON object with the keys id, text, messages"},
      {"{\"id\": 1, \"text\": \"a\", \"x\": 1}", "in.jsonl:1: unknown key \"x\""},
      {"{\"text\": \"a\"}", "in.jsonl:1: id: expected a string or an integer"},
      {"{\"id\": 1.5, \"text\": \"a\"}", "in.jsonl:1: id: expected a string or an integer"},
      {"{\"id\": 1}", "in.jsonl:1: expected either text or messages"},
      {"{\"id\": 1, \"text\": \"a\", \"messages\": []}", "in.jsonl:1: expected either text or messages"},
      {"{\"id\": 1, \"text\": 3}", "in.jsonl:1: text: expected a string"},
      {"{\"id\": 1, \"text\": \"\xff\"}", "in.jsonl:1: not valid JSON"},
      {"{\"id\": 1, \"messages\": []}", "in.jsonl:1: messages: expected at least one"},
      {"{\"id\": 1, \"messages\": {}}", "in.jsonl:1: messages: expected an array"},
      {"{\"id\": 1, \"messages\": [{\"role\": \"user\", \"content\": \"a\", \"x\": 1}]}",
       "in.jsonl:1: messages[0]: unknown key \"x\""},
      {"{\"id\": 1, \"messages\": [{\"role\": \"user\"}]}", "in.jsonl:1: messages[0].content: expected a string"},
      {"{\"id\": 1, \"messages\": [{\"role\": \"tool\", \"content\": \"a\"}]}", "takes one user message"},
  };
  for (const auto& [input, error] : cases) {
    const absl::Status status = Run(input);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << input;
    EXPECT_THAT(status.message(), HasSubstr(error)) << input;
  }
}

TEST_F(TokenizeJsonlTest, OnlyMessagesNeedAChatTemplate) {
  chat_template_ = absl::UnimplementedError("no template");
  EXPECT_TRUE(Run("{\"id\": 1, \"text\": \"a\"}").ok());
  EXPECT_EQ(Run("{\"id\": 1, \"messages\": [{\"role\": \"user\", \"content\": \"a\"}]}").code(),
            absl::StatusCode::kUnimplemented);
}

TEST_F(TokenizeJsonlTest, BoundsALine) {
  EXPECT_THAT(Run(std::string((size_t{64} << 20) + 1, ' ')).message(), HasSubstr("expected a line of at most"));
}

TEST_F(TokenizeJsonlTest, ReportsAFailedOutput) {
  out_.setstate(std::ios::badbit);
  EXPECT_EQ(Run("{\"id\": 1, \"text\": \"a\"}").code(), absl::StatusCode::kDataLoss);
}

}  // namespace
}  // namespace tactus
