// Where the panels' values come from: the processes of a run themselves, or a Prometheus that watches them.
// Not thread-safe; Read blocks for the network, at most kReadTimeout for each request.
#pragma once

#include <map>
#include <memory>
#include <string>

#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"
#include "absl/time/time.h"
#include "tools/top/series.h"

namespace tactus::top {

inline constexpr absl::Duration kReadTimeout = absl::Seconds(5);

// The values of all panels at one time.
struct Frame {
  double time_s = 0;                          // Unix
  std::map<std::string, PanelValues> panels;  // by Panel::id
  // The value of a panel without a label, or NaN.
  double Value(absl::string_view panel, absl::string_view label = "") const;
};

class Source {
 public:
  virtual ~Source() = default;
  // Unavailable: nothing answers; names the address. InvalidArgument: an answer that is not understood.
  virtual absl::StatusOr<Frame> Read() = 0;
};

// Asks the processes listed in a run's targets file (RunFolder::targets), which is read anew each time: actors come and
// go. Unreachable ones are left out. NotFound: `tactus train` has not written the file.
std::unique_ptr<Source> MakeLocalSource(const std::string& targets_path, int window_s);

// Asks the HTTP API of a Prometheus. InvalidArgument: not an http URL.
absl::StatusOr<std::unique_ptr<Source>> MakePrometheusSource(const std::string& url, const std::string& run,
                                                             int window_s);

}  // namespace tactus::top
