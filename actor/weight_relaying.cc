#include "actor/weight_relaying.h"

#include <utility>

#include "absl/memory/memory.h"
#include "absl/strings/str_cat.h"
#include "absl/time/clock.h"
#include "common/base/log.h"
#include "common/base/monotonic_clock.h"
#include "common/base/status_macros.h"
#include "common/collective/own_address.h"

namespace tactus {
namespace {

constexpr absl::Duration kLookUpEvery = absl::Seconds(1);

absl::StatusOr<HostPort> ListenAddress(const WeightRelayingOptions& options) {
  if (options.listen.has_value()) return HostPort::Parse(*options.listen, "--relay-listen");
  const absl::Time deadline = MonotonicNow() + options.patience;
  while (true) {
    HostPort address{.host = AddressTowards(options.learner.Dialable().host), .port = 0};
    if (!address.host.empty()) return address;
    if (MonotonicNow() >= deadline) break;
    absl::SleepFor(kLookUpEvery);
  }
  return absl::UnavailableError(absl::StrCat("there is no way to the learner's host ", options.learner.host,
                                             ", so no address to pass weights on at: --relay-listen gives one"));
}

}  // namespace

absl::StatusOr<std::unique_ptr<WeightRelaying>> WeightRelaying::Start(const WeightRelayingOptions& options) {
  ASSIGN_OR_RETURN(const HostPort listen, ListenAddress(options));
  HostPort advertise = listen;
  if (options.advertise.has_value()) {
    ASSIGN_OR_RETURN(advertise, HostPort::Parse(*options.advertise, "--relay-advertise"));
  }
  if (!(advertise.Dialable() == advertise)) {
    return absl::InvalidArgumentError(absl::StrCat("weights are passed on at ", listen.Text(),
                                                   ", which other actors cannot dial: expected --relay-advertise with "
                                                   "an address of this machine."));
  }
  auto relaying = absl::WrapUnique(new WeightRelaying());
  ASSIGN_OR_RETURN(relaying->relay_, WeightRelay::Start(options.run_id, options.stop));
  ASSIGN_OR_RETURN(relaying->server_,
                   WeightRelayServer::Start(relaying->relay_.get(), listen, options.security, &relaying->bytes_sent_));
  if (advertise.port == 0) advertise.port = relaying->server_->port();
  relaying->address_ = advertise.Text();
  TACTUS_LOG(INFO) << "passing weights on at " << relaying->address_;
  return relaying;
}

}  // namespace tactus
