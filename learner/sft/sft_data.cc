#include "learner/sft/sft_data.h"

#include "absl/strings/str_cat.h"
#include "common/base/json_lines.h"
#include "common/base/status_macros.h"
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
  return ForEachJsonLine(path, [this](const JsonField& line) -> absl::Status {
    RETURN_IF_ERROR(line.CheckKeys({"prompt", "response"}));
    auto& [prompt, response] = pairs_.emplace_back();
    JSON_MEMBER(prompt, line, "prompt", String());
    JSON_MEMBER(response, line, "response", String());
    return absl::OkStatus();
  });
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
