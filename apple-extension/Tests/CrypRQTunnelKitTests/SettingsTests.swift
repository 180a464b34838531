import Testing

@testable import CrypRQTunnelKit

struct SettingsTests {
    @Test("settings become addresses, masks and routes of their families")
    func plan() throws {
        let plan = try SettingsGenerator.plan(
            TunnelSettings(
                addresses: ["10.86.70.153/32", "fd63:7279:7072:d139::1/128"], included: ["10.86.0.0/20", "::/0"],
                excluded: ["192.0.2.0/24", "2001:db8::/32"], dns: ["10.86.0.1", "::1"], mtu: 1420))
        #expect(plan.remoteAddress == "127.0.0.1" && plan.mtu == 1420 && plan.dns == ["10.86.0.1", "::1"])
        #expect(plan.ipv4.addresses == [.init(address: "10.86.70.153", mask: "255.255.255.255")])
        #expect(plan.ipv4.included == [.init(address: "10.86.0.0", mask: "255.255.240.0")])
        #expect(plan.ipv4.excluded == [.init(address: "192.0.2.0", mask: "255.255.255.0")])
        #expect(plan.ipv6.included == [.init(address: "::", prefix: 0)])
        #expect(plan.ipv6.excluded == [.init(address: "2001:db8::", prefix: 32)])
    }

    @Test("an interface's own IPv6 prefix is no longer than macOS takes, a route's may be")
    func longPrefixes() throws {
        let plan = try SettingsGenerator.plan(
            TunnelSettings(addresses: ["fd00::1/128"], included: ["fd00::2/128"], mtu: 1280))
        #expect(plan.ipv6.addresses == [.init(address: "fd00::1", prefix: 120)])
        #expect(plan.ipv6.included == [.init(address: "fd00::2", prefix: 128)])
    }

    @Test("an interface without IPv6 may be narrower than IPv6 needs")
    func narrow() throws {
        let plan = try SettingsGenerator.plan(TunnelSettings(addresses: ["10.0.0.1/32"], included: [], mtu: 1279))
        #expect(plan.mtu == 1279)
    }

    @Test("a default route is the mask of zeros")
    func defaultRoute() throws {
        let plan = try SettingsGenerator.plan(
            TunnelSettings(addresses: ["10.0.0.1/32"], included: ["0.0.0.0/0"], dns: ["10.0.0.2"], mtu: 1280))
        #expect(plan.ipv4.included == [.init(address: "0.0.0.0", mask: "0.0.0.0")])
    }

    @Test("what cannot be put in force is refused by name")
    func refused() {
        func error(_ settings: TunnelSettings) -> SettingsError? {
            #expect(throws: SettingsError.self) { try SettingsGenerator.plan(settings) }
        }
        #expect(error(TunnelSettings(addresses: [], included: [], mtu: 1280)) == .noAddress)
        #expect(error(TunnelSettings(addresses: ["10.0.0.1/32"], included: [], mtu: 575)) == .mtu(575))
        #expect(error(TunnelSettings(addresses: ["fd00::1/64"], included: [], mtu: 1279)) == .mtu(1279))
        for wrong in ["", "10.0.0.1", "10.0.0.1/", "10.0.0.1/33", "10.0.0.1/-1", "::1/129", "x/1", "10.0.0.1/1/1"] {
            #expect(error(TunnelSettings(addresses: [wrong], included: [], mtu: 1280)) == .malformed(wrong))
        }
        let resolver = TunnelSettings(addresses: ["10.0.0.1/32"], included: [], dns: ["dns.example"], mtu: 1280)
        #expect(error(resolver) == .malformed("dns.example"))
        let lost = TunnelSettings(addresses: ["fd00::1/64"], included: ["::/0"], mtu: 1280)
        #expect(error(lost) == .defaultRouteWithoutDNS)
    }
}
