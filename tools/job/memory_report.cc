#include "tools/job/memory_report.h"

#include <algorithm>
#include <cstdlib>
#include <map>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"
#include "common/rhythm/credit_assigner.h"
#include "proto/config.pb.h"

namespace tactus {
namespace {

constexpr size_t kMaxModelConfigBytes = size_t{1} << 20;
constexpr int kNameWidth = 22, kColumnWidth = 12;

std::string ModelLine(const ModelConfig& model, const std::string& file, const config::RunConfig& run) {
  const double millions = static_cast<double>(MakeParameterLayout(model).total_numel) / 1e6;
  const std::string count =
      millions < 1000 ? absl::StrFormat("%.3g million", millions) : absl::StrFormat("%.2f billion", millions / 1000);
  return absl::StrCat(file, ": ", count, " parameters, ", config::DType_Name(run.model().dtype()));
}

// As the ranks will choose: the one that has to divide most decides for all.
Shard ShardOf(const ModelConfig& model, const config::RunConfig& run, const DevicePlan& plan, const GpuList& gpus) {
  const int world = static_cast<int>(plan.learners.size());
  Shard most = Shard::kNone;
  for (const Placement& placement : plan.learners) {
    const int64_t budget = RankBudgetBytes(run, placement.device, world, gpus);
    most = std::max(most, ChooseShard(model, run, placement.device, world, budget));
  }
  return most;
}

const char* DividedParts(Shard shard) {
  switch (shard) {
    case Shard::kNone:
      return "nothing";
    case Shard::kOptimizer:
      return "the optimizer";
    case Shard::kGradients:
      return "the optimizer and the gradients";
    case Shard::kParameters:
      return "the optimizer, the gradients and the weights";
  }
  std::abort();
}

std::string ShardLine(const config::RunConfig& run, Shard shard, const DevicePlan& plan) {
  const size_t world = plan.learners.size();
  if (world <= 1) return "";
  const bool chosen = run.learner().shard() == config::LearnerOptions::AUTO;
  return absl::StrCat("learner.shard ", ShardName(shard), chosen ? ", as AUTO chooses" : "", ": ",
                      shard == Shard::kNone
                          ? "each rank has all of the optimizer"
                          : absl::StrCat("each of ", world, " ranks has its part of ", DividedParts(shard)),
                      "\n");
}

// "learner-0 to 3" of ranks that are alike.
std::string Names(const std::vector<std::string>& names) {
  return names.size() == 1 ? names.front() : absl::StrCat(names.front(), " … ", names.back());
}

// What makes two devices look the same in the table: kind, memory, and the kinds of processes.
std::string Signature(const DeviceMemory& memory) {
  std::string text = absl::StrCat(memory.device.is_gpu(), " ", memory.available_bytes);
  for (const MemoryNeed& need : memory.needs) {
    absl::StrAppend(&text, " ", need.process.substr(0, need.process.find('-')), need.total());
  }
  return text;
}

// One table for the devices of `alike`.
std::string DeviceTable(const std::vector<const DeviceMemory*>& alike) {
  const DeviceMemory& shown = *alike.front();
  std::vector<std::string> rows;  // in order of first appearance
  for (const MemoryNeed& need : shown.needs) {
    for (const MemoryItem& item : need.items) {
      if (std::ranges::find(rows, item.name) == rows.end()) rows.push_back(item.name);
    }
  }
  const auto line = [](const std::string& name, const std::vector<std::string>& cells) {
    std::string text = absl::StrFormat("  %-*s", kNameWidth, name);
    for (const std::string& cell : cells) absl::StrAppend(&text, absl::StrFormat("%*s", kColumnWidth, cell));
    return text + "\n";
  };
  std::vector<std::string> devices, heads, totals;
  for (const DeviceMemory* device : alike) devices.push_back(device->device.Text());
  int64_t sum = 0;
  for (const MemoryNeed& need : shown.needs) {
    heads.push_back(need.process);
    totals.push_back(BytesText(need.total()));
    sum += need.total();
  }
  std::string text = absl::StrCat("\n", line(Names(devices), heads));
  for (const std::string& row : rows) {
    std::vector<std::string> cells;
    for (const MemoryNeed& need : shown.needs) {
      const auto item = std::ranges::find_if(need.items, [&](const MemoryItem& i) { return i.name == row; });
      cells.push_back(item == need.items.end() ? "" : BytesText(item->bytes));
    }
    absl::StrAppend(&text, line(row, cells));
  }
  absl::StrAppend(&text, line("together", totals));
  const int64_t left = shown.available_bytes - sum;
  absl::StrAppend(&text, "  ", BytesText(sum), " of ", BytesText(shown.available_bytes), ": ",
                  left >= 0 ? absl::StrCat(BytesText(left), " left") : absl::StrCat(BytesText(-left), " too much"),
                  "\n");
  return text;
}

}  // namespace

absl::Status MemoryReport::Check() const {
  for (const DeviceMemory& memory : devices) {
    for (size_t i = 0; i < memory.needs.size(); ++i) {
      RETURN_IF_ERROR(CheckMemory({memory.needs[i]}, memory.device.Text(), memory.budgets[i]));
    }
    RETURN_IF_ERROR(CheckMemory(memory.needs, memory.device.Text(), memory.available_bytes));
  }
  return absl::OkStatus();
}

std::string MemoryReport::Table() const {
  std::map<std::string, std::vector<const DeviceMemory*>> alike;
  std::vector<std::string> order;
  for (const DeviceMemory& memory : devices) {
    const std::string signature = Signature(memory);
    if (!alike.contains(signature)) order.push_back(signature);
    alike[signature].push_back(&memory);
  }
  std::string text = absl::StrCat(model, "\n", shard);
  for (const std::string& signature : order) absl::StrAppend(&text, DeviceTable(alike[signature]));
  return text;
}

absl::StatusOr<MemoryReport> PredictMemory(const config::RunConfig& run, const std::string& model_config,
                                           const DevicePlan& plan, const GpuList& gpus) {
  ASSIGN_OR_RETURN(const std::string text, ReadFile(model_config, kMaxModelConfigBytes));
  ASSIGN_OR_RETURN(const ModelConfig model, ParseModelConfig(text, "", model_config));
  const Shard shard = ShardOf(model, run, plan, gpus);
  const int world = static_cast<int>(plan.learners.size());
  MemoryReport report{
      .model = ModelLine(model, model_config, run), .shard = ShardLine(run, shard, plan), .devices = {}};
  const auto memory_of = [&](const Device& device) -> DeviceMemory& {
    const auto found = std::ranges::find_if(report.devices, [&](const DeviceMemory& m) { return m.device == device; });
    if (found != report.devices.end()) return *found;
    return report.devices.emplace_back(DeviceMemory{device, AvailableBytes(device, gpus), {}, {}});
  };
  const auto add = [&](const Placement& placement, MemoryNeed need, int32_t budget_mib) {
    DeviceMemory& memory = memory_of(placement.device);
    memory.needs.push_back(std::move(need));
    memory.budgets.push_back(placement.device.is_gpu() ? BudgetBytes(budget_mib, memory.available_bytes)
                                                       : memory.available_bytes);
  };
  for (int rank = 0; rank < world; ++rank) {
    const Placement& placement = plan.learners[static_cast<size_t>(rank)];
    add(placement,
        LearnerMemory(placement.process, model, run, placement.device, {.shard = shard, .rank = rank, .world = world}),
        run.learner().gpu_memory_mib());
  }
  ASSIGN_OR_RETURN(const ops::AttentionProbe probe, ProbeOfRun(run.credit(), model.num_layers, model.num_heads));
  for (const Placement& placement : plan.actors) {
    add(placement, ActorMemory(placement.process, model, run, placement.device, probe), run.actor().gpu_memory_mib());
  }
  return report;
}

}  // namespace tactus
