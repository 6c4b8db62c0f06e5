// The flag --log-format, or TACTUS_LOG_FORMAT, of the programs that run in a cluster.
#pragma once

#include "absl/status/statusor.h"
#include "common/config/flags.h"

namespace tactus {

inline constexpr FlagSpec kLogFormatFlag = {.name = "log-format",
                                            .value = "text|json",
                                            .help =
                                                "how events are written to stderr: for people, or one JSON object a "
                                                "line",
                                            .fallback = "text"};

// InvalidArgument: neither text nor json.
absl::StatusOr<bool> WantsJsonLog(const Flags& flags);

}  // namespace tactus
