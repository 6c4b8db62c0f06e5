// Calls the `tactus` binary as a user does.
#pragma once

#include <sys/wait.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "tests/tree.h"

namespace tactus {

inline std::string ReadAll(const std::string& path) {
  std::ostringstream text;
  text << std::ifstream(path).rdbuf();
  return text.str();
}

// What a call of `tactus` left.
struct Result {
  int code = -1;
  std::string out, err;
};

// A folder of its own for each case, in which `tactus` is called.
class CliTest : public ::testing::Test {
 protected:
  std::string folder_ = ::testing::TempDir() + "/cli_test";
  void SetUp() override {
    std::filesystem::remove_all(folder_);
    std::filesystem::create_directories(folder_);
  }
  std::string Path(const std::string& name) const { return folder_ + "/" + name; }
  std::string Write(const std::string& name, const std::string& text) const {
    std::ofstream(Path(name)) << text;
    return Path(name);
  }
  // `arguments` go through the shell, so that a test reads like a session.
  Result Tactus(const std::string& arguments, const std::string& input = "") const {
    Write("stdin", input);
    const std::string command = absl::StrCat("cd ", SourcePath(), " && '", BuildPath("bin/tactus"), "' ", arguments,
                                             " <", Path("stdin"), " >", Path("stdout"), " 2>", Path("stderr"));
    const int status = std::system(command.c_str());
    return {WIFEXITED(status) ? WEXITSTATUS(status) : -1, ReadAll(Path("stdout")), ReadAll(Path("stderr"))};
  }
  // Exit code 2 and one sentence on stderr.
  void ExpectMistake(const std::string& arguments, const std::string& sentence, const std::string& input = "") const {
    const Result result = Tactus(arguments, input);
    EXPECT_EQ(result.code, 2) << arguments << "\n" << result.err;
    EXPECT_THAT(result.err, ::testing::HasSubstr(sentence)) << arguments;
    EXPECT_THAT(result.err, ::testing::StartsWith("tactus")) << arguments;
    EXPECT_EQ(std::count(result.err.begin(), result.err.end(), '\n'), 1) << result.err;
    EXPECT_EQ(result.out, "") << arguments;
  }
};

}  // namespace tactus
