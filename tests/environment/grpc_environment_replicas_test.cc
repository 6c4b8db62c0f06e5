// Several servers behind one name. The name is looked up by getaddrinfo, which this program brings for it.
#include <dlfcn.h>
#include <grpcpp/health_check_service_interface.h>
#include <netdb.h>

#include <cstdlib>
#include <cstring>

#include "common/base/monotonic_clock.h"
#include "tests/environment/grpc_fake_server.h"

namespace {

constexpr char kName[] = "rewards.test";

using GetAddrInfo = int (*)(const char*, const char*, const addrinfo*, addrinfo**);

}  // namespace

// Addresses 127.0.0.2 and 127.0.0.3 for kName, the library's answer for all else.
extern "C" __attribute__((visibility("default"))) int getaddrinfo(const char* node, const char* service,
                                                                  const addrinfo* hints, addrinfo** result) {
  static const auto real = reinterpret_cast<GetAddrInfo>(dlsym(RTLD_NEXT, "getaddrinfo"));
  if (node == nullptr || std::strcmp(node, kName) != 0) return real(node, service, hints, result);
  addrinfo* second = nullptr;
  int code = real("127.0.0.2", service, hints, result);
  if (code == 0) code = real("127.0.0.3", service, hints, &second);
  if (code != 0) return code;
  addrinfo* last = *result;
  while (last->ai_next != nullptr) last = last->ai_next;
  last->ai_next = second;
  return 0;
}

namespace tactus {
namespace {

// Before gRPC starts, in whatever order tests run.
const bool kNativeResolver = ::setenv("GRPC_DNS_RESOLVER", "native", 1) == 0;

class ReplicasTest : public ::testing::Test {
 protected:
  void SetUp() override {
    ASSERT_TRUE(kNativeResolver);
    grpc::EnableDefaultHealthCheckService(true);
    first_.Start("127.0.0.2");
    second_.Start("127.0.0.3", first_.port());
    client_ = EnvironmentClient::Create({kName, first_.port()}, {"", "", "", true}).value();
  }
  absl::Status Ask() {
    const Answer answer{.text = "x", .token_ids = {}};
    return client_->Score({.text = "Q", .token_ids = {}, .answer_key = ""}, {&answer, 1}, kLong).status();
  }
  // Asks until both have been, or only `one` is for 20 calls in a row.
  void UntilBothAreAsked() {
    Eventually([&] { return Ask().ok() && first_.calls > 0 && second_.calls > 0; });
  }
  void UntilOnlyIsAsked(FakeServer& one) {
    Eventually([&] {
      const int before = one.calls;
      for (int i = 0; i < 20; ++i) {
        if (!Ask().ok()) return false;
      }
      return one.calls == before + 20;
    });
  }

  FakeServer first_, second_;
  std::unique_ptr<EnvironmentClient> client_;
};

TEST_F(ReplicasTest, EachGetsItsTurn) {
  UntilBothAreAsked();
  const int first = first_.calls, second = second_.calls;
  for (int i = 0; i < 20; ++i) ASSERT_TRUE(Ask().ok());
  EXPECT_EQ(first_.calls, first + 10);
  EXPECT_EQ(second_.calls, second + 10);
}

TEST_F(ReplicasTest, OneThatIsGoneIsLeftOutUntilItIsBack) {
  UntilBothAreAsked();
  const int port = second_.port();
  second_.Stop();
  UntilOnlyIsAsked(first_);
  second_.calls = 0;
  second_.Start("127.0.0.3", port);
  Eventually([&] { return Ask().ok() && second_.calls > 0; });
}

TEST_F(ReplicasTest, OneThatSaysItDoesNotServeIsLeftOut) {
  UntilBothAreAsked();
  first_.server().GetHealthCheckService()->SetServingStatus(false);
  UntilOnlyIsAsked(second_);
  first_.calls = 0;
  first_.server().GetHealthCheckService()->SetServingStatus(true);
  Eventually([&] { return Ask().ok() && first_.calls > 0; });
}

}  // namespace
}  // namespace tactus
