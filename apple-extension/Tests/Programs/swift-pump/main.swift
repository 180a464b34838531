// Plays the extension's part on Linux: moves packets between a TUN device and the daemon behind `tun.sock`.
//
// Usage: swift-pump SOCKET INTERFACE
// It makes the interface and leaves its addresses and routes to whoever started it: what the extension would ask of
// macOS is said on standard output, one JSON object a line: {"apply":"a NetworkPlan as JSON"}, {"started":""},
// {"reasserting":"true"}, {"cancelled":"why"}. SIGTERM stops it; SIGUSR1 is sleep and SIGUSR2 is wake.
import CrypRQTunnelKit
import Foundation

guard CommandLine.arguments.count == 3 else { fatalError("usage: swift-pump SOCKET INTERFACE") }

/// A TUN device as the interface. Packets are read on a thread of their own, as many at a time as are there.
final class TunFlow: PacketFlow {
    private static let most = 128
    private let queue = DispatchQueue(label: "tun", qos: .userInteractive)
    private let descriptor: Int32

    init(name: String) throws {
        descriptor = open("/dev/net/tun", O_RDWR | O_CLOEXEC)
        if descriptor < 0 { throw SystemError("open /dev/net/tun") }
        // struct ifreq of linux/if.h: the name and, 16 bytes on, IFF_TUN | IFF_NO_PI; TUNSETIFF of linux/if_tun.h.
        var request = [UInt8](repeating: 0, count: 40)
        request.replaceSubrange(0..<min(name.utf8.count, 15), with: name.utf8.prefix(15))
        request.withUnsafeMutableBytes { $0.storeBytes(of: 0x1001, toByteOffset: 16, as: UInt16.self) }
        if ioctl(descriptor, 0x4004_54ca, &request) != 0 { throw SystemError("TUNSETIFF") }
    }

    /// Waits for a packet and takes all that are there besides.
    func readPackets(_ handler: @escaping @Sendable ([Data]) -> Void) {
        queue.async { [descriptor] in
            var packets: [Data] = []
            var memory = [UInt8](repeating: 0, count: 65_536)
            var ready = pollfd(fd: descriptor, events: Int16(POLLIN), revents: 0)
            while packets.count < Self.most, poll(&ready, 1, packets.isEmpty ? -1 : 0) > 0 {
                let length = read(descriptor, &memory, memory.count)
                if length <= 0 { break }
                packets.append(Data(memory[..<length]))
            }
            handler(packets)
        }
    }

    func writePackets(_ packets: [Data], families: [NSNumber]) -> Bool {
        for packet in packets {
            packet.withUnsafeBytes { bytes in _ = write(descriptor, bytes.baseAddress, bytes.count) }
        }
        return true
    }
}

/// Says what it is asked; the test that started it does it.
struct Teller: TunnelHost {
    func apply(_ plan: NetworkPlan, done: @escaping @Sendable (String?) -> Void) {
        say(["apply": String(decoding: (try? JSONEncoder().encode(plan)) ?? Data(), as: UTF8.self)])
        done(nil)
    }

    func setReasserting(_ reasserting: Bool) { say(["reasserting": "\(reasserting)"]) }

    func cancel(_ failure: TunnelFailure) {
        say(["cancelled": failure.message])
        exit(1)
    }
}

@Sendable func say(_ what: [String: String]) {
    let line = (try? JSONEncoder().encode(what)) ?? Data()
    FileHandle.standardOutput.write(line + Data("\n".utf8))
}

let session = TunnelSession(
    door: UnixDoor(path: CommandLine.arguments[1]), host: Teller(),
    flow: try TunFlow(name: CommandLine.arguments[2]), build: "swift-pump",
    log: { say(["log": $0]) })

let signals = [
    (SIGTERM, { @Sendable in session.stop { exit(0) } }),
    (SIGUSR1, { @Sendable in session.sleep { say(["asleep": ""]) } }),
    (SIGUSR2, { @Sendable in session.wake() }),
].map { (number: Int32, body: @escaping @Sendable () -> Void) in
    signal(number, SIG_IGN)
    let source = DispatchSource.makeSignalSource(signal: number)
    source.setEventHandler(handler: body)
    source.resume()
    return source
}

session.start { failure in
    say(["started": failure?.message ?? ""])
    if failure != nil { exit(1) }
}
withExtendedLifetime(signals) { dispatchMain() }
