// Written by hand from the documentation of Apple, for type checks and tests on Linux only. On macOS the framework of
// this name takes its place. That a file compiles against these lines says that it agrees with them, not with Apple.

import Foundation

// https://developer.apple.com/documentation/networkextension/neproviderstopreason
public enum NEProviderStopReason: Int, Sendable {
    case none = 0
    case userInitiated = 1
    case providerFailed = 2
    case superceded = 14
}

// https://developer.apple.com/documentation/networkextension/neprovider
open class NEProvider: NSObject {
    public override init() {}

    // objc: NEProvider startSystemExtensionMode
    open class func startSystemExtensionMode() { fatalError("a declaration") }

    // objc: NEProvider sleepWithCompletionHandler:
    open func sleep(completionHandler: @escaping @Sendable () -> Void) { fatalError("a declaration") }

    // objc: NEProvider wake
    open func wake() { fatalError("a declaration") }
}

// https://developer.apple.com/documentation/networkextension/netunnelprovider
open class NETunnelProvider: NEProvider {
    // objc: NETunnelProvider setTunnelNetworkSettings:completionHandler:
    open func setTunnelNetworkSettings(
        _ tunnelNetworkSettings: NETunnelNetworkSettings?, completionHandler: (@Sendable ((any Error)?) -> Void)? = nil
    ) { fatalError("a declaration") }

    // objc: NETunnelProvider reasserting
    open var reasserting: Bool {
        get { fatalError("a declaration") }
        set { fatalError("a declaration \(newValue)") }
    }
}

// https://developer.apple.com/documentation/networkextension/nepackettunnelprovider
open class NEPacketTunnelProvider: NETunnelProvider {
    // objc: NEPacketTunnelProvider packetFlow
    open var packetFlow: NEPacketTunnelFlow { fatalError("a declaration") }

    // objc: NEPacketTunnelProvider startTunnelWithOptions:completionHandler:
    open func startTunnel(
        options: [String: NSObject]?, completionHandler: @escaping @Sendable ((any Error)?) -> Void
    ) { fatalError("a declaration") }

    // objc: NEPacketTunnelProvider stopTunnelWithReason:completionHandler:
    open func stopTunnel(with reason: NEProviderStopReason, completionHandler: @escaping @Sendable () -> Void) {
        fatalError("a declaration")
    }

    // objc: NEPacketTunnelProvider cancelTunnelWithError:
    open func cancelTunnelWithError(_ error: (any Error)?) { fatalError("a declaration") }
}

// https://developer.apple.com/documentation/networkextension/nepackettunnelflow
open class NEPacketTunnelFlow: NSObject {
    public override init() {}

    // objc: NEPacketTunnelFlow readPacketsWithCompletionHandler:
    open func readPackets(completionHandler: @escaping @Sendable ([Data], [NSNumber]) -> Void) {
        fatalError("a declaration")
    }

    // objc: NEPacketTunnelFlow writePackets:withProtocols:
    open func writePackets(_ packets: [Data], withProtocols protocols: [NSNumber]) -> Bool {
        fatalError("a declaration")
    }
}
