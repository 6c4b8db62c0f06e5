#include "common/config/task_sources.h"

#include <algorithm>
#include <cstdlib>

#include "common/config/field_rules.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/message.h"
#include "proto/config.pb.h"
#include "proto/options.pb.h"

namespace tactus::config {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;

// Both are of one type: TaskSource has the fields of TaskOptions under their names.
void Copy(const Message& from, const FieldDescriptor* from_field, Message* to, const FieldDescriptor* to_field) {
  const auto& in = *from.GetReflection();
  const auto& out = *to->GetReflection();
  switch (from_field->cpp_type()) {
    case FieldDescriptor::CPPTYPE_INT32:
      return out.SetInt32(to, to_field, in.GetInt32(from, from_field));
    case FieldDescriptor::CPPTYPE_DOUBLE:
      return out.SetDouble(to, to_field, in.GetDouble(from, from_field));
    case FieldDescriptor::CPPTYPE_STRING:
      return out.SetString(to, to_field, in.GetString(from, from_field));
    case FieldDescriptor::CPPTYPE_ENUM:
      return out.SetEnum(to, to_field, in.GetEnum(from, from_field));
    default:
      std::abort();  // types that no field of a source has: a test copies all of them
  }
}

// The task's field that a source's field is about; null: its name and weight are about none.
const FieldDescriptor* TaskField(const FieldDescriptor* field) {
  if (field->number() == TaskSource::kNameFieldNumber) return nullptr;
  return TaskOptions::descriptor()->FindFieldByName(field->number() == TaskSource::kTaskFieldNumber ? "name"
                                                                                                    : field->name());
}

TaskOptions OptionsOf(const TaskOptions& task, const TaskSource& source) {
  TaskOptions options = task;
  options.clear_sources();
  for (int i = 0; i < TaskSource::descriptor()->field_count(); ++i) {
    const FieldDescriptor* const field = TaskSource::descriptor()->field(i);
    const FieldDescriptor* const of_task = TaskField(field);
    if (of_task == nullptr || !source.GetReflection()->HasField(source, field)) continue;
    Copy(source, field, &options, of_task);
  }
  return options;
}

}  // namespace

std::vector<TaskOptions> SourcesOf(const TaskOptions& task) {
  if (task.sources().empty()) return {task};
  std::vector<TaskOptions> sources;
  for (const TaskSource& source : task.sources()) sources.push_back(OptionsOf(task, source));
  return sources;
}

std::vector<std::string> SourceNames(const TaskOptions& task) {
  if (task.sources().empty()) return {""};
  std::vector<std::string> names;
  for (const TaskSource& source : task.sources()) names.push_back(source.name());
  return names;
}

std::vector<double> SourceWeights(const TaskOptions& task) {
  if (task.sources().empty()) return {1};
  std::vector<double> weights;
  for (const TaskSource& source : task.sources()) weights.push_back(source.weight());
  return weights;
}

std::optional<size_t> SourceIndex(const TaskOptions& task, absl::string_view name) {
  const auto found = std::ranges::find(task.sources(), name,
                                       [](const TaskSource& source) -> absl::string_view { return source.name(); });
  if (found == task.sources().end()) return std::nullopt;
  return static_cast<size_t>(found - task.sources().begin());
}

bool EnvironmentJudges(const TaskOptions& task) {
  return std::ranges::any_of(SourcesOf(task), [](const TaskOptions& source) {
    return source.name() == "environment" || source.rewards() == TaskOptions::ENVIRONMENT;
  });
}

void ResolveSources(TaskOptions* task) {
  for (TaskSource& source : *task->mutable_sources()) {
    for (int i = 0; i < TaskSource::descriptor()->field_count(); ++i) {
      const FieldDescriptor* const field = TaskSource::descriptor()->field(i);
      if (!RuleOf(*field).has_derived_default() || source.GetReflection()->HasField(source, field)) continue;
      Copy(*task, TaskField(field), &source, field);
    }
  }
}

}  // namespace tactus::config
