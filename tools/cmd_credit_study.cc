#include <algorithm>
#include <cmath>
#include <cstdio>
#include <fstream>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/folder_lock.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"
#include "common/base/stop_signals.h"
#include "common/config/run_config.h"
#include "common/environment/open_task.h"
#include "common/rhythm/credit_assigner.h"
#include "common/rhythm/flow.h"
#include "common/tasks/answer_region.h"
#include "common/tasks/prompt_encoder.h"
#include "proto/config.pb.h"
#include "tools/batch/local_model.h"
#include "tools/command.h"
#include "tools/report/rhythm_page.h"
#include "tools/report/rhythm_view.h"
#include "tools/study/credit_lines.h"
#include "tools/study/credit_values.h"

namespace tactus {
namespace {

constexpr size_t kMostDrawn = 64;
constexpr size_t kMaxStudyBytes = size_t{1} << 30;

struct CreditStudyFlags : ModelFlags {
  std::string config, out;
  std::vector<std::string> set;
  int responses = 200, positions = 16;
  DrawFlags draw{.samples = 32, .batch = 64};

  void Declare(CLI::App& app) {
    AddRequired(app, "--config FILE", config, "task, rollout and credit options of this run");
    AddFlag(app, "--set FIELD=VALUE", set, "override one configuration field");
    AddRequired(app, "--out DIR", out, "where responses.jsonl grows, and study.json and study.html are made");
    AddFlag(app, "--responses N", responses, "one to each of the first N questions of the test set", 1, 1 << 16);
    AddFlag(app, "--positions M", positions, "tokens probed of each response, one of each of M parts", 1, 1 << 20);
    AddFlag(app, "--samples K", draw.samples, "continuations at each place, an even number", 2, 4096);
    AddFlag(app, "--seed S", draw.seed, "keys the draws", 0, 9e15);
    draw.DeclareBatch(app);
    ModelFlags::Declare(app);
  }
};

struct Study {
  const CreditStudyFlags& flags;
  const config::RunConfig& run;
  const Task& task;
  Judge& judge;
  const PromptEncoder& encoder;
  const CreditAssigner& credit;
  std::optional<HeadClasses> heads = {};
  ValueOptions values = {};
  Engine& engine;
};

// What must be the same for a study to go on.
std::string HeadOf(const CreditStudyFlags& flags, const config::RunConfig& run) {
  const nlohmann::ordered_json head = {{"model", flags.model},          {"fingerprint", config::Fingerprint(run)},
                                       {"dtype", flags.dtype},          {"positions", flags.positions},
                                       {"samples", flags.draw.samples}, {"seed", flags.draw.seed}};
  return head.dump();
}

// Makes the folder, or finds that it holds the same study, and takes it: two that append would both probe a row.
absl::StatusOr<FolderLock> OpenFolder(const CreditStudyFlags& flags, const config::RunConfig& run) {
  RETURN_IF_ERROR(MakeFolders(flags.out));
  ASSIGN_OR_RETURN(FolderLock lock, FolderLock::Take(flags.out, "another tactus credit-study"));
  const std::string path = flags.out + "/settings.json", head = HeadOf(flags, run);
  const absl::StatusOr<std::string> before = ReadFile(path);
  if (absl::IsNotFound(before.status())) {
    RETURN_IF_ERROR(WriteFileAtomic(path, head + "\n"));
    return lock;
  }
  RETURN_IF_ERROR(before.status());
  if (*before == head + "\n") return lock;
  return absl::InvalidArgumentError(absl::StrCat(path, " is of a study with other settings (",
                                                 absl::StripAsciiWhitespace(*before), "): expected ", head,
                                                 ", or another --out."));
}

// The lines so far. One that was being written when a study was ended is taken off the file.
absl::StatusOr<std::vector<TruthLine>> ReadLines(const std::string& path) {
  absl::StatusOr<std::string> text = ReadFile(path, kMaxStudyBytes);
  if (absl::IsNotFound(text.status())) return std::vector<TruthLine>();
  RETURN_IF_ERROR(text.status());
  const size_t whole = text->rfind('\n') == std::string::npos ? 0 : text->rfind('\n') + 1;
  if (whole < text->size()) {
    text->resize(whole);
    RETURN_IF_ERROR(WriteFileAtomic(path, *text));
  }
  return ReadTruthLines(*text, path);
}

absl::Status Append(const std::string& path, const std::string& line) {
  std::ofstream out(path, std::ios::app | std::ios::binary);
  out << line << '\n';
  if (!out.flush()) return absl::DataLossError(absl::StrCat("cannot write ", path, "."));
  return SyncPath(path);
}

std::vector<double> Widen(const std::vector<float>& values) { return {values.begin(), values.end()}; }

std::vector<double> Negated(std::vector<double> values) {
  for (double& value : values) value = -value;
  return values;
}

// Every strategy's score and weights, and signals that are none.
std::vector<Signal> SignalsOf(const Study& study, const AnsweredQuestion& question, const Rhythm& rhythm,
                              const std::vector<TokenKind>& kinds) {
  const Completion& answer = question.answer;
  const FlowRows& rows = question.meter->flow_rows();
  const auto [begin, end] =
      AnswerRegion(study.encoder.tokenizer(), answer.token_ids, study.credit.flow_options().answer_tokens);
  const std::vector<double> flow = FlowCredit(rows, TraceFlow(rows, {begin, end}));
  const CreditSignals signals{.seed = study.flags.draw.seed,
                              .prompt_id = question.row,
                              .entropy = answer.entropy,
                              .rhythm = &rhythm,
                              .kinds = kinds,
                              .flow = flow};
  CreditParams params = study.credit.params();
  params.shuffle = CreditShuffle::kKept;
  params.normalize = false;
  const auto weights = [&](CreditKind kind) { return Widen(CreditWeights(kind, params, signals)); };
  std::vector<double> early, surprise = Negated(Widen(answer.logprobs));
  for (size_t t = 0; t < answer.token_ids.size(); ++t) early.push_back(-static_cast<double>(t));
  const auto by_score = [&](const std::vector<double>& score) {
    std::vector<double> gamma(score.size(), 1.0);
    for (const int32_t t : TopPositions(score, params.q)) gamma[static_cast<size_t>(t)] = params.amplification;
    return gamma;
  };
  const std::vector<double> coupled = weights(CreditKind::kCoupled), random = weights(CreditKind::kRandom);
  CreditParams matched = params;
  matched.shuffle = CreditShuffle::kPositionAndKind;
  const std::vector<double> matched_coupled = Widen(CreditWeights(CreditKind::kCoupled, matched, signals));
  return {{"LOCAL_CHUNK", rhythm.delta, weights(CreditKind::kLocalChunk)},
          {"GLOBAL_ANCHOR", rhythm.fai, weights(CreditKind::kGlobalAnchor)},
          {"COUPLED", coupled, coupled},
          {"COUPLED, shuffled", matched_coupled, matched_coupled},
          {"RANDOM", random, random},
          {"ENTROPY", Widen(answer.entropy), weights(CreditKind::kEntropy)},
          {"BOTTOM_DELTA", Negated(rhythm.delta), weights(CreditKind::kBottomDelta)},
          {"BOTTOM_FAI", Negated(rhythm.fai), weights(CreditKind::kBottomFai)},
          {"RECEIVER", rhythm.receiver, weights(CreditKind::kReceiver)},
          {"FLOW", flow, weights(CreditKind::kFlow)},
          {"WAAD", rhythm.waad, by_score(rhythm.waad)},
          {"early position", early, by_score(early)},
          {"low log-prob", surprise, by_score(surprise)}};
}

// Probes an answer: V before and after each of its probed tokens.
absl::Status Probe(const Study& study, const AnsweredQuestion& question, TruthLine& line) {
  const auto tokens = static_cast<int64_t>(question.answer.token_ids.size());
  line.positions = ProbedTokens(tokens, study.flags.positions, study.flags.draw.seed, question.row);
  std::set<int32_t> wanted;
  for (const int32_t t : line.positions) wanted.insert({t, t + 1});
  const std::vector<int32_t> lengths(wanted.begin(), wanted.end());
  ASSIGN_OR_RETURN(const std::vector<PrefixValue> values,
                   PrefixValues(study.engine, study.encoder.tokenizer(), study.judge, question, lengths, study.values));
  const auto value_of = [&](int32_t length) {
    return values[static_cast<size_t>(std::ranges::lower_bound(lengths, length) - lengths.begin())];
  };
  for (const int32_t t : line.positions) {
    const PrefixValue before = value_of(t), after = value_of(t + 1);
    line.value.push_back(before.mean);
    line.first.push_back(after.first - before.first);
    line.second.push_back(after.second - before.second);
  }
  return absl::OkStatus();
}

absl::StatusOr<TruthLine> StudyRow(const Study& study, uint64_t row) {
  const PromptBounds bounds = {.max_tokens = study.run.rollout().max_prompt_tokens(),
                               .vocab_size = study.engine.config().vocab_size};
  ASSIGN_OR_RETURN(const TaskExample example, study.task.Example(Split::kTest, row));
  Prompt prompt{.id = row,
                .token_ids = {},
                .answer_key_json = example.answer_key_json,
                .source = study.task.SourceOf(Split::kTest, row)};
  ASSIGN_OR_RETURN(prompt.token_ids, study.encoder.Encode(example, bounds));
  const Tokenizer& tokenizer = study.encoder.tokenizer();
  ASSIGN_OR_RETURN(const AnsweredQuestion question,
                   AnswerQuestion(study.engine, tokenizer, study.judge, std::move(prompt), row, study.values));
  const Completion& answer = question.answer;
  const Rhythm rhythm = ComputeRhythm(question.meter->Finish(), study.credit.rhythm_options(),
                                      study.heads.has_value() ? &*study.heads : nullptr);
  TruthLine line{.row = row, .reward = answer.reward.total, .right = answer.reward.correct > 0};
  for (const TokenId& id : answer.token_ids) line.text.push_back(DecodeLossy(tokenizer, std::span(&id, 1), false));
  line.kinds = TokenKinds(tokenizer, answer.token_ids);
  line.waad = rhythm.waad;
  line.fai = rhythm.fai;
  line.signals = SignalsOf(study, question, rhythm, line.kinds);
  RETURN_IF_ERROR(Probe(study, question, line));
  return line;
}

RhythmAnswer PageAnswer(const TruthLine& line) {
  RhythmAnswer answer;
  answer.title = absl::StrCat("question ", line.row);
  answer.verdict = line.right ? "right" : "wrong";
  answer.good = line.right;
  answer.tokens = line.text;
  answer.waad = line.waad;
  answer.fai = line.fai;
  answer.advantage.assign(line.text.size(), std::nan(""));
  for (size_t m = 0; m < line.positions.size(); ++m) {
    answer.advantage[static_cast<size_t>(line.positions[m])] = (line.first[m] + line.second[m]) / 2;
  }
  for (const Signal& signal : line.signals) answer.credits.push_back({signal.name, signal.gamma});
  return answer;
}

absl::Status Summarize(const CreditStudyFlags& flags, const config::RunConfig& run, const CreditAssigner& credit,
                       const std::vector<TruthLine>& lines) {
  std::vector<Truth> truths;
  std::vector<RhythmAnswer> answers;
  for (const TruthLine& line : lines) {
    truths.push_back(line.AtPositions());
    if (answers.size() < kMostDrawn) answers.push_back(PageAnswer(line));
  }
  const TruthSummary summary = SummarizeTruth(truths, credit.params().q, flags.draw.seed);
  nlohmann::ordered_json json = {{"model", flags.model},         {"task", run.task().name()},
                                 {"q", run.credit().q()},        {"samples", flags.draw.samples},
                                 {"positions", flags.positions}, {"seed", flags.draw.seed}};
  json.update(TruthJson(summary));
  const std::string table = TruthTable(summary);
  std::fputs(table.c_str(), stderr);
  RETURN_IF_ERROR(WriteFileAtomic(flags.out + "/study.json", json.dump(2) + "\n"));
  return WriteFileAtomic(flags.out + "/study.html",
                         RhythmPageHtml(absl::StrCat("What tokens were worth to ", NameOf(flags.model)), answers));
}

absl::Status StudyRows(const Study& study, std::vector<TruthLine> lines) {
  const std::string path = study.flags.out + "/responses.jsonl";
  std::set<uint64_t> done;
  for (const TruthLine& line : lines) done.insert(line.row);
  const auto rows = static_cast<uint64_t>(study.flags.responses);
  for (uint64_t row = 0; row < rows; ++row) {
    if (done.contains(row)) continue;
    if (StopSignalCount() > 0) return absl::CancelledError("stopped; the same command goes on.");
    ASSIGN_OR_RETURN(const TruthLine line, StudyRow(study, row));
    RETURN_IF_ERROR(Append(path, LineOf(line)));
    done.insert(row);
    std::fprintf(stderr, "question %llu: %zu tokens, %s; %zu of %llu\n", static_cast<unsigned long long>(row),
                 line.text.size(), line.right ? "right" : "wrong", done.size(), static_cast<unsigned long long>(rows));
  }
  ASSIGN_OR_RETURN(lines, ReadLines(path));
  std::erase_if(lines, [rows](const TruthLine& line) { return line.row >= rows; });
  return Summarize(study.flags, study.run, study.credit, lines);
}

absl::Status Run(const CreditStudyFlags& flags) {
  if (flags.draw.samples % 2 != 0) {
    return absl::InvalidArgumentError(absl::StrCat("--samples is ", flags.draw.samples, ": expected an even number."));
  }
  std::vector<std::string> overrides = flags.set;
  overrides.push_back(absl::StrCat("model.path=", flags.model));
  ASSIGN_OR_RETURN(const config::RunConfig run, config::LoadRunConfig(flags.config, overrides));
  ASSIGN_OR_RETURN(const std::unique_ptr<Task> task, OpenTestSet(run));
  if (task->Size(Split::kTest) < static_cast<size_t>(flags.responses)) {
    return absl::InvalidArgumentError(absl::StrCat("--responses is ", flags.responses, ": expected at most ",
                                                   task->Size(Split::kTest), ", which the test set has."));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<Judge> judge, OpenJudge(run, kEnvironmentWait, /*metrics=*/nullptr));
  ASSIGN_OR_RETURN(const LocalModel model, OpenLocalModel(flags));
  ASSIGN_OR_RETURN(const std::unique_ptr<PromptEncoder> encoder, PromptEncoder::Create(run.model()));
  ASSIGN_OR_RETURN(const CreditAssigner credit, CreditAssigner::FromProto(run.credit()));
  ASSIGN_OR_RETURN(std::optional<HeadClasses> heads, HeadClassesFor(model.folder.path, model.folder.config, credit));
  ASSIGN_OR_RETURN(ops::AttentionProbe probe,
                   credit.Probe(model.folder.config.num_layers, model.folder.config.num_heads));
  probe.flow_row_entries = credit.flow_options().row_entries;
  ASSIGN_OR_RETURN(
      const std::unique_ptr<Engine> engine,
      OpenLocalEngine(flags, model, flags.draw.batch,
                      int64_t{run.rollout().max_prompt_tokens()} + run.rollout().max_completion_tokens(), probe));
  engine->UseFlowHeads(heads.has_value() ? &*heads : nullptr);
  Study study{.flags = flags,
              .run = run,
              .task = *task,
              .judge = *judge,
              .encoder = *encoder,
              .credit = credit,
              .heads = std::move(heads),
              .engine = *engine};
  study.values = {.samples = flags.draw.samples,
                  .max_tokens = run.rollout().max_completion_tokens(),
                  .seed = flags.draw.seed,
                  .sampling = {.temperature = static_cast<float>(run.rollout().temperature()),
                               .top_p = static_cast<float>(run.rollout().top_p()),
                               .top_k = run.rollout().top_k()},
                  .judge_timeout = absl::Seconds(run.rollout().lease_timeout_s())};
  ASSIGN_OR_RETURN(study.values.stop_ids, StopTokens(model.folder, encoder->tokenizer(), &encoder->chat()));
  study.values.stop_ids.insert(study.values.stop_ids.end(), run.rollout().stop_token_ids().begin(),
                               run.rollout().stop_token_ids().end());
  ASSIGN_OR_RETURN(const FolderLock lock, OpenFolder(flags, run));
  ASSIGN_OR_RETURN(std::vector<TruthLine> lines, ReadLines(flags.out + "/responses.jsonl"));
  CatchStopSignals();
  return StudyRows(study, std::move(lines));
}

}  // namespace

constinit const Command kCreditStudyCommand = {
    .name = "credit-study",
    .summary = "Measures what tokens of answers were worth, and which credit finds those that decided",
    .synopsis = "--model DIR --config FILE --out DIR [--responses N] [--positions M] [--samples K] [--seed S]",
    .example =
        "tactus credit-study --model models/quickstart --config configs/quickstart.textproto --out runs/worth "
        "--responses 4 --positions 4 --samples 8",
    .bind = [] { return Bind(Run); },
};

}  // namespace tactus
