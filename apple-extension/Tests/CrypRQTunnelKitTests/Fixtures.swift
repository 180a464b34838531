import Foundation

@testable import CrypRQTunnelKit

/// The repository that this package lies in.
let repository = URL(filePath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
    .deletingLastPathComponent().deletingLastPathComponent()

/// A frame of ipc-proto/vectors.
func vector(_ name: String) throws -> Data {
    try Data(contentsOf: repository.appending(path: "ipc-proto/vectors/\(name).bin"))
}

let settings = TunnelSettings(
    addresses: ["10.86.70.153/32", "fd63:7279:7072:d139::1/128"], included: ["10.86.0.0/16"], mtu: 1420)

/// Time that tests move.
final class ManualClock: TunnelClock {
    private struct State {
        var now = Duration.zero
        var calls: [(at: Duration, body: @Sendable () -> Void)] = []
    }

    private let state = Locked(State())

    var now: Duration { state.with(\.now) }

    func call(at moment: Duration, _ body: @escaping @Sendable () -> Void) {
        state.with { $0.calls.append((moment, body)) }
        advance(by: .zero)
    }

    func advance(by step: Duration) {
        let due = state.with { state in
            state.now += step
            let due = state.calls.filter { $0.at <= state.now }
            state.calls.removeAll { $0.at <= state.now }
            return due
        }
        for call in due { call.body() }
    }
}

struct TimedOut: Error {
    let what: String
}

/// Waits for a condition, with a limit that only a fault reaches.
func until(_ what: String, _ condition: () async -> Bool) async throws {
    let end = ContinuousClock.now + .seconds(20)
    while await !condition() {
        if ContinuousClock.now > end { throw TimedOut(what: what) }
        try await Task.sleep(for: .milliseconds(2))
    }
}

/// Both ends of a stream socket.
func socketPair() throws -> (Int32, Int32) {
    var ends: [Int32] = [0, 0]
    if socketpair(AF_UNIX, Socket.stream, 0, &ends) != 0 { throw SystemError("socketpair") }
    return (ends[0], ends[1])
}

/// A door behind which a test stands as the daemon: each `open` gives it the other end of a pair.
final class TestDoor: DaemonDoor {
    private struct State {
        var daemons: [FakeDaemon] = []
        var isOpen = true
        var attempts = 0
    }

    private let state = Locked(State())

    var daemons: [FakeDaemon] { state.with(\.daemons) }
    var attempts: Int { state.with(\.attempts) }
    func set(open: Bool) { state.with { $0.isOpen = open } }

    func open() throws -> Int32 {
        state.with { $0.attempts += 1 }
        guard state.with(\.isOpen) else { throw SystemError("connect", code: ENOENT) }
        let (ours, theirs) = try socketPair()
        let daemon = FakeDaemon(descriptor: theirs)
        state.with { $0.daemons.append(daemon) }
        return ours
    }
}

/// The daemon's end of a connection, in a test's hands.
final class FakeDaemon: Sendable {
    private let link: DaemonLink
    private let seen = Locked<[LinkEvent]>([])

    init(descriptor: Int32) {
        let seen = seen
        link = DaemonLink(descriptor: descriptor) { event in seen.with { $0.append(event) } }
    }

    /// Control frames that came.
    var heard: [ControlFrame] {
        seen.with { $0.compactMap { if case .control(let frame) = $0 { frame } else { nil } } }
    }

    /// Packets that came.
    var packets: [Data] {
        seen.with { events in
            events.flatMap { event -> [Data] in
                if case .packets(let packets) = event { packets } else { [] }
            }
        }
    }

    var isOver: Bool {
        seen.with { $0.contains { if case .closed = $0 { true } else { false } } }
    }

    func say(_ frame: ControlFrame) throws { say(try Wire.bytes(frame)) }
    func say(_ bytes: Data) { bytes.withUnsafeBytes { _ = link.send($0) } }
    func hangUp() { link.end() }

    /// Waits for Hello and answers it, and tells what the interface shall be like.
    func welcome(_ settings: TunnelSettings = settings) async throws {
        try await until("hello") { !heard.isEmpty }
        try say(ControlFrame(id: 1, .helloAck(HelloAck(version: 1, build: "test", features: 0))))
        try say(ControlFrame(id: 3, .tunnelSettings(settings)))
    }
}

/// An interface whose reads a test answers.
final class FakeFlow: PacketFlow {
    private struct State {
        var reader: (@Sendable ([Data]) -> Void)?
        var readsAtOnce = 0
        var reads = 0
        var written: [(Data, NSNumber)] = []
        var takes = true
    }

    private let state = Locked(State())

    /// How many reads were outstanding at once, at the most.
    var readsAtOnce: Int { state.with(\.readsAtOnce) }
    var reads: Int { state.with(\.reads) }
    var isRead: Bool { state.with { $0.reader != nil } }
    var written: [Data] { state.with { $0.written.map(\.0) } }
    var families: [Int] { state.with { $0.written.map(\.1.intValue) } }
    func refuse() { state.with { $0.takes = false } }

    func readPackets(_ handler: @escaping @Sendable ([Data]) -> Void) {
        state.with { state in
            state.reads += 1
            state.readsAtOnce = max(state.readsAtOnce, state.reader == nil ? 1 : 2)
            state.reader = handler
        }
    }

    func writePackets(_ packets: [Data], families: [NSNumber]) -> Bool {
        state.with { state in
            if state.takes { state.written += zip(packets, families) }
            return state.takes
        }
    }

    /// Answers the outstanding read; false when there is none.
    @discardableResult
    func arrive(_ packets: [Data]) -> Bool {
        let reader = state.with { state in
            defer { state.reader = nil }
            return state.reader
        }
        reader?(packets)
        return reader != nil
    }
}

/// A system that does at once what it is asked, and remembers.
final class FakeHost: TunnelHost {
    private struct State {
        var plans: [NetworkPlan] = []
        var reasserting: [Bool] = []
        var failures: [TunnelFailure] = []
        var refusal: String?
    }

    private let state = Locked(State())

    var plans: [NetworkPlan] { state.with(\.plans) }
    var reasserting: [Bool] { state.with(\.reasserting) }
    var failures: [TunnelFailure] { state.with(\.failures) }
    func refuse(_ why: String) { state.with { $0.refusal = why } }

    func apply(_ plan: NetworkPlan, done: @escaping @Sendable (String?) -> Void) {
        done(
            state.with { state in
                state.plans.append(plan)
                return state.refusal
            })
    }

    func setReasserting(_ reasserting: Bool) { state.with { $0.reasserting.append(reasserting) } }
    func cancel(_ failure: TunnelFailure) { state.with { $0.failures.append(failure) } }
}

/// A value that a callback leaves.
final class Told<Value: Sendable>: Sendable {
    private let values = Locked<[Value]>([])

    var all: [Value] { values.with(\.self) }
    func tell(_ value: Value) { values.with { $0.append(value) } }
}

func ipv4(_ length: Int = 20) -> Data { Data([0x45] + [UInt8](repeating: 0, count: length - 1)) }
func ipv6(_ length: Int = 40) -> Data { Data([0x60] + [UInt8](repeating: 0, count: length - 1)) }

/// A control socket that answers each question with the same line and keeps the connection open, as the daemon does.
final class FakeControl: Sendable {
    let path: String
    private let descriptor: Int32

    init(answer: String) throws {
        path = FileManager.default.temporaryDirectory.appending(path: "c\(UInt32.random(in: 0..<UInt32.max)).sock").path
        descriptor = socket(AF_UNIX, Socket.stream, 0)
        var address = sockaddr_un()
        address.sun_family = sa_family_t(AF_UNIX)
        withUnsafeMutableBytes(of: &address.sun_path) { [path] in $0.copyBytes(from: path.utf8) }
        let bound = withUnsafePointer(to: &address) {
            $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { [descriptor] in
                bind(descriptor, $0, socklen_t(MemoryLayout<sockaddr_un>.size))
            }
        }
        if bound != 0 || listen(descriptor, 4) != 0 { throw SystemError("listen") }
        Thread.detachNewThread { [descriptor] in
            while true {
                let client = accept(descriptor, nil, nil)
                if client < 0 { return }
                // Some at a time, as the kernel may give them.
                for part in [String(answer.prefix(9)), String(answer.dropFirst(9)), "\n"] {
                    _ = Array(part.utf8).withUnsafeBytes { Socket.send(client, $0) }
                }
            }
        }
    }

    deinit {
        Socket.end(descriptor)
        unlink(path)
    }
}
