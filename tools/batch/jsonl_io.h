// Opens the --input and --output of a batch command; "-" is standard input or output. Not thread-safe.
#pragma once

#include <fstream>
#include <functional>
#include <istream>
#include <ostream>
#include <string>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "common/config/flags.h"

namespace tactus {

// The two flags, for a command's own.
struct JsonlFlags {
  std::string input, output = "-";

  void Declare(CLI::App& app) {
    AddRequired(app, "--input FILE", input, "JSONL to read; - is standard input");
    DeclareOutput(app);
  }
  void DeclareOutput(CLI::App& app) { AddFlag(app, "--output FILE", output, "JSONL to write; - is standard output"); }
};

// Calls work(in, out, name of the input). NotFound or PermissionDenied names a file that cannot be opened; Unavailable
// an output that cannot be written to its end.
absl::Status WithJsonl(const std::string& input, const std::string& output,
                       const std::function<absl::Status(std::istream&, std::ostream&, absl::string_view)>& work);
absl::Status WithJsonl(const JsonlFlags& flags,
                       const std::function<absl::Status(std::istream&, std::ostream&, absl::string_view)>& work);

}  // namespace tactus
