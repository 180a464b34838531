import Foundation

/// The interface's end of the pump: what `NEPacketTunnelFlow` offers.
public protocol PacketFlow: Sendable {
    /// Gives the packets that are there, or waits for some; called again only after it has answered.
    func readPackets(_ handler: @escaping @Sendable ([Data]) -> Void)
    /// Takes packets and the address family of each, as numbers of macOS. False when it did not take them.
    func writePackets(_ packets: [Data], families: [NSNumber]) -> Bool
}

/// The daemon's end of the pump.
public protocol PacketSink: Sendable {
    /// Sends a whole frame; waits while the other side does not read. False when it is gone.
    func send(_ frame: UnsafeRawBufferPointer) -> Bool
}

extension DaemonLink: PacketSink {}

/// The families of packets on macOS, whatever system this runs on.
public enum AddressFamily {
    public static let inet = 2
    public static let inet6 = 30

    /// By the first nibble; nil when it is neither IPv4 nor IPv6.
    public static func of(_ packet: Data) -> Int? {
        switch packet.first.map({ $0 >> 4 }) {
        case 4: inet
        case 6: inet6
        default: nil
        }
    }
}

/// Moves packets between the interface and the daemon, in batches.
///
/// One read of the interface is outstanding at a time, and the next one is asked for only when its packets have left:
/// while the daemon does not keep up, packets wait in the kernel's bounded queue of the interface and nowhere else.
public final class CrypRQPacketPump: Sendable {
    /// What went through and what did not. Packets, not bytes.
    public struct Counters: Equatable, Sendable {
        public var toDaemon = 0
        public var toInterface = 0
        /// Of the interface, while no daemon was attached.
        public var droppedDetached = 0
        /// Neither IPv4 nor IPv6, or of an impossible length.
        public var droppedInvalid = 0
        /// Of the daemon, and the interface did not take them.
        public var droppedByInterface = 0
    }

    private struct State {
        var sink: (any PacketSink)?
        var reading = false
        var counters = Counters()
    }

    private let flow: any PacketFlow
    private let state = Locked(State())
    private let frame = Locked(PacketFrame())
    private let queue = DispatchQueue(label: "dev.cryprq.pump", qos: .userInteractive)

    public init(flow: any PacketFlow) {
        self.flow = flow
    }

    public var counters: Counters { state.with(\.counters) }

    /// Packets go to `sink` from now on.
    public func attach(_ sink: any PacketSink) {
        state.with { $0.sink = sink }
        readOn()
    }

    /// Packets go nowhere from now on; the interface is not read but for what was asked already.
    public func detach() {
        state.with { $0.sink = nil }
    }

    /// Packets of the daemon.
    public func deliver(_ packets: [Data]) {
        let families = packets.map(AddressFamily.of)
        let known = zip(packets, families).filter { $0.1 != nil }
        let taken =
            known.isEmpty
            || flow.writePackets(known.map(\.0), families: known.compactMap { $0.1.map(NSNumber.init(value:)) })
        state.with { state in
            state.counters.droppedInvalid += packets.count - known.count
            state.counters.toInterface += taken ? known.count : 0
            state.counters.droppedByInterface += taken ? 0 : known.count
        }
    }

    private func readOn() {
        let asks = state.with { state in
            let asks = state.sink != nil && !state.reading
            state.reading = state.reading || asks
            return asks
        }
        guard asks else { return }
        flow.readPackets { [weak self, queue] packets in
            // Never on the interface's own thread: sending may wait.
            queue.async { [weak self] in self?.forward(packets) }
        }
    }

    private func forward(_ packets: [Data]) {
        let sink = state.with { state in
            state.reading = false
            return state.sink
        }
        let (sent, invalid) = sink.map { send(packets, to: $0) } ?? (0, 0)
        state.with { state in
            state.counters.toDaemon += sent
            state.counters.droppedInvalid += invalid
            state.counters.droppedDetached += packets.count - sent - invalid
        }
        readOn()
    }

    /// How many packets were sent, and how many cannot be.
    private func send(_ packets: [Data], to sink: any PacketSink) -> (sent: Int, invalid: Int) {
        frame.with { frame in
            var (sent, pending, invalid) = (0, 0, 0)
            func flush() {
                if !frame.isEmpty && frame.take(sink.send) { sent += pending }
                pending = 0
            }
            for packet in packets {
                guard AddressFamily.of(packet) != nil else {
                    invalid += 1
                    continue
                }
                do {
                    if try !frame.add(packet) {
                        flush()
                        _ = try frame.add(packet)
                    }
                    pending += 1
                } catch {
                    invalid += 1
                }
            }
            flush()
            return (sent, invalid)
        }
    }
}
