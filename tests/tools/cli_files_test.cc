// The files that `tactus` reads and writes: none is destroyed, none is half written, none makes it hang or abort.
#include <sys/stat.h>

#include <filesystem>
#include <string>
#include <vector>

#include "absl/strings/str_cat.h"
#include "tests/tools/cli.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;

struct BatchCommand {
  std::string arguments;  // before --input
  std::string good;       // a line
};

class CliFilesTest : public CliTest {
 protected:
  static std::vector<BatchCommand> BatchCommands() {
    const std::string model = " --threads 1 --model models/quickstart";
    const std::string response = R"({"id":1,"prompt_ids":[5],"response_ids":[7]})";
    return {{"verify --task countdown", R"({"id":1,"numbers":[3,4,7],"target":16,"response":"x"})"},
            {"tokenize --model models/quickstart", R"({"id":1,"text":"7+5"})"},
            {"loss", R"({"id":"a","estimator":"rloo","loss":"clip","agg":"token_mean","eps_low":0.2,"eps_high":0.2,)"
                     R"("kl_beta":0,"sign":"none","rewards":[1,0],"group_ids":["g","g"],"mask":[[1],[1]],)"
                     R"("logp_new":[[-1],[-1]],"logp_old":[[-1],[-1]]})"},
            {"generate --max-tokens 2" + model, R"({"id":1,"prompt":"5 6 6=36:"})"},
            {"score --path actor" + model, response},
            {"score --path learner" + model, response},
            {"rhythm" + model, response}};
  }
  std::vector<std::string> Left() const {
    std::vector<std::string> names;
    for (const auto& entry : std::filesystem::directory_iterator(folder_)) {
      const std::string name = entry.path().filename().string();
      if (name.starts_with("std")) continue;
      names.push_back(name);
    }
    std::sort(names.begin(), names.end());
    return names;
  }
};

TEST_F(CliFilesTest, NothingIsWrittenBeforeABadLineIsFound) {
  for (const BatchCommand& command : BatchCommands()) {
    const std::string lines = command.good + "\n" + command.good + "\n{\"id\":3}\n" + command.good + "\n";
    ExpectMistake(command.arguments + " --input -", "standard input:3", lines);
    Write("in.jsonl", lines);
    Write("out.jsonl", "what it was\n");
    ExpectMistake(absl::StrCat(command.arguments, " --input ", Path("in.jsonl"), " --output ", Path("out.jsonl")),
                  "in.jsonl:3");
    EXPECT_EQ(ReadAll(Path("out.jsonl")), "what it was\n") << command.arguments;
    EXPECT_THAT(Left(), ::testing::ElementsAre("in.jsonl", "out.jsonl")) << command.arguments;
  }
}

TEST_F(CliFilesTest, ACommandsOutputIsNotItsInput) {
  for (const BatchCommand& command : BatchCommands()) {
    Write("in.jsonl", command.good + "\n");
    std::filesystem::remove(Path("link"));
    std::filesystem::create_symlink("in.jsonl", Path("link"));
    for (const char* output : {"in.jsonl", "link"}) {
      ExpectMistake(absl::StrCat(command.arguments, " --input ", Path("in.jsonl"), " --output ", Path(output)),
                    absl::StrCat("--output ", Path(output), " is the file of --input"));
      EXPECT_EQ(ReadAll(Path("in.jsonl")), command.good + "\n") << command.arguments;
    }
    Write("new.jsonl", "");
    const Result whole =
        Tactus(absl::StrCat(command.arguments, " --input ", Path("in.jsonl"), " --output ", Path("new.jsonl")));
    EXPECT_EQ(whole.code, 0) << whole.err;
    const Result shown = Tactus(absl::StrCat(command.arguments, " --input ", Path("in.jsonl")));
    EXPECT_EQ(ReadAll(Path("new.jsonl")), shown.out) << command.arguments;
    EXPECT_NE(shown.out, "") << command.arguments;
  }
  const std::string response = "{\"id\":1,\"prompt_ids\":[5],\"response_ids\":[7]}\n";
  Write("r.jsonl", response);
  const std::string rhythm = "rhythm --threads 1 --model models/quickstart --input " + Path("r.jsonl");
  ExpectMistake(absl::StrCat(rhythm, " --html ", Path("r.jsonl")), "is the file of --input");
  EXPECT_EQ(ReadAll(Path("r.jsonl")), response);
}

TEST_F(CliFilesTest, PipesAndDevicesAreRefusedAndNotWaitedFor) {
  ASSERT_EQ(::mkfifo(Path("pipe").c_str(), 0600), 0);
  Write("in.jsonl", "");
  for (const BatchCommand& command : BatchCommands()) {
    ExpectMistake(command.arguments + " --input " + Path("pipe"),
                  Path("pipe") + ": expected a regular file, or - for standard input");
    ExpectMistake(command.arguments + " --input /dev/zero", "/dev/zero: expected a regular file");
    for (const std::string& output : {Path("pipe"), std::string("/dev/null"), folder_}) {
      ExpectMistake(absl::StrCat(command.arguments, " --input ", Path("in.jsonl"), " --output ", output),
                    output + ": expected a regular file or a new name");
    }
  }
  ExpectMistake("generate --model models/quickstart --max-tokens 1 --prompt 5 --output " + Path("pipe"),
                Path("pipe") + ": expected a regular file or a new name");
  EXPECT_TRUE(std::filesystem::is_fifo(Path("pipe")));
  EXPECT_TRUE(std::filesystem::is_character_file("/dev/null"));
  ExpectMistake("check-config " + Path("pipe"), "pipe is not a regular file");
  std::filesystem::create_directories(Path("m"));
  std::filesystem::rename(Path("pipe"), Path("m/config.json"));
  ExpectMistake("generate --prompt x --model " + Path("m"), "config.json is not a regular file");
}

// std::filesystem throws where links run in a circle and where a name is too long.
TEST_F(CliFilesTest, NoPathMakesACommandAbort) {
  std::filesystem::create_symlink(Path("circle"), Path("circle"));
  const std::string config = " --config configs/quickstart.textproto";
  for (const std::string& path : {Path("circle"), Path("circle") + "/x", Path(std::string(300, 'n'))}) {
    for (const std::string& command :
         {"report " + path, "top --once " + path, "train --resume " + path, "train" + config + " --out " + path,
          "train" + config + " --out " + Path("new") + " --set model.path=" + path,
          "check-config configs/quickstart.textproto --memory --set model.path=" + path,
          "rhythm --input - --model " + path, "sft" + config + " --set sft.steps=1 --out " + path,
          "generate --prompt x --model " + path}) {
      const Result result = Tactus(command);
      EXPECT_THAT(result.code, ::testing::AnyOf(1, 2)) << command << "\n" << result.err;
      EXPECT_THAT(result.err, HasSubstr("tactus")) << command;
    }
  }
  EXPECT_THAT(Left(), ::testing::ElementsAre("circle"));
}

}  // namespace
}  // namespace tactus
