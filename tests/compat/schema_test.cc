// Every message that the last minor release wrote to a socket, a checkpoint or a configuration must still be read:
// tests/goldens/compat/schema-0.2.binpb is `protoc -I. --include_imports --descriptor_set_out=F` of its config,
// trajectory, rollout_service, weight_service and checkpoint.proto.
#include <fstream>
#include <iterator>
#include <string>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_split.h"
#include "common/config/run_config.h"
#include "google/protobuf/descriptor.h"
#include "google/protobuf/descriptor.pb.h"
#include "gtest/gtest.h"
#include "proto/checkpoint.pb.h"
#include "proto/config.pb.h"
#include "proto/rollout_service.pb.h"
#include "proto/trajectory.pb.h"
#include "proto/weight_service.pb.h"
#include "tests/tree.h"

namespace tactus {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::DescriptorPool;
using google::protobuf::EnumDescriptor;
using google::protobuf::FieldDescriptor;
using google::protobuf::FileDescriptor;

std::string GoldenPath(const std::string& name) { return SourcePath("tests/goldens/compat/") + name; }

// The files of the last release, in a pool of their own.
class Compat : public ::testing::Test {
 protected:
  void SetUp() override {
    std::ifstream file(GoldenPath("schema-0.2.binpb"), std::ios::binary);
    google::protobuf::FileDescriptorSet set;
    ASSERT_TRUE(set.ParseFromIstream(&file));
    // protoc writes an imported file before those that import it.
    for (const auto& proto : set.file()) {
      files_.push_back(released_.BuildFile(proto));
      ASSERT_NE(files_.back(), nullptr) << proto.name();
    }
    // The generated pool holds what some code of this program refers to.
    for (const Descriptor* d :
         {wire::CheckpointState::descriptor(), config::RunConfig::descriptor(), wire::ActorMessage::descriptor(),
          wire::TrajectoryGroup::descriptor(), wire::WeightManifest::descriptor()}) {
      ASSERT_NE(d, nullptr);
    }
  }

  static void ExpectSame(const FieldDescriptor& was) {
    const Descriptor* message =
        DescriptorPool::generated_pool()->FindMessageTypeByName(was.containing_type()->full_name());
    ASSERT_NE(message, nullptr) << was.containing_type()->full_name() << " is gone";
    const FieldDescriptor* is = message->FindFieldByNumber(was.number());
    ASSERT_NE(is, nullptr) << was.full_name() << " is gone";
    EXPECT_EQ(is->name(), was.name()) << was.full_name() << ": text files name fields";
    EXPECT_EQ(is->type(), was.type()) << was.full_name();
    EXPECT_EQ(is->label(), was.label()) << was.full_name();
    if (was.message_type() != nullptr) {
      EXPECT_EQ(is->message_type()->full_name(), was.message_type()->full_name()) << was.full_name();
    }
    if (was.real_containing_oneof() != nullptr) {
      ASSERT_NE(is->real_containing_oneof(), nullptr) << was.full_name();
      EXPECT_EQ(is->real_containing_oneof()->name(), was.real_containing_oneof()->name()) << was.full_name();
    }
  }

  static void ExpectSame(const EnumDescriptor& was) {
    const EnumDescriptor* is = DescriptorPool::generated_pool()->FindEnumTypeByName(was.full_name());
    ASSERT_NE(is, nullptr) << was.full_name() << " is gone";
    for (int i = 0; i < was.value_count(); ++i) {
      const auto* value = is->FindValueByNumber(was.value(i)->number());
      ASSERT_NE(value, nullptr) << was.value(i)->full_name() << " is gone";
      EXPECT_EQ(value->name(), was.value(i)->name());
    }
  }

  static int ExpectSame(const Descriptor& was) {
    int fields = was.field_count();
    for (int i = 0; i < was.field_count(); ++i) ExpectSame(*was.field(i));
    for (int i = 0; i < was.enum_type_count(); ++i) ExpectSame(*was.enum_type(i));
    for (int i = 0; i < was.nested_type_count(); ++i) fields += ExpectSame(*was.nested_type(i));
    return fields;
  }

  DescriptorPool released_;
  std::vector<const FileDescriptor*> files_;
};

TEST_F(Compat, EveryFieldOfTheLastReleaseIsThereWithItsNumberAndType) {
  int fields = 0;
  for (const FileDescriptor* file : files_) {
    for (int i = 0; i < file->message_type_count(); ++i) fields += ExpectSame(*file->message_type(i));
    for (int i = 0; i < file->enum_type_count(); ++i) ExpectSame(*file->enum_type(i));
  }
  EXPECT_GT(fields, 150) << "the golden is not what it should be";
}

// A complete configuration, as `tactus check-config` of that release printed it.
TEST_F(Compat, AConfigurationOfTheLastReleaseMeansWhatItMeant) {
  std::ifstream file(GoldenPath("config-0.2.textproto"));
  const std::string text{std::istreambuf_iterator<char>(file), {}};
  const auto run = config::ParseRunConfig(text, "config-0.2.textproto", {});
  ASSERT_TRUE(run.ok()) << run.status();
  const std::string resolved = config::ResolvedText(*run);
  int values = 0;
  for (const absl::string_view line : absl::StrSplit(text, '\n')) {
    if (!absl::StrContains(line, ": ")) continue;
    ++values;
    EXPECT_TRUE(absl::StrContains(resolved, absl::StrCat(line, "\n"))) << line;
  }
  EXPECT_GT(values, 60) << "the golden is not what it should be";
}

}  // namespace
}  // namespace tactus
