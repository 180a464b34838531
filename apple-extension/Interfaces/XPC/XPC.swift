// Written by hand from the documentation of Apple, for type checks and tests on Linux only. On macOS the framework of
// this name takes its place. That a file compiles against these lines says that it agrees with them, not with Apple.

import Dispatch

// https://developer.apple.com/documentation/xpc/xpc_object_t
public final class OS_xpc_object {
    init() {}
}

public typealias xpc_object_t = OS_xpc_object
public typealias xpc_connection_t = OS_xpc_object
public typealias xpc_handler_t = @Sendable (xpc_object_t) -> Void

// https://developer.apple.com/documentation/xpc/xpc_connection_mach_service_privileged
public let XPC_CONNECTION_MACH_SERVICE_PRIVILEGED: Int32 = 2

// https://developer.apple.com/documentation/xpc/xpc_connection_create_mach_service(_:_:_:)
public func xpc_connection_create_mach_service(
    _ name: UnsafePointer<CChar>, _ targetq: DispatchQueue?, _ flags: UInt64
) -> xpc_connection_t { fatalError("a declaration") }

// https://developer.apple.com/documentation/xpc/xpc_connection_set_event_handler(_:_:)
public func xpc_connection_set_event_handler(_ connection: xpc_connection_t, _ handler: @escaping xpc_handler_t) {
    fatalError("a declaration")
}

// https://developer.apple.com/documentation/xpc/xpc_connection_activate(_:)
public func xpc_connection_activate(_ connection: xpc_connection_t) { fatalError("a declaration") }

// https://developer.apple.com/documentation/xpc/xpc_connection_send_message(_:_:)
public func xpc_connection_send_message(_ connection: xpc_connection_t, _ message: xpc_object_t) {
    fatalError("a declaration")
}

// https://developer.apple.com/documentation/xpc/xpc_connection_send_barrier(_:_:)
public func xpc_connection_send_barrier(_ connection: xpc_connection_t, _ barrier: @escaping @Sendable () -> Void) {
    fatalError("a declaration")
}

// https://developer.apple.com/documentation/xpc/xpc_connection_cancel(_:)
public func xpc_connection_cancel(_ connection: xpc_connection_t) { fatalError("a declaration") }

// https://developer.apple.com/documentation/xpc/xpc_dictionary_create(_:_:_:)
public func xpc_dictionary_create(
    _ keys: UnsafePointer<UnsafePointer<CChar>>?, _ values: UnsafePointer<xpc_object_t?>?, _ count: Int
) -> xpc_object_t { fatalError("a declaration") }

// https://developer.apple.com/documentation/xpc/xpc_dictionary_set_fd(_:_:_:)
public func xpc_dictionary_set_fd(_ xdict: xpc_object_t, _ key: UnsafePointer<CChar>, _ fd: Int32) {
    fatalError("a declaration")
}
