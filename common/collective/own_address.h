// By which address of this machine other machines reach it. Plain sockets; thread-safe. Sends nothing.
#pragma once

#include <string>

namespace tactus {

// The address that packets to `host` would leave from, as text; empty: `host` cannot be resolved, or there is no way to
// it. Blocks for the look-up of a name.
std::string AddressTowards(const std::string& host);

// The address at which a rank listens for the others, who all reach `store_host`: the one it reaches that host from.
// Where that is loopback although `store_host` is not (a machine whose own name is 127.0.1.1, as Debian sets it up),
// the address of its default route. Empty: unknown.
std::string RankAddress(const std::string& store_host);

}  // namespace tactus
