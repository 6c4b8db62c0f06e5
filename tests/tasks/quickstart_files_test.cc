// models/quickstart-base fits the task it is made for, and our tokenizer reads it as Hugging Face's does.
#include <gtest/gtest.h>

#include <fstream>
#include <nlohmann/json.hpp>
#include <string>

#include "common/model/folder/model_config.h"
#include "common/tasks/task.h"
#include "common/tokenizer/tokenizer.h"
#include "proto/config.pb.h"
#include "tests/tree.h"

namespace tactus {
namespace {

const std::string kFolder = SourcePath("models/quickstart-base/");

nlohmann::json Load(const std::string& path) {
  std::ifstream in(path);
  EXPECT_TRUE(in) << path;
  return nlohmann::json::parse(in);
}

std::unique_ptr<Tokenizer> LoadTokenizer() {
  auto tokenizer = Tokenizer::FromFile(kFolder + "tokenizer.json");
  EXPECT_TRUE(tokenizer.ok()) << tokenizer.status();
  return *std::move(tokenizer);
}

TEST(QuickStartFiles, TokensAreThoseOfHuggingFace) {
  const auto tokenizer = LoadTokenizer();
  const auto golden = Load(SourcePath("tests/goldens/tasks/quickstart_tokens.json"));
  ASSERT_GT(golden["cases"].size(), 500u);
  for (const auto& item : golden["cases"]) {
    const auto ids = item["ids"].get<std::vector<TokenId>>();
    const std::string text = item["text"];
    EXPECT_EQ(tokenizer->Encode(text, true), ids) << text;
    EXPECT_EQ(tokenizer->Decode(ids, false).value(), text);
  }
}

TEST(QuickStartFiles, NumbersAndTagsAreSingleTokens) {
  const auto tokenizer = LoadTokenizer();
  for (int n = 0; n < 200; ++n) EXPECT_EQ(tokenizer->Encode(std::to_string(n), false).size(), 1u) << n;
  for (const char* text : {"<answer>", "</answer>", "<|end|>", "<|pad|>", " no\n", " yes\n"}) {
    EXPECT_EQ(tokenizer->Encode(text, false).size(), 1u) << text;
  }
  const auto config = Load(kFolder + "config.json");
  EXPECT_EQ(config["eos_token_id"], tokenizer->TokenToId("<|end|>"));
  EXPECT_EQ(config["pad_token_id"], tokenizer->TokenToId("<|pad|>"));
  EXPECT_EQ(Load(kFolder + "generation_config.json")["eos_token_id"], tokenizer->TokenToId("<|end|>"));
  EXPECT_GE(config["vocab_size"].get<int>(), tokenizer->vocab_size());
  EXPECT_LT(config["vocab_size"].get<int>(), tokenizer->vocab_size() + 16);
}

TEST(QuickStartFiles, TheShapeIsOneWeCompute) {
  const auto config = ParseModelConfig(Load(kFolder + "config.json").dump(),
                                       Load(kFolder + "generation_config.json").dump(), "quickstart-base");
  ASSERT_TRUE(config.ok()) << config.status();
  EXPECT_TRUE(config->tie_word_embeddings);
  EXPECT_EQ(config->eos_token_ids.size(), 1u);
  EXPECT_EQ(MakeParameterLayout(*config).total_numel, 846976);  // as transformers counts them
}

TEST(QuickStartFiles, WorkedAnswersFitTheTokenBudget) {
  const auto tokenizer = LoadTokenizer();
  config::TaskOptions options;
  options.set_name("countdown");
  options.set_max_numbers(3);
  options.set_max_number(12);
  options.set_prompt_style("compact");
  const auto task = CreateTask(options).value();
  size_t total = 0;
  constexpr size_t kTraces = 2000;
  for (size_t i = 0; i < kTraces; ++i) {
    const std::string trace = task->Trace(i, 1).value();
    const auto ids = tokenizer->Encode(trace, false);
    EXPECT_LE(ids.size(), 191u) << trace;                    // and the end token
    EXPECT_EQ(tokenizer->Decode(ids, true).value(), trace);  // the tags stay, the verifier needs them
    EXPECT_LE(tokenizer->Encode(task->Example(Split::kTrain, i).value().user, false).size(), 8u);
    total += ids.size();
  }
  EXPECT_NEAR(static_cast<double>(total) / kTraces, 60, 5);
}

}  // namespace
}  // namespace tactus
