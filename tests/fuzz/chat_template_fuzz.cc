// A model folder's tokenizer_config.json, chat_template.jinja or literal template, or a template with the names it is
// given, which stand behind its NUL: the byte in front says which.
#include "common/tokenizer/chat/chat_template.h"
#include "common/tokenizer/jinja/jinja.h"
#include "tests/fuzz/fuzz.h"

namespace tactus::fuzz {
namespace {

// A day that never changes, so that an input does the same each time.
std::tm Day() {
  std::tm day{};
  day.tm_year = 126, day.tm_mon = 10, day.tm_mday = 28, day.tm_wday = 6, day.tm_yday = 331;
  return day;
}

}  // namespace

void FuzzChatTemplateFiles(absl::string_view input) {
  static InputFolder folder;
  if (input.empty()) return;
  const absl::string_view text = input.substr(1);
  std::string literal;
  folder.Clear();
  switch (input[0]) {
    case 'c':
      folder.Write("tokenizer_config.json", text);
      break;
    case 'j':
      folder.Write("tokenizer_config.json", R"({"bos_token": "<s>", "eos_token": {"content": "</s>"}})");
      folder.Write("chat_template.jinja", text);
      break;
    case 'n': {
      const auto [source, names] = SplitAtNul(text);
      (void)jinja::RenderTemplate(source, names, Day());
      return;
    }
    default:
      literal = std::string(text);
  }
  const absl::StatusOr<std::unique_ptr<ChatTemplate>> chat = ChatTemplate::FromModelFolder(folder.path(), literal);
  if (!chat.ok()) return;
  (void)(*chat)->Render({{"user", "1 + 1 = {user}"}});
  (void)(*chat)->Render({{"system", "Be brief."}, {"user", "Hello"}, {"assistant", "<b>"}, {"user", "{{ 7 }}"}});
}

}  // namespace tactus::fuzz
