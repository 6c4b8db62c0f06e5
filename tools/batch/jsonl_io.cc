#include "tools/batch/jsonl_io.h"

#include <cerrno>
#include <fstream>
#include <iostream>
#include <memory>
#include <streambuf>
#include <utility>

#include "absl/strings/str_cat.h"
#include "common/base/aside_file.h"
#include "common/base/paths.h"
#include "common/base/status_macros.h"

namespace tactus {
namespace {

// Takes everything and keeps nothing.
class Nowhere : public std::streambuf {
 protected:
  int overflow(int c) override { return traits_type::not_eof(c); }
  std::streamsize xsputn(const char*, std::streamsize count) override { return count; }
};

// Both can be read more than once.
absl::StatusOr<std::unique_ptr<std::istream>> OpenInput(const std::string& path) {
  if (path == "-") {
    ASSIGN_OR_RETURN(std::unique_ptr<std::fstream> kept, OpenScratchFile());
    if (std::cin.peek() != std::istream::traits_type::eof() && !(*kept << std::cin.rdbuf())) {
      return absl::UnavailableError("standard input could not be kept in a temporary file: is the disk full?");
    }
    return kept;
  }
  const absl::Status regular = RegularFileBytes(path).status();
  if (absl::IsInvalidArgument(regular)) {
    return absl::InvalidArgumentError(absl::StrCat(regular.message(), ", or - for standard input"));
  }
  RETURN_IF_ERROR(regular);
  auto file = std::make_unique<std::ifstream>(path, std::ios::binary);
  if (!*file) return absl::ErrnoToStatus(errno, absl::StrCat("cannot read ", path));
  return file;
}

}  // namespace

absl::Status CheckDistinct(absl::string_view flag, const std::string& path, absl::string_view other_flag,
                           const std::string& other_path) {
  if (!SameFile(path, other_path)) return absl::OkStatus();
  return absl::InvalidArgumentError(
      absl::StrCat(flag, " ", path, " is the file of ", other_flag, ", which would be lost: expected another."));
}

absl::Status WithJsonl(const JsonlFlags& flags, const JsonlPass& check, const JsonlPass& work) {
  const std::string name = flags.input == "-" ? "standard input" : flags.input;
  RETURN_IF_ERROR(CheckDistinct("--output", flags.output, "--input", flags.input));
  std::unique_ptr<AsideFile> file;
  if (flags.output != "-") {
    ASSIGN_OR_RETURN(file, AsideFile::Create(flags.output));
  }
  ASSIGN_OR_RETURN(const std::unique_ptr<std::istream> in, OpenInput(flags.input));
  Nowhere nowhere;
  std::ostream nothing(&nowhere);
  in->seekg(0);
  RETURN_IF_ERROR(check(*in, nothing, name));
  in->clear();
  in->seekg(0);
  std::ostream& out = file == nullptr ? std::cout : file->out();
  RETURN_IF_ERROR(work(*in, out, name));
  if (file != nullptr) return file->Publish();
  return out.flush() ? absl::OkStatus() : absl::UnavailableError("cannot write to standard output.");
}

}  // namespace tactus
