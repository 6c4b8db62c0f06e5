#include "common/tokenizer/chat/chat_template.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>

#include "common/base/file.h"
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

// What the families print, in words of our own: on conversations without tools they print what the published ones do.
std::string ChatMl(const std::string& default_system) {
  return "{%- if messages[0].role != 'system' and '" + default_system + "' -%}<|im_start|>system\n" + default_system +
         "<|im_end|>\n{% endif -%}"
         "{%- for m in messages -%}{{ '<|im_start|>' ~ m.role ~ '\n' ~ m.content ~ '<|im_end|>\n' }}{%- endfor -%}"
         "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}";
}

// Thoughts are left out before the last question, and behind it spelled out even where there are none.
const char kQwen3Jinja[] = R"({%- set ns = namespace(last=messages|length - 1, found=false) -%}
{%- for m in messages | reverse -%}
  {%- set tool = m.content.startswith('<tool_response>') and m.content.endswith('</tool_response>') -%}
  {%- if not ns.found and m.role == 'user' and not tool -%}
    {%- set ns.last = loop.revindex0 -%}{%- set ns.found = true -%}
  {%- endif -%}
{%- endfor -%}
{%- for m in messages -%}
  {{- '<|im_start|>' ~ m.role ~ '\n' -}}
  {%- if m.role != 'assistant' -%}{{- m.content -}}
  {%- else -%}
    {%- set parts = m.content.split('</think>') -%}
    {%- set thought = parts[0].rstrip('\n').split('<think>')[-1].lstrip('\n') if parts | length > 1 else '' -%}
    {%- set answer = parts[-1].lstrip('\n') if parts | length > 1 else m.content -%}
    {%- if loop.index0 > ns.last and (loop.last or thought) -%}
      {{- '<think>\n' ~ thought.strip('\n') ~ '\n</think>\n\n' ~ answer.lstrip('\n') -}}
    {%- else -%}{{- answer -}}{%- endif -%}
  {%- endif -%}
  {{- '<|im_end|>\n' -}}
{%- endfor -%}
{%- if add_generation_prompt -%}{{- '<|im_start|>assistant\n' -}}{%- endif -%})";

const char kMistralNemoJinja[] =
    R"({%- set system = messages[0].content ~ '\n\n' if messages[0].role == 'system' else '' -%}
{%- set turns = messages[1:] if system else messages -%}
{{- bos_token -}}
{%- for m in turns -%}
  {%- if m.role != ('user' if loop.index0 is even else 'assistant') -%}
    {{- raise_exception('users and assistants take turns, got ' ~ m.role) -}}
  {%- endif -%}
  {%- if m.role == 'user' -%}{{- '[INST]' ~ (system if loop.last) ~ m.content ~ '[/INST]' -}}
  {%- else -%}{{- m.content ~ eos_token -}}{%- endif -%}
{%- endfor -%})";

TEST_F(ChatTemplateTest, FamiliesRenderLikeTheirJinja) {
  struct Family {
    std::string source, bos, eos;
  };
  const std::map<std::string, Family> families = {
      {"chatml", {ChatMl(""), "", ""}},
      {"qwen2", {ChatMl("You are a helpful assistant."), "", ""}},
      {"qwen2_5", {ChatMl("You are Qwen, created by Alibaba Cloud. You are a helpful assistant."), "", ""}},
      {"qwen3", {kQwen3Jinja, "", ""}},
      {"qwen3_instruct_2507", {ChatMl(""), "", ""}},
      {"llama3", {kLlama3Jinja, "<|begin_of_text|>", ""}},
      {"mistral_nemo", {kMistralNemoJinja, "<s>", "</s>"}},
      {"olmo2", {kOlmo2Jinja, "<|endoftext|>", "<|endoftext|>"}}};
  std::ifstream file(kGoldens);
  int cases = 0;
  for (std::string line; std::getline(file, line); ++cases) {
    const auto golden = nlohmann::json::parse(line);
    const Family& family = families.at(golden["family"]);
    Write(
        "tokenizer_config.json",
        nlohmann::json{{"bos_token", family.bos}, {"eos_token", family.eos}, {"chat_template", family.source}}.dump());
    std::vector<ChatMessage> messages;
    for (const auto& message : golden["messages"]) messages.push_back({message["role"], message["content"]});
    const auto text = Render("", messages);
    ASSERT_TRUE(text.ok()) << text.status();
    EXPECT_EQ(*text, golden["text"].get<std::string>()) << golden["family"] << ", line " << cases + 1;
  }
  EXPECT_GT(cases, 100);
}

TEST_F(ChatTemplateTest, RendersSmolLm2) {
  Write("chat_template.jinja", kSmolJinja);
  EXPECT_EQ(*Render("", {{"user", "Hi"}}),
            "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
            "<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(*Render("", {{"system", "S"}, {"user", "Hi"}}),
            "<|im_start|>system\nS<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n");
}

TEST_F(ChatTemplateTest, RendersLlama3OfTokenizerConfig) {
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

TEST_F(ChatTemplateTest, RendersOlmo2) {
  Write("tokenizer_config.json", nlohmann::json{{"bos_token", "<|endoftext|>"},
                                                {"eos_token", {{"content", "<|endoftext|>"}}},
                                                {"chat_template", kOlmo2Jinja}}
                                     .dump());
  EXPECT_EQ(*Render("", {{"system", "S"}, {"user", "1"}, {"assistant", "2"}, {"user", "3"}}),
            "<|endoftext|><|system|>\nS\n<|user|>\n1\n<|assistant|>\n2<|endoftext|>\n<|user|>\n3\n<|assistant|>\n");
}

TEST_F(ChatTemplateTest, MistralNemoTakesTurns) {
  Write("tokenizer_config.json",
        nlohmann::json{{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"chat_template", kMistralNemoJinja}}.dump());
  EXPECT_EQ(*Render("", {{"system", "S"}, {"user", "1"}, {"assistant", "2"}, {"user", "3"}}),
            "<s>[INST]1[/INST]2</s>[INST]S\n\n3[/INST]");
  for (const std::vector<ChatMessage>& messages : std::vector<std::vector<ChatMessage>>{
           {{"user", "1"}, {"user", "2"}}, {{"assistant", "1"}}, {{"user", "1"}, {"system", "2"}}}) {
    const absl::Status status = Render("", messages).status();
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(status.message(), HasSubstr(folder_ + "/tokenizer_config.json: line "));
    EXPECT_THAT(status.message(), HasSubstr("refuses these messages: users and assistants take turns"));
  }
}

TEST_F(ChatTemplateTest, TellsHowAnAnswerEnds) {
  const auto end = [&](const std::string& source) {
    Write("chat_template.jinja", source);
    return (*ChatTemplate::FromModelFolder(folder_, ""))->AnswerEnd();
  };
  Write("tokenizer_config.json", "{\"bos_token\": \"<b>\"}");
  EXPECT_EQ(end(kSmolJinja), "<|im_end|>\n");
  EXPECT_EQ(end(kLlama3Jinja), "<|eot_id|>");
  EXPECT_EQ(end("{% for m in messages %}{{ m.content }}{% endfor %}"), "");
  EXPECT_EQ(end("{{ messages[0].content }}</s>"), "");
  EXPECT_EQ(end("{{ raise_exception('no') }}"), "");
  EXPECT_EQ((*ChatTemplate::FromModelFolder(folder_, "{user}"))->AnswerEnd(), "");
}

TEST_F(ChatTemplateTest, AnyRoleThatTheTemplatePrints) {
  Write("chat_template.jinja", kSmolJinja);
  EXPECT_THAT(*Render("", {{"system", "s"}, {"tool", "12"}}), HasSubstr("<|im_start|>tool\n12<|im_end|>"));
}

TEST_F(ChatTemplateTest, RendersTheQuickStartModel) {
  auto chat_template = ChatTemplate::FromModelFolder(SourcePath("models/quickstart-base"), "");
  ASSERT_TRUE(chat_template.ok()) << chat_template.status();
  EXPECT_EQ(*(*chat_template)->Render({{"system", "a "}, {"user", "1 + 1 ="}}), "a 1 + 1 =");
}

TEST_F(ChatTemplateTest, TheJinjaFileWins) {
  Write("tokenizer_config.json", nlohmann::json{{"chat_template", kLlama3Jinja}}.dump());
  Write("chat_template.jinja", kSmolJinja);
  EXPECT_THAT(*Render("", {{"user", "Hi"}}), testing::StartsWith("<|im_start|>system"));
}

TEST_F(ChatTemplateTest, SaysHowToGoOnWithoutATemplate) {
  const absl::Status none = Render("", {{"user", "Hi"}}).status();
  EXPECT_EQ(none.code(), absl::StatusCode::kUnimplemented);
  EXPECT_THAT(none.message(), HasSubstr("there is no chat template"));
  EXPECT_THAT(none.message(), HasSubstr("model.prompt_template"));
  Write("chat_template.jinja", "{% for m in messages %}\n{% extends 'x' %}{% endfor %}");
  const absl::Status broken = Render("", {{"user", "Hi"}}).status();
  EXPECT_EQ(broken.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(broken.message(), HasSubstr(folder_ + "/chat_template.jinja: the chat template, line 2: expected"));
  EXPECT_THAT(broken.message(), HasSubstr("model.prompt_template"));
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
}

// Qwen's and Llama 3's markup of a tool's result, in words of our own.
const char kQwenTools[] =
    "{%- for m in messages -%}{%- if m.role == 'tool' -%}"
    "{%- if loop.first or messages[loop.index0 - 1].role != 'tool' -%}{{ '<|im_start|>user' }}{%- endif -%}"
    "{{ '\n<tool_response>\n' ~ m.content ~ '\n</tool_response>' }}"
    "{%- if loop.last or messages[loop.index0 + 1].role != 'tool' -%}{{ '<|im_end|>\n' }}{%- endif -%}"
    "{%- else -%}{{ '<|im_start|>' ~ m.role ~ '\n' ~ m.content ~ '<|im_end|>\n' }}{%- endif -%}{%- endfor -%}"
    "{%- if add_generation_prompt -%}{{ '<|im_start|>assistant\n' }}{%- endif -%}";
const char kLlamaTools[] =
    "{%- for m in messages -%}{%- if m.role in ['tool', 'ipython'] -%}"
    "{{ '<|start_header_id|>ipython<|end_header_id|>\n\n' ~ (m.content | tojson) ~ '<|eot_id|>' }}"
    "{%- else -%}{{ '<|start_header_id|>' ~ m.role ~ '<|end_header_id|>\n\n' ~ m.content | trim ~ '<|eot_id|>' }}"
    "{%- endif -%}{%- endfor -%}{%- if add_generation_prompt -%}{{ '<|start_header_id|>assistant<|end_header_id|>\n\n' "
    "}}"
    "{%- endif -%}";

TEST_F(ChatTemplateTest, PrintsWhatStandsBetweenTwoAnswers) {
  const auto between = [&](const std::string& source, const std::vector<ChatMessage>& messages) {
    Write("tokenizer_config.json",
          nlohmann::json{{"bos_token", "<s>"}, {"eos_token", "</s>"}, {"chat_template", source}}.dump());
    const auto made = ChatTemplate::FromModelFolder(folder_, "");
    EXPECT_TRUE(made.ok()) << made.status();
    const absl::StatusOr<std::string> text = (*made)->RenderBetweenAnswers(messages);
    return text.ok() ? *text : std::string(text.status().message());
  };
  const std::vector<ChatMessage> results = {{"tool", "12", "calculator"}, {"tool", "{\"a\": 1}"}};
  EXPECT_EQ(between(kQwenTools, results),
            "<|im_end|>\n<|im_start|>user\n<tool_response>\n12\n</tool_response>\n<tool_response>\n{\"a\": 1}\n"
            "</tool_response><|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(between(kLlamaTools, {{"tool", "a \"b\""}}),
            "<|eot_id|><|start_header_id|>ipython<|end_header_id|>\n\n\"a \\\"b\\\"\"<|eot_id|>"
            "<|start_header_id|>assistant<|end_header_id|>\n\n");
  EXPECT_EQ(between(kQwen3Jinja, {{"user", "an answer of Tactus"}}),
            "<|im_end|>\n<|im_start|>user\nan answer of Tactus<|im_end|>\n<|im_start|>assistant\n");
  EXPECT_EQ(between(kMistralNemoJinja, {{"user", "Go on"}}), "</s>[INST]Go on[/INST]");
  EXPECT_EQ(between(kOlmo2Jinja, {{"user", "Go on"}}), "</s>\n<|user|>\nGo on\n<|assistant|>\n");
  EXPECT_THAT(between(kMistralNemoJinja, {{"tool", "12"}}), HasSubstr("users and assistants take turns, got tool"));
  EXPECT_THAT(between(kOlmo2Jinja, {{"user", "Go on"}, {"tool", "12"}}),
              HasSubstr("prints nothing of a message of the role \"tool\""));
  EXPECT_THAT(between(kQwenTools, {}), HasSubstr("expected at least one"));
  const auto literal = ChatTemplate::FromModelFolder(folder_, "Q: {user}\nA: ");
  EXPECT_THAT(std::string((*literal)->RenderBetweenAnswers(results).status().message()), HasSubstr("expected as text"));
}

TEST_F(ChatTemplateTest, PrintsToolsWhereTheFamilyDoes) {
  const auto render = [&](const std::string& source, const std::string& tools) {
    Write("tokenizer_config.json", nlohmann::json{{"chat_template", source}}.dump());
    const auto made = ChatTemplate::FromModelFolder(folder_, "");
    EXPECT_TRUE(made.ok()) << made.status();
    const absl::StatusOr<std::string> text = (*made)->RenderWithTools({{"user", "3*4?"}}, tools);
    return text.ok() ? *text : std::string(text.status().message());
  };
  const std::string prints =
      "{%- if tools -%}{%- for t in tools -%}{{ t | tojson ~ '\n' }}{%- endfor -%}{%- endif -%}" + ChatMl("");
  EXPECT_EQ(
      render(prints, R"([{"type": "function", "a": {"name": "mul"}}])"),
      "{\"type\": \"function\", \"a\": {\"name\": \"mul\"}}\n<|im_start|>user\n3*4?<|im_end|>\n<|im_start|>assistant\n")
      << "keys in their order";
  EXPECT_THAT(render(ChatMl(""), "[{}]"), HasSubstr("prints no tools"));
  for (const char* none : {"", "{}", "[]", "[1]", "[{}"}) EXPECT_THAT(render(prints, none), HasSubstr("tools")) << none;
  const auto literal = ChatTemplate::FromModelFolder(folder_, "Q: {user}");
  EXPECT_THAT(std::string((*literal)->RenderWithTools({{"user", "q"}}, "[{}]").status().message()),
              HasSubstr("prints no tools"));
}

}  // namespace
}  // namespace tactus
