#include "common/tokenizer/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "common/base/file.h"
#include "common/tokenizer/chat_families.h"
#include "nlohmann/json.hpp"
#include "tests/tree.h"

namespace tactus {
namespace {

using testing::HasSubstr;

const std::string kGoldens = SourcePath("tests/goldens/tokenizer/chat.jsonl");

const char kLlama3Jinja[] =
    "{% set loop_messages = messages %}{% for message in loop_messages %}{% set content = '<|start_header_id|>' + "
    "message['role'] + '<|end_header_id|>\n\n'+ message['content'] | trim + '<|eot_id|>' %}{% if loop.index0 == 0 %}"
    "{% set content = bos_token + content %}{% endif %}{{ content }}{% endfor %}{% if add_generation_prompt %}"
    "{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' }}{% endif %}";
const char kSmolJinja[] =
    "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
    "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}"
    "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}\n";
const char kOlmo2Jinja[] =
    "{{ bos_token }}{% for message in messages %}{% if message['role'] == 'system' %}{{ '<|system|>\n' + "
    "message['content'] + '\n' }}{% elif message['role'] == 'user' %}{{ '<|user|>\n' + message['content'] + '\n' }}"
    "{% elif message['role'] == 'assistant' %}{% if not loop.last %}{{ '<|assistant|>\n'  + message['content'] + "
    "eos_token + '\n' }}{% else %}{{ '<|assistant|>\n'  + message['content'] + eos_token }}{% endif %}{% endif %}"
    "{% if loop.last and add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}{% endfor %}";

// A folder of its own for each test.
class ChatTemplateTest : public testing::Test {
 protected:
  ChatTemplateTest()
      : folder_(testing::TempDir() + "/chat_" + testing::UnitTest::GetInstance()->current_test_info()->name()) {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  void Write(const std::string& name, const std::string& content) {
    ASSERT_TRUE(WriteFileAtomic(folder_ + "/" + name, content).ok());
  }
  absl::StatusOr<std::string> Render(const std::string& literal, const std::vector<ChatMessage>& messages) {
    auto chat_template = ChatTemplate::FromModelFolder(folder_, literal);
    if (!chat_template.ok()) return chat_template.status();
    return (*chat_template)->Render(messages);
  }
  const std::string folder_;
};

TEST_F(ChatTemplateTest, FamiliesRenderLikeTheirJinja) {
  std::map<std::string, std::unique_ptr<ChatTemplate>> families;
  families["chatml"] = MakeChatMlTemplate(std::nullopt);
  families["qwen2"] = MakeChatMlTemplate("You are a helpful assistant.");
  families["qwen2_5"] = MakeChatMlTemplate("You are Qwen, created by Alibaba Cloud. You are a helpful assistant.");
  families["qwen3"] = MakeQwen3Template();
  families["qwen3_instruct_2507"] = MakeChatMlTemplate(std::nullopt);
  families["llama3"] = MakeLlama3Template("<|begin_of_text|>");
  families["mistral_nemo"] = MakeMistralNemoTemplate("<s>", "</s>");
  families["olmo2"] = MakeOlmo2Template("<|endoftext|>", "<|endoftext|>");
  std::ifstream file(kGoldens);
  int cases = 0;
  for (std::string line; std::getline(file, line); ++cases) {
    const auto golden = nlohmann::json::parse(line);
    std::vector<ChatMessage> messages;
    for (const auto& message : golden["messages"]) messages.push_back({message["role"], message["content"]});
    const auto text = families.at(golden["family"])->Render(messages);
    ASSERT_TRUE(text.ok()) << text.status();
    EXPECT_EQ(*text, golden["text"].get<std::string>()) << "line " << cases + 1;
  }
  EXPECT_GT(cases, 100);
}

TEST_F(ChatTemplateTest, RecognisesSmolLm2) {
  Write("chat_template.jinja", kSmolJinja);
  EXPECT_EQ(*Render("", {{"user", "Hi"}}),
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(*Render("", {{"system", "S"}, {"user", "Hi"}}),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST_F(ChatTemplateTest, RecognisesLlama3InTokenizerConfig) {
  Write("tokenizer_config.json",
        nlohmann::json{{"bos_token", {{"content", "<|begin_of_text|>"}}}, {"chat_template", kLlama3Jinja}}.dump());
  EXPECT_EQ(*Render("", {{"user", " \x1c Hi\u3000\n"}}),
            "<|begin_of_text|><|start_header_id|>user<|end_header_id|>\n\nHi<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n");
  Write("tokenizer_config.json",
        nlohmann::json{{"bos_token", "<b>"},
                       {"chat_template",
                        {{{"name", "tool"}, {"template", "x"}}, {{"name", "default"}, {"template", kLlama3Jinja}}}}}
            .dump());
  EXPECT_THAT(*Render("", {{"user", "Hi"}}), testing::StartsWith("<b><|start_header_id|>user"));
}

TEST_F(ChatTemplateTest, RecognisesOlmo2) {
  Write("tokenizer_config.json", nlohmann::json{{"bos_token", "<|endoftext|>"},
                                                {"eos_token", {{"content", "<|endoftext|>"}}},
                                                {"chat_template", kOlmo2Jinja}}
                                     .dump());
  EXPECT_EQ(*Render("", {{"system", "S"}, {"user", "1"}, {"assistant", "2"}, {"user", "3"}}),
            "<|endoftext|><|system|>\nS\n<|user|>\n1\n<|assistant|>\n2<|endoftext|>\n<|user|>\n3\n<|assistant|>\n");
}

TEST_F(ChatTemplateTest, MistralNemoTakesTurns) {
  const auto nemo = MakeMistralNemoTemplate("<s>", "</s>");
  EXPECT_EQ(*nemo->Render({{"system", "S"}, {"user", "1"}, {"assistant", "2"}, {"user", "3"}}),
            "<s>[INST]1[/INST]2</s>[INST]S\n\n3[/INST]");
  EXPECT_THAT(nemo->Render({{"user", "1"}, {"user", "2"}}).status().message(),
              HasSubstr("messages[1].role: expected assistant, as users and assistants take turns"));
  EXPECT_THAT(nemo->Render({{"assistant", "1"}}).status().message(), HasSubstr("messages[0].role: expected user"));
  EXPECT_THAT(nemo->Render({{"user", "1"}, {"system", "2"}}).status().message(), HasSubstr("got \"system\""));
}

TEST_F(ChatTemplateTest, RecognisesTheQuickStartModel) {
  auto chat_template = ChatTemplate::FromModelFolder(SourcePath("models/quickstart-base"), "");
  ASSERT_TRUE(chat_template.ok()) << chat_template.status();
  EXPECT_EQ(*(*chat_template)->Render({{"system", "a "}, {"user", "1 + 1 ="}}), "a 1 + 1 =");
}

TEST_F(ChatTemplateTest, TheJinjaFileWins) {
  Write("tokenizer_config.json", nlohmann::json{{"chat_template", kLlama3Jinja}}.dump());
  Write("chat_template.jinja", kSmolJinja);
  EXPECT_THAT(*Render("", {{"user", "Hi"}}), testing::StartsWith("<|im_start|>system"));
}

TEST_F(ChatTemplateTest, SaysHowToGoOnWithoutAKnownTemplate) {
  const absl::Status none = Render("", {{"user", "Hi"}}).status();
  EXPECT_EQ(none.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(none.message(), HasSubstr("there is no chat template"));
  std::string changed = kSmolJinja;
  changed.insert(changed.find("{{'<|im_start|>'"), "{{ 'x' }}");
  Write("chat_template.jinja", changed);
  const absl::Status unknown = Render("", {{"user", "Hi"}}).status();
  EXPECT_EQ(unknown.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(unknown.message(), HasSubstr(folder_ + "/chat_template.jinja: this chat template is not a known one"));
  EXPECT_THAT(unknown.message(), HasSubstr("model.prompt_template"));
}

TEST_F(ChatTemplateTest, RefusesBadFiles) {
  Write("tokenizer_config.json", "{\"chat_template\": 3}");
  EXPECT_THAT(Render("", {{"user", "Hi"}}).status().message(), HasSubstr("chat_template: expected an array"));
  Write("tokenizer_config.json", "{\"bos_token\": 3}");
  EXPECT_THAT(Render("", {{"user", "Hi"}}).status().message(), HasSubstr("bos_token: expected a string"));
  Write("tokenizer_config.json", "[");
  EXPECT_THAT(Render("", {{"user", "Hi"}}).status().message(), HasSubstr("tokenizer_config.json: not valid JSON"));
}

TEST_F(ChatTemplateTest, FillsALiteral) {
  EXPECT_EQ(*Render("{system}\nQ: {user}\nA:{x}", {{"system", "Be {user}."}, {"user", "1+1 {system}"}}),
            "Be {user}.\nQ: 1+1 {system}\nA:{x}");
  EXPECT_EQ(*Render("{user}", {{"user", "Hi"}}), "Hi");
  EXPECT_EQ(*Render("[{system}|{user}]", {{"user", "Hi"}}), "[|Hi]");
  EXPECT_THAT(Render("{system}", {{"user", "Hi"}}).status().message(), HasSubstr("expected {user}"));
  EXPECT_EQ(Render("{user}", {{"user", "a"}, {"assistant", "b"}, {"user", "c"}}).status().code(),
            absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(Render("{user}", {{"system", "a"}}).status().code(), absl::StatusCode::kInvalidArgument);
}

TEST_F(ChatTemplateTest, RefusesBadMessages) {
  Write("chat_template.jinja", kSmolJinja);
  EXPECT_THAT(Render("", {}).status().message(), HasSubstr("expected at least one"));
  EXPECT_THAT(Render("", {{"user", "a"}, {"tool", "b"}}).status().message(),
              HasSubstr("messages[1].role: expected system, user or assistant, got \"tool\""));
}

}  // namespace
}  // namespace tactus
