#include "tools/job/scrape_targets.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/file.h"
#include "common/base/status_macros.h"

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
  const auto json = nlohmann::json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (json.is_object() && json.contains("metrics") && json["metrics"].is_string())
    Set(role, instance, json["metrics"].get<std::string>());
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
