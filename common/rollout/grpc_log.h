// The messages of gRPC and protobuf as events of our log: otherwise they come as lines of another form. Most of them
// are about what a peer did wrong, which it may do a thousand times a second: of each library ten lines are logged at
// once, then one every ten seconds with the number of those left out.
#pragma once

namespace tactus {

// Call once, before gRPC is used.
void RouteLibraryLogs();

}  // namespace tactus
