// Which head classes each version of the weights samples with, of the versions that unfinished completions may need.
#pragma once

#include <memory>
#include <optional>
#include <utility>
#include <vector>

#include "common/data/types.h"

namespace tactus {

// Owned by one thread. Holds one entry for each change of the classes since the oldest version that is not forgotten.
class HeadClassHistory {
 public:
  // From `version` on, which is above all before. None: every response has classes of its own.
  void Add(PolicyVersion version, std::optional<HeadClasses> classes) {
    if (!since_.empty() && Same(since_.back().second.get(), classes)) return;
    since_.emplace_back(version,
                        classes.has_value() ? std::make_shared<const HeadClasses>(*std::move(classes)) : nullptr);
  }

  // Those of `version`; null: the response's own.
  std::shared_ptr<const HeadClasses> Of(PolicyVersion version) const {
    std::shared_ptr<const HeadClasses> found;
    for (const auto& [first, classes] : since_) {
      if (first <= version) found = classes;
    }
    return found;
  }

  // No version below `oldest` will be asked for.
  void Forget(PolicyVersion oldest) {
    while (since_.size() > 1 && since_[1].first <= oldest) since_.erase(since_.begin());
  }

 private:
  static bool Same(const HeadClasses* a, const std::optional<HeadClasses>& b) {
    return a == nullptr ? !b.has_value() : b.has_value() && *a == *b;
  }

  std::vector<std::pair<PolicyVersion, std::shared_ptr<const HeadClasses>>> since_;  // by version
};

}  // namespace tactus
