import Foundation
import Testing

@testable import CrypRQTunnelKit

/// Whole sessions over real sockets, with a fake daemon, interface and system, by moved time.
struct SessionTests {
    private let door = TestDoor()
    private let flow = FakeFlow()
    private let host = FakeHost()
    private let clock = ManualClock()
    private let started = Told<TunnelFailure?>()
    private let logged = Told<String>()
    private let session: TunnelSession

    init() {
        session = TunnelSession(door: door, host: host, flow: flow, build: "test", clock: clock, log: logged.tell)
    }

    private func start() { session.start { [started] in started.tell($0) } }

    /// The daemon of the newest connection, once there are so many.
    private func connection(_ count: Int = 1) async throws -> FakeDaemon {
        try await until("connection \(count)") { door.daemons.count == count }
        return door.daemons[count - 1]
    }

    private func run() async throws -> FakeDaemon {
        start()
        let daemon = try await connection()
        try await daemon.welcome()
        try await until("the start is answered") { !started.all.isEmpty }
        #expect(started.all == [nil])
        try await until("the interface is read") { flow.isRead }
        return daemon
    }

    @Test("packets flow both ways once the settings are in force")
    func packets() async throws {
        let daemon = try await run()
        try await until("ready") { daemon.heard.last == ControlFrame(id: 3, .ready) }
        #expect(host.plans == [try SettingsGenerator.plan(settings)])
        flow.arrive([ipv4(), ipv6()])
        try await until("they arrive") { daemon.packets.count == 2 }
        daemon.say(try vector("packets__three"))
        try await until("they arrive") { flow.written.count == 3 }
        #expect(flow.families == [2, 30, 2])
        session.stop {}
    }

    @Test("the start fails 20 s later when nobody is there")
    func nobody() async throws {
        door.set(open: false)
        start()
        try await until("it has looked once") { logged.all.count == 1 }
        clock.advance(by: .seconds(19))
        try await until("it has looked again") { logged.all.count == 2 }
        #expect(started.all.isEmpty)
        clock.advance(by: .seconds(1))
        try await until("the start is answered") { !started.all.isEmpty }
        #expect(started.all.count == 1 && started.all[0]?.message == "cryprqd did not answer within 20 s")
    }

    @Test("a killed daemon is found again, and the settings stay")
    func restart() async throws {
        let first = try await run()
        first.hangUp()
        try await until("reasserting") { host.reasserting == [true] }
        clock.advance(by: .milliseconds(250))
        let second = try await connection(2)
        try await second.welcome()
        try await until("it is over") { host.reasserting == [true, false] }
        #expect(host.plans.count == 1 && host.failures.isEmpty)
        try await until("the interface is read") { flow.isRead }
        flow.arrive([ipv4()])
        try await until("it arrives at the new one or is counted") {
            second.packets.count == 1 || session.counters.droppedDetached == 1
        }
        #expect(flow.readsAtOnce == 1)
        session.stop {}
    }

    @Test(
        "garbage of the daemon ends the connection, not the process",
        arguments: [
            "refuse__bad_magic", "refuse__unknown_kind", "refuse__future_version", "refuse__packets_over_long",
            "refuse__more_packets_than_bytes", "refuse__packet_of_0", "refuse__message_trailing", "request__status",
            "refuse__prefix_beyond_its_bits",
        ])
    func garbage(name: String) async throws {
        let daemon = try await run()
        daemon.say(try vector(name))
        try await until("the connection ends") { daemon.isOver }
        try await until("reasserting") { host.reasserting == [true] }
        #expect(host.failures.isEmpty)
        clock.advance(by: .milliseconds(250))
        try await connection(2).welcome()
        try await until("it is over") { host.reasserting == [true, false] }
        session.stop {}
    }

    @Test("every cut and many changed bytes of a conversation are survived")
    func brokenConversations() async throws {
        let whole = try vector("hello_ack") + vector("tunnel_settings__full") + vector("packets__three")
        var conversations = stride(from: 0, to: whole.count, by: 7).map { whole.prefix($0) }
        for position in stride(from: 0, to: whole.count, by: 5) {
            var changed = whole
            changed[position] ^= 0x81
            conversations.append(changed)
        }
        for bytes in conversations {
            let (ours, theirs) = try socketPair()
            let events = Told<LinkEvent>()
            let link = DaemonLink(descriptor: ours) { events.tell($0) }
            let daemon = FakeDaemon(descriptor: theirs)
            daemon.say(bytes)
            daemon.hangUp()
            try await until("the link ends") {
                events.all.contains { if case .closed = $0 { true } else { false } }
            }
            #expect(events.all.count <= 4)
            #expect(!link.send(UnsafeRawBufferPointer(start: nil, count: 0)))
        }
    }

    @Test("a version mismatch is told to the system as it is")
    func mismatch() async throws {
        start()
        let daemon = try await connection()
        daemon.say(try vector("refused__older_client"))
        try await until("the start is answered") { !started.all.isEmpty }
        #expect(started.all == [TunnelFailure("cryprqd refuses: too old", hint: "update")])
        try await until("the connection ends") { daemon.isOver }
    }

    @Test("a second extension is refused as such")
    func second() async throws {
        start()
        try await connection().say(vector("refused__other"))
        try await until("the start is answered") { !started.all.isEmpty }
        #expect(started.all == [TunnelFailure("cryprqd refuses: one is attached")])
    }

    @Test("sleep tells the daemon and wake reads on")
    func sleep() async throws {
        let daemon = try await run()
        let slept = Told<Bool>()
        session.sleep { slept.tell(true) }
        try await until("asleep") { !slept.all.isEmpty }
        try await until("pause") { daemon.heard.last == ControlFrame(.pause) }
        flow.arrive([ipv4()])
        try await until("it is counted") { session.counters.droppedDetached == 1 }
        #expect(!flow.isRead)
        session.wake()
        try await until("resume") { daemon.heard.last == ControlFrame(.resume) }
        try await until("the interface is read") { flow.isRead }
        session.stop {}
    }

    @Test("stop during start answers both")
    func stopDuringStart() async throws {
        start()
        let daemon = try await connection()
        let stopped = Told<Bool>()
        session.stop { stopped.tell(true) }
        try await until("both are answered") { stopped.all.count == 1 && started.all.count == 1 }
        #expect(started.all[0] != nil)
        try await until("the connection ends") { daemon.isOver }
    }

    @Test("settings that the system refuses end the start, and the daemon hears it")
    func refusedSettings() async throws {
        host.refuse("no such luck")
        start()
        let daemon = try await connection()
        try await daemon.welcome()
        try await until("the start is answered") { !started.all.isEmpty }
        #expect(started.all[0]?.message.contains("no such luck") == true)
        try await until("stop") { daemon.heard.last == ControlFrame(.stop(.settingsRefused)) }
    }

    @Test("changed settings are applied and answered")
    func changed() async throws {
        let daemon = try await run()
        let next = TunnelSettings(addresses: ["10.86.0.9/32"], included: ["10.86.0.0/16"], mtu: 1380)
        try daemon.say(ControlFrame(id: 9, .tunnelSettings(next)))
        try await until("ready") { daemon.heard.last == ControlFrame(id: 9, .ready) }
        #expect(host.plans.last == (try SettingsGenerator.plan(next)))
        session.stop {}
    }
}
