#include "common/environment/environment_task.h"

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

constexpr absl::Duration kReadTimeout = absl::Minutes(10);

class EnvironmentTask final : public Task {
 public:
  EnvironmentTask(std::vector<TaskExample> train, std::vector<TaskExample> test)
      : train_(std::move(train)), test_(std::move(test)) {}

  size_t Size(Split split) const override { return Examples(split).size(); }
  absl::StatusOr<TaskExample> Example(Split split, size_t index) const override { return Examples(split)[index]; }
  absl::StatusOr<std::string> Trace(size_t, uint64_t) const override {
    return absl::UnimplementedError("task.name: environment has no worked answers, expected countdown");
  }

 private:
  const std::vector<TaskExample>& Examples(Split split) const { return split == Split::kTrain ? train_ : test_; }

  const std::vector<TaskExample> train_, test_;
};

absl::StatusOr<std::vector<TaskExample>> ReadSplit(EnvironmentClient& client, Split split) {
  std::vector<TaskExample> examples;
  std::set<std::string> ids;
  size_t bytes = 0;
  RETURN_IF_ERROR(client.Prompts(split, kReadTimeout, [&](NamedExample one) -> absl::Status {
    const TaskExample& example = one.example;
    bytes += example.system.size() + example.user.size() + example.answer_key_json.size() + example.tools_json.size();
    if (examples.size() == kMaxEnvironmentPrompts || bytes > kMaxEnvironmentBytes) {
      return absl::InvalidArgumentError(absl::StrCat("environment ", client.address(), " has more than ",
                                                     kMaxEnvironmentPrompts, " prompts or ", kMaxEnvironmentBytes,
                                                     " bytes of them: expected fewer"));
    }
    if (!ids.insert(std::move(one.id)).second) {
      return absl::InvalidArgumentError(absl::StrCat(example.where, " came twice: expected an id of its own for each"));
    }
    examples.push_back(std::move(one.example));
    return absl::OkStatus();
  }));
  return examples;
}

}  // namespace

absl::StatusOr<std::unique_ptr<Task>> ReadEnvironmentTask(EnvironmentClient& client, bool test_only) {
  std::vector<TaskExample> train;
  if (!test_only) {
    ASSIGN_OR_RETURN(train, ReadSplit(client, Split::kTrain));
    if (train.empty()) {
      return absl::InvalidArgumentError(
          absl::StrCat("environment ", client.address(), " has no prompts to train on: expected at least one"));
    }
  }
  ASSIGN_OR_RETURN(std::vector<TaskExample> test, ReadSplit(client, Split::kTest));
  std::map<std::pair<absl::string_view, absl::string_view>, absl::string_view> trained;
  for (const TaskExample& example : train) trained.emplace(std::pair(example.system, example.user), example.where);
  for (const TaskExample& example : test) {
    const auto found = trained.find(std::pair<absl::string_view, absl::string_view>(example.system, example.user));
    if (found == trained.end()) continue;
    return absl::InvalidArgumentError(absl::StrCat(example.where, " of the test set asks what ", found->second,
                                                   " does, expected test prompts that are not trained on"));
  }
  return std::make_unique<EnvironmentTask>(std::move(train), std::move(test));
}

}  // namespace tactus
