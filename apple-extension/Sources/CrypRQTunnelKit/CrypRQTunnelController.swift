/// Why a tunnel ended that should not have, for the person at the Mac.
public struct TunnelFailure: Error, Equatable, Sendable {
    public var message: String
    public var hint: String?

    public init(_ message: String, hint: String? = nil) {
        self.message = message
        self.hint = hint
    }
}

/// The life of one tunnel session, without I/O and without a clock: events go in, effects come out, and `deadline` says
/// when `time` is to come next.
///
/// Times are durations since any fixed moment, by a clock that stands still while the machine sleeps.
public struct CrypRQTunnelController: Sendable {
    public enum Event: Equatable, Sendable {
        /// The system wants the tunnel.
        case start
        /// The system ends it.
        case stop
        case sleep
        case wake
        /// What `open` led to.
        case opened
        case openFailed(String)
        /// The connection is over.
        case closed(String)
        case received(ControlFrame)
        /// What `apply` led to; nil is success.
        case applied(error: String?)
        /// The deadline came, or may have come.
        case time
    }

    public enum Effect: Equatable, Sendable {
        /// Connect to the daemon; answered by `opened` or `openFailed`.
        case open
        /// End the connection, if there is one; nothing of it is heard any more.
        case close
        case sendHello
        case send(ControlFrame)
        /// Put settings in force; answered by `applied`. Never asked for while an answer is outstanding.
        case apply(TunnelSettings)
        case attachPump
        case detachPump
        /// Answers the system's start.
        case finishStart(TunnelFailure?)
        /// Answers the system's stop.
        case finishStop
        case setReasserting(Bool)
        /// Ends the session from this side.
        case cancel(TunnelFailure)
    }

    /// How long the system's start may take, of the 60 s that macOS grants.
    public static let startLimit = Duration.seconds(20)
    /// How long a session outlives its daemon.
    public static let absenceLimit = Duration.seconds(60)
    /// How long the daemon may take for each step of attaching.
    public static let greetingLimit = Duration.seconds(5)
    /// The pause before each further attempt; the last one repeats.
    public static let pauses: [Duration] = [
        .milliseconds(250), .milliseconds(500), .seconds(1), .seconds(2), .seconds(5),
    ]

    private enum Phase: Equatable {
        case idle
        /// The system waits for an answer until then.
        case starting(until: Duration)
        case running
        /// Without a daemon, until then at the longest.
        case reasserting(until: Duration)
        case ended
    }

    private enum Connection: Equatable {
        case none
        case opening
        /// Hello is sent; the daemon has until then to answer.
        case greeting(until: Duration)
        /// The daemon knows us; it has until then to send settings.
        case greeted(until: Duration)
        /// Settings came.
        case attached
        /// The next attempt is due then.
        case pausing(until: Duration)
    }

    private struct Settings: Equatable {
        var id: UInt32
        var value: TunnelSettings
    }

    /// How often a connection, or an attempt at one, came to nothing, and why the last did: for the log.
    public private(set) var setbacks = (count: 0, reason: "")

    private var phase = Phase.idle
    private var connection = Connection.none
    private var attempts = 0
    private var asleep = false
    private var pumping = false
    /// What the interface is like now.
    private var inForce: TunnelSettings?
    /// What the interface is being made like.
    private var applying: Settings?
    /// What came meanwhile; only the newest counts.
    private var next: Settings?

    public init() {}

    /// When `time` has to be told at the latest; nil when there is nothing to wait for.
    public var deadline: Duration? {
        var moments: [Duration] = []
        switch phase {
        case .starting(let until), .reasserting(let until): moments.append(until)
        case .idle, .running, .ended: break
        }
        switch connection {
        case .greeting(let until), .greeted(let until), .pausing(let until): moments.append(until)
        case .none, .opening, .attached: break
        }
        return moments.min()
    }

    /// What is to be done, in order.
    public mutating func handle(_ event: Event, at now: Duration) -> [Effect] {
        switch event {
        case .start: start(now)
        case .stop: stop()
        case .sleep: sleep()
        case .wake: wake(now)
        case .opened: opened(now)
        case .openFailed(let reason), .closed(let reason): lost(reason, now)
        case .received(let frame): received(frame, now)
        case .applied(let error): applied(error, now)
        case .time: time(now)
        }
    }

    private mutating func start(_ now: Duration) -> [Effect] {
        guard phase == .idle else { return [] }
        phase = .starting(until: now + Self.startLimit)
        connection = .opening
        return [.open]
    }

    private mutating func stop() -> [Effect] {
        var effects: [Effect] = []
        switch connection {
        case .greeting, .greeted, .attached: effects.append(.send(ControlFrame(.stop(.system))))
        case .none, .opening, .pausing: break
        }
        if case .starting = phase {
            effects.append(.finishStart(TunnelFailure("the tunnel was stopped while it started")))
        }
        return end() + effects.filter(\.isSend) + [.close] + effects.filter { !$0.isSend } + [.finishStop]
    }

    private mutating func sleep() -> [Effect] {
        asleep = true
        let tells = connection == .attached && pumping
        return detach() + (tells ? [.send(ControlFrame(.pause))] : [])
    }

    private mutating func wake(_ now: Duration) -> [Effect] {
        guard asleep else { return [] }
        asleep = false
        if case .reasserting = phase { phase = .reasserting(until: now + Self.absenceLimit) }
        if case .pausing = connection {
            // The network comes back about now: no reason to wait for what was planned before the night.
            attempts = 0
            connection = .opening
            return [.open]
        }
        guard connection == .attached, applying == nil else { return [] }
        return [.send(ControlFrame(.resume))] + attach()
    }

    private mutating func opened(_ now: Duration) -> [Effect] {
        guard connection == .opening else { return [.close] }
        connection = .greeting(until: now + Self.greetingLimit)
        return [.sendHello]
    }

    private mutating func received(_ frame: ControlFrame, _ now: Duration) -> [Effect] {
        switch (frame.message, connection) {
        case (.helloAck, .greeting):
            connection = .greeted(until: now + Self.greetingLimit)
            return []
        case (.tunnelSettings(let settings), .greeted), (.tunnelSettings(let settings), .attached):
            connection = .attached
            return take(Settings(id: frame.id, value: settings), now)
        case (.refused(let refusal), _) where !refusal.error.isTemporary:
            return fail(TunnelFailure("cryprqd refuses: \(refusal.error.message)", hint: refusal.error.hint))
        case (.refused(let refusal), _):
            return [.close] + lost(refusal.error.message, now)
        case (.error(let error), _) where !error.isTemporary:
            return fail(TunnelFailure("cryprqd cut the extension off: \(error.message)", hint: error.hint))
        case (.error(let error), _):
            return [.close] + lost(error.message, now)
        case (.stop(let reason), _):
            return fail(TunnelFailure(reason.text))
        case (.hello, _), (.helloAck, _), (.ready, _), (.pause, _), (.resume, _), (.tunnelSettings, _):
            return [.close] + lost("the daemon said what it may not say now", now)
        }
    }

    private mutating func take(_ settings: Settings, _ now: Duration) -> [Effect] {
        if applying != nil {
            next = settings
            return []
        }
        if settings.value == inForce { return ready(settings.id) }
        applying = settings
        return [.apply(settings.value)]
    }

    private mutating func applied(_ error: String?, _ now: Duration) -> [Effect] {
        guard let settings = applying, phase != .ended else { return [] }
        applying = nil
        if let error {
            let stop = Effect.send(ControlFrame(.stop(.settingsRefused)))
            let told = connection == .attached ? [stop] : []
            return told + fail(TunnelFailure("macOS did not take the tunnel's settings: \(error)"))
        }
        inForce = settings.value
        if let newer = next {
            next = nil
            // The daemon takes one answer per settings; those that were overtaken get none.
            return connection == .attached ? take(newer, now) : []
        }
        // The answer belongs to the connection that asked.
        return connection == .attached ? ready(settings.id) : []
    }

    private mutating func ready(_ id: UInt32) -> [Effect] {
        attempts = 0
        var effects: [Effect] = [.send(ControlFrame(id: id, .ready))]
        switch phase {
        case .starting: effects.append(.finishStart(nil))
        case .reasserting: effects.append(.setReasserting(false))
        case .idle, .running, .ended: break
        }
        phase = .running
        return effects + (asleep ? [.send(ControlFrame(.pause))] : attach())
    }

    private mutating func attach() -> [Effect] {
        if pumping { return [] }
        pumping = true
        return [.attachPump]
    }

    private mutating func detach() -> [Effect] {
        if !pumping { return [] }
        pumping = false
        return [.detachPump]
    }

    /// The connection is gone or of no use; another attempt follows, as long as there is time.
    private mutating func lost(_ reason: String, _ now: Duration) -> [Effect] {
        if phase == .idle || phase == .ended { return [] }
        next = nil
        setbacks = (setbacks.count + 1, reason)
        let pause = Self.pauses[min(attempts, Self.pauses.count - 1)]
        attempts += 1
        connection = .pausing(until: now + pause)
        var effects = detach()
        if phase == .running {
            phase = .reasserting(until: now + Self.absenceLimit)
            effects.append(.setReasserting(true))
        }
        return effects
    }

    private mutating func time(_ now: Duration) -> [Effect] {
        switch phase {
        case .starting(let until) where now >= until:
            return fail(
                TunnelFailure("cryprqd did not answer within 20 s", hint: "look whether cryprqd runs: cryprq status"))
        case .reasserting(let until) where now >= until && !asleep:
            return fail(TunnelFailure("cryprqd was gone for 60 s", hint: "look whether cryprqd runs: cryprq status"))
        case .idle, .starting, .running, .reasserting, .ended: break
        }
        switch connection {
        case .pausing(let until) where now >= until:
            connection = .opening
            return [.open]
        case .greeting(let until) where now >= until, .greeted(let until) where now >= until:
            return [.close] + lost("the daemon does not answer", now)
        case .none, .opening, .greeting, .greeted, .attached, .pausing: return []
        }
    }

    private mutating func fail(_ failure: TunnelFailure) -> [Effect] {
        switch phase {
        case .idle, .ended: return []
        case .starting: return end() + [.close, .finishStart(failure)]
        case .running, .reasserting: return end() + [.close, .cancel(failure)]
        }
    }

    private mutating func end() -> [Effect] {
        phase = .ended
        connection = .none
        return detach()
    }
}

extension CrypRQTunnelController.Effect {
    fileprivate var isSend: Bool {
        if case .send = self { true } else { false }
    }
}

extension StopReason {
    /// For a person.
    var text: String {
        switch self {
        case .switchedOff: "the tunnel was switched off"
        case .daemonStopping: "cryprqd was stopped"
        case .system: "the system ended the tunnel"
        case .settingsRefused: "the tunnel's settings could not be put in force"
        }
    }
}
