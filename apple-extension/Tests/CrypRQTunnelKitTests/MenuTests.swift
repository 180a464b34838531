import Foundation
import Testing

@testable import CrypRQTunnelKit

/// Rows of the menu for each state, and the JSON behind them.
struct MenuTests {
    private func published(_ name: String) throws -> Data {
        struct Vector: Decodable {
            var body: DaemonStatus
        }
        let file = repository.appending(path: "ipc-proto/vectors/\(name).json")
        return try JSONEncoder().encode(JSONDecoder().decode(Vector.self, from: Data(contentsOf: file)).body)
    }

    private func status() throws -> DaemonStatus {
        try JSONDecoder().decode(DaemonStatus.self, from: published("event__state"))
    }

    private func rows(_ change: (inout MenuModel) throws -> Void) rethrows -> [String] {
        var model = MenuModel()
        try change(&model)
        return model.rows.map(\.description)
    }

    @Test("a running daemon with a connected and an idle peer")
    func connected() throws {
        var model = MenuModel()
        model.daemon = .status(try status())
        model.tunnel = .on
        let gateway = "12D3KooWDpJ7As7BWAwRMfu1VU2WCqNjvq387JEYKDBj4kx6nXTN"
        #expect(
            model.rows.map(\.description) == [
                "headline: Connected to 1 of 2",
                "detail: laptop – Büro: 10.86.70.153, fd63:7279:7072:d139::1",
                "warning: cannot listen: choose another port",
                "plain: All traffic goes through gateway, but IPv6 is refused",
                "detail: Outside stays: what this host's own routes lead elsewhere",
                "plain: gateway: connected (by TCP, 13 ms) [disconnect(peer: \"\(gateway)\")]",
                "detail: last packet just now, ↓ 800 bit/s ↑ 8 bit/s, new keys in 2 min",
                "plain: second: idle [connect(peer: \"12D3KooWSecond\")]",
                "button: Send all traffic through second [exit(peer: \"12D3KooWSecond\")]",
                "button: Invite another computer [invite]",
                "button: Turn the VPN off [tunnelOff]",
                "button: Open at login [launchAtLogin(true)]",
                "button: Quit [quit]",
            ])
        #expect(model.symbol == "checkmark.shield")
    }

    @Test("a relayed, a stalled and a refused peer, and none, row by row")
    func peers() throws {
        var told = try status()
        (told.health, told.exit) = ([], nil)
        told.peers.removeLast()
        let peer = told.peers[0].id
        let disconnect = "[disconnect(peer: \"\(peer)\")]"
        let exit = "button: Send all traffic through gateway [exit(peer: \"\(peer)\")]"
        func shown() -> [String] { rows { $0.daemon = .status(told) } }
        func expected(_ headline: String, _ middle: [String]) -> [String] {
            ["headline: \(headline)", "detail: laptop – Büro: 10.86.70.153, fd63:7279:7072:d139::1"] + middle + [
                "button: Invite another computer [invite]",
                "button: Turn the VPN on [tunnelOn]",
                "button: Open at login [launchAtLogin(true)]",
                "button: Quit [quit]",
            ]
        }
        told.peers[0].path?.kind = "relay"
        #expect(
            shown()
                == expected(
                    "Connected to 1 of 1",
                    [
                        "plain: gateway: connected (relayed, 13 ms) \(disconnect)",
                        "detail: last packet just now, ↓ 800 bit/s ↑ 8 bit/s, new keys in 2 min",
                        exit,
                    ]))
        told.peers[0].state = "stalled"
        told.peers[0].lastAuthenticMs = 61_000
        #expect(
            shown()
                == expected(
                    "Stalled",
                    [
                        "plain: gateway: stalled (relayed, 13 ms) \(disconnect)",
                        "detail: last packet 1 min ago, new keys in 2 min",
                        exit,
                    ]))
        told.peers[0].state = "refused"
        (told.peers[0].path, told.peers[0].lastAuthenticMs, told.peers[0].nextRotationMs) = (nil, nil, nil)
        #expect(
            shown()
                == expected(
                    "Not connected",
                    ["plain: gateway: refused \(disconnect)", "detail: It refuses this Mac: see cryprq status"]))
        told.peers = []
        #expect(shown() == expected("No peers yet", []))
    }

    @Test("each state of the daemon has its headline")
    func headlines() throws {
        func first(_ view: DaemonView) -> [String] { rows { $0.daemon = view }.prefix(2).map(\.self) }
        #expect(first(.unknown).first == "headline: Looking for cryprqd…")
        #expect(first(.absent).first == "headline: CrypRQ is not running")
        #expect(first(.forbidden)[0] == "headline: You may not use CrypRQ on this Mac")
        #expect(first(.forbidden)[1].contains("dseditgroup"))
        #expect(first(.foreign)[0] == "headline: CrypRQ and this app are of different versions")
        #expect(first(.broken("it hangs")) == ["headline: CrypRQ does not answer", "detail: it hangs"])
        var told = try status()
        for (state, headline) in [
            ("connecting", "Connecting…"), ("stalled", "Stalled"), ("refused", "Not connected"),
            ("idle", "Not connected"),
        ] {
            for index in told.peers.indices { told.peers[index].state = state }
            #expect(first(.status(told)).first == "headline: \(headline)")
        }
        told.peers = []
        #expect(first(.status(told)).first == "headline: No peers yet")
        told.state = "stopping"
        #expect(first(.status(told)).first == "headline: CrypRQ stops…")
    }

    @Test("an exit is chosen among the peers, and it is said whether traffic goes there yet")
    func exit() throws {
        var told = try status()
        func shown() -> [String] { rows { $0.daemon = .status(told) }.filter { $0.contains("traffic") } }
        told.exit?.state = "waiting"
        #expect(
            shown() == [
                "warning: All traffic is to go through gateway, and does not yet",
                "button: Send all traffic through second [exit(peer: \"12D3KooWSecond\")]",
            ])
        told.exit?.state = "active"
        told.exit?.ipv6 = true
        #expect(shown().first == "plain: All traffic goes through gateway")
        told.exit = nil
        told.peers[1].state = "refused"
        #expect(shown() == ["button: Send all traffic through gateway [exit(peer: \"\(told.peers[0].id)\")]"])
    }

    @Test("a refused choice is told with its hint, and not beside invitations")
    func refused() throws {
        var model = MenuModel()
        model.daemon = .status(try status())
        let error = DaemonError(code: "peer_refused", message: "it forwards nothing", hint: "forward = true")
        model.take(.failed(.refused(error)), of: .exit(peer: "a"))
        #expect(model.trouble == "it forwards nothing: forward = true" && model.invite == .none)
        model.take(.failed(.refused(error)), of: .invite)
        #expect(model.invite == .refused(error))
    }

    @Test("each state of the VPN has its row")
    func tunnel() {
        let texts = TunnelView.allCases.map { view in
            rows { $0.tunnel = view }.first { $0.contains("VPN") || $0.contains("extension") } ?? ""
        }
        #expect(Set(texts).count == TunnelView.allCases.count)
        #expect(texts[0] == "button: Allow the network extension… [activateExtension]")
    }

    @Test("an invitation is shown to who may, and its hint to who may not")
    func invite() throws {
        let made = Invitation(ticket: "cryprq1abc", expiresAt: "2026-11-25T00:10:00Z")
        let shown = try rows { model in
            model.daemon = .status(try status())
            model.invite = .made(made)
        }
        #expect(shown.contains("ticket: cryprq1abc"))
        let refused = try rows { model in
            model.daemon = .status(try status())
            model.invite = .refused(
                DaemonError(code: "permission_denied", message: "not you", hint: "sudo cryprq invite"))
        }
        #expect(refused.contains("warning: not you: sudo cryprq invite"))
    }

    @Test("clicks become requests, in the daemon's words")
    func clicks() throws {
        let model = MenuModel()
        let line = { (action: MenuAction) in
            let encoder = JSONEncoder()
            encoder.outputFormatting = .sortedKeys
            return try model.request(for: action).map { String(decoding: try encoder.encode($0), as: UTF8.self) }
        }
        #expect(try line(.connect(peer: "a")) == #"{"cmd":"up","peer":"a","v":1}"#)
        #expect(try line(.disconnect(peer: "a")) == #"{"cmd":"down","peer":"a","v":1}"#)
        #expect(try line(.exit(peer: "a")) == #"{"cmd":"up","exit":"a","v":1}"#)
        #expect(try line(.invite) == #"{"cmd":"invite","v":1}"#)
        for action in [MenuAction.activateExtension, .tunnelOn, .tunnelOff, .launchAtLogin(true), .quit] {
            #expect(model.request(for: action) == nil)
        }
    }

    @Test("numbers are rounded for people")
    func words() {
        #expect(Words.time(milliseconds: 59_999) == "59 s" && Words.time(milliseconds: 60_000) == "1 min")
        #expect(Words.time(milliseconds: 7_200_000) == "2 h" && Words.time(milliseconds: 200_000_000) == "2 d")
        #expect(Words.ago(milliseconds: 999) == "just now" && Words.ago(milliseconds: 5000) == "5 s ago")
        #expect(Words.rate(bitsPerSecond: 9_999) == "9999 bit/s" && Words.rate(bitsPerSecond: 10_000) == "10 kbit/s")
        #expect(Words.rate(bitsPerSecond: .max) == "18446744073 Gbit/s")
    }

    @Test("every type is what docs/schema publishes")
    func schema() throws {
        let file = repository.appending(path: "docs/schema/reply.json")
        let schema = try JSONDecoder().decode(Schema.self, from: Data(contentsOf: file))
        try schema.holds(DaemonStatus.CodingKeys.self, in: "Status", optional: ["exit"])
        try schema.holds(DaemonStatus.Exit.CodingKeys.self, in: "ExitStatus", optional: [])
        try schema.holds(
            PeerStatus.CodingKeys.self, in: "PeerStatus",
            optional: ["path", "last_authentic_ms", "next_rotation_ms"])
        try schema.holds(PeerStatus.Path.CodingKeys.self, in: "PathStatus", optional: ["rtt_ms"])
    }

    private struct Schema: Decodable {
        struct Object: Decodable {
            struct Property: Decodable {
                /// One type or several.
                var types: [String] = []

                init(from decoder: any Decoder) throws {
                    let container = try decoder.container(keyedBy: Key.self)
                    if let one = try? container.decode(String.self, forKey: Key("type")) { types = [one] }
                    if let several = try? container.decode([String].self, forKey: Key("type")) { types = several }
                    if container.contains(Key("anyOf")) { types.append("null") }
                }
            }

            var properties: [String: Property]?
            var required: [String]?
        }

        struct Key: CodingKey {
            var stringValue: String
            var intValue: Int? { nil }
            init(_ name: String) { stringValue = name }
            init?(stringValue: String) { self.init(stringValue) }
            init?(intValue: Int) { nil }
        }

        var definitions: [String: Object]

        init(from decoder: any Decoder) throws {
            definitions = try decoder.container(keyedBy: Key.self).decode([String: Object].self, forKey: Key("$defs"))
        }

        func holds<Keys: CodingKey & CaseIterable & RawRepresentable<String>>(
            _ keys: Keys.Type, in name: String, optional: Set<String>
        ) throws {
            let object = try #require(definitions[name])
            for key in keys.allCases {
                let property = try #require(object.properties?[key.rawValue], "\(name).\(key.rawValue)")
                if optional.contains(key.rawValue) {
                    #expect(property.types.contains("null"), "\(name).\(key.rawValue)")
                } else {
                    #expect(!property.types.contains("null"), "\(name).\(key.rawValue)")
                    #expect(object.required?.contains(key.rawValue) == true, "\(name).\(key.rawValue)")
                }
            }
        }
    }
}
