import Foundation
import NetworkExtension
import Testing

@testable import CrypRQTunnelKit
@testable import PacketTunnel

/// The provider's life as the system leads it, with a fake `NEPacketTunnelFlow` and a fake daemon.
struct ProviderTests {
    /// An interface of the system's kind in a test's hands.
    private final class SystemFlow: NEPacketTunnelFlow, @unchecked Sendable {
        let inner = FakeFlow()

        override func readPackets(completionHandler: @escaping @Sendable ([Data], [NSNumber]) -> Void) {
            inner.readPackets { packets in
                completionHandler(packets, packets.map { NSNumber(value: AddressFamily.of($0) ?? 0) })
            }
        }

        override func writePackets(_ packets: [Data], withProtocols protocols: [NSNumber]) -> Bool {
            #expect(packets.count == protocols.count)
            return inner.writePackets(packets, families: protocols)
        }
    }

    /// Unchecked because nobody changes settings after they were given.
    private struct Given: @unchecked Sendable {
        let settings: NEPacketTunnelNetworkSettings
    }

    /// What the system does for a provider.
    private final class System: Sendable {
        let door = TestDoor()
        let clock = ManualClock()
        let settings = Told<Given>()
        let reasserting = Told<Bool>()
        let cancelled = Told<(any Error)?>()
        let refusal = Told<any Error>()
        let started = Told<(any Error)?>()
        let stopped = Told<Bool>()
    }

    private final class Provider: PacketTunnelProvider, @unchecked Sendable {
        let system = System()
        let flow = SystemFlow()

        override var packetFlow: NEPacketTunnelFlow { flow }
        override func makeDoor() -> any DaemonDoor { system.door }
        override func makeClock() -> any TunnelClock { system.clock }
        override var reasserting: Bool {
            get { system.reasserting.all.last ?? false }
            set { system.reasserting.tell(newValue) }
        }

        override func setTunnelNetworkSettings(
            _ settings: NETunnelNetworkSettings?, completionHandler: (@Sendable ((any Error)?) -> Void)?
        ) {
            dispatchPrecondition(condition: .onQueue(.main))
            if let settings = settings as? NEPacketTunnelNetworkSettings {
                system.settings.tell(Given(settings: settings))
            }
            completionHandler?(system.refusal.all.last)
        }

        override func cancelTunnelWithError(_ error: (any Error)?) {
            dispatchPrecondition(condition: .onQueue(.main))
            system.cancelled.tell(error)
        }
    }

    private let provider = Provider()
    private var system: System { provider.system }
    private var flow: FakeFlow { provider.flow.inner }

    private func start() {
        provider.startTunnel(options: nil) { [system] error in system.started.tell(error) }
    }

    private func stop() {
        provider.stopTunnel(with: .userInitiated) { [system] in system.stopped.tell(true) }
    }

    private func connection(_ count: Int = 1) async throws -> FakeDaemon {
        try await until("connection \(count)") { system.door.daemons.count == count }
        return system.door.daemons[count - 1]
    }

    private func run() async throws -> FakeDaemon {
        start()
        let daemon = try await connection()
        try await daemon.welcome()
        try await until("the start is answered") { !system.started.all.isEmpty }
        #expect(system.started.all.count == 1 && system.started.all[0] == nil)
        try await until("the interface is read") { flow.isRead }
        return daemon
    }

    @Test("start puts the settings in force and then answers")
    func starts() async throws {
        let daemon = try await run()
        let settings = try #require(system.settings.all.first).settings
        #expect(settings.tunnelRemoteAddress == "127.0.0.1" && settings.mtu == 1420)
        #expect(settings.ipv4Settings?.addresses == ["10.86.70.153"])
        #expect(settings.ipv4Settings?.subnetMasks == ["255.255.255.255"])
        #expect(settings.ipv4Settings?.includedRoutes?.map(\.destinationAddress) == ["10.86.0.0"])
        #expect(settings.ipv6Settings?.networkPrefixLengths == [120])
        #expect(settings.dnsSettings == nil)
        flow.arrive([ipv4(), ipv6()])
        try await until("they arrive") { daemon.packets.count == 2 }
        try await until("the next read") { flow.isRead }
        #expect(flow.readsAtOnce == 1)
        daemon.say(try vector("packets__three"))
        try await until("they arrive") { flow.families == [2, 30, 2] }
        stop()
        try await until("the stop is answered") { system.stopped.all == [true] }
        try await until("the daemon hears it") { daemon.heard.last == ControlFrame(.stop(.system)) }
        try await until("the connection ends") { daemon.isOver }
    }

    @Test("resolvers are asked for every name")
    func resolvers() throws {
        let plan = try SettingsGenerator.plan(
            TunnelSettings(addresses: ["10.0.0.1/32"], included: ["0.0.0.0/0"], dns: ["10.0.0.2"], mtu: 1280))
        #expect(plan.settings.dnsSettings?.servers == ["10.0.0.2"])
        #expect(plan.settings.dnsSettings?.matchDomains == [""])
        #expect(plan.settings.ipv6Settings == nil)
    }

    @Test("stop while start waits for the daemon answers both")
    func stopDuringStart() async throws {
        start()
        _ = try await connection()
        stop()
        try await until("both are answered") { system.started.all.count == 1 && system.stopped.all.count == 1 }
        #expect(system.started.all[0] != nil)
        #expect(system.settings.all.isEmpty)
    }

    @Test("start fails after 20 s without a daemon, with a message and a hint")
    func startLimit() async throws {
        start()
        let daemon = try await connection()
        try await until("hello") { !daemon.heard.isEmpty }
        system.clock.advance(by: .seconds(4))
        #expect(system.started.all.isEmpty)
        system.clock.advance(by: .seconds(16))
        try await until("the start is answered") { !system.started.all.isEmpty }
        let error = try #require(system.started.all[0] as? NSError)
        #expect(error.localizedDescription == "cryprqd did not answer within 20 s")
        #expect(error.localizedRecoverySuggestion?.contains("cryprq status") == true)
    }

    @Test("sleep waits until the daemon is told; wake goes on")
    func sleepAndWake() async throws {
        let daemon = try await run()
        let slept = Told<Bool>()
        provider.sleep { slept.tell(true) }
        try await until("asleep") { slept.all == [true] }
        try await until("pause") { daemon.heard.last == ControlFrame(.pause) }
        provider.wake()
        try await until("resume") { daemon.heard.last == ControlFrame(.resume) }
        stop()
    }

    @Test("without a session sleep and stop are answered at once")
    func idle() {
        provider.sleep { [system] in system.stopped.tell(true) }
        provider.wake()
        stop()
        #expect(system.stopped.all == [true, true])
    }

    @Test("a daemon that dies is reasserted, and the session ends only after 60 s")
    func reasserting() async throws {
        let daemon = try await run()
        system.door.set(open: false)
        daemon.hangUp()
        try await until("reasserting") { system.reasserting.all == [true] }
        system.clock.advance(by: .seconds(59))
        #expect(system.cancelled.all.isEmpty)
        system.clock.advance(by: .seconds(1))
        try await until("the session is cancelled") { system.cancelled.all.count == 1 }
        #expect(system.cancelled.all[0]?.localizedDescription == "cryprqd was gone for 60 s")
    }

    @Test("a refusal in a running session cancels it with the daemon's words")
    func refused() async throws {
        let daemon = try await run()
        daemon.hangUp()
        try await until("reasserting") { system.reasserting.all == [true] }
        system.clock.advance(by: .milliseconds(250))
        try await connection(2).say(vector("refused__older_client"))
        try await until("the session is cancelled") { system.cancelled.all.count == 1 }
        #expect(system.cancelled.all[0]?.localizedDescription == "cryprqd refuses: too old")
    }

    @Test("settings that the system refuses fail the start")
    func refusedSettings() async throws {
        system.refusal.tell(SystemError("settings", code: EINVAL))
        start()
        try await connection().welcome()
        try await until("the start is answered") { !system.started.all.isEmpty }
        #expect(system.started.all[0]?.localizedDescription.contains("settings") == true)
    }

    @Test("a door without a service in Info.plist says so")
    func unconfigured() {
        #expect(throws: SystemError.self) { try XPCDoor(service: "").open() }
    }
}
