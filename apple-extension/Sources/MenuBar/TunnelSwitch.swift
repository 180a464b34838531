import CrypRQTunnelKit
import Foundation
import NetworkExtension

/// Turns the system's VPN on and off.
@MainActor
final class TunnelSwitch {
    private static let name = "CrypRQ"

    private var manager: NETunnelProviderManager?

    /// What the system says of it.
    var view: TunnelView {
        get async {
            if manager == nil { manager = await Self.saved() }
            guard let manager, manager.isEnabled else { return .inactive }
            return switch manager.connection.status {
            case .invalid, .disconnected: .off
            case .connecting: .connecting
            case .connected: .on
            case .reasserting: .reasserting
            case .disconnecting: .disconnecting
            @unknown default: .off
            }
        }
    }

    func on() async throws {
        let manager = manager ?? NETunnelProviderManager()
        let settings = NETunnelProviderProtocol()
        settings.providerBundleIdentifier = ExtensionActivation.identifier
        // The system shows it; packets go to the daemon on this Mac.
        settings.serverAddress = Self.name
        manager.protocolConfiguration = settings
        manager.localizedDescription = Self.name
        manager.isEnabled = true
        try await Self.waiting { manager.saveToPreferences(completionHandler: $0) }
        // A configuration that was just saved has to be loaded before it is used.
        try await Self.waiting { manager.loadFromPreferences(completionHandler: $0) }
        self.manager = manager
        try manager.connection.startVPNTunnel()
    }

    func off() {
        manager?.connection.stopVPNTunnel()
    }

    /// The configuration that an earlier run of the app has saved.
    private static func saved() async -> NETunnelProviderManager? {
        /// Unchecked because the list is made for this call, and nobody else has it.
        struct Found: @unchecked Sendable {
            let manager: NETunnelProviderManager?
        }
        let found = await withCheckedContinuation { continuation in
            NETunnelProviderManager.loadAllFromPreferences { managers, _ in
                continuation.resume(returning: Found(manager: managers?.first))
            }
        }
        return found.manager
    }

    /// Waits for a completion handler.
    private static func waiting(_ call: (@escaping @Sendable ((any Error)?) -> Void) -> Void) async throws {
        try await withCheckedThrowingContinuation { (continuation: CheckedContinuation<Void, any Error>) in
            call { error in
                if let error { continuation.resume(throwing: error) } else { continuation.resume() }
            }
        }
    }
}
