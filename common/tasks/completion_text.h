// The text of a completion, as verifiers judge it and as people read it. Thread-safe.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "common/data/types.h"
#include "common/tokenizer/tokenizer.h"

namespace tactus {

// Decodes the ids without the stop token that ended them. Other special tokens stay in the text: a task may use them
// as its marks. InvalidArgument: an id the tokenizer does not have (a model's padded vocabulary is larger).
absl::StatusOr<std::string> CompletionText(const Tokenizer& tokenizer, std::span<const TokenId> ids,
                                           FinishReason finish_reason);

}  // namespace tactus
