import Foundation

/// How the extension comes to the daemon: by XPC on macOS, by `tun.sock` elsewhere.
public protocol DaemonDoor: Sendable {
    /// A connected stream socket, which belongs to the caller. May take a moment.
    func open() throws -> Int32
}

/// What comes over a link, in order; `closed` is the last.
public enum LinkEvent: Sendable {
    case control(ControlFrame)
    case packets([Data])
    /// The daemon is gone, or said what is no frame.
    case closed(String)
}

/// A connection to the daemon: frames in on a thread of its own, frames out by whoever calls.
public final class DaemonLink: Sendable {
    private let descriptor: Int32
    /// Guards writing, and the descriptor's end.
    private let open = Locked(true)

    /// Takes over a connected stream socket and begins to read. `handle` is called on the link's own thread.
    public init(descriptor: Int32, handle: @escaping @Sendable (LinkEvent) -> Void) {
        self.descriptor = descriptor
        Socket.silence(descriptor)
        let thread = Thread { [self] in
            let reason = FrameReader(descriptor).run(handle)
            Socket.end(descriptor)
            open.with { open in
                open = false
                Socket.release(descriptor)
            }
            handle(.closed(reason))
        }
        thread.name = "dev.cryprq.link"
        thread.qualityOfService = .userInteractive
        thread.start()
    }

    /// Sends a frame as a whole; waits while the daemon does not read. False when the connection has ended.
    @discardableResult
    public func send(_ frame: UnsafeRawBufferPointer) -> Bool {
        open.with { open in
            var rest = frame
            while open && !rest.isEmpty {
                let sent = Socket.send(descriptor, rest)
                if sent > 0 {
                    rest = UnsafeRawBufferPointer(rebasing: rest[sent...])
                } else if errno != EINTR {
                    return false
                }
            }
            return open
        }
    }

    /// Ends the connection; `closed` follows.
    public func end() {
        // Not under the lock: this is what frees a writer that waits.
        Socket.end(descriptor)
    }
}

/// Cuts what comes into frames. One read takes as many as there are.
private struct FrameReader {
    private let descriptor: Int32
    private var memory = [UInt8](repeating: 0, count: 2 * Wire.longestFrame)
    private var filled = 0

    init(_ descriptor: Int32) {
        self.descriptor = descriptor
    }

    /// Reads until the end; says why it is over.
    func run(_ handle: (LinkEvent) -> Void) -> String {
        var reader = self
        do {
            while true {
                let got = reader.fill()
                if got == 0 { return "the daemon closed the connection" }
                if got < 0 {
                    if errno == EINTR { continue }
                    return SystemError("read").description
                }
                try reader.cut(handle)
            }
        } catch {
            return "the daemon said what is no frame: \(error)"
        }
    }

    private mutating func fill() -> Int {
        let got = memory.withUnsafeMutableBytes { memory in
            Socket.receive(descriptor, UnsafeMutableRawBufferPointer(rebasing: memory[filled...]))
        }
        filled += max(got, 0)
        return got
    }

    /// Hands out every whole frame and moves the rest to the front.
    private mutating func cut(_ handle: (LinkEvent) -> Void) throws {
        let used = try memory.withUnsafeBytes { memory in
            var rest = UnsafeRawBufferPointer(rebasing: memory[..<filled])
            while let next = try Wire.next(rest), next.length <= rest.count {
                let frame = UnsafeRawBufferPointer(rebasing: rest[..<next.length])
                handle(next.isPackets ? .packets(try Wire.packets(frame)) : .control(try Wire.control(frame)))
                rest = UnsafeRawBufferPointer(rebasing: rest[next.length...])
            }
            return filled - rest.count
        }
        if used > 0 {
            let rest = filled - used
            memory.withUnsafeMutableBytes { memory in
                guard let start = memory.baseAddress else { return }
                memmove(start, start.advanced(by: used), rest)
            }
            filled = rest
        }
    }
}
