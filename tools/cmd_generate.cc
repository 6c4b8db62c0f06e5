#include <cstdio>
#include <nlohmann/json.hpp>
#include <sstream>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "tools/batch/generate.h"
#include "tools/batch/jsonl_io.h"
#include "tools/batch/local_model.h"
#include "tools/command.h"

namespace tactus {
namespace {

constexpr FlagSpec kFlags[] = {
    kModelFlag,
    {.name = "prompt", .value = "TEXT", .help = "one prompt, taken as it is; the answer's text is printed"},
    {.name = "chat", .type = FlagType::kSwitch, .help = "--prompt is a user's message for the chat template"},
    {.name = "input",
     .value = "FILE",
     .help = "JSONL of {\"id\", \"prompt\" | \"messages\" | \"prompt_ids\"}; - is standard input"},
    kOutputFlag,
    {.name = "max-tokens",
     .type = FlagType::kInt,
     .value = "N",
     .help = "of each answer",
     .fallback = "256",
     .min = 1,
     .max = 1 << 20},
    {.name = "temperature",
     .type = FlagType::kDouble,
     .value = "X",
     .help = "0 = greedy",
     .fallback = "1",
     .min = 0,
     .max = 100},
    {.name = "top-p",
     .type = FlagType::kDouble,
     .value = "X",
     .help = "1 = off",
     .fallback = "1",
     .min = 1e-6,
     .max = 1},
    {.name = "top-k", .type = FlagType::kInt, .value = "N", .help = "0 = off", .fallback = "0", .min = 0, .max = 1e6},
    kSamplesFlag,
    kSeedFlag,
    kBatchFlag,
    {.name = "prompt-template",
     .value = "TEXT",
     .help = "with {system} and {user}, in place of the model's chat template"},
    kDtypeFlag,
    kThreadsFlag,
    kKvCacheFlag,
};

// The one line that stands for --prompt.
std::string PromptLine(const Flags& flags) {
  nlohmann::ordered_json line;
  line["id"] = 0;
  if (flags.On("chat")) {
    line["messages"] = {{{"role", "user"}, {"content", flags.Text("prompt")}}};
  } else {
    line["prompt"] = flags.Text("prompt");
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

absl::Status Run(const Flags& flags) {
  if (flags.Has("prompt") == flags.Has("input")) {
    return absl::InvalidArgumentError("expected either --prompt TEXT or --input FILE.");
  }
  ASSIGN_OR_RETURN(const LocalModel model, OpenLocalModel(flags));
  const std::string folder = flags.Text("model");
  ASSIGN_OR_RETURN(const std::unique_ptr<Tokenizer> tokenizer, Tokenizer::FromFile(folder + "/tokenizer.json"));
  const auto chat_template = ChatTemplate::FromModelFolder(folder, flags.Text("prompt-template"));
  ASSIGN_OR_RETURN(const std::unique_ptr<Engine> engine,
                   OpenLocalEngine(flags, model, static_cast<int>(flags.Int("batch")), /*max_sequence_tokens=*/0));
  GenerateOptions options;
  options.max_tokens = static_cast<int>(flags.Int("max-tokens"));
  options.samples = static_cast<int>(flags.Int("samples"));
  options.seed = static_cast<uint64_t>(flags.Int("seed"));
  options.sampling = {.temperature = static_cast<float>(flags.Double("temperature")),
                      .top_p = static_cast<float>(flags.Double("top-p")),
                      .top_k = static_cast<int32_t>(flags.Int("top-k"))};
  options.stop_ids = model.folder.config.eos_token_ids;
  if (flags.Has("prompt")) {
    std::istringstream in(PromptLine(flags));
    std::ostringstream out;
    RETURN_IF_ERROR(GenerateJsonl(*engine, *tokenizer, chat_template, options, in, "--prompt", out));
    PrintTexts(out.str());
    return absl::OkStatus();
  }
  return WithJsonl(flags, [&](std::istream& in, std::ostream& out, absl::string_view name) {
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
    .flags = kFlags,
    .rules = {},
    .run = Run,
};

}  // namespace tactus
