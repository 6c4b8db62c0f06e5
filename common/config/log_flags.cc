#include "common/config/log_flags.h"

#include "absl/strings/str_cat.h"

namespace tactus {

absl::StatusOr<bool> WantsJsonLog(const Flags& flags) {
  const std::string format = flags.Text(kLogFormatFlag.name);
  if (format == "json" || format == "text") return format == "json";
  return absl::InvalidArgumentError(absl::StrCat("--log-format is \"", format, "\": expected text or json."));
}

}  // namespace tactus
