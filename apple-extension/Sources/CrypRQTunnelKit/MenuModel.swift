/// What the app sees of the daemon.
public enum DaemonView: Equatable, Sendable {
    case unknown
    case absent
    case forbidden
    case foreign
    case broken(String)
    case status(DaemonStatus)

    init(_ error: ControlError) {
        self =
            switch error {
            case .absent: .absent
            case .forbidden: .forbidden
            case .foreign: .foreign
            case .refused(let error): .broken(error.message)
            case .broken(let what): .broken(what)
            }
    }
}

/// The system's part: the extension and the VPN that it carries.
public enum TunnelView: String, Equatable, Sendable, CaseIterable {
    /// The system extension waits for the person's approval, or was never activated.
    case inactive
    case off, connecting, on, reasserting, disconnecting
}

/// What somebody clicked.
public enum MenuAction: Equatable, Sendable {
    case activateExtension
    case tunnelOn, tunnelOff
    case connect(peer: String)
    case disconnect(peer: String)
    case exit(peer: String)
    case invite
    case launchAtLogin(Bool)
    case quit
}

/// One line of the menu: words only, no looks.
public struct MenuRow: Equatable, Sendable, Identifiable, CustomStringConvertible {
    public enum Style: String, Sendable {
        case headline, plain, detail, warning, button, ticket
    }

    public var id: String
    public var style: Style
    public var text: String
    public var action: MenuAction?

    public init(_ id: String, _ style: Style, _ text: String, _ action: MenuAction? = nil) {
        self.id = id
        self.style = style
        self.text = text
        self.action = action
    }

    public var description: String {
        "\(style.rawValue): \(text)" + (action.map { " [\($0)]" } ?? "")
    }
}

/// Maps what is known to the rows of the menu, and clicks to requests. It holds no socket and no view.
public struct MenuModel: Equatable, Sendable {
    /// What came of the last wish for an invitation.
    public enum Invite: Equatable, Sendable {
        case none
        case made(Invitation)
        case refused(DaemonError)
    }

    public var daemon = DaemonView.unknown
    public var tunnel = TunnelView.off
    public var invite = Invite.none
    public var launchesAtLogin = false
    /// What went wrong in the app itself or with the last click.
    public var trouble: String?

    public init() {}

    /// The name of the menu's symbol in SF Symbols.
    public var symbol: String {
        guard case .status(let status) = daemon else { return "shield.slash" }
        let states = Set(status.peers.map(\.state))
        if states.contains("stalled") || states.contains("refused") { return "exclamationmark.shield" }
        return states.contains("connected") ? "checkmark.shield" : "shield"
    }

    /// The request of the daemon that a click leads to; nil when it is for the system.
    public func request(for action: MenuAction) -> ControlRequest? {
        switch action {
        case .connect(let peer): .up(peer: peer)
        case .disconnect(let peer): .down(peer: peer)
        case .exit(let peer): .exit(peer: peer)
        case .invite: .invite
        case .activateExtension, .tunnelOn, .tunnelOff, .launchAtLogin, .quit: nil
        }
    }

    /// What came of the request that a click led to.
    public mutating func take(_ outcome: ControlClient.Outcome, of action: MenuAction) {
        switch outcome {
        case .done: break
        case .invitation(let made): invite = .made(made)
        case .failed(.refused(let error)) where action == .invite: invite = .refused(error)
        case .failed(.refused(let error)): trouble = error.withHint
        case .failed(let error): daemon = DaemonView(error)
        }
    }

    public var rows: [MenuRow] {
        daemonRows + troubleRows + tunnelRows
            + [
                MenuRow(
                    "login", .button, launchesAtLogin ? "✓ Open at login" : "Open at login",
                    .launchAtLogin(!launchesAtLogin)),
                MenuRow("quit", .button, "Quit", .quit),
            ]
    }

    private var daemonRows: [MenuRow] {
        switch daemon {
        case .unknown: [MenuRow("state", .headline, "Looking for cryprqd…")]
        case .absent:
            [
                MenuRow("state", .headline, "CrypRQ is not running"),
                MenuRow("hint", .detail, "Start it: sudo launchctl kickstart system/dev.cryprq.daemon"),
            ]
        case .forbidden:
            [
                MenuRow("state", .headline, "You may not use CrypRQ on this Mac"),
                MenuRow(
                    "hint", .detail, "An administrator adds you: sudo dseditgroup -o edit -a $USER -t user _cryprq"),
            ]
        case .foreign:
            [
                MenuRow("state", .headline, "CrypRQ and this app are of different versions"),
                MenuRow("hint", .detail, "Install both from the same package"),
            ]
        case .broken(let what):
            [MenuRow("state", .headline, "CrypRQ does not answer"), MenuRow("hint", .detail, what)]
        case .status(let status): rows(of: status)
        }
    }

    private func rows(of status: DaemonStatus) -> [MenuRow] {
        let addresses = [status.addresses.ipv4, status.addresses.ipv6].compactMap(\.self).joined(separator: ", ")
        var rows = [
            MenuRow("state", .headline, headline(of: status)),
            MenuRow("self", .detail, "\(status.name): \(addresses)"),
        ]
        for item in status.health {
            let hint = item.hint.map { ": \($0)" } ?? ""
            rows.append(MenuRow("health.\(item.code)", .warning, item.text + hint))
        }
        if let exit = status.exit { rows += self.rows(of: exit) }
        for peer in status.peers { rows += self.rows(of: peer, isExit: peer.id == status.exit?.peer) }
        return rows + inviteRows
    }

    private func rows(of exit: DaemonStatus.Exit) -> [MenuRow] {
        guard exit.state == "active" else {
            return [MenuRow("exit", .warning, "All traffic is to go through \(exit.name), and does not yet")]
        }
        let refused = [exit.ipv4 ? nil : "IPv4", exit.ipv6 ? nil : "IPv6"].compactMap(\.self)
        let but = refused.isEmpty ? "" : ", but \(refused.joined(separator: " and ")) is refused"
        return [
            MenuRow("exit", .plain, "All traffic goes through \(exit.name)\(but)"),
            MenuRow("exit.outside", .detail, "Outside stays: " + exit.outside.joined(separator: "; ")),
        ]
    }

    private func headline(of status: DaemonStatus) -> String {
        switch status.state {
        case "starting": return "CrypRQ starts…"
        case "stopping": return "CrypRQ stops…"
        default: break
        }
        if status.peers.isEmpty { return "No peers yet" }
        let connected = status.peers.count { $0.state == "connected" }
        if connected > 0 { return "Connected to \(connected) of \(status.peers.count)" }
        if status.peers.contains(where: { $0.state == "stalled" }) { return "Stalled" }
        if status.peers.contains(where: { $0.state == "connecting" }) { return "Connecting…" }
        return "Not connected"
    }

    private func rows(of peer: PeerStatus, isExit: Bool) -> [MenuRow] {
        let toggle: MenuAction = peer.state == "idle" ? .connect(peer: peer.id) : .disconnect(peer: peer.id)
        var rows = [MenuRow("peer.\(peer.id)", .plain, "\(peer.name): \(peer.state)\(path(of: peer))", toggle)]
        if peer.state == "refused" {
            rows.append(MenuRow("why.\(peer.id)", .detail, "It refuses this Mac: see cryprq status"))
        }
        var facts: [String] = []
        if let age = peer.lastAuthenticMs { facts.append("last packet \(Words.ago(milliseconds: age))") }
        if peer.state == "connected" {
            facts.append("↓ \(Words.rate(bitsPerSecond: peer.rxBps)) ↑ \(Words.rate(bitsPerSecond: peer.txBps))")
        }
        if let rotation = peer.nextRotationMs { facts.append("new keys in \(Words.time(milliseconds: rotation))") }
        if !facts.isEmpty {
            rows.append(MenuRow("facts.\(peer.id)", .detail, facts.joined(separator: ", ")))
        }
        // To disconnect the exit ends it.
        if !isExit && peer.state != "refused" {
            let text = "Send all traffic through \(peer.name)"
            rows.append(MenuRow("exit.\(peer.id)", .button, text, .exit(peer: peer.id)))
        }
        return rows
    }

    /// ` (direct, 12 ms)`
    private func path(of peer: PeerStatus) -> String {
        guard let path = peer.path else { return "" }
        let kind =
            switch path.kind {
            case "udp": "direct"
            case "relay": "relayed"
            default: "by TCP"
            }
        let rtt = path.rttMs.map { ", \(Int($0.rounded())) ms" } ?? ""
        return " (\(kind)\(rtt))"
    }

    private var inviteRows: [MenuRow] {
        let button = MenuRow("invite", .button, "Invite another computer", .invite)
        switch invite {
        case .none: return [button]
        case .made(let invitation):
            return [
                MenuRow("ticket", .ticket, invitation.ticket),
                MenuRow("expires", .detail, "One computer may join with it until \(invitation.expiresAt)"),
                button,
            ]
        case .refused(let error):
            return [button, MenuRow("refused", .warning, error.withHint)]
        }
    }

    private var troubleRows: [MenuRow] {
        trouble.map { [MenuRow("trouble", .warning, $0)] } ?? []
    }

    private var tunnelRows: [MenuRow] {
        switch tunnel {
        case .inactive:
            [MenuRow("tunnel", .button, "Allow the network extension…", .activateExtension)]
        case .off: [MenuRow("tunnel", .button, "Turn the VPN on", .tunnelOn)]
        case .connecting: [MenuRow("tunnel", .button, "The VPN starts… (cancel)", .tunnelOff)]
        case .on: [MenuRow("tunnel", .button, "Turn the VPN off", .tunnelOff)]
        case .reasserting: [MenuRow("tunnel", .button, "The VPN looks for cryprqd… (turn off)", .tunnelOff)]
        case .disconnecting: [MenuRow("tunnel", .detail, "The VPN stops…")]
        }
    }
}

extension DaemonError {
    /// What it says, and what to do about it.
    var withHint: String { message + (hint.map { ": \($0)" } ?? "") }
}

/// Numbers for people.
enum Words {
    static func time(milliseconds: UInt64) -> String {
        let seconds = milliseconds / 1000
        if seconds < 60 { return "\(seconds) s" }
        if seconds < 3600 { return "\(seconds / 60) min" }
        return seconds < 86_400 ? "\(seconds / 3600) h" : "\(seconds / 86_400) d"
    }

    static func ago(milliseconds: UInt64) -> String {
        milliseconds < 1000 ? "just now" : "\(time(milliseconds: milliseconds)) ago"
    }

    static func rate(bitsPerSecond: UInt64) -> String {
        let units = ["bit/s", "kbit/s", "Mbit/s", "Gbit/s"]
        var (value, unit) = (bitsPerSecond, 0)
        while value >= 10_000 && unit < units.count - 1 {
            value /= 1000
            unit += 1
        }
        return "\(value) \(units[unit])"
    }
}
