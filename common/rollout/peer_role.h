// Which peers a process deals with, beyond that an authority it trusts has signed their certificates: the role that
// stands in them. Pure; thread-safe.
//
// A role is the last part of a SPIFFE identity, a URI among a certificate's subject alternative names:
//
//   spiffe://tactus/actor        may attach, take prompts, hand in groups and fetch weights, also from another actor
//   spiffe://tactus/learner      may serve them, and do what an actor may: `tactus train` has one certificate for all
//   spiffe://tactus/environment  may be asked for prompts and rewards; serves learners and actors
//
// What stands before the role is the same for the processes of one installation, whatever it is. A process whose own
// certificate names no role asks for none.
#pragma once

#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace tactus {

enum class Role { kActor, kLearner, kEnvironment };
absl::string_view RoleName(Role role);

class PeerRule {
 public:
  // For a learner's services, by the URIs of its own certificate: actors and learners may call them. InvalidArgument:
  // the certificate is for another role.
  static absl::StatusOr<PeerRule> ForLearner(const std::vector<std::string>& own_uris);
  // Between actors that pass weights on, on both ends: actors and learners.
  static PeerRule ForRelay(const std::vector<std::string>& own_uris);
  // For a client that deals with peers of the role `peer`.
  static PeerRule ForClientOf(Role peer, const std::vector<std::string>& own_uris);

  // False: the process's certificate names no role.
  bool enforced() const { return !accepted_.empty(); }
  // PermissionDenied: none of the peer's URIs is an accepted identity.
  absl::Status Check(const std::vector<std::string>& peer_uris) const;

 private:
  std::vector<std::string> accepted_;  // identities
};

}  // namespace tactus
