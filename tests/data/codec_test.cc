#include "common/data/codec.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <limits>
#include <random>

#include "proto/trajectory.pb.h"
#include "tests/data/group_builder.h"

namespace tactus {
namespace {

using ::testing::HasSubstr;

PromptLease TestLease() {
  return {.lease_id = 77,
          .prompt = MakePrompt(5),
          .completions_wanted = 2,
          .seed = 9,
          .timeout_s = 300,
          .version = {1, 4},
          .evaluation = {}};
}

TrajectoryGroup TestGroup() {
  TrajectoryGroup group = MakeGroup(TestLease(), "actor-1", {1, 4}, 6);
  group.completions[1].versions.push_back({3, {1, 5}});
  group.completions[1].finish_reason = FinishReason::kLength;
  AddRhythm(group);
  group.times = {.sampling_s = 2.5, .handing_in_s = 0.125};
  group.arrived_s = 77;
  return group;
}

wire::TrajectoryGroup Wire(const TrajectoryGroup& group) {
  wire::TrajectoryGroup out;
  EXPECT_TRUE(out.ParseFromString(EncodeGroup(group)));
  return out;
}

TEST(Codec, GroupKeepsEveryField) {
  const TrajectoryGroup in = TestGroup();
  const absl::StatusOr<TrajectoryGroup> out = DecodeGroup(EncodeGroup(in), kTestLimits);
  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_EQ(out->lease_id, 77u);
  EXPECT_EQ(out->prompt_id, 5u);
  EXPECT_EQ(out->prompt_token_ids, in.prompt_token_ids);
  EXPECT_EQ(out->actor_id, "actor-1");
  EXPECT_EQ(out->times, in.times);
  EXPECT_EQ(out->arrived_s, 0) << "the learner's own";
  ASSERT_EQ(out->completions.size(), 2u);
  for (size_t i = 0; i < 2; ++i) {
    EXPECT_EQ(out->completions[i].token_ids, in.completions[i].token_ids);
    EXPECT_EQ(out->completions[i].logprobs, in.completions[i].logprobs);
    EXPECT_EQ(out->completions[i].entropy, in.completions[i].entropy);
    EXPECT_EQ(out->completions[i].credit, in.completions[i].credit);
    EXPECT_EQ(out->completions[i].rhythm, in.completions[i].rhythm);
    EXPECT_EQ(out->completions[i].head_spans, in.completions[i].head_spans);
    EXPECT_EQ(out->completions[i].versions, in.completions[i].versions);
    EXPECT_EQ(out->completions[i].reward.total, in.completions[i].reward.total);
    EXPECT_EQ(out->completions[i].reward.reason, in.completions[i].reward.reason);
    EXPECT_EQ(out->completions[i].finish_reason, in.completions[i].finish_reason);
  }
}

TEST(Codec, ACompletionThatWasNotAuditedCarriesNoRhythm) {
  TrajectoryGroup group = TestGroup();
  group.completions[0].rhythm.reset();
  const absl::StatusOr<TrajectoryGroup> out = DecodeGroup(EncodeGroup(group), kTestLimits);
  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_FALSE(out->completions[0].rhythm.has_value());
  EXPECT_EQ(out->completions[1].rhythm, group.completions[1].rhythm);
}

TEST(Codec, SpansMayTravelAlone) {
  TrajectoryGroup group = TestGroup();
  group.completions[0].rhythm.reset();
  group.completions[1].rhythm.reset();
  group.completions[1].head_spans.clear();
  const absl::StatusOr<TrajectoryGroup> out = DecodeGroup(EncodeGroup(group), kTestLimits);
  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_EQ(out->completions[0].head_spans, group.completions[0].head_spans);
  EXPECT_TRUE(out->completions[1].head_spans.empty());
}

TEST(Codec, WithCalibratedHeadsEveryCompletionCarriesTheirSpans) {
  TrajectoryLimits limits = kTestLimits;
  limits.calibrated_heads = 4;
  TrajectoryGroup group = TestGroup();
  group.completions[0].rhythm.reset();
  EXPECT_TRUE(DecodeGroup(EncodeGroup(group), limits).ok());
  const auto with_spans = [&](std::vector<float> spans) {
    group.completions[0].head_spans = std::move(spans);
    return std::string(DecodeGroup(EncodeGroup(group), limits).status().message());
  };
  EXPECT_THAT(with_spans({}), HasSubstr("completions[0].head_spans has 0 heads; expected 4"));
  EXPECT_THAT(with_spans({1, 2, 3}), HasSubstr("completions[0].head_spans has 3 heads; expected 4"));
  EXPECT_THAT(with_spans({1, 2, 3, 4, 5}), HasSubstr("completions[0].head_spans has 5 heads; expected 4"));
}

TEST(Codec, HeadClassesAreChecked) {
  const HeadClasses good{.local = {0, 3}, .global = {1}};
  const auto read = [](const HeadClasses& classes, int num_heads) {
    const wire::HeadClasses wire = ToWire(classes);
    return FromWire("it", &wire, num_heads);
  };
  EXPECT_EQ(**read(good, 4), good);
  EXPECT_EQ(*FromWire("it", nullptr, 4), std::nullopt);
  EXPECT_EQ(std::string(read(good, 3).status().message()), "it.local[1] is 3; expected increasing indices in [0, 3)");
  EXPECT_THAT(std::string(read({{}, {1}}, 4).status().message()), HasSubstr("it.local has 0 heads"));
  EXPECT_THAT(std::string(read({{1}, {}}, 4).status().message()), HasSubstr("it.global has 0 heads"));
  EXPECT_THAT(std::string(read({{2, 1}, {0}}, 4).status().message()), HasSubstr("it.local[1] is 1"));
  EXPECT_THAT(std::string(read(good, 0).status().message()), HasSubstr("this run has none"));
}

TEST(Codec, RhythmMayMissItsRangeByRounding) {
  TrajectoryGroup group = TestGroup();
  group.completions[0].rhythm->waad[0] = -1e-6F;
  group.completions[0].rhythm->fai[0] = 1.00001F;
  EXPECT_TRUE(DecodeGroup(EncodeGroup(group), kTestLimits).ok());
}

TEST(Codec, LargestGroupFitsItsStatedBound) {
  TrajectoryLimits limits = kTestLimits;
  limits.vocab_size = std::numeric_limits<int>::max();
  PromptLease lease = TestLease();
  lease.lease_id = std::numeric_limits<uint64_t>::max();
  lease.prompt.id = std::numeric_limits<uint64_t>::max();
  lease.prompt.token_ids.assign(16, limits.vocab_size - 1);
  TrajectoryGroup group = MakeGroup(lease, std::string(kMaxNameBytes, 'a'), {1, 4}, 32);
  for (Completion& completion : group.completions) {
    completion.token_ids.assign(32, limits.vocab_size - 1);
    completion.reward.reason.assign(kMaxNameBytes, 'r');
    completion.versions.clear();
    for (int t = 0; t < 32; ++t) {
      const PolicyVersion version{std::numeric_limits<uint32_t>::max(), std::numeric_limits<uint64_t>::max() - 31 + t};
      completion.versions.push_back({t, version});
    }
    RhythmRecord& rhythm = completion.rhythm.emplace();
    rhythm.waad.assign(32, 10.0F);
    rhythm.fai.assign(32, 1.0F);
    completion.head_spans.assign(kMaxRhythmHeads, 5.0F);
    for (size_t head = 0; head < kMaxRhythmHeads; ++head) rhythm.heads.local.push_back(static_cast<int32_t>(head));
    rhythm.heads.global = rhythm.heads.local;
  }
  const std::string bytes = EncodeGroup(group);
  EXPECT_LE(bytes.size(), MaxGroupBytes(limits));
  EXPECT_TRUE(DecodeGroup(bytes, limits).ok());
}

TEST(Codec, ALeaseOfAHeldOutPromptSaysHowItIsSampled) {
  PromptLease lease = TestLease();
  lease.lease_id |= kEvaluationLease;
  lease.completions_wanted = 300;  // not as to a prompt of the training
  lease.evaluation = {.temperature = 0, .top_p = 0.25F, .top_k = 7};
  const absl::StatusOr<PromptLease> out = FromWire(ToWire(lease), kTestLimits);
  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_EQ(out->lease_id, lease.lease_id);
  EXPECT_EQ(out->evaluation, lease.evaluation);
  EXPECT_EQ(out->completions_wanted, 300);
  const auto refused = [&](auto change) {
    PromptLease bad = lease;
    change(bad);
    const auto read = FromWire(ToWire(bad), kTestLimits);
    return std::string(read.status().message());
  };
  EXPECT_THAT(refused([](PromptLease& bad) { bad.evaluation.reset(); }), HasSubstr("top bit"));
  EXPECT_THAT(refused([](PromptLease& bad) { bad.lease_id &= ~kEvaluationLease; }), HasSubstr("top bit"));
  EXPECT_THAT(refused([](PromptLease& bad) { bad.completions_wanted = 0; }), HasSubstr("expected 1 to 4096"));
  EXPECT_THAT(refused([](PromptLease& bad) { bad.completions_wanted = 4097; }), HasSubstr("expected 1 to 4096"));
  EXPECT_THAT(refused([](PromptLease& bad) { bad.evaluation->temperature = -1; }), HasSubstr("temperature >= 0"));
  EXPECT_THAT(refused([](PromptLease& bad) { bad.evaluation->top_p = 0; }), HasSubstr("top_p in (0, 1]"));
  EXPECT_THAT(refused([](PromptLease& bad) { bad.evaluation->top_k = -1; }), HasSubstr("top_k >= 0"));
}

TEST(Codec, ALeaseSaysOfWhichSourceItsPromptIs) {
  TrajectoryLimits limits = kTestLimits;
  limits.sources = 3;
  PromptLease lease = TestLease();
  EXPECT_EQ(FromWire(ToWire(lease), kTestLimits)->prompt.source, 0u);
  lease.prompt.source = 2;
  EXPECT_EQ(FromWire(ToWire(lease), limits)->prompt.source, 2u);
  for (const uint32_t unknown : {3u, 0xffffffffu}) {
    lease.prompt.source = unknown;
    const absl::Status refused = FromWire(ToWire(lease), limits).status();
    EXPECT_EQ(refused.code(), absl::StatusCode::kInvalidArgument);
    EXPECT_THAT(std::string(refused.message()), HasSubstr("expected less than 3, the number of the run's sources"));
  }
  lease.prompt.source = 1;
  EXPECT_FALSE(FromWire(ToWire(lease), kTestLimits).ok()) << "a run without task.sources has one";
}

TEST(Codec, TheLeaseOfAGroupIsKnownBeforeTheRest) {
  TrajectoryGroup group = TestGroup();
  group.lease_id = kEvaluationLease | 12345;
  const std::string bytes = EncodeGroup(group);
  for (const size_t cut : {size_t{1}, size_t{4}, bytes.size() / 2}) {
    const absl::string_view pieces[] = {absl::string_view(bytes).substr(0, cut), absl::string_view(bytes).substr(cut)};
    EXPECT_EQ(LeaseIdOf(pieces), group.lease_id) << cut;
  }
  const absl::string_view garbage[] = {"garbage"};
  EXPECT_EQ(LeaseIdOf(garbage), 0u);
  EXPECT_EQ(LeaseIdOf({}), 0u);
}

TEST(Codec, LeaseKeepsEveryFieldAndFitsItsBound) {
  PromptLease lease = TestLease();
  lease.prompt.token_ids.assign(16, 999);
  lease.prompt.answer_key_json.assign(kMaxAnswerKeyBytes, '7');
  const wire::PromptLease wire = ToWire(lease);
  EXPECT_LE(wire.ByteSizeLong(), MaxLeaseBytes(kTestLimits));
  const absl::StatusOr<PromptLease> out = FromWire(wire, kTestLimits);
  ASSERT_TRUE(out.ok()) << out.status();
  EXPECT_EQ(out->lease_id, 77u);
  EXPECT_EQ(out->prompt.id, 5u);
  EXPECT_EQ(out->prompt.token_ids, lease.prompt.token_ids);
  EXPECT_EQ(out->prompt.answer_key_json, lease.prompt.answer_key_json);
  EXPECT_EQ(out->completions_wanted, 2);
  EXPECT_EQ(out->seed, 9u);
  EXPECT_EQ(out->timeout_s, 300);
  EXPECT_EQ(out->version, (PolicyVersion{1, 4}));
}

struct BadGroup {
  const char* name;
  std::function<void(TrajectoryGroup&)> spoil;
  const char* message;
};

class BadGroupTest : public ::testing::TestWithParam<BadGroup> {};

std::string BadGroupName(const ::testing::TestParamInfo<BadGroup>& info) { return info.param.name; }

TEST_P(BadGroupTest, IsRefusedByName) {
  TrajectoryGroup group = TestGroup();
  GetParam().spoil(group);
  const absl::Status status = DecodeGroup(EncodeGroup(group), kTestLimits).status();
  EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_THAT(std::string(status.message()), HasSubstr(GetParam().message));
}

constexpr float kInf = std::numeric_limits<float>::infinity();
constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

INSTANTIATE_TEST_SUITE_P(
    Fields, BadGroupTest,
    ::testing::Values(
        BadGroup{"NoActor", [](auto& g) { g.actor_id.clear(); }, "group.actor_id"},
        BadGroup{"LongActor", [](auto& g) { g.actor_id.assign(257, 'x'); }, "group.actor_id"},
        BadGroup{"SamplingNegative", [](auto& g) { g.times.sampling_s = -1; }, "group.sampling_s is -1"},
        BadGroup{"SamplingNan", [](auto& g) { g.times.sampling_s = kNan; }, "group.sampling_s is nan"},
        BadGroup{"HandingInForever", [](auto& g) { g.times.handing_in_s = kInf; }, "group.handing_in_s is inf"},
        BadGroup{"NoPrompt", [](auto& g) { g.prompt_token_ids.clear(); }, "group.prompt_token_ids has 0"},
        BadGroup{"LongPrompt", [](auto& g) { g.prompt_token_ids.assign(17, 1); }, "group.prompt_token_ids has 17"},
        BadGroup{"PromptId", [](auto& g) { g.prompt_token_ids[1] = 1000; }, "group.prompt_token_ids[1] is 1000"},
        BadGroup{"Negative", [](auto& g) { g.completions[0].token_ids[2] = -1; }, "completions[0].token_ids[2] is -1"},
        BadGroup{"Fewer", [](auto& g) { g.completions.pop_back(); }, "has 1 entries; expected 2"},
        BadGroup{"More", [](auto& g) { g.completions.push_back(g.completions[0]); }, "more entries than 2"},
        BadGroup{"Empty", [](auto& g) { g.completions[1].token_ids.clear(); }, "completions[1].token_ids has 0"},
        BadGroup{"Long", [](auto& g) { g.completions[1].token_ids.assign(33, 1); }, "completions[1].token_ids has 33"},
        BadGroup{"Logprobs", [](auto& g) { g.completions[0].logprobs.pop_back(); }, "logprobs has 5 values"},
        BadGroup{"LogprobNan", [](auto& g) { g.completions[0].logprobs[3] = kNan; }, "logprobs[3] is nan"},
        BadGroup{"LogprobInf", [](auto& g) { g.completions[0].logprobs[3] = -kInf; }, "logprobs[3] is -inf"},
        BadGroup{"LogprobPositive", [](auto& g) { g.completions[0].logprobs[3] = 0.01F; }, "logprobs[3] is 0.01"},
        BadGroup{"Entropy", [](auto& g) { g.completions[0].entropy.push_back(0); }, "entropy has 7 values"},
        BadGroup{"EntropyHigh", [](auto& g) { g.completions[0].entropy[0] = 8; }, "entropy[0] is 8"},
        BadGroup{"CreditMissing", [](auto& g) { g.completions[0].credit.clear(); }, "credit has 0 values"},
        BadGroup{"CreditNegative", [](auto& g) { g.completions[0].credit[0] = -1; }, "credit[0] is -1"},
        BadGroup{"CreditInf", [](auto& g) { g.completions[0].credit[0] = kInf; }, "credit[0] is inf"},
        BadGroup{"NoSpan", [](auto& g) { g.completions[0].versions.clear(); }, "completions[0].versions must start"},
        BadGroup{"SpanAtOne", [](auto& g) { g.completions[0].versions[0].start_token = 1; }, "must start with a span"},
        BadGroup{"SpanAgain", [](auto& g) { g.completions[1].versions[1].start_token = 0; }, "versions[1] must start"},
        BadGroup{"SpanOlder", [](auto& g) { g.completions[1].versions[1].version.step = 3; }, "be newer"},
        BadGroup{"SpanBeyond", [](auto& g) { g.completions[1].versions[1].start_token = 6; }, "at token 6 of 6"},
        BadGroup{"WaadShort", [](auto& g) { g.completions[1].rhythm->waad.pop_back(); },
                 "[1].rhythm.waad has 5 values"},
        BadGroup{"WaadNegative", [](auto& g) { g.completions[0].rhythm->waad[2] = -0.1F; }, "rhythm.waad[2] is -0.1"},
        BadGroup{"WaadNan", [](auto& g) { g.completions[0].rhythm->waad[2] = kNan; }, "rhythm.waad[2] is nan"},
        BadGroup{"WaadFar", [](auto& g) { g.completions[0].rhythm->waad[2] = 49; }, "waad[2] is 49; expected a finite"},
        BadGroup{"FaiLong", [](auto& g) { g.completions[0].rhythm->fai.push_back(0); }, "rhythm.fai has 7 values"},
        BadGroup{"FaiHigh", [](auto& g) { g.completions[0].rhythm->fai[5] = 1.01F; }, "rhythm.fai[5] is 1.01"},
        BadGroup{"FaiNegative", [](auto& g) { g.completions[0].rhythm->fai[5] = -1; }, "rhythm.fai[5] is -1"},
        BadGroup{"FaiInf", [](auto& g) { g.completions[0].rhythm->fai[5] = kInf; }, "rhythm.fai[5] is inf"},
        BadGroup{"NoHead", [](auto& g) { g.completions[0].head_spans.clear(); },
                 "spans has 0 heads; expected 1 to 8192"},
        BadGroup{"ManyHeads", [](auto& g) { g.completions[0].head_spans.assign(8193, 1); }, "spans has 8193 heads"},
        BadGroup{"SpanNan", [](auto& g) { g.completions[0].head_spans[3] = kNan; }, "head_spans[3] is nan"},
        BadGroup{"SpanNegative", [](auto& g) { g.completions[0].head_spans[3] = -1; }, "head_spans[3] is -1"},
        BadGroup{"SpanFar", [](auto& g) { g.completions[0].head_spans[3] = 49; }, "head_spans[3] is 49"},
        BadGroup{"NoLocal", [](auto& g) { g.completions[0].rhythm->heads.local = {}; }, "heads.local has 0 heads"},
        BadGroup{"NoClass", [](auto& g) { g.completions[0].rhythm->heads = {}; }, "rhythm.heads.local has 0 heads"},
        BadGroup{"HeadBeyond", [](auto& g) { g.completions[0].rhythm->heads.local = {4}; }, "heads.local[0] is 4"},
        BadGroup{"HeadNegative", [](auto& g) { g.completions[0].rhythm->heads.global[0] = -1; }, "global[0] is -1"},
        BadGroup{"HeadTwice", [](auto& g) { g.completions[0].rhythm->heads.global = {2, 2}; }, "global[1] is 2"},
        BadGroup{"HeadsFall", [](auto& g) { g.completions[0].rhythm->heads.global = {2, 0}; }, "global[1] is 0"},
        BadGroup{"EmptyRhythm", [](auto& g) { g.completions[0].rhythm.emplace(); }, "rhythm.waad has 0 values"},
        BadGroup{"RewardNan", [](auto& g) { g.completions[1].reward.total = kNan; }, "completions[1].reward must"},
        BadGroup{"Reason", [](auto& g) { g.completions[1].reward.reason.assign(257, 'x'); }, "reward.reason has 257"}),
    BadGroupName);

TEST(Codec, RefusesSpanColumnsOfUnequalLength) {
  wire::TrajectoryGroup group = Wire(TestGroup());
  group.mutable_completions(0)->add_span_steps(8);
  EXPECT_THAT(std::string(DecodeGroup(group.SerializeAsString(), kTestLimits).status().message()),
              HasSubstr("completions[0].span_start_tokens"));
}

TEST(Codec, RefusesUnknownFinishReason) {
  wire::TrajectoryGroup group = Wire(TestGroup());
  group.mutable_completions(1)->set_finish_reason(static_cast<wire::FinishReason>(9));
  EXPECT_THAT(std::string(DecodeGroup(group.SerializeAsString(), kTestLimits).status().message()),
              HasSubstr("completions[1].finish_reason is 9"));
}

TEST(Codec, RefusesAFieldThatOccursTwice) {
  wire::TrajectoryGroup again;
  again.set_lease_id(78);
  const std::string bytes = EncodeGroup(TestGroup()) + again.SerializeAsString();
  EXPECT_THAT(std::string(DecodeGroup(bytes, kTestLimits).status().message()), HasSubstr("occurs twice"));
}

TEST(Codec, RefusesARhythmThatOccursTwice) {
  wire::TrajectoryGroup again;
  again.add_completions()->mutable_rhythm()->add_waad(1);
  std::string completion = Wire(TestGroup()).completions(0).SerializeAsString();
  completion += again.completions(0).SerializeAsString();
  wire::TrajectoryGroup group = Wire(TestGroup());
  group.clear_completions();
  std::string bytes = group.SerializeAsString();
  for (int i = 0; i < 2; ++i) {
    // Field 4, length-delimited; a completion here takes from 128 to 16383 bytes, so its length two.
    ASSERT_GE(completion.size(), 128u);
    bytes += '\x22';
    bytes += static_cast<char>(0x80 | (completion.size() & 0x7f));
    bytes += static_cast<char>(completion.size() >> 7);
    bytes += completion;
  }
  EXPECT_THAT(std::string(DecodeGroup(bytes, kTestLimits).status().message()), HasSubstr("occurs twice"));
}

TEST(Codec, RefusesMillionsOfEmptyCompletionsBeforeAllocatingThem) {
  const TrajectoryLimits large = {1000, 100000, 2, 1000};
  std::string bytes;
  for (int i = 0; i < 1000000; ++i) bytes += std::string("\x22\x00", 2);
  EXPECT_THAT(std::string(DecodeGroup(bytes, large).status().message()), HasSubstr("more entries than 2"));
}

TEST(Codec, BytesMayLieInPieces) {
  const std::string whole = EncodeGroup(TestGroup());
  const absl::string_view bytes = whole;
  for (const size_t size : {size_t{1}, size_t{7}, size_t{100}, bytes.size()}) {
    std::vector<absl::string_view> pieces = {""};
    for (size_t at = 0; at < bytes.size(); at += size) pieces.push_back(bytes.substr(at, size));
    const absl::StatusOr<TrajectoryGroup> group = DecodeGroup(pieces, kTestLimits);
    ASSERT_TRUE(group.ok()) << group.status();
    EXPECT_EQ(EncodeGroup(*group), whole) << size;
    pieces.pop_back();
    EXPECT_FALSE(DecodeGroup(pieces, kTestLimits).ok()) << size;
  }
}

TEST(Codec, RefusesMoreBytesThanPossible) {
  EXPECT_THAT(std::string(DecodeGroup(std::string(200000, 'x'), kTestLimits).status().message()),
              HasSubstr("group has 200000 bytes"));
}

TEST(Codec, RefusesBadLeases) {
  wire::PromptLease lease = ToWire(TestLease());
  lease.set_completions_wanted(3);
  EXPECT_THAT(std::string(FromWire(lease, kTestLimits).status().message()), HasSubstr("lease.completions_wanted is 3"));
  for (const double timeout_s : {0.0, -1.0, 1e9, static_cast<double>(kNan)}) {
    lease = ToWire(TestLease());
    lease.set_timeout_s(timeout_s);
    EXPECT_THAT(std::string(FromWire(lease, kTestLimits).status().message()), HasSubstr("lease.timeout_s"));
  }
  lease = ToWire(TestLease());
  lease.mutable_prompt()->set_answer_key_json(std::string(kMaxAnswerKeyBytes + 1, '1'));
  EXPECT_THAT(std::string(FromWire(lease, kTestLimits).status().message()), HasSubstr("prompt.answer_key_json"));
}

// Any damage is refused or leaves a group that is valid by all rules; nothing crashes.
TEST(Codec, SurvivesRandomDamage) {
  const std::string good = EncodeGroup(TestGroup());
  std::mt19937_64 random(20260801);
  int refused = 0;
  for (int round = 0; round < 20000; ++round) {
    std::string bytes = good;
    const int edits = 1 + static_cast<int>(random() % 4);
    for (int e = 0; e < edits; ++e) {
      const size_t at = random() % bytes.size();
      switch (random() % 3) {
        case 0:
          bytes[at] = static_cast<char>(random());
          break;
        case 1:
          bytes.erase(at, 1 + random() % 8);
          break;
        default:
          bytes.insert(at, std::string(1 + random() % 8, static_cast<char>(random())));
      }
      if (bytes.empty()) bytes.push_back('x');
    }
    const absl::StatusOr<TrajectoryGroup> group = DecodeGroup(bytes, kTestLimits);
    if (group.ok()) {
      EXPECT_TRUE(ValidateGroup(*group, kTestLimits).ok());
    } else {
      EXPECT_EQ(group.status().code(), absl::StatusCode::kInvalidArgument);
      ++refused;
    }
  }
  EXPECT_GT(refused, 10000);
}

}  // namespace
}  // namespace tactus
