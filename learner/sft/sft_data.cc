#include "learner/sft/sft_data.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/base/strict_json.h"
#include "proto/config.pb.h"

namespace tactus {

absl::StatusOr<std::unique_ptr<SftData>> SftData::Create(const config::RunConfig& config, TokenId eos) {
  std::unique_ptr<SftData> data(new SftData(eos));
  data->max_prompt_tokens_ = config.rollout().max_prompt_tokens();
  data->max_completion_tokens_ = config.rollout().max_completion_tokens();
  ASSIGN_OR_RETURN(data->encoder_, PromptEncoder::Create(config.model()));
  if (config.sft().data_path().empty()) {
    ASSIGN_OR_RETURN(data->task_, CreateTask(config.task()));
  } else {
    RETURN_IF_ERROR(data->ReadFile(config.sft().data_path()));
  }
  if (data->size() == 0) return absl::InvalidArgumentError("sft has no examples: expected at least one");
  data->order_.emplace(config.seed(), data->size());
  return data;
}

size_t SftData::size() const { return task_ != nullptr ? task_->Size(Split::kTrain) : pairs_.size(); }

absl::Status SftData::ReadFile(const std::string& path) {
  ASSIGN_OR_RETURN(const std::string content, tactus::ReadFile(path));
  int number = 0;
  for (const absl::string_view line : absl::StrSplit(content, '\n')) {
    ++number;
    if (line.empty()) continue;
    const std::string where = absl::StrCat(path, ":", number);
    ASSIGN_OR_RETURN(const nlohmann::ordered_json json, ParseStrictJson(line, where));
    const auto text = [&json](const char* key) {
      const auto found = json.is_object() ? json.find(key) : json.end();
      return found != json.end() && found->is_string();
    };
    if (!text("prompt") || !text("response") || json.size() != 2) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": expected an object with the strings \"prompt\" and \"response\" and nothing else"));
    }
    pairs_.emplace_back(json["prompt"].get<std::string>(), json["response"].get<std::string>());
  }
  return absl::OkStatus();
}

absl::StatusOr<SftExample> SftData::At(uint64_t place) {
  const uint64_t index = order_->At(place);
  SftExample example;
  std::string response;
  if (task_ != nullptr) {
    ASSIGN_OR_RETURN(response, task_->Trace(index, place));  // another worked answer each time the puzzle returns
    ASSIGN_OR_RETURN(example.prompt_token_ids,
                     encoder_->Encode(task_->Example(Split::kTrain, index), max_prompt_tokens_));
  } else {
    const auto& [prompt, answer] = pairs_[index];
    response = answer;
    ASSIGN_OR_RETURN(example.prompt_token_ids,
                     encoder_->Encode({.system = "", .user = prompt, .answer_key_json = ""}, max_prompt_tokens_));
  }
  example.completion_token_ids = encoder_->tokenizer().Encode(response, /*add_special_tokens=*/false);
  example.completion_token_ids.push_back(eos_);
  const size_t limit = static_cast<size_t>(max_completion_tokens_);
  if (example.completion_token_ids.size() > limit) {
    return absl::InvalidArgumentError(absl::StrCat("example ", index, " has a response of ",
                                                   example.completion_token_ids.size(),
                                                   " tokens, more than rollout.max_completion_tokens = ", limit));
  }
  return example;
}

}  // namespace tactus
