import CrypRQTunnelKit
import Foundation
import XPC

/// The daemon's Mach service: takes one end of a socket pair, and all else is said on the other.
///
/// No answer is waited for. Where nobody listens, or the daemon does not trust this process, XPC lets the message go and
/// with it the other end, so that the first read here finds the connection closed.
struct XPCDoor: DaemonDoor {
    /// The message's only key.
    private static let key = "socket"

    let service: String

    func open() throws -> Int32 {
        if service.isEmpty { throw SystemError("CrypRQMachService is missing in Info.plist", code: EINVAL) }
        var ends: [Int32] = [-1, -1]
        if socketpair(AF_UNIX, Socket.stream, 0, &ends) != 0 { throw SystemError("socketpair") }
        let connection = xpc_connection_create_mach_service(
            service, nil, UInt64(XPC_CONNECTION_MACH_SERVICE_PRIVILEGED))
        // Errors come here; they show at the socket as well.
        xpc_connection_set_event_handler(connection) { _ in }
        xpc_connection_activate(connection)
        let message = xpc_dictionary_create(nil, nil, 0)
        // It copies the descriptor.
        xpc_dictionary_set_fd(message, Self.key, ends[1])
        Socket.release(ends[1])
        xpc_connection_send_message(connection, message)
        let sent = Sent(connection: connection)
        xpc_connection_send_barrier(connection) { xpc_connection_cancel(sent.connection) }
        return ends[0]
    }

    /// Unchecked because XPC's objects may be used from any thread, which its headers may or may not say to Swift.
    private struct Sent: @unchecked Sendable {
        let connection: xpc_connection_t
    }
}
