#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/storage/local_copy.h"
#include "tools/batch/jsonl_io.h"
#include "tools/batch/tokenize_jsonl.h"
#include "tools/command.h"

namespace tactus {
namespace {

struct TokenizeFlags {
  std::string model, prompt_template;
  JsonlFlags jsonl;

  void Declare(CLI::App& app) {
    AddRequired(app, "--model DIR", model, "a model folder with tokenizer.json");
    AddFlag(app, "--prompt-template TEXT", prompt_template,
            "with {system} and {user}, in place of the model's chat template");
    jsonl.Declare(app);
  }
};

absl::Status Run(const TokenizeFlags& flags) {
  ASSIGN_OR_RETURN(const std::string model, LocalModelFolder(flags.model));
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer,
                   Tokenizer::FromFile(absl::StrCat(model, "/tokenizer.json")));
  const auto chat_template = ChatTemplate::FromModelFolder(model, flags.prompt_template);
  const auto work = [&](std::istream& in, std::ostream& out, absl::string_view name) {
    return TokenizeJsonl(*tokenizer, chat_template, std::string(name), in, out);
  };
  return WithJsonl(flags.jsonl, /*check=*/work, work);
}

}  // namespace

constinit const Command kTokenizeCommand = {
    .name = "tokenize",
    .summary = "Turns texts or chat messages into token ids",
    .synopsis = "--model DIR --input FILE [--output FILE]",
    .example =
        "echo '{\"id\":1,\"messages\":[{\"role\":\"user\",\"content\":\"Hello\"}]}' |\n"
        "    tactus tokenize --model models/quickstart --input -",
    .bind = [] { return Bind(Run); },
};

}  // namespace tactus
