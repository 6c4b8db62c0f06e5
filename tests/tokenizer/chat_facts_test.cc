#include "common/tokenizer/chat/chat_facts.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <nlohmann/json.hpp>

#include "common/base/file.h"
#include "common/tokenizer/chat/tokenizer_files.h"
#include "tests/tree.h"

namespace tactus {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::UnorderedElementsAre;
using Json = nlohmann::json;

constexpr int64_t kVocab = 100000;

// A folder of its own for each test, with the tokenizer of Llama-3's kind.
class ChatFactsTest : public testing::Test {
 protected:
  ChatFactsTest()
      : folder_(testing::TempDir() + "/facts_" + testing::UnitTest::GetInstance()->current_test_info()->name()) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
    tokenizer_ = *Tokenizer::FromFile(SourcePath("tests/goldens/tokenizer/llama3.json"));
    eot_ = tokenizer_->TokenToId("<|eot_id|>");
    end_ = tokenizer_->TokenToId("<|end_of_text|>");
    EXPECT_GE(std::min(eot_, end_), 0);
  }
  void Write(const std::string& name, const Json& json) {
    ASSERT_TRUE(WriteFileAtomic(folder_ + "/" + name, json.dump()).ok());
  }
  ChatFacts Facts(std::vector<int32_t> model_ids, const std::string& literal = "", int64_t vocab = kVocab) {
    const auto chat = ChatTemplate::FromModelFolder(folder_, literal);
    const auto facts = FindChatFacts(folder_, *tokenizer_, chat.ok() ? chat->get() : nullptr, model_ids, vocab);
    EXPECT_TRUE(facts.ok()) << facts.status();
    return facts.value_or(ChatFacts());
  }

  const std::string folder_;
  std::unique_ptr<Tokenizer> tokenizer_;
  TokenId eot_ = -1, end_ = -1;
};

constexpr char kTurns[] =
    "{% for m in messages %}{{ m.role }}:{{ m.content }}<|eot_id|>{% endfor %}{% if add_generation_prompt "
    "%}assistant:{% endif %}";

TEST_F(ChatFactsTest, TakesTheModelsIdsWhereNobodyElseSpeaks) {
  const ChatFacts facts = Facts({3, 5, 3});
  EXPECT_THAT(facts.stop_ids, ElementsAre(3, 5));
  EXPECT_EQ(facts.answer_end, 3);
  EXPECT_THAT(facts.remarks, IsEmpty());
  EXPECT_EQ(Facts({}).answer_end, -1);
  EXPECT_THAT(Facts({}).stop_ids, IsEmpty());
}

TEST_F(ChatFactsTest, AnAnswerEndsWithTheTokenizersEosAsWell) {
  Write("tokenizer_config.json", {{"eos_token", "<|end_of_text|>"}});
  ChatFacts facts = Facts({});
  EXPECT_THAT(facts.stop_ids, ElementsAre(end_));
  EXPECT_EQ(facts.answer_end, end_);
  EXPECT_THAT(facts.remarks, IsEmpty());
  facts = Facts({3});
  EXPECT_THAT(facts.stop_ids, ElementsAre(3, end_));
  EXPECT_EQ(facts.answer_end, end_);
  EXPECT_THAT(facts.remarks,
              ElementsAre(HasSubstr("name the eos_token_id 3, but the tokenizer's eos_token <|end_of_text|>")));
  EXPECT_THAT(Facts({3, end_}).remarks, IsEmpty());
}

TEST_F(ChatFactsTest, AnAnswerToLearnFromEndsAsTheTemplateDoes) {
  Write("tokenizer_config.json", {{"eos_token", "<|end_of_text|>"}, {"chat_template", kTurns}});
  ChatFacts facts = Facts({end_, eot_});
  EXPECT_EQ(facts.answer_end, eot_);
  EXPECT_THAT(facts.stop_ids, ElementsAre(end_, eot_));
  EXPECT_THAT(facts.remarks, IsEmpty());
  facts = Facts({end_});
  EXPECT_EQ(facts.answer_end, eot_);
  EXPECT_THAT(facts.stop_ids, ElementsAre(end_, eot_));
  EXPECT_THAT(facts.remarks, ElementsAre(HasSubstr("the chat template's end of an answer, <|eot_id|>,")));
  // A literal prompt does not tell how an answer ends.
  EXPECT_EQ(Facts({end_}, "{user}").answer_end, end_);
  EXPECT_THAT(Facts({end_}, "{user}").stop_ids, ElementsAre(end_));
}

TEST_F(ChatFactsTest, SaysWhatCannotBeSaid) {
  const std::string literal = "<|begin_of_text|>{user}";
  Write("tokenizer_config.json", {{"eos_token", "<|end_of_text|>"}});
  const ChatFacts outside = Facts({3}, literal, end_);
  EXPECT_THAT(outside.stop_ids, ElementsAre(3));
  EXPECT_EQ(outside.answer_end, 3);
  EXPECT_THAT(outside.remarks, ElementsAre(HasSubstr("it can never say it")));
  Write("tokenizer_config.json", {{"eos_token", "<none>"}});
  EXPECT_THAT(Facts({3}, literal).remarks, ElementsAre(HasSubstr("\"<none>\" is no token of tokenizer.json")));
  Write("tokenizer_config.json", {{"chat_template", "{{ strftime_now('%Y') }}"}});
  EXPECT_THAT(Facts({3}).remarks, ElementsAre(HasSubstr("prints the date")));
}

TEST_F(ChatFactsTest, MissesABeginningInALiteralPromptOnly) {
  EXPECT_THAT(Facts({3}, "Q: {user}").remarks, ElementsAre(HasSubstr("without the BOS token <|begin_of_text|>")));
  EXPECT_THAT(Facts({3}, "<|begin_of_text|>Q: {user}").remarks, IsEmpty());
  Write("tokenizer_config.json", {{"chat_template", "{{ messages[0].content }}"}});
  EXPECT_THAT(Facts({3}).remarks, IsEmpty());
}

TEST_F(ChatFactsTest, TheMapOfSpecialTokensCountsWhereTransformersReadsIt) {
  Write("tokenizer_config.json", {{"eos_token", "a"}, {"bos_token", "b"}});
  Write("special_tokens_map.json", {{"eos_token", {{"content", "c"}, {"lstrip", false}}}, {"pad_token", "p"}});
  TokenizerFiles files = *ReadTokenizerFiles(folder_);
  EXPECT_THAT(files.special_tokens,
              UnorderedElementsAre(testing::Pair("bos_token", "b"), testing::Pair("eos_token", "c"),
                                   testing::Pair("pad_token", "p")));
  EXPECT_THAT(files.disagreements, ElementsAre(HasSubstr("the eos_token \"a\"")));
  EXPECT_THAT(files.disagreements[0], HasSubstr("\"c\" counts"));
  // Files written since 2023 say it all in one place.
  Write("tokenizer_config.json", {{"eos_token", {{"content", "a"}}}, {"added_tokens_decoder", Json::object()}});
  files = *ReadTokenizerFiles(folder_);
  EXPECT_EQ(files.SpecialToken("eos_token"), "a");
  EXPECT_EQ(files.SpecialToken("pad_token"), "");
  EXPECT_THAT(files.disagreements[0], HasSubstr("\"a\" counts"));
}

TEST_F(ChatFactsTest, TheTemplateOfTheFirstFileCounts) {
  EXPECT_EQ(ReadTokenizerFiles(folder_)->chat_template, "");
  Write("chat_template.json", {{"chat_template", "third"}});
  EXPECT_EQ(ReadTokenizerFiles(folder_)->chat_template, "third");
  EXPECT_THAT(ReadTokenizerFiles(folder_)->disagreements, IsEmpty());
  Write(
      "tokenizer_config.json",
      {{"chat_template", {{{"name", "tool_use"}, {"template", "x"}}, {{"name", "default"}, {"template", "second"}}}}});
  EXPECT_EQ(ReadTokenizerFiles(folder_)->chat_template, "second");
  EXPECT_THAT(ReadTokenizerFiles(folder_)->disagreements, ElementsAre(HasSubstr("hold different chat templates")));
  ASSERT_TRUE(WriteFileAtomic(folder_ + "/chat_template.jinja", "first").ok());
  const TokenizerFiles files = *ReadTokenizerFiles(folder_);
  EXPECT_EQ(files.chat_template, "first");
  EXPECT_EQ(files.chat_template_path, folder_ + "/chat_template.jinja");
  EXPECT_EQ(files.disagreements.size(), 2u);
}

TEST_F(ChatFactsTest, RefusesFilesOfAnotherShape) {
  for (const Json& json :
       {Json::array(), Json{{"eos_token", 3}}, Json{{"chat_template", 3}},
        Json{{"chat_template", {{{"name", "other"}, {"template", "x"}}}}}, Json{{"bos_token", {{"a", 1}}}}}) {
    Write("tokenizer_config.json", json);
    EXPECT_THAT(ReadTokenizerFiles(folder_).status().message(), HasSubstr(folder_ + "/tokenizer_config.json")) << json;
  }
}

}  // namespace
}  // namespace tactus
