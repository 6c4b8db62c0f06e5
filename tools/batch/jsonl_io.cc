#include "tools/batch/jsonl_io.h"

#include <cerrno>
#include <iostream>

#include "absl/strings/str_cat.h"
#include "common/base/status_macros.h"

namespace tactus {

absl::Status WithJsonl(const JsonlFlags& flags,
                       const std::function<absl::Status(std::istream&, std::ostream&, absl::string_view)>& work) {
  return WithJsonl(flags.input, flags.output, work);
}

absl::Status WithJsonl(const std::string& input, const std::string& output,
                       const std::function<absl::Status(std::istream&, std::ostream&, absl::string_view)>& work) {
  std::ifstream in_file;
  std::ofstream out_file;
  if (input != "-") {
    in_file.open(input, std::ios::binary);
    if (!in_file) return absl::ErrnoToStatus(errno, absl::StrCat("cannot read ", input));
    if (in_file.peek() == std::ifstream::traits_type::eof() && in_file.bad()) {
      return absl::InvalidArgumentError(absl::StrCat(input, " is not a readable file."));
    }
    in_file.clear();
  }
  if (output != "-") {
    out_file.open(output, std::ios::binary | std::ios::trunc);
    if (!out_file) return absl::ErrnoToStatus(errno, absl::StrCat("cannot write ", output));
  }
  std::ostream& out = output == "-" ? std::cout : out_file;
  RETURN_IF_ERROR(work(input == "-" ? std::cin : in_file, out, input == "-" ? "standard input" : input));
  out.flush();
  if (!out)
    return absl::UnavailableError(absl::StrCat("cannot write to ", output == "-" ? "standard output" : output, "."));
  return absl::OkStatus();
}

}  // namespace tactus
