#include "learner/train/packing.h"

#include <algorithm>
#include <limits>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/data/turns.h"

namespace tactus {
namespace {

absl::Status Malformed(absl::string_view field, absl::string_view problem) {
  return absl::InvalidArgumentError(absl::StrCat("Train batch: ", field, " ", problem, "."));
}

absl::Status CheckSize(absl::string_view field, size_t size, size_t expected, bool may_be_empty = false) {
  if (size == expected || (may_be_empty && size == 0)) return absl::OkStatus();
  return Malformed(field, absl::StrCat("has ", size, " entries, expected ", expected));
}

// starts [n + 1]: from 0 to `end`, every part with at least one element.
absl::Status CheckStarts(absl::string_view field, const std::vector<int64_t>& starts, size_t end) {
  if (starts.empty() || starts.front() != 0 || starts.back() != static_cast<int64_t>(end))
    return Malformed(field, absl::StrCat("must go from 0 to ", end));
  for (size_t i = 1; i < starts.size(); ++i) {
    if (starts[i] <= starts[i - 1]) return Malformed(field, absl::StrCat("must increase, at ", i, " they do not"));
  }
  return absl::OkStatus();
}

absl::Status CheckTokens(absl::string_view field, std::span<const TokenId> tokens, int64_t vocab_size) {
  for (const TokenId token : tokens) {
    if (token < 0 || token >= vocab_size)
      return Malformed(field, absl::StrCat("holds ", token, ", which is not in [0, ", vocab_size, ")"));
  }
  return absl::OkStatus();
}

// Each sequence's target rows lie in it and increase.
absl::Status CheckRows(const TrainBatch::Fields& fields) {
  const TrainSequences& sequences = fields.sequences;
  for (size_t s = 0; s + 1 < fields.target_starts.size(); ++s) {
    int64_t after = sequences.sequence_starts[s];
    for (int64_t i = fields.target_starts[s]; i < fields.target_starts[s + 1]; ++i) {
      const int64_t row = sequences.target_rows[static_cast<size_t>(i)];
      if (row < after || row >= sequences.sequence_starts[s + 1])
        return Malformed("target_rows", absl::StrCat("is out of order or of its sequence at ", i));
      after = row + 1;
    }
  }
  return absl::OkStatus();
}

// What is shared is a family's alone, and there.
absl::Status CheckShared(const TrainSequences& sequences, size_t count) {
  RETURN_IF_ERROR(CheckSize("shared_tokens", sequences.shared_tokens.size(), count, true));
  int64_t head_rows = 0, family = 0;
  for (size_t s = 0; s < sequences.shared_tokens.size(); ++s) {
    const int64_t shared = sequences.shared_tokens[s];
    if (shared == 0) {
      head_rows = sequences.sequence_starts[s + 1] - sequences.sequence_starts[s];
    } else if (shared < 0 || shared > head_rows || (family != 0 && shared != family)) {
      return Malformed("shared_tokens", absl::StrCat("holds ", shared, " at ", s, ", expected 0 or, in a family, ",
                                                     "one number of its head's ", head_rows, " rows"));
    }
    family = shared;
  }
  return absl::OkStatus();
}

// Tokens before the last of a prompt that is that of the sequence before, too.
int64_t SharedTokens(const SequenceView* before, const SequenceView& view) {
  if (before == nullptr || !std::ranges::equal(before->prompt, view.prompt)) return 0;
  return static_cast<int64_t>(view.prompt.size()) - 1;
}

// Of per-token values, or none, those of the sequence's targets.
void AppendTargets(const SequenceView& view, std::span<const float> values, std::vector<float>& out) {
  if (values.empty()) return;
  const std::vector<float> targets = OfSampled(view.turns, values);
  out.insert(out.end(), targets.begin(), targets.end());
}

void Append(const SequenceView* before, const SequenceView& view, PolicyVersion current, TrainBatch::Fields& fields) {
  TrainSequences& sequences = fields.sequences;
  const int64_t shared = SharedTokens(before, view);
  const std::span<const TokenId> prompt = view.prompt.subspan(static_cast<size_t>(shared));
  const int32_t first_row = static_cast<int32_t>(sequences.token_ids.size() + prompt.size() - 1);
  sequences.shared_tokens.push_back(shared);
  sequences.token_ids.insert(sequences.token_ids.end(), prompt.begin(), prompt.end());
  sequences.token_ids.insert(sequences.token_ids.end(), view.completion.begin(), view.completion.end() - 1);
  sequences.sequence_starts.push_back(static_cast<int64_t>(sequences.token_ids.size()));
  size_t span = 0;  // the last one that starts at or before t
  for (const Turn& turn : TurnsOf(view.turns, view.completion.size())) {
    for (int t = turn.start_token; t < turn.start_token + turn.num_tokens; ++t) {
      sequences.target_rows.push_back(first_row + t);
      sequences.targets.push_back(view.completion[static_cast<size_t>(t)]);
      while (span + 1 < view.versions.size() && view.versions[span + 1].start_token <= t) ++span;
      if (!view.versions.empty()) fields.on_policy.push_back(view.versions[span].version == current ? 1 : 0);
    }
  }
  fields.target_starts.push_back(static_cast<int64_t>(sequences.targets.size()));
  fields.groups.push_back(view.group);
  if (!view.advantages.empty()) {
    const std::vector<double> advantages =
        ForSampled(view.turns, std::span<const double>(view.advantages), view.completion.size());
    fields.advantages.insert(fields.advantages.end(), advantages.begin(), advantages.end());
  }
  AppendTargets(view, view.behavior_logprobs, fields.behavior_logprobs);
  AppendTargets(view, view.credit, fields.credit);
}

absl::Status CheckTurns(const SequenceView& view) {
  int64_t end = 0;
  for (const Turn& turn : view.turns) {
    if (turn.start_token < end || turn.num_tokens < 1)
      return Malformed("a sequence's turns", "must increase and hold a token each");
    end = int64_t{turn.start_token} + turn.num_tokens;
  }
  if (end > static_cast<int64_t>(view.completion.size()))
    return Malformed("a sequence's turns", absl::StrCat("end at ", end, " of ", view.completion.size(), " tokens"));
  if (view.advantages.size() == 1) return absl::OkStatus();
  return CheckSize("a sequence's advantages", view.advantages.size(), std::max<size_t>(1, view.turns.size()), true);
}

}  // namespace

int64_t RowsBehind(const SequenceView* before, const SequenceView& view) {
  return view.tokens() - SharedTokens(before, view);
}

TrainBatch TrainBatch::Empty() {
  Fields fields;
  fields.sequences.sequence_starts = {0};
  fields.target_starts = {0};
  return TrainBatch(std::move(fields));
}

absl::StatusOr<TrainBatch> TrainBatch::Create(Fields fields, int64_t vocab_size) {
  const TrainSequences& sequences = fields.sequences;
  const size_t count = fields.groups.size(), targets = sequences.targets.size();
  RETURN_IF_ERROR(CheckSize("sequence_starts", sequences.sequence_starts.size(), count + 1));
  RETURN_IF_ERROR(CheckSize("target_starts", fields.target_starts.size(), count + 1));
  RETURN_IF_ERROR(CheckSize("target_rows", sequences.target_rows.size(), targets));
  RETURN_IF_ERROR(CheckSize("advantages", fields.advantages.size(), targets, true));
  RETURN_IF_ERROR(CheckSize("behavior_logprobs", fields.behavior_logprobs.size(), targets, true));
  RETURN_IF_ERROR(CheckSize("credit", fields.credit.size(), targets, true));
  RETURN_IF_ERROR(CheckSize("on_policy", fields.on_policy.size(), targets, true));
  RETURN_IF_ERROR(CheckStarts("sequence_starts", sequences.sequence_starts, sequences.token_ids.size()));
  RETURN_IF_ERROR(CheckStarts("target_starts", fields.target_starts, targets));
  RETURN_IF_ERROR(CheckShared(sequences, count));
  RETURN_IF_ERROR(CheckRows(fields));
  RETURN_IF_ERROR(CheckTokens("token_ids", sequences.token_ids, vocab_size));
  RETURN_IF_ERROR(CheckTokens("targets", sequences.targets, vocab_size));
  return TrainBatch(std::move(fields));
}

absl::Status CheckSequences(std::span<const SequenceView> sequences, int64_t budget_tokens, int64_t vocab_size) {
  for (const SequenceView& view : sequences) {
    if (view.prompt.empty() || view.completion.empty())
      return absl::InvalidArgumentError("A sequence to train on needs a prompt token and a completion token.");
    if (view.tokens() > budget_tokens)
      return absl::InvalidArgumentError(absl::StrCat("A sequence of ", view.tokens(), " tokens exceeds the ",
                                                     budget_tokens, " of learner.micro_batch_tokens."));
    for (const size_t size : {view.behavior_logprobs.size(), view.credit.size()}) {
      RETURN_IF_ERROR(CheckSize("a sequence's behavior_logprobs or credit", size, view.completion.size(), true));
    }
    RETURN_IF_ERROR(CheckTurns(view));
    RETURN_IF_ERROR(CheckTokens("a prompt", view.prompt, vocab_size));
    RETURN_IF_ERROR(CheckTokens("a completion", view.completion, vocab_size));
  }
  return absl::OkStatus();
}

absl::StatusOr<TrainBatch> PackSequences(std::span<const SequenceView> sequences, int64_t vocab_size,
                                         PolicyVersion current) {
  RETURN_IF_ERROR(CheckSequences(sequences, std::numeric_limits<int64_t>::max(), vocab_size));
  TrainBatch::Fields fields;
  fields.sequences.sequence_starts = {0};
  fields.target_starts = {0};
  const SequenceView* before = nullptr;
  for (const SequenceView& sequence : sequences) Append(std::exchange(before, &sequence), sequence, current, fields);
  return TrainBatch::Create(std::move(fields), vocab_size);
}

MicroBatchPlan::MicroBatchPlan(int world, int64_t budget_tokens, size_t num_groups, const PassCost& cost)
    : budget_tokens_(budget_tokens), cost_(cost), groups_left_(num_groups), shares_(static_cast<size_t>(world)) {}

MicroBatchPlan::Share& MicroBatchPlan::Least() { return *std::ranges::min_element(shares_, {}, &Share::cost); }

void MicroBatchPlan::Add(std::span<const SequenceView> group) {
  const bool whole = groups_left_ > shares_.size();
  --groups_left_;
  std::vector<std::vector<size_t>> parts(shares_.size());
  Share* share = &Least();
  for (const SequenceView& sequence : group) {
    if (!whole) share = &Least();
    std::vector<size_t>& part = parts[static_cast<size_t>(share - shares_.data())];
    share->cost += cost_.Of(sequence.tokens() - RowsBehind(Last(part), sequence), sequence.tokens());
    part.push_back(sequences_.size());
    sequences_.push_back(sequence);
  }
  for (size_t rank = 0; rank < shares_.size(); ++rank) Append(parts[rank], shares_[rank]);
}

void MicroBatchPlan::Append(std::span<const size_t> part, Share& share) const {
  int64_t part_tokens = 0;
  const SequenceView* before = nullptr;
  for (const size_t place : part) {
    part_tokens += RowsBehind(before, sequences_[place]);
    before = &sequences_[place];
  }
  bool ends = part_tokens <= budget_tokens_ && share.open_tokens + part_tokens > budget_tokens_;
  for (const size_t place : part) {
    const SequenceView& sequence = sequences_[place];
    before = share.batches.empty() ? nullptr : Last(share.batches.back());
    if (before == nullptr || ends || share.open_tokens + RowsBehind(before, sequence) > budget_tokens_) {
      share.batches.emplace_back();
      share.open_tokens = 0;
      before = nullptr;
    }
    ends = false;
    share.open_tokens += RowsBehind(before, sequence);
    share.batches.back().push_back(place);
  }
}

size_t MicroBatchPlan::rounds() const {
  size_t least = std::numeric_limits<size_t>::max(), most = 0;
  for (const Share& share : shares_) {
    least = std::min(least, share.batches.empty() ? 0 : share.batches.size() - 1);  // the last may grow
    most = std::max(most, share.batches.size());
  }
  return complete() ? most : least;
}

std::span<const size_t> MicroBatchPlan::places(int rank, size_t round) const {
  const std::vector<std::vector<size_t>>& batches = shares_[static_cast<size_t>(rank)].batches;
  return round < batches.size() ? std::span<const size_t>(batches[round]) : std::span<const size_t>();
}

}  // namespace tactus
