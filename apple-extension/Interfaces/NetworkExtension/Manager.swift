// Written by hand from the documentation of Apple, for type checks and tests on Linux only. On macOS the framework of
// this name takes its place. That a file compiles against these lines says that it agrees with them, not with Apple.

import Foundation

// https://developer.apple.com/documentation/networkextension/nevpnstatus
public enum NEVPNStatus: Int, Sendable {
    case invalid = 0
    case disconnected = 1
    case connecting = 2
    case connected = 3
    case reasserting = 4
    case disconnecting = 5
}

extension NSNotification.Name {
    // https://developer.apple.com/documentation/foundation/nsnotification/name/nevpnstatusdidchange
    public static let NEVPNStatusDidChange = NSNotification.Name("com.apple.networkextension.statuschange")
}

// https://developer.apple.com/documentation/networkextension/nevpnconnection
open class NEVPNConnection: NSObject {
    // objc: NEVPNConnection status
    open var status: NEVPNStatus { fatalError("a declaration") }

    // objc: NEVPNConnection startVPNTunnelAndReturnError:
    open func startVPNTunnel() throws { fatalError("a declaration") }

    // objc: NEVPNConnection stopVPNTunnel
    open func stopVPNTunnel() { fatalError("a declaration") }
}

// https://developer.apple.com/documentation/networkextension/nevpnprotocol
open class NEVPNProtocol: NSObject {
    public override init() {}

    // objc: NEVPNProtocol serverAddress
    open var serverAddress: String?
}

// https://developer.apple.com/documentation/networkextension/netunnelproviderprotocol
open class NETunnelProviderProtocol: NEVPNProtocol {
    // objc: NETunnelProviderProtocol providerBundleIdentifier
    open var providerBundleIdentifier: String?
}

// https://developer.apple.com/documentation/networkextension/nevpnmanager
open class NEVPNManager: NSObject {
    public override init() {}

    // objc: NEVPNManager isEnabled
    open var isEnabled = false

    // objc: NEVPNManager localizedDescription
    open var localizedDescription: String?

    // objc: NEVPNManager protocolConfiguration
    open var protocolConfiguration: NEVPNProtocol?

    // objc: NEVPNManager connection
    open var connection: NEVPNConnection { fatalError("a declaration") }

    // objc: NEVPNManager loadFromPreferencesWithCompletionHandler:
    open func loadFromPreferences(completionHandler: @escaping @Sendable ((any Error)?) -> Void) {
        fatalError("a declaration")
    }

    // objc: NEVPNManager saveToPreferencesWithCompletionHandler:
    open func saveToPreferences(completionHandler: (@Sendable ((any Error)?) -> Void)? = nil) {
        fatalError("a declaration")
    }
}

// https://developer.apple.com/documentation/networkextension/netunnelprovidermanager
open class NETunnelProviderManager: NEVPNManager {
    // objc: NETunnelProviderManager loadAllFromPreferencesWithCompletionHandler:
    open class func loadAllFromPreferences(
        completionHandler: @escaping @Sendable ([NETunnelProviderManager]?, (any Error)?) -> Void
    ) { fatalError("a declaration") }
}
