#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "tools/batch/jsonl_io.h"
#include "tools/batch/tokenize_jsonl.h"
#include "tools/command.h"

namespace tactus {
namespace {

constexpr FlagSpec kFlags[] = {
    {.name = "model", .value = "DIR", .help = "a model folder with tokenizer.json", .required = true},
    {.name = "prompt-template",
     .value = "TEXT",
     .help = "with {system} and {user}, in place of the model's chat template"},
    kInputFlag,
    kOutputFlag,
};

absl::Status Run(const Flags& flags) {
  const std::string model = flags.Text("model");
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer,
                   Tokenizer::FromFile(absl::StrCat(model, "/tokenizer.json")));
  const auto chat_template = ChatTemplate::FromModelFolder(model, flags.Text("prompt-template"));
  return WithJsonl(flags, [&](std::istream& in, std::ostream& out, absl::string_view name) {
    return TokenizeJsonl(*tokenizer, chat_template, std::string(name), in, out);
  });
}

}  // namespace

constinit const Command kTokenizeCommand = {
    .name = "tokenize",
    .summary = "Turns texts or chat messages into token ids",
    .synopsis = "--model DIR --input FILE [--output FILE]",
    .example =
        "echo '{\"id\":1,\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}' |\n"
        "    tactus tokenize --model models/quickstart --input -",
    .flags = kFlags,
    .rules = {},
    .run = Run,
};

}  // namespace tactus
