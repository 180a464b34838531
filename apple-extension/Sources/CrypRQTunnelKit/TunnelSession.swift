import Foundation

/// What a session asks of the system.
public protocol TunnelHost: Sendable {
    /// Puts settings in force and says what went wrong, or nil.
    func apply(_ plan: NetworkPlan, done: @escaping @Sendable (String?) -> Void)
    func setReasserting(_ reasserting: Bool)
    /// Ends the session.
    func cancel(_ failure: TunnelFailure)
}

/// Time, and being called at a time.
public protocol TunnelClock: Sendable {
    /// Since any fixed moment; stands still while the machine sleeps.
    var now: Duration { get }
    /// Calls once that moment has come.
    func call(at moment: Duration, _ body: @escaping @Sendable () -> Void)
}

/// The machine's own time.
public struct MachineClock: TunnelClock {
    private static let start = SuspendingClock.now

    public init() {}

    public var now: Duration { Self.start.duration(to: SuspendingClock.now) }

    public func call(at moment: Duration, _ body: @escaping @Sendable () -> Void) {
        let (seconds, attoseconds) = (moment - now).components
        let wait = max(0, Double(seconds) + Double(attoseconds) / 1e18)
        DispatchQueue.global().asyncAfter(deadline: .now() + wait, execute: body)
    }
}

/// One tunnel session: does what the controller says, with a real door, a real interface and real time.
///
/// Whatever happens becomes an event; one task takes them one after the other, in the order in which they came.
public actor TunnelSession {
    private enum Input: Sendable {
        case event(CrypRQTunnelController.Event)
        case start(@Sendable (TunnelFailure?) -> Void)
        case stop(@Sendable () -> Void)
        case sleep(@Sendable () -> Void)
        /// Of the attempt with this number; what older ones say is not heard.
        case opened(Int, Result<Int32, any Error>)
        case link(Int, LinkEvent)
    }

    private let door: any DaemonDoor
    private let host: any TunnelHost
    private let clock: any TunnelClock
    private let build: String
    private let log: @Sendable (String) -> Void
    private nonisolated let pump: CrypRQPacketPump
    private nonisolated let inputs: AsyncStream<Input>.Continuation

    private var controller = CrypRQTunnelController()
    private var link: DaemonLink?
    private var attempt = 0
    private var scheduled: Duration?
    private var finishStart: (@Sendable (TunnelFailure?) -> Void)?
    private var finishStop: (@Sendable () -> Void)?

    public init(
        door: any DaemonDoor, host: any TunnelHost, flow: any PacketFlow, build: String,
        clock: any TunnelClock = MachineClock(), log: @escaping @Sendable (String) -> Void = { _ in }
    ) {
        self.door = door
        self.host = host
        self.clock = clock
        self.build = build
        self.log = log
        pump = CrypRQPacketPump(flow: flow)
        let (stream, inputs) = AsyncStream<Input>.makeStream()
        self.inputs = inputs
        Task { [weak self] in
            for await input in stream { await self?.take(input) }
        }
    }

    deinit {
        inputs.finish()
        link?.end()
    }

    /// Starts the tunnel; `done` is called once.
    public nonisolated func start(_ done: @escaping @Sendable (TunnelFailure?) -> Void) {
        inputs.yield(.start(done))
    }

    /// Stops the tunnel, also while it starts; `done` is called once.
    public nonisolated func stop(_ done: @escaping @Sendable () -> Void) {
        inputs.yield(.stop(done))
    }

    /// The machine goes to sleep once `done` is called.
    public nonisolated func sleep(_ done: @escaping @Sendable () -> Void) {
        inputs.yield(.sleep(done))
    }

    public nonisolated func wake() {
        inputs.yield(.event(.wake))
    }

    /// What went through.
    public nonisolated var counters: CrypRQPacketPump.Counters { pump.counters }

    private func take(_ input: Input) {
        switch input {
        case .event(let event): handle(event)
        case .start(let done):
            finishStart = done
            handle(.start)
        case .stop(let done):
            finishStop = done
            handle(.stop)
        case .sleep(let done):
            handle(.sleep)
            done()
        case .opened(let attempt, .success(let descriptor)): opened(attempt, descriptor)
        case .opened(let attempt, .failure(let error)):
            if attempt == self.attempt { handle(.openFailed("\(error)")) }
        case .link(let attempt, let event):
            if attempt == self.attempt { heard(event) }
        }
    }

    private func handle(_ event: CrypRQTunnelController.Event) {
        let setbacks = controller.setbacks.count
        for effect in controller.handle(event, at: clock.now) { perform(effect) }
        if let deadline = controller.deadline, deadline != scheduled {
            scheduled = deadline
            clock.call(at: deadline) { [weak self] in self?.inputs.yield(.event(.time)) }
        }
        if controller.setbacks.count > setbacks { log("no daemon: \(controller.setbacks.reason)") }
    }

    private func heard(_ event: LinkEvent) {
        switch event {
        case .control(let frame): handle(.received(frame))
        case .packets: break
        case .closed(let reason):
            link = nil
            handle(.closed(reason))
        }
    }

    private func perform(_ effect: CrypRQTunnelController.Effect) {
        switch effect {
        case .open: open()
        case .close: close()
        case .sendHello: send { try Wire.hello(build: build, id: 1) }
        case .send(let frame): send { try Wire.bytes(frame) }
        case .apply(let settings): apply(settings)
        case .attachPump: if let link { pump.attach(link) }
        case .detachPump: pump.detach()
        case .finishStart(let failure):
            finishStart?(failure)
            finishStart = nil
        case .finishStop:
            finishStop?()
            finishStop = nil
        case .setReasserting(let reasserting): host.setReasserting(reasserting)
        case .cancel(let failure):
            log("the tunnel ends: \(failure.message)")
            host.cancel(failure)
        }
    }

    private func open() {
        attempt += 1
        let (attempt, door, inputs) = (attempt, door, inputs)
        DispatchQueue.global(qos: .userInitiated).async {
            inputs.yield(.opened(attempt, Result { try door.open() }))
        }
    }

    private func opened(_ attempt: Int, _ descriptor: Int32) {
        let (inputs, pump) = (inputs, pump)
        let link = DaemonLink(descriptor: descriptor) { event in
            // Packets take the short way.
            if case .packets(let packets) = event {
                pump.deliver(packets)
            } else {
                inputs.yield(.link(attempt, event))
            }
        }
        guard attempt == self.attempt else { return link.end() }
        self.link = link
        handle(.opened)
    }

    private func close() {
        // What this attempt still says is of the past.
        attempt += 1
        link?.end()
        link = nil
    }

    private func send(_ bytes: () throws -> Data) {
        do {
            let bytes = try bytes()
            bytes.withUnsafeBytes { _ = link?.send($0) }
        } catch {
            log("a frame cannot be written: \(error)")
        }
    }

    private func apply(_ settings: TunnelSettings) {
        let inputs = inputs
        do {
            host.apply(try SettingsGenerator.plan(settings)) { inputs.yield(.event(.applied(error: $0))) }
        } catch {
            inputs.yield(.event(.applied(error: "\(error)")))
        }
    }
}
