#include "common/metrics/timeline.h"

#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>
#include <optional>
#include <utility>

#include "common/base/json_field.h"
#include "common/base/status_macros.h"
#include "common/base/strict_json.h"
#include "common/metrics/run_lines.h"

namespace tactus {
namespace {

using Json = nlohmann::ordered_json;

constexpr LearnerWork kAllWork[] = {LearnerWork::kRecords, LearnerWork::kCheckpoint, LearnerWork::kWait,
                                    LearnerWork::kPasses,  LearnerWork::kExchange,   LearnerWork::kOptimizer,
                                    LearnerWork::kPublish};

std::optional<LearnerWork> WorkOf(absl::string_view name) {
  for (const LearnerWork work : kAllWork) {
    if (name == LearnerWorkName(work)) return work;
  }
  return std::nullopt;
}

double Rounded(double seconds) { return std::round(seconds * 1e4) / 1e4; }

// Pairs of begin and end.
Json SpansJson(const std::vector<TimeSpan>& spans) {
  Json json = Json::array();
  for (const TimeSpan& span : spans) json.push_back(Rounded(span.begin_s)), json.push_back(Rounded(span.end_s));
  return json;
}

absl::StatusOr<std::vector<LearnerSpan>> LearnerOf(const JsonField& list) {
  std::vector<LearnerSpan> spans;
  ASSIGN_OR_RETURN(const size_t count, list.ArraySize());
  for (size_t i = 0; i < count; ++i) {
    const JsonField one = list.Element(i);
    LearnerSpan span;
    JSON_MEMBER(const std::string name, one, "work", String());
    JSON_MEMBER(span.when.begin_s, one, "from", Number());
    JSON_MEMBER(span.when.end_s, one, "to", Number());
    const std::optional<LearnerWork> work = WorkOf(name);
    if (!work.has_value()) continue;
    span.work = *work;
    spans.push_back(span);
  }
  return spans;
}

absl::StatusOr<std::vector<ActorTimeline>> ActorsOf(const JsonField& list) {
  std::vector<ActorTimeline> actors;
  ASSIGN_OR_RETURN(const size_t count, list.ArraySize());
  for (size_t i = 0; i < count; ++i) {
    const JsonField one = list.Element(i);
    ActorTimeline& actor = actors.emplace_back();
    JSON_MEMBER(actor.actor, one, "actor", String());
    JSON_MEMBER(const std::vector<double> times, one, "sampling", Numbers());
    for (size_t t = 0; t + 1 < times.size(); t += 2) actor.sampling.push_back({times[t], times[t + 1]});
    JSON_MEMBER(actor.arrived_s, one, "arrived", Numbers());
  }
  return actors;
}

std::string IncarnationOf(const StepTimeline& timeline) {
  return timeline.version.substr(0, timeline.version.find('.'));
}

}  // namespace

const char* LearnerWorkName(LearnerWork work) {
  switch (work) {
    case LearnerWork::kRecords:
      return "records";
    case LearnerWork::kCheckpoint:
      return "checkpoint";
    case LearnerWork::kWait:
      return "waiting";
    case LearnerWork::kPasses:
      return "passes";
    case LearnerWork::kExchange:
      return "exchange";
    case LearnerWork::kOptimizer:
      return "optimizer";
    case LearnerWork::kPublish:
      return "publish";
  }
  std::abort();
}

std::string StepTimelineToJson(const StepTimeline& timeline) {
  Json json;
  json["step"] = timeline.step;
  json["version"] = timeline.version;
  json["start_s"] = Rounded(timeline.start_s);
  json["length_s"] = Rounded(timeline.length_s);
  json["learner"] = Json::array();
  for (const LearnerSpan& span : timeline.learner) {
    json["learner"].push_back(
        {{"work", LearnerWorkName(span.work)}, {"from", Rounded(span.when.begin_s)}, {"to", Rounded(span.when.end_s)}});
  }
  json["actors"] = Json::array();
  for (const ActorTimeline& actor : timeline.actors) {
    Json arrived = Json::array();
    for (const double s : actor.arrived_s) arrived.push_back(Rounded(s));
    json["actors"].push_back(
        {{"actor", actor.actor}, {"sampling", SpansJson(actor.sampling)}, {"arrived", std::move(arrived)}});
  }
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);
}

absl::StatusOr<StepTimeline> StepTimelineFromJson(absl::string_view text) {
  constexpr absl::string_view kSource = "timeline line";
  ASSIGN_OR_RETURN(const nlohmann::json json,
                   ParseJson(text, kSource, {.max_bytes = kMaxRunLineBytes, .max_depth = 4, .max_values = 1 << 20}));
  const JsonField line(json, kSource);
  StepTimeline timeline;
  JSON_MEMBER(timeline.step, line, "step", Integer());
  JSON_MEMBER(timeline.version, line, "version", String());
  JSON_MEMBER(timeline.start_s, line, "start_s", Number());
  JSON_MEMBER(timeline.length_s, line, "length_s", Number());
  ASSIGN_OR_RETURN(const JsonField learner, line.Member("learner"));
  ASSIGN_OR_RETURN(timeline.learner, LearnerOf(learner));
  ASSIGN_OR_RETURN(const JsonField actors, line.Member("actors"));
  ASSIGN_OR_RETURN(timeline.actors, ActorsOf(actors));
  return timeline;
}

absl::StatusOr<std::vector<StepTimeline>> ReadTimeline(const std::string& path, size_t count) {
  std::vector<StepTimeline> steps;
  const absl::Status read = ReadRunLines(path, [&](absl::string_view line) -> absl::Status {
    ASSIGN_OR_RETURN(StepTimeline timeline, StepTimelineFromJson(line));
    // Another process's clock begins anew.
    if (!steps.empty() && IncarnationOf(steps.back()) != IncarnationOf(timeline)) steps.clear();
    if (steps.size() == count) steps.erase(steps.begin());
    steps.push_back(std::move(timeline));
    return absl::OkStatus();
  });
  if (absl::IsNotFound(read)) return std::vector<StepTimeline>();
  RETURN_IF_ERROR(read);
  return steps;
}

}  // namespace tactus
