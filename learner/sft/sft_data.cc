#include "learner/sft/sft_data.h"

#include <algorithm>
#include <array>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/log.h"
#include "common/base/status_macros.h"
#include "common/data/data_rows.h"
#include "common/environment/open_task.h"
#include "common/storage/local_copy.h"
#include "common/tasks/train_order.h"
#include "common/tasks/usable_rows.h"
#include "common/tokenizer/chat/chat_facts.h"
#include "proto/config.pb.h"

namespace tactus {

absl::StatusOr<std::unique_ptr<SftData>> SftData::Create(const config::RunConfig& config, const ModelConfig& model) {
  std::unique_ptr<SftData> data(
      new SftData({.max_tokens = config.rollout().max_prompt_tokens(), .vocab_size = model.vocab_size},
                  config.rollout().max_completion_tokens()));
  ASSIGN_OR_RETURN(data->encoder_, PromptEncoder::Create(config.model()));
  RETURN_IF_ERROR(data->FindAnswerEnd(config, model));
  if (config.sft().data_path().empty()) {
    ASSIGN_OR_RETURN(data->task_, OpenTask(config));
  } else {
    RETURN_IF_ERROR(data->ReadFile(config.sft().data_path()));
  }
  RETURN_IF_ERROR(data->CheckRows(config));
  return data;
}

absl::Status SftData::FindAnswerEnd(const config::RunConfig& config, const ModelConfig& model) {
  ASSIGN_OR_RETURN(const std::string path, LocalModelFolder(config.model().path()));
  ASSIGN_OR_RETURN(const ChatFacts facts, FindChatFacts(path, encoder_->tokenizer(), &encoder_->chat(),
                                                        model.eos_token_ids, model.vocab_size));
  for (const std::string& remark : facts.remarks) TACTUS_LOG(WARNING) << remark;
  answer_end_ = facts.answer_end;
  if (answer_end_ >= 0) return absl::OkStatus();
  return absl::InvalidArgumentError(absl::StrCat(path,
                                                 ": no file tells how an answer ends: expected eos_token_id in "
                                                 "config.json or eos_token in tokenizer_config.json"));
}

absl::Status SftData::ReadFile(const std::string& path) {
  return ForEachRow(path, {"prompt", "response"}, [this](const JsonField& line) -> absl::Status {
    RETURN_IF_ERROR(line.CheckKeys({"prompt", "response"}));
    Row& row = rows_.emplace_back();
    JSON_MEMBER(row.prompt.user, line, "prompt", String());
    JSON_MEMBER(row.response, line, "response", String());
    row.prompt.where = std::string(line.source());
    return absl::OkStatus();
  });
}

// Also decides which rows there are.
absl::Status SftData::CheckRows(const config::RunConfig& config) {
  const size_t size = task_ != nullptr ? task_->Size(Split::kTrain) : rows_.size();
  if (size == 0) return absl::InvalidArgumentError("sft has no examples: expected at least one");
  if (task_ != nullptr) {
    ASSIGN_OR_RETURN(MixedOrder order, TrainOrder(config, *task_, AllRows(size)));
    order_.emplace(std::move(order));
    const uint64_t places =
        static_cast<uint64_t>(config.sft().steps()) * static_cast<uint64_t>(config.sft().sequences_per_step());
    for (uint64_t place = 0; place < places; ++place) RETURN_IF_ERROR(At(place).status());
    return absl::OkStatus();
  }
  ASSIGN_OR_RETURN(const std::vector<uint32_t> usable,
                   UsableRows(config.task(), "sft examples", AllRows(size),
                              [this](uint32_t row) { return Encode(rows_[row]).status(); }));
  std::vector<Row> rows;
  for (const uint32_t row : usable) rows.push_back(std::move(rows_[row]));
  rows_ = std::move(rows);
  order_.emplace(config.seed(), std::array{1.0}, std::array<uint64_t, 1>{rows_.size()});
  return absl::OkStatus();
}

absl::StatusOr<SftExample> SftData::At(uint64_t place) {
  const uint64_t index = order_->At(place).element;
  if (task_ == nullptr) return Encode(rows_[index]);
  Row row;
  ASSIGN_OR_RETURN(row.prompt, task_->Example(Split::kTrain, index));
  ASSIGN_OR_RETURN(row.response, task_->Trace(index, place));  // another worked answer each time the puzzle returns
  return Encode(row);
}

absl::StatusOr<SftExample> SftData::Encode(const Row& row) const {
  SftExample example;
  ASSIGN_OR_RETURN(example.prompt_token_ids, encoder_->Encode(row.prompt, bounds_));
  std::vector<TokenId>& ids = example.completion_token_ids;
  ids = encoder_->tokenizer().Encode(row.response, /*add_special_tokens=*/false);
  ids.push_back(answer_end_);
  const auto error = [&row](const auto&... what) {
    return absl::InvalidArgumentError(absl::StrCat(row.prompt.where, ": ", what...));
  };
  if (ids.size() > static_cast<size_t>(max_completion_tokens_)) {
    return error("the response has ", ids.size(),
                 " tokens with the end, more than rollout.max_completion_tokens = ", max_completion_tokens_);
  }
  const auto unknown = std::ranges::find_if(ids, [this](TokenId id) { return id >= bounds_.vocab_size; });
  if (unknown != ids.end()) {
    return error("the response holds token ", *unknown, ", which the model does not know: its vocab_size is ",
                 bounds_.vocab_size);
  }
  return example;
}

}  // namespace tactus
