#include "common/tasks/held_out_prompts.h"

#include <utility>

#include "common/base/status_macros.h"
#include "common/tasks/usable_rows.h"

namespace tactus {

std::vector<uint32_t> HeldOutRows(const Task& task, std::optional<size_t> source, size_t count) {
  std::vector<uint32_t> rows;
  for (uint32_t row = 0; row < task.Size(Split::kTest) && rows.size() < count; ++row) {
    if (!source.has_value() || task.SourceOf(Split::kTest, row) == *source) rows.push_back(row);
  }
  return rows;
}

absl::StatusOr<std::vector<Prompt>> HeldOutPrompts(const config::TaskOptions& options, const Task& task,
                                                   const PromptEncoder& encoder, const PromptBounds& bounds,
                                                   const std::vector<uint32_t>& rows) {
  std::vector<Prompt> prompts;
  const auto encode = [&](uint32_t row) -> absl::Status {
    ASSIGN_OR_RETURN(TaskExample example, task.Example(Split::kTest, row));
    ASSIGN_OR_RETURN(std::vector<TokenId> ids, encoder.Encode(example, bounds));
    prompts.push_back({.id = row,
                       .token_ids = std::move(ids),
                       .answer_key_json = std::move(example.answer_key_json),
                       .source = task.SourceOf(Split::kTest, row)});
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(UsableRows(options, "held-out questions", rows, encode).status());
  return prompts;
}

}  // namespace tactus
