/// What the control socket tells, in the types of docs/schema. Later versions may tell more.
public struct DaemonStatus: Codable, Equatable, Sendable {
    public struct Addresses: Codable, Equatable, Sendable {
        public var ipv4: String?
        public var ipv6: String
    }

    public struct HealthItem: Codable, Equatable, Sendable {
        public var code: String
        public var since: String
        public var text: String
        public var hint: String?
    }

    /// The peer that all other traffic of this host goes through.
    public struct Exit: Codable, Equatable, Sendable {
        public var peer: String
        public var name: String
        /// `active`, or `waiting` while it is chosen only.
        public var state: String
        public var ipv4: Bool
        public var ipv6: Bool
        /// What leaves outside the tunnel all the same, in words.
        public var outside: [String]

        enum CodingKeys: String, CodingKey, CaseIterable {
            case peer, name, state, ipv4, ipv6, outside
        }
    }

    public var version: String
    public var peerID: String
    public var name: String
    public var addresses: Addresses
    /// `running`: a daemon answers only while it runs.
    public var state: String
    public var ingress: String
    public var health: [HealthItem]
    public var exit: Exit?
    public var peers: [PeerStatus]

    enum CodingKeys: String, CodingKey, CaseIterable {
        case version, name, addresses, state, ingress, health, exit, peers
        case peerID = "peer_id"
    }
}

/// One peer.
public struct PeerStatus: Codable, Equatable, Sendable {
    public struct Path: Codable, Equatable, Sendable {
        /// `udp`, `stream` or `relay`.
        public var kind: String
        public var address: String
        public var rttMs: Double?
        public var mtu: UInt16

        enum CodingKeys: String, CodingKey, CaseIterable {
            case kind, address, mtu
            case rttMs = "rtt_ms"
        }
    }

    public var id: String
    public var name: String
    /// `idle`, `connecting`, `connected`, `stalled` or `refused`.
    public var state: String
    public var path: Path?
    public var lastAuthenticMs: UInt64?
    public var nextRotationMs: UInt64?
    public var rxBps: UInt64
    public var txBps: UInt64
    public var allowedIPs: [String]

    enum CodingKeys: String, CodingKey, CaseIterable {
        case id, name, state, path
        case lastAuthenticMs = "last_authentic_ms"
        case nextRotationMs = "next_rotation_ms"
        case rxBps = "rx_bps"
        case txBps = "tx_bps"
        case allowedIPs = "allowed_ips"
    }
}

/// A ticket that was just made.
public struct Invitation: Codable, Equatable, Sendable {
    /// Whoever has it may join, once.
    public var ticket: String
    /// RFC 3339.
    public var expiresAt: String

    enum CodingKeys: String, CodingKey, CaseIterable {
        case ticket
        case expiresAt = "expires_at"
    }
}

/// What the app asks of the daemon.
public enum ControlRequest: Equatable, Sendable, Encodable {
    case status
    case up(peer: String?)
    case down(peer: String?)
    /// All other traffic goes through this peer, in the place of another one.
    case exit(peer: String)
    case invite

    private enum CodingKeys: String, CodingKey {
        case v, cmd, peer, exit
    }

    /// The daemon's name of it.
    public var verb: String {
        switch self {
        case .status: "status"
        case .up, .exit: "up"
        case .down: "down"
        case .invite: "invite"
        }
    }

    public func encode(to encoder: any Encoder) throws {
        var container = encoder.container(keyedBy: CodingKeys.self)
        try container.encode(ControlClient.version, forKey: .v)
        try container.encode(verb, forKey: .cmd)
        switch self {
        case .up(let peer), .down(let peer): try container.encodeIfPresent(peer, forKey: .peer)
        case .exit(let peer): try container.encode(peer, forKey: .exit)
        case .status, .invite: break
        }
    }
}
