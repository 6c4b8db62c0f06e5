#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "tools/plan/plan.h"

namespace tactus {
namespace {

using Json = nlohmann::ordered_json;

constexpr size_t kShownSplits = 8, kShownInputs = 4;
constexpr char kLine[] = "  %-20s %14s  %-11s %s\n";
constexpr char kSplitLine[] = "  %8s %7s  %-10s %10s %10s %10s %12s  %s\n";

std::string Count(int count, const char* one) { return absl::StrCat(count, " ", one, count == 1 ? "" : "s"); }

std::string ValueText(double value, absl::string_view unit) {
  if (!std::isfinite(value)) return "none";
  if (unit == "bytes" && value >= 1 << 20) return BytesText(static_cast<int64_t>(value));
  if (unit == "bytes" && value >= 1 << 10) return absl::StrFormat("%.0f KiB", value / (1 << 10));
  if (unit == "bytes/s") return absl::StrFormat("%.3g GB/s", value / 1e9);
  if (unit == "ratio") return absl::StrFormat("%.3g %%", 100 * value);
  const std::string number = value >= 1000 ? absl::StrFormat("%.0f", value) : absl::StrFormat("%.3g", value);
  return unit.empty() ? number : absl::StrCat(number, " ", unit);
}

std::string MachineText(const Plan& plan) {
  const PlanSplit& split = plan.best().split;
  const bool gpus = plan.machine.gpus, shared = gpus && split.learners + split.actors > split.devices;
  const auto on = [gpus](int devices) { return gpus ? std::string() : absl::StrCat(" on ", Count(devices, "core")); };
  return absl::StrCat(Count(plan.machine.devices, gpus ? "GPU" : "core"), ": ", Count(split.learners, "learner rank"),
                      on(split.learner_devices), ", ", Count(split.actors, "actor"), on(split.actor_devices),
                      shared ? ", one of both on each" : "", "\n");
}

// The least certain of what it rests on: " (answer_tokens, trained_share)".
std::string WeakestText(const RestsOn& rests, const PlanInputs& inputs) {
  std::vector<const char*> keys;
  for (const PlanInputField* field : rests.inputs) {
    if ((inputs.*field->member).known == rests.known) keys.push_back(field->key);
  }
  if (keys.empty()) return "";
  const size_t more = keys.size() - std::min(keys.size(), kShownInputs);
  keys.resize(keys.size() - more);
  return absl::StrCat(" (", absl::StrJoin(keys, ", "), more == 0 ? "" : absl::StrCat(" and ", more, " more"), ")");
}

std::string InputsText(const PlanInputs& inputs) {
  std::string text = absl::StrFormat(kLine, "rests on", "", "", "");
  for (const PlanInputField& field : PlanInputFields()) {
    const Given& given = inputs.*field.member;
    absl::StrAppendFormat(&text, kLine, field.key, ValueText(given.value, field.unit), KnownName(given.known),
                          absl::StrCat(field.name, ": ", given.from));
  }
  return text;
}

std::string FiguresText(const PlanFigures& figures, const PlanInputs& inputs, const PlanSplit& split) {
  std::string text = absl::StrFormat(kLine, "predicted, a step", "", "", "");
  for (const PlanFigureField& field : PlanFigureFields()) {
    const RestsOn rests = RestsOnOf(field, inputs, split);
    absl::StrAppendFormat(&text, kLine, field.key, ValueText(figures.*field.member, field.unit), KnownName(rests.known),
                          absl::StrCat(field.name, WeakestText(rests, inputs)));
  }
  return text;
}

std::string SplitsText(const std::vector<PlannedSplit>& splits) {
  std::string text =
      absl::StrFormat(kSplitLine, "learners", "actors", "shard", "learner", "actor", "step", "sampled", "");
  for (size_t i = 0; i < std::min(kShownSplits, splits.size()); ++i) {
    const PlannedSplit& one = splits[i];
    absl::StrAppendFormat(&text, kSplitLine, absl::StrCat(one.split.learners), absl::StrCat(one.split.actors),
                          ShardName(one.split.shard), BytesText(one.learner_bytes), BytesText(one.actor_bytes),
                          ValueText(one.figures.step_s, "s"), absl::StrFormat("%.0f/s", one.figures.sampled_per_s),
                          one.fits ? "" : "does not fit");
  }
  if (splits.size() > kShownSplits) absl::StrAppend(&text, "  and ", splits.size() - kShownSplits, " more\n");
  return text;
}

Json NumberOrNull(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

Json InputsJson(const PlanInputs& inputs) {
  Json json = Json::array();
  for (const PlanInputField& field : PlanInputFields()) {
    const Given& given = inputs.*field.member;
    json.push_back({{"key", field.key},
                    {"name", field.name},
                    {"value", given.value},
                    {"unit", field.unit},
                    {"known", KnownName(given.known)},
                    {"from", given.from}});
  }
  return json;
}

Json FiguresJson(const PlanFigures& figures, const PlanInputs& inputs, const PlanSplit& split) {
  Json json = Json::array();
  for (const PlanFigureField& field : PlanFigureFields()) {
    const RestsOn rests = RestsOnOf(field, inputs, split);
    Json keys = Json::array();
    for (const PlanInputField* input : rests.inputs) keys.push_back(input->key);
    json.push_back({{"key", field.key},
                    {"name", field.name},
                    {"value", NumberOrNull(figures.*field.member)},
                    {"unit", field.unit},
                    {"known", KnownName(rests.known)},
                    {"rests_on", std::move(keys)}});
  }
  return json;
}

Json MemoryJson(const MemoryReport& report) {
  Json json = Json::array();
  for (const DeviceMemory& device : report.devices) {
    for (const MemoryNeed& need : device.needs) {
      Json items = Json::object();
      for (const MemoryItem& item : need.items) items[item.name] = item.bytes;
      json.push_back({{"process", need.process},
                      {"device", device.device.Text()},
                      {"bytes", need.total()},
                      {"parts", std::move(items)}});
    }
  }
  return json;
}

}  // namespace

std::string PlanText(const Plan& plan) {
  const PlannedSplit& best = plan.best();
  return absl::StrCat(MachineText(plan), plan.memory.Table(), "\n", FiguresText(best.figures, plan.inputs, best.split),
                      "\n", InputsText(plan.inputs), "\n", SplitsText(plan.splits));
}

std::string PlanJson(const Plan& plan) {
  Json splits = Json::array();
  for (const PlannedSplit& one : plan.splits) {
    splits.push_back({{"learners", one.split.learners},
                      {"actors", one.split.actors},
                      {"shard", ShardName(one.split.shard)},
                      {"learner_bytes", one.learner_bytes},
                      {"actor_bytes", one.actor_bytes},
                      {"step_s", one.figures.step_s},
                      {"sampled_per_s", one.figures.sampled_per_s},
                      {"fits", one.fits}});
  }
  const PlannedSplit& best = plan.best();
  const Json json = {{"model", plan.memory.model},
                     {"devices", {{"kind", plan.machine.gpus ? "gpu" : "core"}, {"count", plan.machine.devices}}},
                     {"learners", best.split.learners},
                     {"actors", best.split.actors},
                     {"shard", ShardName(best.split.shard)},
                     {"fits", best.fits},
                     {"predicted", FiguresJson(best.figures, plan.inputs, best.split)},
                     {"rests_on", InputsJson(plan.inputs)},
                     {"memory", MemoryJson(plan.memory)},
                     {"splits", std::move(splits)}};
  return json.dump() + "\n";
}

}  // namespace tactus
