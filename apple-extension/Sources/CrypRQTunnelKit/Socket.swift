import Foundation

#if canImport(Darwin)
    import Darwin
#else
    import Glibc
#endif

/// A call of the system that failed.
public struct SystemError: Error, Equatable, Sendable, CustomStringConvertible {
    public let call: String
    public let code: Int32

    public init(_ call: String, code: Int32 = errno) {
        self.call = call
        self.code = code
    }

    public var description: String { "\(call): \(String(cString: strerror(code)))" }
}

/// Calls on stream sockets that Darwin and Linux spell differently.
public enum Socket {
    /// The type for `socket` and `socketpair`.
    public static var stream: Int32 {
        #if canImport(Darwin)
            SOCK_STREAM
        #else
            Int32(SOCK_STREAM.rawValue)
        #endif
    }

    /// A write to a socket whose other end is gone is an error from now on, and no signal.
    static func silence(_ descriptor: Int32) {
        #if canImport(Darwin)
            var yes: Int32 = 1
            setsockopt(descriptor, SOL_SOCKET, SO_NOSIGPIPE, &yes, socklen_t(MemoryLayout<Int32>.size))
        #endif
    }

    /// Sends a part, and says how much; negative for an error.
    static func send(_ descriptor: Int32, _ bytes: UnsafeRawBufferPointer) -> Int {
        #if canImport(Darwin)
            Darwin.send(descriptor, bytes.baseAddress, bytes.count, 0)
        #else
            Glibc.send(descriptor, bytes.baseAddress, bytes.count, Int32(MSG_NOSIGNAL))
        #endif
    }

    /// Takes what is there, or waits for something; 0 at the end, negative for an error.
    static func receive(_ descriptor: Int32, _ room: UnsafeMutableRawBufferPointer) -> Int {
        recv(descriptor, room.baseAddress, room.count, 0)
    }

    /// Ends the connection in both directions, also under those that wait for it.
    static func end(_ descriptor: Int32) {
        shutdown(descriptor, Int32(SHUT_RDWR))
    }

    public static func release(_ descriptor: Int32) {
        close(descriptor)
    }
}

/// A Unix socket of a given path.
public struct UnixDoor: DaemonDoor {
    let path: String

    public init(path: String) {
        self.path = path
    }

    public func open() throws -> Int32 {
        let descriptor = socket(AF_UNIX, Socket.stream, 0)
        if descriptor < 0 { throw SystemError("socket") }
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        let fits = withUnsafeMutableBytes(of: &address.sun_path) { room in
            // The rest stays zero, which ends the path.
            let fits = path.utf8.count < room.count
            if fits { room.copyBytes(from: path.utf8) }
            return fits
        }
        let connected = withUnsafePointer(to: &address) { address in
            address.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
                fits ? connect(descriptor, address, socklen_t(MemoryLayout<sockaddr_un>.size)) : -1
            }
        }
        if connected != 0 {
            let error = SystemError("connect to \(path)", code: fits ? errno : ENAMETOOLONG)
            Socket.release(descriptor)
            throw error
        }
        return descriptor
    }
}
