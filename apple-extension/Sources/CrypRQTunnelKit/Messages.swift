/// Control frames of the extension's conversation, in the JSON form that docs/ipc.md gives their bodies.
public struct ControlFrame: Equatable, Sendable {
    /// Chosen by who asks and repeated in the answer; 0 where nobody asked.
    public var id: UInt32
    /// What it says.
    public var message: ControlMessage

    public init(id: UInt32 = 0, _ message: ControlMessage) {
        self.id = id
        self.message = message
    }
}

/// What a control frame says.
public enum ControlMessage: Equatable, Sendable {
    case hello(Hello)
    case helloAck(HelloAck)
    case refused(Refusal)
    case error(DaemonError)
    case tunnelSettings(TunnelSettings)
    case ready
    case pause
    case resume
    case stop(StopReason)
}

/// The first frame of whoever connects.
public struct Hello: Codable, Equatable, Sendable {
    public var minVersion: UInt8
    public var maxVersion: UInt8
    public var build: String
    public var features: UInt64
    public var role: String

    enum CodingKeys: String, CodingKey {
        case build, features, role
        case minVersion = "min_version"
        case maxVersion = "max_version"
    }
}

/// The answer to a Hello that fits.
public struct HelloAck: Codable, Equatable, Sendable {
    public var version: UInt8
    public var build: String
    public var features: UInt64
}

/// The answer to a Hello that does not fit; the connection ends after it.
public struct Refusal: Codable, Equatable, Sendable {
    public enum Side: String, Codable, Sendable {
        case daemon, client
    }

    public var error: DaemonError
    /// Which side has to be brought up to date, when that is the reason.
    public var older: Side?

    public init(error: DaemonError, older: Side? = nil) {
        self.error = error
        self.older = older
    }

    /// Null is written, as the format wants it.
    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(error, forKey: .error)
        try container.encode(older, forKey: .older)
    }
}

/// A refusal of the daemon: what, why, and what to do about it.
public struct DaemonError: Codable, Equatable, Sendable, Error {
    /// The code's name, as docs/ipc.md lists them; later versions know more.
    public var code: String
    public var message: String
    public var hint: String?

    public init(code: String, message: String, hint: String? = nil) {
        self.code = code
        self.message = message
        self.hint = hint
    }

    /// Whether the same question may be answered otherwise a moment later, without anybody doing anything.
    public var isTemporary: Bool {
        ["busy", "not_running", "too_many_clients", "timed_out"].contains(code)
    }
}

/// What the interface shall be like, as the daemon says it.
public struct TunnelSettings: Codable, Equatable, Sendable {
    /// Prefixes: `10.86.0.1/32`.
    public var addresses: [String]
    public var included: [String]
    public var excluded: [String]
    public var dns: [String]
    /// In bytes.
    public var mtu: UInt16

    public init(addresses: [String], included: [String], excluded: [String] = [], dns: [String] = [], mtu: UInt16) {
        self.addresses = addresses
        self.included = included
        self.excluded = excluded
        self.dns = dns
        self.mtu = mtu
    }
}

/// Why the tunnel ends, from either side.
public enum StopReason: String, Codable, Sendable {
    case switchedOff = "switched_off"
    case daemonStopping = "daemon_stopping"
    case system
    case settingsRefused = "settings_refused"
}

extension ControlFrame: Codable {
    private enum CodingKeys: String, CodingKey {
        case id, kind, body
    }

    private enum Kind: String, Codable {
        case hello, refused, error, ready, pause, resume, stop
        case helloAck = "hello_ack"
        case tunnelSettings = "tunnel_settings"
    }

    private struct Nothing: Codable {}

    private struct Stop: Codable {
        var reason: StopReason
    }

    public init(from decoder: any Decoder) throws {
        let container = try decoder.container(keyedBy: CodingKeys.self)
        id = try container.decode(UInt32.self, forKey: .id)
        func body<Body: Decodable>() throws -> Body { try container.decode(Body.self, forKey: .body) }
        message =
            switch try container.decode(Kind.self, forKey: .kind) {
            case .hello: .hello(try body())
            case .helloAck: .helloAck(try body())
            case .refused: .refused(try body())
            case .error: .error(try body())
            case .tunnelSettings: .tunnelSettings(try body())
            case .ready: .ready
            case .pause: .pause
            case .resume: .resume
            case .stop: .stop(try (body() as Stop).reason)
            }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(id, forKey: .id)
        func write(_ kind: Kind, _ body: some Encodable = Nothing()) throws {
            try container.encode(kind, forKey: .kind)
            try container.encode(body, forKey: .body)
        }
        switch message {
        case .hello(let hello): try write(.hello, hello)
        case .helloAck(let ack): try write(.helloAck, ack)
        case .refused(let refusal): try write(.refused, refusal)
        case .error(let error): try write(.error, error)
        case .tunnelSettings(let settings): try write(.tunnelSettings, settings)
        case .ready: try write(.ready)
        case .pause: try write(.pause)
        case .resume: try write(.resume)
        case .stop(let reason): try write(.stop, Stop(reason: reason))
        }
    }
}
