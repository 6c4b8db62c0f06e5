#include "tools/job/scrape_targets.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/json_field.h"
#include "common/base/status_macros.h"
#include "common/base/strict_json.h"

namespace tactus {

void ScrapeTargets::Set(const std::string& role, const std::string& instance, const std::string& address) {
  if (address.empty()) {
    targets_.erase(instance);
  } else {
    targets_[instance] = {role, address};
  }
}

void ScrapeTargets::SetFromReadyFile(const std::string& role, const std::string& instance,
                                     const std::string& ready_file) {
  const absl::StatusOr<std::string> text = ReadFile(ready_file, 4096);
  if (!text.ok()) return;
  const absl::StatusOr<nlohmann::json> json = ParseJson(*text, ready_file);
  if (!json.ok()) return;
  const absl::StatusOr<JsonField> field = JsonField(*json, ready_file).Member("metrics");
  const absl::StatusOr<std::string> address = field.ok() ? field->String() : field.status();
  if (address.ok()) Set(role, instance, *address);
}

absl::Status ScrapeTargets::Write() {
  nlohmann::json list = nlohmann::json::array();
  for (const auto& [instance, target] : targets_) {
    list.push_back(
        {{"targets", {target.address}}, {"labels", {{"job", target.role}, {"instance", instance}, {"run", run_}}}});
  }
  std::string text = absl::StrCat(list.dump(1), "\n");
  if (text == written_) return absl::OkStatus();
  RETURN_IF_ERROR(WriteFileAtomic(path_, text));
  written_ = std::move(text);
  return absl::OkStatus();
}

}  // namespace tactus
