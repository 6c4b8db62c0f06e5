#include "tools/batch/rhythm_jsonl.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <optional>
#include <span>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"
#include "common/data/turns.h"
#include "common/tasks/answer_region.h"
#include "tools/batch/response_jsonl.h"
#include "tools/batch/run_requests.h"

namespace tactus {
namespace {

using Json = nlohmann::ordered_json;

constexpr std::pair<const char*, CreditKind> kStrategies[] = {{"LOCAL_CHUNK", CreditKind::kLocalChunk},
                                                              {"GLOBAL_ANCHOR", CreditKind::kGlobalAnchor},
                                                              {"COUPLED", CreditKind::kCoupled},
                                                              {"ENTROPY", CreditKind::kEntropy},
                                                              {"BOTTOM_DELTA", CreditKind::kBottomDelta},
                                                              {"BOTTOM_FAI", CreditKind::kBottomFai},
                                                              {"FLOW", CreditKind::kFlow}};

std::vector<double> ThroughputOf(const MeasuredResponse& response) {
  const std::vector<double>& all = response.flow.throughput;
  return {all.begin() + response.meter->flow_rows().prompt_tokens, all.end()};
}

// A value for each of the model's tokens as one for each token, with 0 for the others of a conversation.
template <typename T>
std::vector<T> AmongAll(const MeasuredResponse& response, const std::vector<T>& values) {
  const Completion& completion = response.completion;
  return AmongTokens(completion.turns, std::span<const T>(values), completion.token_ids.size());
}

std::string Line(const std::string& id_json, const MeasuredResponse& response, const CreditParams& params,
                 const std::vector<int32_t>& layers, int64_t heads_per_layer) {
  const Rhythm& rhythm = response.rhythm;
  const auto among = [&](const auto& values) { return AmongAll(response, values); };
  const auto head = [&](int64_t index) {
    return Json{layers[static_cast<size_t>(index / heads_per_layer)], index % heads_per_layer};
  };
  const auto heads = [&](const std::vector<int32_t>& indices) {
    Json list = Json::array();
    for (const int32_t index : indices) list.push_back(head(index));
    return list;
  };
  Json spans = Json::array();
  for (size_t i = 0; i < rhythm.span.size(); ++i) {
    Json one = head(static_cast<int64_t>(i));
    one.push_back(rhythm.span[i]);
    spans.push_back(std::move(one));
  }
  Json line;
  line["id"] = Json::parse(id_json);
  line["layers"] = layers;
  line["local_heads"] = heads(rhythm.heads.local);
  line["global_heads"] = heads(rhythm.heads.global);
  line["span"] = std::move(spans);
  line["waad"] = among(rhythm.waad);
  line["delta"] = among(rhythm.delta);
  line["fai"] = among(rhythm.fai);
  if (!response.flow.throughput.empty()) {
    line["flow"] = ThroughputOf(response);
    line["flow_answer"] = {response.flow.answer.begin, response.flow.answer.end};
    line["flow_discarded"] = response.flow.discarded;
  }
  line["logprobs"] = response.completion.logprobs;
  line["entropy"] = response.completion.entropy;
  Json& gamma = line["gamma"] = Json::object();
  for (NamedWeights& one : AllWeights(params, response)) {
    gamma[one.strategy] = std::move(one.weights);
  }
  return line.dump();
}

// Of all rows of a response, each as long as it has keys.
int64_t AttentionBytes(const ScoreItem& item, int64_t heads) {
  const int64_t prompt = static_cast<int64_t>(item.prompt_ids.size());
  const int64_t tokens = static_cast<int64_t>(item.response_ids.size());
  return heads * tokens * (prompt + tokens / 2 + kPageTokens) * static_cast<int64_t>(sizeof(float));
}

// Attention is kept of single answers alone: of a conversation the environment's tokens have none.
EngineRequest RequestOf(size_t index, const ScoreItem& item, const Engine& engine, int64_t keep_attention_bytes) {
  EngineRequest request;
  request.request_id = index;
  request.prompt_ids = item.prompt_ids;
  request.forced_ids = item.response_ids;
  request.measure_rhythm = true;
  request.keep_attention = item.turns.empty() && AttentionBytes(item, engine.sampled_heads()) <= keep_attention_bytes;
  if (item.turns.empty()) return request;
  request.max_tokens = request.max_turn_tokens = static_cast<int>(item.response_ids.size());
  for (const Turn& turn : item.turns) request.forced_turn_tokens.push_back(turn.num_tokens);
  return request;
}

// A turn has ended: what stands behind it goes on, to the next one, or there is none.
absl::Status GoOn(Engine& engine, const EndedTurn& ended, const ScoreItem& item, FinishAnswer finish) {
  const auto number = static_cast<size_t>(ended.number);
  if (number >= item.turns.size()) {
    ASSIGN_OR_RETURN(FinishedCompletion whole, engine.Conclude(ended.request_id, ended.completion_index));
    return finish(std::move(whole));
  }
  const int from = item.turns[number - 1].start_token + item.turns[number - 1].num_tokens;
  const std::span<const TokenId> between =
      std::span(item.response_ids).subspan(from, item.turns[number].start_token - from);
  return engine.Continue(ended.request_id, ended.completion_index, between);
}

std::pair<int64_t, int64_t> LastTokens(const Completion& completion, int64_t count) {
  const Turn last = TurnsOf(completion).back();
  const int64_t end = int64_t{last.start_token} + last.num_tokens;
  return {std::max<int64_t>(last.start_token, end - count), end};
}

}  // namespace

std::vector<NamedWeights> AllWeights(const CreditParams& params, const MeasuredResponse& response) {
  CreditParams kept = params;
  kept.shuffle = CreditShuffle::kKept;
  std::vector<double> flow;
  if (!response.flow.throughput.empty()) flow = FlowCredit(response.meter->flow_rows(), response.flow);
  const Completion& completion = response.completion;
  const std::vector<float> entropy = OfSampled(completion.turns, std::span<const float>(completion.entropy));
  std::vector<NamedWeights> all;
  for (const auto& [name, kind] : kStrategies) {
    if (kind == CreditKind::kFlow && flow.empty()) continue;
    const CreditSignals signals{.entropy = entropy, .rhythm = &response.rhythm, .flow = flow};
    all.push_back({name, AmongAll(response, CreditWeights(kind, kept, signals))});
  }
  return all;
}

absl::StatusOr<std::vector<MeasuredResponse>> MeasureResponses(Engine& engine, const CreditAssigner& credit,
                                                               std::vector<ScoreItem> items,
                                                               const HeadClasses* head_classes,
                                                               int64_t keep_attention_bytes,
                                                               const Tokenizer* tokenizer) {
  engine.UseFlowHeads(head_classes);
  std::vector<MeasuredResponse> responses(items.size());
  for (size_t i = 0; i < items.size(); ++i) responses[i].item = std::move(items[i]);
  size_t next_item = 0;
  const auto next = [&]() -> absl::StatusOr<std::optional<EngineRequest>> {
    while (next_item < responses.size() && responses[next_item].item.response_ids.empty()) ++next_item;
    if (next_item == responses.size()) return std::nullopt;
    const size_t index = next_item++;
    return RequestOf(index, responses[index].item, engine, keep_attention_bytes);
  };
  const auto done = [&](FinishedCompletion finished) {
    MeasuredResponse& response = responses[finished.request_id];
    response.completion = std::move(finished.completion);
    response.meter = std::move(finished.rhythm);
    response.rhythm = ComputeRhythm(response.meter->Finish(), credit.rhythm_options(), head_classes);
    const FlowRows& rows = response.meter->flow_rows();
    if (rows.tokens() == 0) return absl::OkStatus();
    const int64_t last = credit.flow_options().answer_tokens;
    const auto [begin, end] = tokenizer != nullptr ? AnswerRegion(*tokenizer, response.completion, last)
                                                   : LastTokens(response.completion, last);
    response.flow = TraceFlow(rows, {begin, end});
    return absl::OkStatus();
  };
  const auto turns = [&](FinishAnswer finish) -> absl::Status {
    for (const EndedTurn& turn : engine.TakeEndedTurns()) {
      RETURN_IF_ERROR(GoOn(engine, turn, responses[turn.request_id].item, finish));
    }
    return absl::OkStatus();
  };
  RETURN_IF_ERROR(RunConversations(engine, next, done, turns));
  return responses;
}

absl::Status RhythmJsonl(Engine& engine, const CreditAssigner& credit, const RhythmJsonlOptions& options,
                         std::istream& in, absl::string_view input_name, std::ostream& out,
                         absl::FunctionRef<void(const std::string& id_json, MeasuredResponse& response)> seen) {
  const auto measure = [&](std::span<const ResponseLine> lines) -> absl::Status {
    std::vector<ScoreItem> items;
    for (const ResponseLine& line : lines) items.push_back(line.item);
    auto responses = MeasureResponses(engine, credit, std::move(items),
                                      options.head_classes.has_value() ? &*options.head_classes : nullptr,
                                      options.keep_attention_bytes, options.tokenizer);
    if (!responses.ok()) {
      return absl::Status(responses.status().code(),
                          absl::StrCat(lines.front().where, " and the lines after it: ", responses.status().message()));
    }
    for (size_t i = 0; i < lines.size(); ++i) {
      out << Line(lines[i].id_json, (*responses)[i], credit.params(), options.layers, engine.config().num_heads)
          << '\n';
      seen(lines[i].id_json, (*responses)[i]);
    }
    return out ? absl::OkStatus() : absl::DataLossError("cannot write the rhythm to the output");
  };
  const ModelConfig& model = engine.config();
  const ResponseLimits limits = {.max_position = model.max_position, .vocab_size = model.vocab_size};
  RETURN_IF_ERROR(ForEachResponses(in, input_name, limits, options.lines_at_once, measure));
  return out.flush() ? absl::OkStatus() : absl::DataLossError("cannot write the rhythm to the output");
}

}  // namespace tactus
