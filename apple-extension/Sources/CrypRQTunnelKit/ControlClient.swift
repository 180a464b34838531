import Foundation

/// Why the daemon's control socket gave no answer.
public enum ControlError: Error, Equatable, Sendable {
    /// Nobody listens.
    case absent
    /// The kernel does not let this user in.
    case forbidden
    /// The daemon refused.
    case refused(DaemonError)
    /// The answer is not of this version.
    case foreign
    /// The daemon went away, or took too long.
    case broken(String)
}

/// One question and one answer, as JSON lines on the control socket.
public struct ControlClient: Sendable {
    /// The version of requests and of replies.
    static let version = 1
    /// A reply holds at most this many bytes: many thousands of peers.
    static let longestReply = 16 << 20
    /// In seconds, for each piece of an answer.
    static let patience = 5

    private let path: String

    /// The socket of an installed daemon on this system.
    public static var defaultPath: String {
        #if os(macOS)
            "/var/run/cryprq/control.sock"
        #else
            "/run/cryprq/control.sock"
        #endif
    }

    public init(path: String = Self.defaultPath) {
        self.path = path
    }

    private struct Envelope: Decodable {
        var schema: Int?
        var error: DaemonError?
    }

    /// Asks, and reads the answer as what it should be. Waits, so not on the main thread.
    public func ask<Reply: Decodable>(_ request: ControlRequest, as reply: Reply.Type) throws(ControlError) -> Reply {
        let line = try exchange(request)
        let decoder = JSONDecoder()
        guard let envelope = try? decoder.decode(Envelope.self, from: line), envelope.schema == Self.version else {
            throw .foreign
        }
        if let error = envelope.error { throw error.code == "version_mismatch" ? .foreign : .refused(error) }
        do {
            return try decoder.decode(reply, from: line)
        } catch {
            throw .foreign
        }
    }

    private func exchange(_ request: ControlRequest) throws(ControlError) -> Data {
        let descriptor = try connect()
        defer { Socket.release(descriptor) }
        Socket.silence(descriptor)
        var limit = timeval(tv_sec: Self.patience, tv_usec: 0)
        let size = socklen_t(MemoryLayout<timeval>.size)
        setsockopt(descriptor, SOL_SOCKET, SO_RCVTIMEO, &limit, size)
        setsockopt(descriptor, SOL_SOCKET, SO_SNDTIMEO, &limit, size)
        // A request is a few strings of ours.
        let line = (try? JSONEncoder().encode(request)) ?? Data()
        try write(line + Data([UInt8(ascii: "\n")]), to: descriptor)
        return try readLine(from: descriptor)
    }

    private func write(_ line: Data, to descriptor: Int32) throws(ControlError) {
        var rest = line[...]
        while !rest.isEmpty {
            let sent = rest.withUnsafeBytes { Socket.send(descriptor, $0) }
            if sent > 0 { rest = rest.dropFirst(sent) } else if errno != EINTR { throw broken() }
        }
    }

    private func connect() throws(ControlError) -> Int32 {
        do {
            return try UnixDoor(path: path).open()
        } catch let error as SystemError where error.code == ENOENT || error.code == ECONNREFUSED {
            throw .absent
        } catch let error as SystemError where error.code == EACCES || error.code == EPERM {
            throw .forbidden
        } catch {
            throw .broken("\(error)")
        }
    }

    private func readLine(from descriptor: Int32) throws(ControlError) -> Data {
        var line = Data()
        var memory = [UInt8](repeating: 0, count: 64 << 10)
        while line.count < Self.longestReply {
            let got = memory.withUnsafeMutableBytes { Socket.receive(descriptor, $0) }
            if got == 0 { throw .broken("the daemon closed the connection") }
            if got < 0 {
                if errno == EINTR { continue }
                throw broken()
            }
            if let end = memory[..<got].firstIndex(of: UInt8(ascii: "\n")) { return line + memory[..<end] }
            line += memory[..<got]
        }
        throw .foreign
    }

    private func broken() -> ControlError {
        errno == EAGAIN || errno == EWOULDBLOCK
            ? .broken("no answer within \(Self.patience) s") : .broken(SystemError("the control socket").description)
    }
}

extension ControlClient {
    /// What came of something that was clicked.
    public enum Outcome: Equatable, Sendable {
        case done
        case invitation(Invitation)
        case failed(ControlError)
    }

    private struct Done: Decodable {}

    /// Does what the model's `request(for:)` said.
    public func perform(_ request: ControlRequest) -> Outcome {
        do {
            switch request {
            case .invite: return .invitation(try ask(request, as: Invitation.self))
            case .status, .up, .down, .exit:
                _ = try ask(request, as: Done.self)
                return .done
            }
        } catch {
            return .failed(error)
        }
    }

    /// What is to be seen of the daemon now.
    public func look() -> DaemonView {
        do {
            return .status(try ask(.status, as: DaemonStatus.self))
        } catch {
            return DaemonView(error)
        }
    }
}
