import CrypRQTunnelKit
import Foundation
import NetworkExtension
import os

/// Translates between the system and a `TunnelSession`; decides nothing.
class PacketTunnelProvider: NEPacketTunnelProvider {
    private static let log = Logger(subsystem: "dev.cryprq.app.tunnel", category: "session")

    /// Only touched by the system's calls, which come one at a time.
    private var session: TunnelSession?

    /// What leads to the daemon; tests have another.
    func makeDoor() -> any DaemonDoor {
        XPCDoor(service: Bundle.main.object(forInfoDictionaryKey: "CrypRQMachService") as? String ?? "")
    }

    /// What tells the time; tests move it.
    func makeClock() -> any TunnelClock { MachineClock() }

    // The handlers have no @Sendable here, which a class may demand less of than its parent: so these methods override
    // the system's in whichever of both ways its headers are imported.
    override func startTunnel(options: [String: NSObject]?, completionHandler: @escaping ((any Error)?) -> Void) {
        let done = Handler(call: completionHandler)
        let version = Bundle.main.object(forInfoDictionaryKey: "CFBundleShortVersionString") as? String
        let session = TunnelSession(
            door: makeDoor(), host: Host(provider: self), flow: Flow(flow: packetFlow), build: version ?? "",
            clock: makeClock(), log: { line in Self.log.notice("\(line, privacy: .public)") })
        self.session = session
        session.start { failure in done.call(failure.map(NSError.init(_:))) }
    }

    override func stopTunnel(with reason: NEProviderStopReason, completionHandler: @escaping () -> Void) {
        let done = Handler<Void> { _ in completionHandler() }
        guard let session else { return done.call(()) }
        self.session = nil
        session.stop { [session] in
            // The session lives until its farewell is out.
            withExtendedLifetime(session) { done.call(()) }
        }
    }

    override func sleep(completionHandler: @escaping () -> Void) {
        let done = Handler<Void> { _ in completionHandler() }
        guard let session else { return done.call(()) }
        session.sleep { done.call(()) }
    }

    override func wake() {
        session?.wake()
    }
}

/// A handler of the system's. Unchecked because its documentation lets it be called from any thread, once.
private struct Handler<Value>: @unchecked Sendable {
    let call: (Value) -> Void
}

/// The interface. Unchecked because the system's flow may be read and written from any thread.
private struct Flow: PacketFlow, @unchecked Sendable {
    let flow: NEPacketTunnelFlow

    func readPackets(_ handler: @escaping @Sendable ([Data]) -> Void) {
        flow.readPackets { packets, _ in handler(packets) }
    }

    func writePackets(_ packets: [Data], families: [NSNumber]) -> Bool {
        flow.writePackets(packets, withProtocols: families)
    }
}

/// The system. Unchecked because the provider is only used on the main thread, where its calls belong.
private struct Host: TunnelHost, @unchecked Sendable {
    weak var provider: NEPacketTunnelProvider?

    func apply(_ plan: NetworkPlan, done: @escaping @Sendable (String?) -> Void) {
        DispatchQueue.main.async {
            guard let provider else { return done("the provider is gone") }
            provider.setTunnelNetworkSettings(plan.settings) { error in done(error.map { "\($0)" }) }
        }
    }

    func setReasserting(_ reasserting: Bool) {
        DispatchQueue.main.async { provider?.reasserting = reasserting }
    }

    func cancel(_ failure: TunnelFailure) {
        DispatchQueue.main.async { provider?.cancelTunnelWithError(NSError(failure)) }
    }
}

extension NSError {
    fileprivate convenience init(_ failure: TunnelFailure) {
        var info = [NSLocalizedDescriptionKey: failure.message]
        info[NSLocalizedRecoverySuggestionErrorKey] = failure.hint
        self.init(domain: "dev.cryprq.tunnel", code: 1, userInfo: info)
    }
}

extension NetworkPlan {
    /// The same in the system's types.
    var settings: NEPacketTunnelNetworkSettings {
        let settings = NEPacketTunnelNetworkSettings(tunnelRemoteAddress: remoteAddress)
        settings.mtu = NSNumber(value: mtu)
        if !ipv4.addresses.isEmpty {
            let own = NEIPv4Settings(
                addresses: ipv4.addresses.map(\.address), subnetMasks: ipv4.addresses.map(\.mask))
            let route = { (route: IPv4Route) in NEIPv4Route(destinationAddress: route.address, subnetMask: route.mask) }
            own.includedRoutes = ipv4.included.map(route)
            own.excludedRoutes = ipv4.excluded.map(route)
            settings.ipv4Settings = own
        }
        if !ipv6.addresses.isEmpty {
            let own = NEIPv6Settings(
                addresses: ipv6.addresses.map(\.address),
                networkPrefixLengths: ipv6.addresses.map { NSNumber(value: $0.prefix) })
            let route = { (route: IPv6Route) in
                NEIPv6Route(destinationAddress: route.address, networkPrefixLength: NSNumber(value: route.prefix))
            }
            own.includedRoutes = ipv6.included.map(route)
            own.excludedRoutes = ipv6.excluded.map(route)
            settings.ipv6Settings = own
        }
        if !dns.isEmpty {
            settings.dnsSettings = NEDNSSettings(servers: dns)
            // For every name; without it macOS asks them only when the tunnel holds the default route.
            settings.dnsSettings?.matchDomains = [""]
        }
        return settings
    }
}
