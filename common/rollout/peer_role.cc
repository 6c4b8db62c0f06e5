#include "common/rollout/peer_role.h"

#include <algorithm>
#include <cstdlib>
#include <optional>

#include "absl/strings/match.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_join.h"

namespace tactus {
namespace {

constexpr absl::string_view kScheme = "spiffe://";
constexpr size_t kShownBytes = 256;  // of a peer's names

struct Identity {
  std::string installation;  // "spiffe://tactus/"
  Role role;
};

std::optional<Identity> Parse(absl::string_view uri) {
  const size_t slash = uri.rfind('/');
  if (!absl::StartsWith(uri, kScheme) || slash <= kScheme.size()) return std::nullopt;
  for (const Role role : {Role::kActor, Role::kLearner, Role::kEnvironment}) {
    if (uri.substr(slash + 1) == RoleName(role)) return Identity{std::string(uri.substr(0, slash + 1)), role};
  }
  return std::nullopt;
}

std::string NamesText(const std::vector<std::string>& uris) {
  return uris.empty() ? "no identity" : absl::StrJoin(uris, ", ").substr(0, kShownBytes);
}

}  // namespace

absl::string_view RoleName(Role role) {
  switch (role) {
    case Role::kActor:
      return "actor";
    case Role::kLearner:
      return "learner";
    case Role::kEnvironment:
      return "environment";
  }
  std::abort();  // the enum is closed
}

PeerRule PeerRule::ForClientOf(Role peer, const std::vector<std::string>& own_uris) {
  PeerRule rule;
  for (const std::string& uri : own_uris) {
    const std::optional<Identity> own = Parse(uri);
    if (own.has_value()) rule.accepted_.push_back(absl::StrCat(own->installation, RoleName(peer)));
  }
  return rule;
}

absl::StatusOr<PeerRule> PeerRule::ForLearner(const std::vector<std::string>& own_uris) {
  PeerRule rule;
  std::string unfit;
  for (const std::string& uri : own_uris) {
    const std::optional<Identity> own = Parse(uri);
    if (!own.has_value()) continue;
    if (own->role != Role::kLearner) {
      unfit = uri;
      continue;
    }
    rule.accepted_.push_back(absl::StrCat(own->installation, RoleName(Role::kLearner)));
    rule.accepted_.push_back(absl::StrCat(own->installation, RoleName(Role::kActor)));
  }
  if (unfit.empty() || rule.enforced()) return rule;
  return absl::InvalidArgumentError(absl::StrCat("service.tls_cert_path names ", unfit,
                                                 ": expected a learner's certificate, as actors accept no other."));
}

PeerRule PeerRule::ForRelay(const std::vector<std::string>& own_uris) {
  PeerRule rule = ForClientOf(Role::kActor, own_uris);
  const PeerRule learners = ForClientOf(Role::kLearner, own_uris);
  rule.accepted_.insert(rule.accepted_.end(), learners.accepted_.begin(), learners.accepted_.end());
  return rule;
}

absl::Status PeerRule::Check(const std::vector<std::string>& peer_uris) const {
  const auto accepts = [this](const std::string& uri) { return std::ranges::find(accepted_, uri) != accepted_.end(); };
  if (!enforced() || std::ranges::any_of(peer_uris, accepts)) return absl::OkStatus();
  return absl::PermissionDeniedError(absl::StrCat("the peer's certificate names ", NamesText(peer_uris), ": expected ",
                                                  absl::StrJoin(accepted_, " or "), "."));
}

}  // namespace tactus
