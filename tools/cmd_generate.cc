#include <cstdio>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "common/base/aside_file.h"
#include "common/base/status_macros.h"
#include "tools/batch/generate.h"
#include "tools/batch/jsonl_io.h"
#include "tools/batch/local_model.h"
#include "tools/command.h"

namespace tactus {
namespace {

struct GenerateFlags : ModelFlags {
  std::optional<std::string> prompt, input;
  std::string prompt_template;
  bool chat = false;
  JsonlFlags jsonl;
  int max_tokens = 256, top_k = 0;
  double temperature = 1, top_p = 1;
  DrawFlags draw;

  void Declare(CLI::App& app) {
    AddFlag(app, "--prompt TEXT", prompt, "one prompt, taken as it is; without --output the answer's text is printed");
    AddSwitch(app, "--chat", chat, "--prompt is a user's message for the chat template");
    AddFlag(app, "--input FILE", input,
            "JSONL of {\"id\", \"prompt\" | \"messages\" | \"prompt_ids\"}; - is standard input");
    jsonl.DeclareOutput(app);
    AddFlag(app, "--max-tokens N", max_tokens, "of each answer", 1, 1 << 20);
    AddFlag(app, "--temperature X", temperature, "0 = greedy", 0, 100);
    AddFlag(app, "--top-p X", top_p, "1 = off", 1e-6, 1);
    AddFlag(app, "--top-k N", top_k, "0 = off", 0, 1e6);
    AddFlag(app, "--prompt-template TEXT", prompt_template,
            "with {system} and {user}, in place of the model's chat template");
    draw.Declare(app);
    ModelFlags::Declare(app);
  }
};

// The one line that stands for --prompt.
std::string PromptLine(const GenerateFlags& flags) {
  nlohmann::ordered_json line;
  line["id"] = 0;
  if (flags.chat) {
    line["messages"] = {{{"role", "user"}, {"content", *flags.prompt}}};
  } else {
    line["prompt"] = *flags.prompt;
  }
  return line.dump(-1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
}

void PrintTexts(const std::string& lines) {
  std::istringstream in(lines);
  for (std::string line; std::getline(in, line);) {
    const auto json = nlohmann::json::parse(line, nullptr, /*allow_exceptions=*/false);
    const auto text = json.find("text");
    if (text != json.end() && text->is_string()) std::printf("%s\n", text->get<std::string>().c_str());
  }
}

absl::Status Run(const GenerateFlags& flags) {
  if (flags.prompt.has_value() == flags.input.has_value()) {
    return absl::InvalidArgumentError("expected either --prompt TEXT or --input FILE.");
  }
  ASSIGN_OR_RETURN(const LocalModel model, OpenLocalModel(flags));
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer,
                   Tokenizer::FromFile(model.folder.path + "/tokenizer.json"));
  const auto chat_template = ChatTemplate::FromModelFolder(model.folder.path, flags.prompt_template);
  ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                   OpenLocalEngine(flags, model, flags.draw.batch, /*max_sequence_tokens=*/0));
  GenerateOptions options;
  options.max_tokens = flags.max_tokens;
  options.samples = flags.draw.samples;
  options.seed = flags.draw.seed;
  options.sampling = {.temperature = static_cast<float>(flags.temperature),
                      .top_p = static_cast<float>(flags.top_p),
                      .top_k = flags.top_k};
  ASSIGN_OR_RETURN(options.stop_ids,
                   StopTokens(model.folder, *tokenizer, chat_template.ok() ? chat_template->get() : nullptr));
  if (flags.prompt.has_value()) {
    std::unique_ptr<AsideFile> file;
    if (flags.jsonl.output != "-") {
      ASSIGN_OR_RETURN(file, AsideFile::Create(flags.jsonl.output));
    }
    std::istringstream in(PromptLine(flags));
    std::ostringstream lines;
    std::ostream& out = file == nullptr ? lines : file->out();
    RETURN_IF_ERROR(GenerateJsonl(*engine, *tokenizer, chat_template, options, in, "--prompt", out));
    if (file != nullptr) return file->Publish();
    PrintTexts(lines.str());
    return absl::OkStatus();
  }
  return WithJsonl(
      {.input = *flags.input, .output = flags.jsonl.output},
      [&](std::istream& in, std::ostream&, absl::string_view name) {
        return CheckPrompts(engine->config(), *tokenizer, chat_template, options, in, name);
      },
      [&](std::istream& in, std::ostream& out, absl::string_view name) {
        return GenerateJsonl(*engine, *tokenizer, chat_template, options, in, name, out);
      });
}

}  // namespace

constinit const Command kGenerateCommand = {
    .name = "generate",
    .summary = "Samples answers from a model",
    .synopsis =
        "--model DIR (--prompt TEXT | --input FILE) [--max-tokens N] [--temperature X] [--samples K] [--seed S]",
    .example = "tactus generate --model models/smollm2-135m-instruct --chat --prompt 'What is 17 + 25?'",
    .bind = [] { return Bind(Run); },
};

}  // namespace tactus
