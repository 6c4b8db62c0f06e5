#include "learner/replicas.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <string>
#include <vector>

#include "tests/learner/train/trainer_fixtures.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;

TEST(Fingerprint64Test, AnyChangedByteAndAnyOrderShow) {
  std::string bytes(2'500'001, 'a');
  const uint64_t before = Fingerprint64(bytes);
  EXPECT_EQ(Fingerprint64(bytes), before);
  for (const size_t at : {size_t{0}, size_t{7}, size_t{1'048'576}, size_t{2'499'999}, bytes.size() - 1}) {
    for (const int bit : {0, 3, 7}) {
      std::string changed = bytes;
      changed[at] = static_cast<char>(changed[at] ^ (1 << bit));
      EXPECT_NE(Fingerprint64(changed), before) << at << " " << bit;
    }
  }
  std::string swapped = bytes, other = bytes;
  swapped[0] = other[8] = 'b';
  EXPECT_NE(Fingerprint64(swapped), Fingerprint64(other));
  EXPECT_NE(Fingerprint64(bytes.substr(1)), before);
  EXPECT_NE(Fingerprint64(std::string(8, '\0')), Fingerprint64(std::string(9, '\0')));
}

TEST(CompareReplicasTest, RanksThatDifferAreNamedOnEveryRank) {
  OnRanks(4, [](Collective& collective) {
    const std::vector<char> same(1000, 'x');
    EXPECT_TRUE(CompareReplicas(collective, same).ok());
    std::vector<char> mine = same;
    if (collective.rank() == 1 || collective.rank() == 3) mine[999] = 'y';
    const absl::Status status = CompareReplicas(collective, mine);
    EXPECT_EQ(status.code(), absl::StatusCode::kFailedPrecondition);
    EXPECT_THAT(std::string(status.message()), HasSubstr("those of rank 1, 3 are not rank 0's"));
    EXPECT_TRUE(collective.Barrier().ok());
  });
}

}  // namespace
}  // namespace tactus
