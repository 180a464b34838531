// Plays the extension's part on Linux: moves packets between a TUN device and the daemon behind `tun.sock`.
//
// Usage: swift-pump SOCKET
// The TUN device (no packet information, blocking) is standard input and output. What the extension would ask of macOS
// is said on standard error, one JSON object a line: {"apply":{...}}, {"started":null}, {"reasserting":true},
// {"cancelled":"why"}. SIGTERM stops it; SIGUSR1 is sleep and SIGUSR2 is wake.
import CrypRQTunnelKit
import Foundation

guard CommandLine.arguments.count == 2 else { fatalError("usage: swift-pump SOCKET") }

/// The TUN device as an interface. One thread reads, as the kernel's queue of it gives one packet at a time.
final class TunFlow: PacketFlow {
    private static let longest = 65_536
    private let queue = DispatchQueue(label: "tun", qos: .userInteractive)

    /// Waits for one packet and takes all that are there besides.
    func readPackets(_ handler: @escaping @Sendable ([Data]) -> Void) {
        queue.async {
            var packets: [Data] = []
            var memory = [UInt8](repeating: 0, count: Self.longest)
            var ready = pollfd(fd: STDIN_FILENO, events: Int16(POLLIN), revents: 0)
            while packets.count < 128, poll(&ready, 1, packets.isEmpty ? -1 : 0) > 0 {
                let length = read(STDIN_FILENO, &memory, memory.count)
                if length <= 0 { break }
                packets.append(Data(memory[..<length]))
            }
            handler(packets)
        }
    }

    func writePackets(_ packets: [Data], families: [NSNumber]) -> Bool {
        for packet in packets {
            packet.withUnsafeBytes { bytes in _ = write(STDOUT_FILENO, bytes.baseAddress, bytes.count) }
        }
        return true
    }
}

/// Says what it is asked; the test that started it does it.
struct Teller: TunnelHost {
    func apply(_ plan: NetworkPlan, done: @escaping @Sendable (String?) -> Void) {
        say(["apply": "\(plan)"])
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
    FileHandle.standardError.write(line + Data("\n".utf8))
}

let session = TunnelSession(
    door: UnixDoor(path: CommandLine.arguments[1]), host: Teller(), flow: TunFlow(), build: "swift-pump",
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
