import Foundation

/// What the interface shall be like, in the terms of NetworkExtension.
public struct NetworkPlan: Equatable, Sendable, Encodable {
    public struct IPv4Route: Equatable, Sendable, Encodable {
        public var address: String
        public var mask: String
    }

    public struct IPv6Route: Equatable, Sendable, Encodable {
        public var address: String
        public var prefix: Int
    }

    /// One family's addresses and routes.
    public struct Family<Route: Equatable & Sendable & Encodable>: Equatable, Sendable, Encodable {
        public var addresses: [Route] = []
        public var included: [Route] = []
        public var excluded: [Route] = []
    }

    /// NetworkExtension wants one; packets go to the daemon, which is here.
    public var remoteAddress = "127.0.0.1"
    public var ipv4 = Family<IPv4Route>()
    public var ipv6 = Family<IPv6Route>()
    public var dns: [String] = []
    public var mtu: Int
}

/// Why settings cannot be put in force.
public enum SettingsError: Error, Equatable, Sendable, CustomStringConvertible {
    case noAddress
    case malformed(String)
    case mtu(UInt16)
    /// With a default route macOS asks nobody when it is given no resolver.
    case defaultRouteWithoutDNS

    public var description: String {
        switch self {
        case .noAddress: "there is no address for the interface"
        case .malformed(let text): "'\(text)' is no address or prefix"
        case .mtu(let mtu): "an MTU of \(mtu) bytes is less than its addresses need"
        case .defaultRouteWithoutDNS: "there is a default route and no resolver"
        }
    }
}

/// Makes of the daemon's settings what NetworkExtension takes.
public enum SettingsGenerator {
    /// macOS ignores longer prefixes of an interface's own address, or loses its default route with them.
    static let longestIPv6AddressPrefix = 120
    /// What each host takes of IPv4, and the least that IPv6 can do with.
    static let smallestMTU: (ipv4: UInt16, ipv6: UInt16) = (576, 1280)

    public static func plan(_ settings: TunnelSettings) throws(SettingsError) -> NetworkPlan {
        if settings.addresses.isEmpty { throw .noAddress }
        var plan = NetworkPlan(mtu: Int(settings.mtu))
        try sort(settings.addresses, into: &plan, ipv4: \.addresses, ipv6: \.addresses)
        try sort(settings.included, into: &plan, ipv4: \.included, ipv6: \.included)
        try sort(settings.excluded, into: &plan, ipv4: \.excluded, ipv6: \.excluded)
        let smallest = plan.ipv6 == .init() ? smallestMTU.ipv4 : smallestMTU.ipv6
        if settings.mtu < smallest { throw .mtu(settings.mtu) }
        for index in plan.ipv6.addresses.indices {
            plan.ipv6.addresses[index].prefix = min(plan.ipv6.addresses[index].prefix, longestIPv6AddressPrefix)
        }
        for resolver in settings.dns where family(resolver) == nil { throw .malformed(resolver) }
        plan.dns = settings.dns
        let hasDefault = settings.included.contains { $0.hasSuffix("/0") }
        if hasDefault && plan.dns.isEmpty { throw .defaultRouteWithoutDNS }
        return plan
    }

    private static func sort(
        _ prefixes: [String], into plan: inout NetworkPlan,
        ipv4: WritableKeyPath<NetworkPlan.Family<NetworkPlan.IPv4Route>, [NetworkPlan.IPv4Route]>,
        ipv6: WritableKeyPath<NetworkPlan.Family<NetworkPlan.IPv6Route>, [NetworkPlan.IPv6Route]>
    ) throws(SettingsError) {
        for prefix in prefixes {
            let parts = prefix.split(separator: "/", omittingEmptySubsequences: false).map(String.init)
            guard parts.count == 2, let length = Int(parts[1]), length >= 0 else { throw .malformed(prefix) }
            switch family(parts[0]) {
            case .some(AF_INET) where length <= 32:
                plan.ipv4[keyPath: ipv4].append(.init(address: parts[0], mask: mask(length)))
            case .some(AF_INET6) where length <= 128:
                plan.ipv6[keyPath: ipv6].append(.init(address: parts[0], prefix: length))
            default: throw .malformed(prefix)
            }
        }
    }

    /// This system's number of an address's family.
    private static func family(_ address: String) -> Int32? {
        [AF_INET, AF_INET6].first { family in
            var room = in6_addr()
            return inet_pton(family, address, &room) == 1
        }
    }

    /// 20 → 255.255.240.0
    private static func mask(_ length: Int) -> String {
        let bits = length == 0 ? 0 : UInt32.max << (32 - length)
        return [24, 16, 8, 0].map { String(bits >> UInt32($0) & 0xff) }.joined(separator: ".")
    }
}
