#include "common/tasks/held_out_prompts.h"

#include <algorithm>
#include <utility>

#include "common/base/status_macros.h"
#include "common/tasks/usable_rows.h"

namespace tactus {

absl::StatusOr<std::vector<Prompt>> HeldOutPrompts(const config::TaskOptions& options, const Task& task,
                                                   const PromptEncoder& encoder, const PromptBounds& bounds,
                                                   size_t count) {
  std::vector<Prompt> prompts;
  const auto encode = [&](uint32_t row) -> absl::Status {
    ASSIGN_OR_RETURN(TaskExample example, task.Example(Split::kTest, row));
    ASSIGN_OR_RETURN(std::vector<TokenId> ids, encoder.Encode(example, bounds));
    prompts.push_back({.id = row, .token_ids = std::move(ids), .answer_key_json = std::move(example.answer_key_json)});
    return absl::OkStatus();
  };
  const std::vector<uint32_t> rows = AllRows(std::min<size_t>(count, task.Size(Split::kTest)));
  RETURN_IF_ERROR(UsableRows(options, "held-out questions", rows, encode).status());
  return prompts;
}

}  // namespace tactus
