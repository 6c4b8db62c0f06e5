#include "common/tokenizer/chat/chat_facts.h"

#include <algorithm>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"
#include "absl/strings/string_view.h"
#include "common/base/status_macros.h"
#include "common/tokenizer/chat/tokenizer_files.h"

namespace tactus {
namespace {

bool Holds(const std::vector<TokenId>& ids, TokenId id) { return std::find(ids.begin(), ids.end(), id) != ids.end(); }

// The token that ends an answer among those the template prints behind it: the first that ends one anyway, else the
// first special one; -1: none.
TokenId EndOf(const Tokenizer& tokenizer, const ChatTemplate& chat, const std::vector<TokenId>& stop_ids) {
  const std::vector<TokenId> printed = tokenizer.Encode(chat.AnswerEnd(), /*add_special_tokens=*/false);
  for (const TokenId id : printed) {
    if (Holds(stop_ids, id)) return id;
  }
  for (const TokenId id : printed) {
    const absl::StatusOr<std::string> plain = tokenizer.Decode({&id, 1}, /*skip_special_tokens=*/true);
    if (plain.ok() && plain->empty()) return id;
  }
  return -1;
}

// What the tokenizer puts before a text; -1: nothing.
TokenId Beginning(const Tokenizer& tokenizer) {
  const std::vector<TokenId> with = tokenizer.Encode("a", /*add_special_tokens=*/true);
  const std::vector<TokenId> without = tokenizer.Encode("a", /*add_special_tokens=*/false);
  return with.empty() || without.empty() || with[0] == without[0] ? -1 : with[0];
}

// A literal prompt is all that the model sees: that a beginning is missing is told, in case it was forgotten.
void RemarkOnBeginning(const Tokenizer& tokenizer, const ChatTemplate& literal, std::vector<std::string>& remarks) {
  const TokenId beginning = Beginning(tokenizer);
  const absl::StatusOr<std::string> prompt = literal.Render({{"user", "a"}});
  if (beginning < 0 || !prompt.ok()) return;
  const std::vector<TokenId> ids = tokenizer.Encode(*prompt, /*add_special_tokens=*/false);
  if (ids.empty() || ids[0] == beginning) return;
  const std::string text = tokenizer.Decode({&beginning, 1}, /*skip_special_tokens=*/false).value_or("?");
  remarks.push_back(absl::StrCat("model.prompt_template: prompts begin without the BOS token ", text,
                                 ", which the tokenizer puts before every text; write it into the template if the "
                                 "model was trained with it"));
}

}  // namespace

absl::StatusOr<ChatFacts> FindChatFacts(const std::string& folder, const Tokenizer& tokenizer, const ChatTemplate* chat,
                                        std::span<const int32_t> model_ids, int64_t vocab_size) {
  ASSIGN_OR_RETURN(const TokenizerFiles files, ReadTokenizerFiles(folder));
  ChatFacts facts;
  facts.remarks = files.disagreements;
  for (const int32_t id : model_ids) {
    if (!Holds(facts.stop_ids, id)) facts.stop_ids.push_back(id);
  }
  const std::string named = facts.stop_ids.empty()
                                ? "no eos_token_id"
                                : absl::StrCat("the eos_token_id ", absl::StrJoin(facts.stop_ids, ", "));
  // Whether the token can end an answer; then it does, and where that is news it is told.
  const auto take = [&](absl::string_view what, TokenId id) {
    if (id >= vocab_size) {
      facts.remarks.push_back(absl::StrCat(folder, ": ", what, " has the id ", id, ", but the model has ", vocab_size,
                                           " rows of embedding: it can never say it"));
      return false;
    }
    if (Holds(facts.stop_ids, id)) return true;
    if (!model_ids.empty()) {
      facts.remarks.push_back(absl::StrCat(folder, ": generation_config.json and config.json name ", named, ", but ",
                                           what, " has the id ", id, "; an answer ends at any of them"));
    }
    facts.stop_ids.push_back(id);
    return true;
  };
  if (!model_ids.empty()) facts.answer_end = model_ids[0];
  if (const std::string eos = files.SpecialToken("eos_token"); !eos.empty()) {
    const TokenId id = tokenizer.TokenToId(eos);
    if (id < 0) {
      facts.remarks.push_back(absl::StrCat(folder, ": the eos_token \"", eos, "\" is no token of tokenizer.json"));
    } else if (take(absl::StrCat("the tokenizer's eos_token ", eos), id)) {
      facts.answer_end = id;
    }
  }
  if (chat == nullptr) return facts;
  if (const TokenId id = EndOf(tokenizer, *chat, facts.stop_ids); id >= 0) {
    const absl::StatusOr<std::string> text = tokenizer.Decode({&id, 1}, /*skip_special_tokens=*/false);
    if (take(absl::StrCat("the chat template's end of an answer, ", text.value_or("?"), ","), id))
      facts.answer_end = id;
  }
  if (chat->literal()) RemarkOnBeginning(tokenizer, *chat, facts.remarks);
  if (chat->tells_time()) {
    facts.remarks.push_back(
        absl::StrCat(files.chat_template_path,
                     ": the chat template prints the date: the same question makes another prompt every day"));
  }
  return facts;
}

}  // namespace tactus
