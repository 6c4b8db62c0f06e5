// Scenarios of the actor table: attach, replace, lose, come back; lease requests that wait, are answered and vanish.
#include "learner/rollout/actor_table.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <functional>
#include <limits>
#include <random>

#include "absl/strings/str_cat.h"
#include "learner/ledger/rollout_ledger.h"
#include "tests/data/group_builder.h"

namespace tactus {
namespace {

using ::testing::ElementsAre;
using ::testing::ElementsAreArray;
using ::testing::IsEmpty;
using ::testing::UnorderedElementsAreArray;

constexpr absl::Duration kStart = absl::Seconds(1000);
constexpr absl::Duration kGrace = absl::Seconds(5);

LeaseRequest Request(const std::string& actor, uint64_t stream, uint64_t id, PolicyVersion held = {},
                     absl::Duration deadline = kStart + absl::Seconds(60)) {
  return {
      .actor_id = actor, .stream_id = stream, .request_id = id, .max_leases = 1, .held = held, .deadline = deadline};
}

struct ActorTableTest : ::testing::Test {
  // The ids of the next requests that are due: at most `count`, or all.
  std::vector<uint64_t> Next(size_t count, bool prompts_wait, PolicyVersion oldest, absl::Duration now) {
    std::vector<uint64_t> ids;
    while (ids.size() < count) {
      const std::optional<LeaseRequest> due = table.TakeDue(prompts_wait, oldest, now);
      if (!due.has_value()) break;
      ids.push_back(due->request_id);
    }
    return ids;
  }
  std::vector<uint64_t> Due(bool prompts_wait, PolicyVersion oldest = {}, absl::Duration now = kStart) {
    return Next(std::numeric_limits<size_t>::max(), prompts_wait, oldest, now);
  }
  ActorTable table{kGrace};
};

TEST_F(ActorTableTest, AnActorThatComesBackWithinItsGraceIsKept) {
  EXPECT_EQ(table.Attach("a", 1), std::nullopt);
  EXPECT_EQ(table.attached(), 1);
  EXPECT_TRUE(table.Detach("a", 1, kStart));
  EXPECT_EQ(table.attached(), 0);
  EXPECT_THAT(table.TakeForgotten(kStart + kGrace - absl::Milliseconds(1)), IsEmpty());
  EXPECT_EQ(table.Attach("a", 2), std::nullopt) << "its first stream is gone: nothing to end";
  EXPECT_EQ(table.attached(), 1);
  EXPECT_THAT(table.TakeForgotten(kStart + absl::Hours(1)), IsEmpty());
  EXPECT_TRUE(table.Detach("a", 2, kStart + absl::Hours(1)));
  EXPECT_THAT(table.TakeForgotten(kStart + absl::Hours(1)), IsEmpty()) << "its grace begins anew";
}

TEST_F(ActorTableTest, LostActorsAreForgottenOnceInTheOrderTheyWereLost) {
  for (const char* id : {"a", "b", "c", "d"}) table.Attach(id, static_cast<uint64_t>(id[0]));
  EXPECT_TRUE(table.Detach("c", 'c', kStart));
  EXPECT_TRUE(table.Detach("a", 'a', kStart + absl::Seconds(1)));
  EXPECT_TRUE(table.Detach("b", 'b', kStart + absl::Seconds(2)));
  EXPECT_EQ(table.attached(), 1);
  EXPECT_THAT(table.TakeForgotten(kStart + kGrace + absl::Seconds(1)), ElementsAre("c", "a"));
  EXPECT_THAT(table.TakeForgotten(kStart + kGrace + absl::Seconds(1)), IsEmpty());
  EXPECT_THAT(table.TakeForgotten(kStart + kGrace + absl::Seconds(2)), ElementsAre("b"));
  EXPECT_EQ(table.attached(), 1);
}

TEST_F(ActorTableTest, ASecondStreamOfOneNameTakesTheFirstsPlace) {
  table.Attach("a", 1);
  ASSERT_TRUE(table.Add(Request("a", 1, 10)).ok());
  EXPECT_EQ(table.Attach("a", 2), 1u);
  EXPECT_EQ(table.attached(), 1);
  EXPECT_THAT(Due(true), IsEmpty()) << "nobody hears the answer to the first's request";
  EXPECT_FALSE(table.Detach("a", 1, kStart)) << "the end of the first stream loses nobody";
  EXPECT_EQ(table.attached(), 1);
  EXPECT_THAT(table.TakeForgotten(kStart + absl::Hours(1)), IsEmpty());
  EXPECT_FALSE(table.Detach("b", 3, kStart)) << "a stream that never said hello";
}

TEST_F(ActorTableTest, OnlyTheStreamOfAnAttachedActorMayAsk) {
  const auto refused = [&](uint64_t stream) { return absl::IsFailedPrecondition(table.Add(Request("a", stream, 10))); };
  EXPECT_TRUE(refused(1)) << "nobody is attached";
  table.Attach("a", 1);
  table.Attach("a", 2);
  EXPECT_TRUE(refused(1)) << "replaced";
  EXPECT_TRUE(refused(0));
  ASSERT_TRUE(table.Add(Request("a", 2, 11)).ok());
  EXPECT_TRUE(table.Detach("a", 2, kStart));
  EXPECT_TRUE(refused(2)) << "lost";
  table.Attach("a", 3);
  EXPECT_THAT(Due(true), IsEmpty());
}

TEST_F(ActorTableTest, RequestsAreAnsweredInTheOrderTheyCame) {
  table.Attach("a", 1);
  table.Attach("b", 2);
  ASSERT_TRUE(table.Add(Request("b", 2, 20)).ok());
  ASSERT_TRUE(table.Add(Request("a", 1, 10)).ok());
  ASSERT_TRUE(table.Add(Request("b", 2, 21, {}, kStart + absl::Seconds(1))).ok());
  EXPECT_THAT(Due(false), IsEmpty());
  EXPECT_EQ(table.TakeDue(true, {}, kStart)->request_id, 20u);
  EXPECT_THAT(Due(true), ElementsAre(10, 21));
  EXPECT_THAT(Due(true), IsEmpty()) << "each once";
}

TEST_F(ActorTableTest, ARequestWhoseTimeIsOverWaitsNoLonger) {
  table.Attach("a", 1);
  ASSERT_TRUE(table.Add(Request("a", 1, 10, {}, kStart + absl::Seconds(30))).ok());
  ASSERT_TRUE(table.Add(Request("a", 1, 11, {}, kStart + absl::Seconds(10))).ok());
  ASSERT_TRUE(table.Add(Request("a", 1, 12, {}, kStart + absl::Seconds(20))).ok());
  EXPECT_THAT(Due(false, {}, kStart + absl::Milliseconds(9999)), IsEmpty());
  EXPECT_THAT(Due(false, {}, kStart + absl::Seconds(20)), ElementsAre(11, 12));
  EXPECT_THAT(Due(false, {}, kStart + absl::Seconds(30)), ElementsAre(10));
}

TEST_F(ActorTableTest, RequestsForOldWeightsHearOfNewOnesAtOnce) {
  table.Attach("a", 1);
  ASSERT_TRUE(table.Add(Request("a", 1, 10, {2, 7})).ok());
  ASSERT_TRUE(table.Add(Request("a", 1, 11, {2, 6})).ok());
  ASSERT_TRUE(table.Add(Request("a", 1, 12, {2, 5})).ok());
  EXPECT_THAT(Due(false, {2, 5}), IsEmpty());
  EXPECT_THAT(Due(false, {2, 7}), ElementsAre(12, 11));
  ASSERT_TRUE(table.Add(Request("a", 1, 13, {1, 9})).ok());
  ASSERT_TRUE(table.Add(Request("a", 1, 14, {3, 0})).ok());
  EXPECT_THAT(Due(false, {2, 7}), ElementsAre(13, 14)) << "of incarnations before and after this one";
  EXPECT_THAT(Due(true, {2, 7}), ElementsAre(10));
}

TEST_F(ActorTableTest, AnActorsRequestsGoWithItsStream) {
  table.Attach("a", 1);
  table.Attach("b", 2);
  ASSERT_TRUE(table.Add(Request("a", 1, 10)).ok());
  ASSERT_TRUE(table.Add(Request("b", 2, 20)).ok());
  ASSERT_TRUE(table.Detach("a", 1, kStart));
  EXPECT_THAT(Due(true), ElementsAre(20));
}

TEST_F(ActorTableTest, AnActorHasABoundedNumberOfRequests) {
  table.Attach("a", 1);
  table.Attach("b", 2);
  for (uint64_t id = 0; id < ActorTable::kMaxRequestsPerActor; ++id) ASSERT_TRUE(table.Add(Request("a", 1, id)).ok());
  EXPECT_EQ(table.Add(Request("a", 1, 99)).code(), absl::StatusCode::kInvalidArgument);
  EXPECT_TRUE(table.Add(Request("b", 2, 20)).ok()) << "its own, not the table's";
  EXPECT_EQ(table.TakeDue(true, {}, kStart)->request_id, 0u);
  EXPECT_TRUE(table.Add(Request("a", 1, 99)).ok()) << "an answered one makes room";
}

// 1,000 actors wait, 3 prompts come, then new weights: how many requests a wake-up looks at.
TEST_F(ActorTableTest, AWakeUpLooksAtWhatItAnswersAndAtNothingElse) {
  constexpr int kActors = 1000;
  RolloutLedger ledger({.prompts_per_step = 4096, .completions_per_prompt = 2, .lease_timeout = absl::Hours(10)});
  for (uint64_t i = 0; i < kActors; ++i) {
    const std::string id = absl::StrCat("actor-", i);
    table.Attach(id, i);
    ASSERT_TRUE(table.Add(Request(id, i, i, {}, kStart + absl::Seconds(static_cast<double>(i)))).ok());
  }
  int looks = 0, granted = 0, refused = 0, timed_out = 0;
  const auto wake_up = [&](absl::Duration now) {
    looks = granted = refused = timed_out = 0;
    for (;;) {
      ++looks;
      const std::optional<LeaseRequest> due = table.TakeDue(ledger.PromptsWait(now), ledger.OldestLeasable(), now);
      if (!due.has_value()) return;
      const absl::Status status = ledger.Lease(due->actor_id, due->max_leases, due->held, now).status();
      ++(status.ok() ? granted : absl::IsFailedPrecondition(status) ? refused : timed_out);
    }
  };
  wake_up(kStart - absl::Seconds(1));
  EXPECT_EQ(looks, 1) << "nothing has come";
  for (uint64_t id = 0; id < 3; ++id) ASSERT_TRUE(ledger.Add(MakePrompt(id)).ok());
  wake_up(kStart - absl::Seconds(1));
  EXPECT_EQ(granted, 3);
  EXPECT_EQ(looks, 4);
  wake_up(kStart + absl::Seconds(12));
  EXPECT_EQ(timed_out, 10) << "3 to 12";
  EXPECT_EQ(looks, 11);
  ASSERT_TRUE(ledger.SetVersion({0, 1}).ok());
  wake_up(kStart + absl::Seconds(12));
  EXPECT_EQ(refused, kActors - 13);
  EXPECT_EQ(looks, kActors - 12);
}

// Random histories against a plain list that is searched from the front.
TEST_F(ActorTableTest, AgreesWithAListThatIsScanned) {
  std::mt19937_64 random(5);
  std::vector<LeaseRequest> list;
  std::map<std::string, uint64_t> streams;
  uint64_t next_id = 1;
  PolicyVersion oldest{1, 10};
  absl::Duration now = kStart;
  size_t granted = 0, refused = 0, timed_out = 0, too_many = 0;
  for (int event = 0; event < 20'000; ++event) {
    const std::string actor(1, static_cast<char>('a' + random() % 2));
    const bool attached = streams.count(actor) > 0;
    const auto is_mine = [&](const LeaseRequest& request) { return request.actor_id == actor; };
    if (const uint64_t kind = random() % 256; kind == 0) {
      std::erase_if(list, is_mine);
      EXPECT_EQ(table.Attach(actor, next_id).has_value(), attached);
      streams[actor] = next_id++;
    } else if (kind == 1) {
      std::erase_if(list, is_mine);
      EXPECT_EQ(table.Detach(actor, attached ? streams[actor] : 0, now), attached);
      streams.erase(actor);
    } else if (kind == 2) {
      ++oldest.step;
    } else if (attached) {
      const PolicyVersion held{static_cast<uint32_t>(random() % 16 == 0 ? random() % 3 : 1),
                               oldest.step + random() % 3};
      LeaseRequest request = Request(actor, streams[actor], next_id++, held, now + absl::Seconds(1 + random() % 9));
      const bool fits = std::count_if(list.begin(), list.end(), is_mine) < ActorTable::kMaxRequestsPerActor;
      EXPECT_EQ(table.Add(request).ok(), fits);
      if (fits) list.push_back(std::move(request));
      too_many += fits ? 0 : 1;
    }
    EXPECT_EQ(table.attached(), static_cast<int>(streams.size()));
    now += absl::Milliseconds(random() % 60);

    const auto take = [&](const std::function<bool(const LeaseRequest&)>& is_due) {
      std::vector<uint64_t> ids;
      std::erase_if(list, [&](const LeaseRequest& r) { return is_due(r) && (ids.push_back(r.request_id), true); });
      return ids;
    };
    size_t prompts = random() % 4 == 0 ? random() % 3 : 0;
    const std::vector<uint64_t> refusals =
        take([&](const LeaseRequest& r) { return r.held.incarnation != oldest.incarnation || r.held < oldest; });
    EXPECT_THAT(Next(refusals.size(), false, oldest, now), UnorderedElementsAreArray(refusals));
    const std::vector<uint64_t> grants = take([&](const LeaseRequest&) { return prompts > 0 && prompts-- > 0; });
    EXPECT_THAT(Next(grants.size(), true, oldest, now), ElementsAreArray(grants));
    const std::vector<uint64_t> over = take([&](const LeaseRequest& r) { return r.deadline <= now; });
    EXPECT_THAT(Due(false, oldest, now), UnorderedElementsAreArray(over));
    granted += grants.size();
    refused += refusals.size();
    timed_out += over.size();
  }
  // The history does reach what it is meant to test.
  EXPECT_GT(granted, 100u);
  EXPECT_GT(refused, 100u);
  EXPECT_GT(timed_out, 100u);
  EXPECT_GT(too_many, 100u);
}

}  // namespace
}  // namespace tactus
