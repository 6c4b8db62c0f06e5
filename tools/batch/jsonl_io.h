// Opens the --input and --output of a batch command; "-" is standard input or output. Not thread-safe.
#pragma once

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
  void DeclareOutput(CLI::App& app) {
    AddFlag(app, "--output FILE", output, "JSONL to write, whole or not at all; - is standard output");
  }
};

// Reads the input from its beginning to its end; errors call it by the name given.
using JsonlPass = std::function<absl::Status(std::istream&, std::ostream&, absl::string_view)>;

// Goes through the input twice, so that nothing is written before every line of it is good: `check`, whose output goes
// nowhere, and then `work`. Where `work` alone costs little, it is its own check. Standard input is kept in a file
// without a name meanwhile; an --output file appears when it is complete (AsideFile).
// InvalidArgument, NotFound or PermissionDenied names a file that is not regular, cannot be opened, or is input and
// output; Unavailable an output that cannot be written to its end.
absl::Status WithJsonl(const JsonlFlags& flags, const JsonlPass& check, const JsonlPass& work);

// InvalidArgument: --FLAG names the file that another flag, or its default, names too: it would be overwritten.
absl::Status CheckDistinct(absl::string_view flag, const std::string& path, absl::string_view other_flag,
                           const std::string& other_path);

}  // namespace tactus
