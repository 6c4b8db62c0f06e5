#include "common/tasks/mixed_task.h"

#include <algorithm>
#include <compare>
#include <functional>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

// 64 bits, so that two examples are as good as never taken for one.
uint64_t IdentityOf(const TaskExample& example) {
  std::string asked = example.identity;
  if (asked.empty()) {
    for (const ChatMessage& message : example.earlier) {
      absl::StrAppend(&asked, message.role.size(), ":", message.role, message.content.size(), ":", message.content);
    }
    absl::StrAppend(&asked, example.system.size(), ":", example.system, example.user);
  }
  return std::hash<std::string_view>()(asked);
}

struct Place {
  uint32_t source = 0, row = 0;
};

class MixedTask final : public Task {
 public:
  explicit MixedTask(std::vector<NamedTask> sources) : sources_(std::move(sources)) {
    size_t longest = 0;
    for (const NamedTask& source : sources_) {
      starts_.push_back(train_size_);
      train_size_ += source.task->Size(Split::kTrain);
      longest = std::max(longest, source.task->Size(Split::kTest));
    }
    for (uint32_t row = 0; row < longest; ++row) {
      for (uint32_t i = 0; i < sources_.size(); ++i) {
        if (row < sources_[i].task->Size(Split::kTest)) test_.push_back({.source = i, .row = row});
      }
    }
  }

  absl::Status ReadHeldOut() {
    for (uint32_t i = 0; i < test_.size(); ++i) {
      ASSIGN_OR_RETURN(const TaskExample example, Example(Split::kTest, i));
      held_out_.push_back({.identity = IdentityOf(example), .source = test_[i].source, .index = i});
    }
    std::ranges::sort(held_out_);
    const auto same = [](const HeldOut& a, const HeldOut& b) {
      return a.identity == b.identity && a.source == b.source;
    };
    held_out_.erase(std::unique(held_out_.begin(), held_out_.end(), same), held_out_.end());
    return absl::OkStatus();
  }

  size_t Size(Split split) const override { return split == Split::kTrain ? train_size_ : test_.size(); }
  uint32_t SourceOf(Split split, size_t index) const override { return At(split, index).source; }

  absl::StatusOr<TaskExample> Example(Split split, size_t index) const override {
    const Place place = At(split, index);
    ASSIGN_OR_RETURN(TaskExample example, sources_[place.source].task->Example(split, place.row));
    if (split == Split::kTrain) RETURN_IF_ERROR(CheckNotHeldOut(example, place.source));
    return example;
  }

  absl::StatusOr<std::string> Trace(size_t index, uint64_t variant) const override {
    const Place place = At(Split::kTrain, index);
    absl::StatusOr<std::string> trace = sources_[place.source].task->Trace(place.row, variant);
    if (trace.ok()) return trace;
    return absl::Status(trace.status().code(),
                        absl::StrCat("source ", sources_[place.source].name, ": ", trace.status().message()));
  }

 private:
  struct HeldOut {
    uint64_t identity = 0;
    uint32_t source = 0, index = 0;
    friend auto operator<=>(const HeldOut&, const HeldOut&) = default;  // NOLINT(modernize-use-nullptr)
  };

  Place At(Split split, size_t index) const {
    if (split == Split::kTest) return test_[index];
    const auto source = static_cast<size_t>(std::ranges::upper_bound(starts_, index) - starts_.begin()) - 1;
    return {.source = static_cast<uint32_t>(source), .row = static_cast<uint32_t>(index - starts_[source])};
  }

  // By other sources than its own, which sees to that itself.
  absl::Status CheckNotHeldOut(const TaskExample& example, uint32_t source) const {
    const uint64_t identity = IdentityOf(example);
    for (auto one = std::ranges::lower_bound(held_out_, identity, {}, &HeldOut::identity);
         one != held_out_.end() && one->identity == identity; ++one) {
      if (one->source == source) continue;
      ASSIGN_OR_RETURN(const TaskExample same, Example(Split::kTest, one->index));
      return absl::InvalidArgumentError(absl::StrCat(example.where, " of source ", sources_[source].name, ": source ",
                                                     sources_[one->source].name, " holds it out as ", same.where));
    }
    return absl::OkStatus();
  }

  std::vector<NamedTask> sources_;
  std::vector<size_t> starts_;  // of the train split, increasing: where each source's begins
  size_t train_size_ = 0;
  std::vector<Place> test_;
  std::vector<HeldOut> held_out_;  // sorted; of each source an identity once
};

}  // namespace

absl::StatusOr<std::unique_ptr<Task>> CreateMixedTask(std::vector<NamedTask> sources, bool test_only) {
  auto task = std::make_unique<MixedTask>(std::move(sources));
  if (!test_only) RETURN_IF_ERROR(task->ReadHeldOut());
  return task;
}

}  // namespace tactus
