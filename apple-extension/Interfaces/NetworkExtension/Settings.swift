// Written by hand from the documentation of Apple, for type checks and tests on Linux only. On macOS the framework of
// this name takes its place. That a file compiles against these lines says that it agrees with them, not with Apple.

import Foundation

// https://developer.apple.com/documentation/networkextension/netunnelnetworksettings
open class NETunnelNetworkSettings: NSObject {
    // objc: NETunnelNetworkSettings tunnelRemoteAddress
    public let tunnelRemoteAddress: String

    // objc: NETunnelNetworkSettings DNSSettings
    open var dnsSettings: NEDNSSettings?

    // objc: NETunnelNetworkSettings initWithTunnelRemoteAddress:
    public init(tunnelRemoteAddress address: String) { tunnelRemoteAddress = address }
}

// https://developer.apple.com/documentation/networkextension/nepackettunnelnetworksettings
open class NEPacketTunnelNetworkSettings: NETunnelNetworkSettings {
    // objc: NEPacketTunnelNetworkSettings IPv4Settings
    open var ipv4Settings: NEIPv4Settings?

    // objc: NEPacketTunnelNetworkSettings IPv6Settings
    open var ipv6Settings: NEIPv6Settings?

    // objc: NEPacketTunnelNetworkSettings MTU
    open var mtu: NSNumber?
}

// https://developer.apple.com/documentation/networkextension/neipv4settings
open class NEIPv4Settings: NSObject {
    // objc: NEIPv4Settings addresses
    public let addresses: [String]

    // objc: NEIPv4Settings subnetMasks
    public let subnetMasks: [String]

    // objc: NEIPv4Settings includedRoutes
    open var includedRoutes: [NEIPv4Route]?

    // objc: NEIPv4Settings excludedRoutes
    open var excludedRoutes: [NEIPv4Route]?

    // objc: NEIPv4Settings initWithAddresses:subnetMasks:
    public init(addresses: [String], subnetMasks: [String]) {
        self.addresses = addresses
        self.subnetMasks = subnetMasks
    }
}

// https://developer.apple.com/documentation/networkextension/neipv4route
open class NEIPv4Route: NSObject {
    // objc: NEIPv4Route destinationAddress
    public let destinationAddress: String

    // objc: NEIPv4Route destinationSubnetMask
    public let destinationSubnetMask: String

    // objc: NEIPv4Route initWithDestinationAddress:subnetMask:
    public init(destinationAddress address: String, subnetMask: String) {
        destinationAddress = address
        destinationSubnetMask = subnetMask
    }
}

// https://developer.apple.com/documentation/networkextension/neipv6settings
open class NEIPv6Settings: NSObject {
    // objc: NEIPv6Settings addresses
    public let addresses: [String]

    // objc: NEIPv6Settings networkPrefixLengths
    public let networkPrefixLengths: [NSNumber]

    // objc: NEIPv6Settings includedRoutes
    open var includedRoutes: [NEIPv6Route]?

    // objc: NEIPv6Settings excludedRoutes
    open var excludedRoutes: [NEIPv6Route]?

    // objc: NEIPv6Settings initWithAddresses:networkPrefixLengths:
    public init(addresses: [String], networkPrefixLengths: [NSNumber]) {
        self.addresses = addresses
        self.networkPrefixLengths = networkPrefixLengths
    }
}

// https://developer.apple.com/documentation/networkextension/neipv6route
open class NEIPv6Route: NSObject {
    // objc: NEIPv6Route destinationAddress
    public let destinationAddress: String

    // objc: NEIPv6Route destinationNetworkPrefixLength
    public let destinationNetworkPrefixLength: NSNumber

    // objc: NEIPv6Route initWithDestinationAddress:networkPrefixLength:
    public init(destinationAddress address: String, networkPrefixLength: NSNumber) {
        destinationAddress = address
        destinationNetworkPrefixLength = networkPrefixLength
    }
}

// https://developer.apple.com/documentation/networkextension/nednssettings
open class NEDNSSettings: NSObject {
    // objc: NEDNSSettings servers
    public let servers: [String]

    // objc: NEDNSSettings matchDomains
    open var matchDomains: [String]?

    // objc: NEDNSSettings initWithServers:
    public init(servers: [String]) { self.servers = servers }
}
