// gRPC's own messages as events of our log: otherwise they come as lines of another form.
#pragma once

namespace tactus {

// Call once, before gRPC is used.
void RouteGrpcLog();

}  // namespace tactus
